package component

import (
	"io/fs"
	"os"
)

// moved is copied: access lists are those of the new place, as Windows itself has it
// for a move to another volume.
func moved(source, target string) error { return copied(source, target) }

// copied makes target read-only when source is.
func copied(source, target string) error {
	there, err := os.Lstat(target)
	if err != nil || there.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	return os.Chmod(target, info.Mode().Perm())
}
