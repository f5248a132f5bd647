package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-6db18919/ingot/builder/component"
)

// terminal opens a pair of character devices that are connected, and switches
// off what a terminal would do to the bytes.
func terminal(t *testing.T) (host *os.File, device string) {
	t.Helper()
	host, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	raw, err := host.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			t.Fatal(err)
		}
		n, err := unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		if err != nil {
			t.Fatal(err)
		}
		device = fmt.Sprintf("/dev/pts/%d", n)
		if err := unix.IoctlSetTermios(int(fd), unix.TCSETS, &unix.Termios{Cflag: unix.CS8 | unix.CREAD}); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return host, device
}

// shared is a wire that outlives the connections made over it, as QEMU's is.
type shared struct{ *os.File }

func (shared) Close() error { return nil }

func TestServeOnACharacterDevice(t *testing.T) {
	host, device := terminal(t)
	root := t.TempDir()
	agent := agentCommand(t, "port", device, root)
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	// The end of a message to somebody who is gone.
	if _, err := host.WriteString("\"op\":\"poweroff\"}\n+{\"id\":1,\n{\"id\":"); err != nil {
		t.Fatal(err)
	}
	c := NewClient(func(context.Context) (io.ReadWriteCloser, error) { return shared{host}, nil })
	var e ear
	result, err := c.Run(within(t), bashJob(root, "a", "yes 0123456789abcde | head -c 300000"), e.hear)
	if err != nil || result.Status != component.Success || e.text.Len() != 300000 {
		t.Errorf("%+v, %v, %d bytes", result, err, e.text.Len())
	}
	if err := c.Put(within(t), File{Path: filepath.Join(root, "f"), Mode: 0o600}, &io.LimitedReader{R: zeros{}, N: 600_000}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(root, "f")); err != nil || info.Size() != 600_000 {
		t.Errorf("%v, %v", info, err)
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// absent is a port whose host comes and goes: without one, a read returns nothing.
func TestAPortWithoutAHostIsLookedAtAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p := &port{ctx: ctx, file: f}
	for _, word := range []string{"first", "again"} {
		wrote := make(chan error, 1)
		go func() {
			time.Sleep(3 * absentPause) // nobody is there for a while, which is the case to test
			wrote <- os.WriteFile(path, []byte(word), 0)
		}()
		buf := make([]byte, len(word))
		if _, err := io.ReadFull(p, buf); err != nil || string(buf) != word {
			t.Errorf("%q, %v", buf, err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
	cancel()
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}
