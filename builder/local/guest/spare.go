package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// spared are units of systemd that no test of an image is about: records for a
// next boot that a test guest does not have, modules and mounts that come by
// themselves when something opens them, and a login on a screen that is not there.
var spared = []string{
	"getty@tty1.service",
	"modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@drm.service",
	"modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service",
	"sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
	"systemd-machine-id-commit.service", "systemd-network-generator.service",
	"systemd-pstore.service", "systemd-random-seed.service",
	"systemd-update-utmp-runlevel.service", "systemd-update-utmp.service",
}

// Spare masks, on the root file system of a disk that is thrown away after its
// tests, what would only cost time: two of seventeen seconds of an emulated boot.
// A unit that the image has a file of its own for is left alone.
func Spare(root *os.Root) error {
	for _, unit := range spared {
		err := root.Symlink("/dev/null", path.Join("etc/systemd/system", unit))
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mask %s: %w", unit, err)
		}
	}
	return nil
}
