package component

import (
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

const createNewProcessGroup = 0x00000200

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: createNewProcessGroup}
}

// killTree kills a process and those that it started.
func killTree(root int, _ string, _ time.Duration) {
	if root > 0 {
		// A process that is gone is what is wanted.
		_ = exec.Command("taskkill", "/F", "/T", "/PID", strconv.Itoa(root)).Run()
	}
}
