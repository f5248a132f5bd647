// Package mount makes the root filesystem of a qcow2 disk a folder of the host.
//
// Attach starts a storage daemon that shows the disk as one raw file, puts a loop
// device over its root partition and mounts that; Detach takes it apart again in
// the reverse order and returns only when the daemon has written and closed the
// disk. Flushes are dropped in between, because a disk that was not detached
// cleanly is thrown away: the caller syncs the file after Detach, once.
//
// The kernel reads the filesystem, which matters with disks from strangers: see
// Attach. The package knows nothing about layers, builds or what runs inside.
package mount

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Spec says what to attach, and where.
type Spec struct {
	Disk     string   // the qcow2 file; the files that it is backed by are only read
	Dir      string   // a folder of this attachment alone; everything it makes is beneath
	ReadOnly bool     //
	Env      []string // of the storage daemon
	Grow     bool     // let the root partition and its filesystem fill the disk
	Check    bool     // have the filesystem checked before the kernel sees it; needs a writable disk
}

// Mount is one attached disk. One goroutine uses it at a time.
type Mount struct {
	root   string
	image  string // the raw file
	disk   *storage
	loop   *loop
	closed bool
}

// ErrDamaged says that a filesystem is not as it should be.
var ErrDamaged = errors.New("the filesystem is damaged")

// detachPatience is how long taking a disk apart may last: writing back what a
// build left in memory takes long on a slow disk, a hang takes for ever.
const detachPatience = 5 * time.Minute

// Attach mounts the root filesystem of spec.Disk, read-write unless told otherwise,
// without device nodes and access times. When it fails nothing stays.
//
// A filesystem made by an attacker can attack the kernel that mounts it. Check refuses
// what is inconsistent, which is most of what is known, but not all that is possible.
func Attach(ctx context.Context, spec Spec) (*Mount, error) {
	m, err := open(ctx, spec)
	if err != nil {
		return nil, err
	}
	if err := mountFilesystem(m.loop.path, m.root, spec.ReadOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the root filesystem of %s: %w", spec.Disk, err), m.Detach(ctx))
	}
	m.loop.release()
	return m, nil
}

// Check has the root filesystem of a disk checked, and repaired where that takes no
// decision, without mounting it.
func Check(ctx context.Context, spec Spec) error {
	spec.Check = true
	m, err := open(ctx, spec)
	if err != nil {
		return err
	}
	return m.Detach(ctx)
}

// open does all but the mount.
func open(ctx context.Context, spec Spec) (_ *Mount, err error) {
	m := &Mount{
		root:  filepath.Join(spec.Dir, "root"),
		image: filepath.Join(spec.Dir, "disk"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Detach(ctx))
		}
	}()
	if err := os.MkdirAll(m.root, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(m.image, nil, 0o600); err != nil {
		return nil, err
	}
	if m.disk, err = startStorage(ctx, spec, m.image); err != nil {
		return nil, fmt.Errorf("show %s as a raw disk: %w", spec.Disk, err)
	}
	part, err := rootPartition(m.image, spec.Grow)
	if err != nil {
		return nil, fmt.Errorf("find the root filesystem of %s: %w", spec.Disk, err)
	}
	if m.loop, err = attachLoop(ctx, m.image, part, spec.ReadOnly); err != nil {
		return nil, fmt.Errorf("loop device for %s: %w", spec.Disk, err)
	}
	if spec.Check {
		if err := checkFilesystem(ctx, m.loop.path, spec.Env); err != nil {
			return nil, fmt.Errorf("check %s: %w: %w", spec.Disk, ErrDamaged, err)
		}
	}
	if spec.Grow {
		if err := growFilesystem(ctx, m.loop.path, spec.Env); err != nil {
			return nil, fmt.Errorf("grow the root filesystem of %s: %w", spec.Disk, err)
		}
	}
	return m, nil
}

// Root is the folder on which the filesystem is mounted.
func (m *Mount) Root() string { return m.root }

// Trim gives back the space of everything that was ever deleted: it then reads as
// zeros, and is neither copied nor found by whoever gets the disk. What is deleted while
// it is attached here needs no Trim; what a guest deleted does.
func (m *Mount) Trim() error {
	dir, err := os.Open(m.root)
	if err != nil {
		return err
	}
	// What is deleted counts as free only when the journal says so.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", m.root, err), dir.Close())
	}
	all := struct{ start, length, least uint64 }{length: math.MaxUint64}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fitrim, uintptr(unsafe.Pointer(&all)))
	if errno != 0 {
		return errors.Join(fmt.Errorf("trim %s: %w", m.root, errno), dir.Close())
	}
	return dir.Close()
}

// fitrim is the request FITRIM of ioctl.
const fitrim = 0xc0185879

// Detach unmounts and waits until the disk is written and closed. The disk is
// whole only when it returns nil. It may be called again and after a failed
// Attach; the end of ctx does not stop it, because what is left half attached
// could not be removed by anybody else.
func (m *Mount) Detach(ctx context.Context) error {
	if m.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachPatience)
	defer cancel()
	var errs []error
	if err := unmount(ctx, m.root); err != nil {
		errs = append(errs, err)
	}
	if m.loop != nil {
		errs = append(errs, m.loop.detach(ctx))
	}
	if m.disk != nil {
		errs = append(errs, m.disk.stop(ctx))
	}
	if err := unmount(ctx, m.image); err != nil { // only left when the daemon died
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach %s: %w", m.root, err)
	}
	m.closed = true
	return errors.Join(remove(m.root), remove(m.image))
}

// mountFilesystem never follows what the superblock asks for on errors: it could
// ask to stop the host.
func mountFilesystem(device, dir string, readOnly bool) error {
	// No barriers: a layer counts only after a clean detach and a sync of its file.
	// discard: what a build deletes again takes no space, and can't be found in the image.
	const options = "errors=remount-ro,nobarrier,discard"
	flags := uintptr(unix.MS_NODEV | unix.MS_NOATIME)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount(device, dir, "ext4", flags, options)
}

// unmount takes the topmost mount off a path, and is content when there is none.
// A process that is just dying may still keep it busy.
func unmount(ctx context.Context, path string) error {
	err := retry(ctx, func() error { return unix.Unmount(path, unix.UMOUNT_NOFOLLOW) }, unix.EBUSY)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// remove deletes what Attach made; it being gone already is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// retry repeats what fails with a passing error, first quickly, then every 100 ms,
// until ctx ends.
func retry(ctx context.Context, do func() error, passing ...error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := do()
		if err == nil || !isAny(err, passing) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

func isAny(err error, targets []error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
