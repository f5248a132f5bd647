//go:build unix

package component

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// moved makes target what source is: with its owner and group, as far as they may be
// given, and its mode.
func moved(source, target string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Lchown(target, int(owner.Uid), int(owner.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return copied(source, target)
}

// copied gives target the mode of source. A program that runs with the rights of its
// owner or group does so as a copy only when it belongs to the same: otherwise a
// copy that root makes would give away the rights of root.
func copied(source, target string) error {
	there, err := os.Lstat(target)
	if err != nil || there.Mode()&fs.ModeSymlink != 0 {
		return err // a link has no mode
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	from, to := info.Sys().(*syscall.Stat_t), there.Sys().(*syscall.Stat_t)
	if from.Uid != to.Uid {
		mode &^= fs.ModeSetuid
	}
	if from.Gid != to.Gid {
		mode &^= fs.ModeSetgid
	}
	return os.Chmod(target, mode)
}
