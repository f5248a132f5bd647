package guest

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers under which QEMU finds its ends of the wires: os/exec puts the first
// extra file behind standard error.
const (
	serialFD = 3 + iota
	qmpFD
	debugFD
	agentFD
)

// wires connect us with QEMU. Serial console, control channel and debugger are socket
// pairs, which need no name and which nobody else can open. The agent's port is a
// listening socket in the machine's folder, because clients come and go.
type wires struct {
	dir                *os.File
	serial, qmp, debug net.Conn
	far                []*os.File // QEMU's ends, in the order of their numbers
}

func newWires(dir string) (_ *wires, err error) {
	w := &wires{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.closeFar(), w.closeNear())
		}
	}()
	if w.dir, err = os.Open(dir); err != nil {
		return nil, err
	}
	for _, near := range []*net.Conn{&w.serial, &w.qmp, &w.debug} {
		var far *os.File
		if *near, far, err = pair(); err != nil {
			return nil, err
		}
		w.far = append(w.far, far)
	}
	listener, err := listen(w.dir)
	if err != nil {
		return nil, err
	}
	w.far = append(w.far, listener)
	return w, nil
}

// closeFar closes our copies of QEMU's ends, so that its death is seen on ours.
func (w *wires) closeFar() error {
	var errs []error
	for _, f := range w.far {
		errs = append(errs, f.Close())
	}
	w.far = nil
	return errors.Join(errs...)
}

// closeNear closes our ends and removes the socket's name.
func (w *wires) closeNear() error {
	var errs []error
	for _, c := range []net.Conn{w.serial, w.qmp, w.debug} {
		if c != nil {
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if w.dir != nil {
		if err := unix.Unlinkat(int(w.dir.Fd()), agentSocket, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("%s: %w", agentSocket, err))
		}
		errs = append(errs, w.dir.Close())
	}
	return errors.Join(errs...)
}

// socketPath names the agent's socket through the open folder: a socket's path has
// at most 107 bytes, and the folder's own may be longer.
func socketPath(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), agentSocket)
}

func listen(dir *os.File) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // QEMU's copy goes on using it
	f, err := l.File()
	return f, errors.Join(err, l.Close())
}

// pair makes a connected pair of sockets: a connection for us, a file for the child.
func pair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	conn, err := net.FileConn(near)
	if err = errors.Join(err, near.Close()); err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return conn, far, nil
}
