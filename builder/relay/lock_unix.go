//go:build unix

package relay

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is a lock that ends with this process.
type lockFile struct{ *os.File }

func openLock(path string) (lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return lockFile{f}, err
}

// try takes the lock, unless another process has it.
func (l lockFile) try() (bool, error) {
	err := unix.Flock(int(l.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func lchown(path string, uid, gid int) error { return os.Lchown(path, uid, gid) }
