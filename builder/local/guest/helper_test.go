package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
)

// patience is generous: instructions are emulated, and the machine has other work.
const patience = 10 * time.Minute

// emptyDisk makes a disk with nothing on it.
func emptyDisk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", path, "64M")
	return path
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img of the Debian package qemu-utils: %v\n%s", err, out)
	}
}

// complaints is a log in which nothing may stand: whatever a machine has to tell is a
// failure of the test.
func complaints(t *testing.T) logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(complaining{t})
	log.SetLevel(logrus.InfoLevel)
	return log
}

type complaining struct{ *testing.T }

func (c complaining) Write(line []byte) (int, error) {
	c.Errorf("the machine complains: %s", line)
	return len(line), nil
}

// start starts a machine that is gone, with everything it made, when the test ends.
func start(t *testing.T, spec Spec) *Machine {
	t.Helper()
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	spec.Log = complaints(t)
	m, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close: %v", err)
		}
		if t.Failed() {
			t.Logf("console:\n%s", m.Console())
		}
		gone(t, m)
	})
	return m
}

// gone checks that nothing of a closed machine is left.
func gone(t *testing.T, m *Machine) {
	t.Helper()
	if err := syscall.Kill(m.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there (%v)", m.cmd.Process.Pid, err)
	}
	if _, err := os.Lstat(filepath.Join(m.cmd.Dir, agentSocket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the agent's socket is still there (%v)", err)
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wantError checks for a *builder.Error of that fault whose reason has that text.
func wantError(t *testing.T, err error, fault builder.Fault, reason string) *builder.Error {
	t.Helper()
	var e *builder.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *builder.Error about %q", err, reason)
	}
	if e.Fault != fault || !strings.Contains(e.Reason, reason) {
		t.Fatalf("got %v (fault %v), want %q (fault %v)", err, e.Fault, reason, fault)
	}
	return e
}
