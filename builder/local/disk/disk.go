// Package disk makes the parent disks that local builds start from, and converts
// finished ones.
//
// Debian makes a bootable disk from nothing, Import takes one that somebody else
// made, Download fetches such a file first. All of them end in one form: a qcow2
// file without a backing file, whose root file system Layout finds. Convert writes
// a finished disk in the format that a hypervisor wants.
//
// Nothing here needs a loop device, a mount or udev, and foreign files are never
// shown to QEMU's tools before their headers were read here: several formats can
// name other files of the host, and those are refused.
//
// Every result appears under its name only when it is complete and on the disk.
// The package keeps no cache and knows no names of images: its caller decides
// what is made, where it is kept and when it is made again.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

const (
	sectorSize = 512
	mib        = 1 << 20
	gib        = 1 << 30

	// MaxVirtual is the largest disk, as a machine sees it, that is accepted, in bytes.
	MaxVirtual = 2048 * gib
)

// refuse blames the author of the recipe: the file is not one that can be used.
func refuse(hint, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &builder.Error{Fault: builder.Author, Stage: builder.StageResolve, Reason: err.Error(), Hint: hint, Err: err}
}

// fail blames us or the host.
func fail(fault builder.Fault, stage builder.Stage, err error, hint, format string, args ...any) error {
	return &builder.Error{Fault: fault, Stage: stage, Reason: fmt.Sprintf(format, args...), Hint: hint, Err: err}
}

// publish makes a finished temporary file appear as out, durably: a file that is
// found under its name after a crash of the host is whole.
func publish(temp, out string) error {
	if err := syncFile(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, out); err != nil {
		return err
	}
	return syncFile(filepath.Dir(out))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

const workspacePrefix = ".new-"

// Sweep removes from a folder what a killed process left of disks that were being
// made in it. The caller sees to it that no other process makes disks there.
func Sweep(dir string) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), workspacePrefix) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if removeErr := os.RemoveAll(path); removeErr != nil {
			err = errors.Join(err, removeErr)
			continue
		}
		removed = append(removed, path)
	}
	return removed, err
}

// workspace is a folder beside the result, so that the last step is a rename. The
// returned function removes it and adds what went wrong to *err.
func workspace(out string, err *error) (string, func(), error) {
	dir, mkErr := os.MkdirTemp(filepath.Dir(out), workspacePrefix+filepath.Base(out)+"-")
	if mkErr != nil {
		return "", nil, mkErr
	}
	return dir, func() { *err = errors.Join(*err, os.RemoveAll(dir)) }, nil
}
