package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// storage is a running qemu-storage-daemon that shows a qcow2 file as a raw one.
// It is a direct child, so that its end can be awaited.
type storage struct {
	cmd    *exec.Cmd
	input  io.WriteCloser // of its monitor, which would be closed with it
	done   chan struct{}  // closed when the process is gone and err is set
	err    error
	stderr *tail
}

// startStorage returns when the raw file has its content. The daemon speaks on its
// monitor only after its exports are up, so the first line of it is the event.
func startStorage(ctx context.Context, spec Spec, image string) (*storage, error) {
	args, err := storageArgs(spec, image)
	if err != nil {
		return nil, err
	}
	s := &storage{done: make(chan struct{}), stderr: &tail{limit: 4 << 10}}
	s.cmd = exec.Command("qemu-storage-daemon", args...)
	s.cmd.Env = spec.Env
	s.cmd.Stderr = s.stderr
	ready := &firstLine{seen: make(chan struct{})}
	s.cmd.Stdout = ready
	// Its own process group: the terminal's interrupt is for us, who still need it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.input, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: install the package qemu-system-common", err)
		}
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	select {
	case <-ready.seen:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("qemu-storage-daemon: %s", s.stderr.text(s.err))
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), s.kill())
	}
}

// storageArgs are JSON values, because a path may hold commas.
func storageArgs(spec Spec, image string) ([]string, error) {
	cache := map[string]bool{"no-flush": true}
	options := []struct {
		flag  string
		value map[string]any
	}{
		{"--blockdev", map[string]any{"driver": "file", "node-name": "file", "filename": spec.Disk, "read-only": spec.ReadOnly, "cache": cache, "discard": "unmap"}},
		{"--blockdev", map[string]any{"driver": "qcow2", "node-name": "disk", "file": "file", "read-only": spec.ReadOnly, "cache": cache, "discard": "unmap"}},
		{"--export", map[string]any{"type": "fuse", "id": "raw", "node-name": "disk", "mountpoint": image, "writable": !spec.ReadOnly, "allow-other": "off"}},
	}
	args := make([]string, 0, 2*len(options)+4)
	for _, o := range options {
		value, err := json.Marshal(o.value)
		if err != nil {
			return nil, err
		}
		args = append(args, o.flag, string(value))
	}
	return append(args, "--chardev", "stdio,id=monitor,signal=off", "--monitor", "chardev=monitor"), nil
}

// quit are the commands that end the daemon.
const quit = `{"execute":"qmp_capabilities"} {"execute":"quit"}` + "\n"

// stop asks the daemon to write everything, close the disk and end. It asks on the
// monitor: a signal that comes just before the daemon goes to sleep would be noticed
// only when something else wakes it, which may be never.
func (s *storage) stop(ctx context.Context) error {
	if _, err := io.WriteString(s.input, quit); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), s.kill())
	}
	if s.err != nil {
		return fmt.Errorf("qemu-storage-daemon: %s", s.stderr.text(s.err))
	}
	return nil
}

func (s *storage) kill() error {
	err := s.cmd.Process.Kill()
	<-s.done
	if isDone(err) {
		return nil
	}
	return err
}
