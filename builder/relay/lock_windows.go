package relay

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile is a lock that ends with this process.
type lockFile struct{ *os.File }

func openLock(path string) (lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return lockFile{f}, err
}

// try takes the lock, unless another process has it.
func (l lockFile) try() (bool, error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(l.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// lchown does nothing: files belong to whoever writes them.
func lchown(string, int, int) error { return nil }
