package host

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// freeLoop returns the node of a loop device that is free and can be opened.
func freeLoop() (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close() // nothing was written
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("no free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", number)
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return path, loop.Close()
}
