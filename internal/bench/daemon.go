package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// daemon is a running `ingot daemon`.
type daemon struct {
	cmd     *exec.Cmd
	address string
	said    *tail
	ended   chan error
}

// freeAddress is a port of the loopback interface that nobody uses yet.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startDaemon returns once the daemon answers at its address.
func (b *bench) startDaemon(ctx context.Context, config, address string) (*daemon, error) {
	d := &daemon{cmd: exec.Command(b.ingot(), "-c", config, "daemon"), address: address, said: &tail{}, ended: make(chan error, 1)}
	d.cmd.Stdout, d.cmd.Stderr = d.said, d.said
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.ended <- d.cmd.Wait() }()
	if err := d.until(ctx, 100*time.Millisecond, func() (bool, error) {
		_, err := d.get(ctx, "/readyz")
		return err == nil, nil
	}); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// until asks again and again, until the answer is yes, or an error, or the daemon ends.
func (d *daemon) until(ctx context.Context, every time.Duration, yes func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := yes(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-d.ended:
			d.ended <- err
			return fmt.Errorf("the daemon has ended: %w\n%s", err, d.said)
		case <-tick.C:
		}
	}
}

func (d *daemon) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.address+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// stop tells the daemon to end, and waits: it gives back what its builds hold.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-d.ended:
		if err != nil {
			return fmt.Errorf("the daemon ended badly: %w\n%s", err, d.said)
		}
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("the daemon did not end and is killed"), syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL), <-d.ended)
	}
}
