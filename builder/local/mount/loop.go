package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// loop is a loop device over one partition. It goes by itself when the last user
// closes it: the mount, once release was called.
type loop struct {
	path    string
	number  int
	backing string
	file    *os.File
}

// attachLoop takes a free loop device, or a new one where none is free. Between
// asking for it and taking it another program may be faster.
func attachLoop(ctx context.Context, image string, part partition, readOnly bool) (*loop, error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	backing, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()

	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{
		Offset:    uint64(part.offset),
		Sizelimit: uint64(part.length),
		Flags:     unix.LO_FLAGS_AUTOCLEAR,
	}}
	if readOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], image)
	var l *loop
	err = retry(ctx, func() error {
		l, err = configureFree(control, config, mode)
		return err
	}, unix.EBUSY, unix.ENXIO)
	if err != nil {
		return nil, err
	}
	l.backing = image
	return l, nil
}

func configureFree(control *os.File, config unix.LoopConfig, mode int) (*loop, error) {
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("no free loop device: %w", err)
	}
	path := fmt.Sprintf("/dev/loop%d", number)
	file, err := os.OpenFile(path, mode, 0)
	if errors.Is(err, os.ErrNotExist) { // nobody makes the nodes of new devices here
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(number)))); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make %s: %w", path, err)
		}
		file, err = os.OpenFile(path, mode, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlLoopConfigure(int(file.Fd()), &config); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return &loop{path: path, number: number, file: file}, nil
}

// release leaves the device to its mount.
func (l *loop) release() {
	if l.file != nil {
		l.file.Close() // opened for its lifetime only: nothing was written through it
		l.file = nil
	}
}

// detach waits until the device has let go of its file. Where a device manager
// looks at every device, that is a little after the unmount.
func (l *loop) detach(ctx context.Context) error {
	l.release()
	err := retry(ctx, func() error {
		if l.attached() {
			return unix.EBUSY
		}
		return nil
	}, unix.EBUSY)
	if err != nil {
		return fmt.Errorf("%s is still in use: %w", l.path, err)
	}
	return nil
}

// attached reports whether the device still is ours.
func (l *loop) attached() bool {
	file, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l.number))
	return err == nil && strings.TrimSuffix(strings.TrimSuffix(string(file), "\n"), " (deleted)") == l.backing
}
