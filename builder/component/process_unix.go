//go:build unix

package component

import (
	"os"
	"syscall"
)

// processTree is a program with all that it starts. The program leads a process
// group; what leaves the group still carries mark in its environment.
type processTree struct{ mark string }

func newProcessTree(mark string) (*processTree, error) { return &processTree{mark}, nil }

func (*processTree) attributes(string) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// adopt is nothing: the group was made with the program.
func (*processTree) adopt(*os.Process) error { return nil }

// kill ends all of it and waits until it is gone; root is nil when that one is.
func (t *processTree) kill(root *os.Process) {
	pid := 0
	if root != nil {
		pid = root.Pid
	}
	killTree(pid, t.mark, killPatience)
}

func (*processTree) release() {}

// signalOf is the number of the signal that ended a program.
func signalOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal())
	}
	return 0
}
