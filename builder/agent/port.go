package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

const (
	absentPause  = 100 * time.Millisecond // between two looks for a host that is not there
	reopenPause  = time.Second            // before a port that broke is opened again
	writePatient = 10 * time.Second       // for a host that does not read
)

// ServePort answers on a character device until ctx ends. A port that is not
// there yet, or that breaks, is opened again; complain hears why, once.
func ServePort(ctx context.Context, s *Server, path string, complain func(error)) error {
	said := ""
	for {
		err := servePortOnce(ctx, s, path)
		if ctx.Err() != nil {
			s.Wait()
			return nil
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			complain(err)
		}
		if pause(ctx, reopenPause) != nil {
			s.Wait()
			return nil
		}
	}
}

func servePortOnce(ctx context.Context, s *Server, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	p := &port{ctx: ctx, file: f}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	err = s.Serve(ctx, p)
	if closeErr := f.Close(); !errors.Is(closeErr, os.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}

// port is a virtio-serial port. A read that finds no host at the other end
// returns nothing at once, so the port is looked at again after a while: its end
// is not the end. A write that nobody takes would wait for a host forever.
type port struct {
	ctx  context.Context // of the program: a read ends with it
	file *os.File
}

func (p *port) Read(buf []byte) (int, error) {
	for {
		n, err := p.file.Read(buf)
		if n > 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return n, err
		}
		if err := pause(p.ctx, absentPause); err != nil {
			return 0, io.EOF
		}
	}
}

func (p *port) Write(buf []byte) (int, error) {
	// A device that knows no deadlines waits as long as it likes.
	if err := p.file.SetWriteDeadline(time.Now().Add(writePatient)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return 0, err
	}
	return p.file.Write(buf)
}

// ServeSocket answers on a unix socket until ctx ends. Several hosts may connect;
// they share the one run.
func ServeSocket(ctx context.Context, s *Server, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	// Whoever connects can run anything as this user.
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var hosts sync.WaitGroup
	for {
		wire, err := listener.Accept()
		if err != nil {
			hosts.Wait()
			s.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", path, err)
		}
		hosts.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = wire.Close() })
			defer stop()
			// A host that breaks off is one that left.
			_ = s.Serve(ctx, wire)
			_ = wire.Close()
		})
	}
}
