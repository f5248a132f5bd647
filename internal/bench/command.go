package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// command is a program that is run to its end.
type command struct {
	dir    string
	env    []string // beside our own
	name   string
	args   []string
	stdout io.Writer // nil: kept for the error, as standard error always is
}

// patience is what a program gets to clean up after itself once it was told to end.
const patience = time.Minute

// run runs the program in a process group of its own. When ctx ends the group is
// interrupted, as by Ctrl-C, after which even mkosi cleans up, and gets time to do so.
func (c command) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), c.env...)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = patience
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", c.name, strings.Join(c.args, " "), err, said)
	}
	return nil
}

// timed runs the program and returns what a user waits for.
func (c command) timed(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	err := c.run(ctx)
	return time.Since(start), err
}

// output runs the program and returns what it prints.
func (c command) output(ctx context.Context) (string, error) {
	var out bytes.Buffer
	c.stdout = &out
	err := c.run(ctx)
	return out.String(), err
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.text = append(t.text, p...)
	if len(t.text) > 2*most {
		t.text = append(t.text[:0], t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
