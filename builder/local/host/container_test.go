package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContainerRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts containers")
	}
	before := left(t)
	if c := checkContainer(t.Context()); c.State != OK {
		t.Fatalf("%+v (Debian package systemd-container)", c)
	}
	if after := left(t); len(after) > len(before) {
		t.Errorf("it left %v behind, before it were %v", after, before)
	}
}

// left is what nspawn and the probe keep of containers.
func left(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{filepath.Join(os.TempDir(), "ingot-container-*"), "/run/systemd/nspawn/*/*ingot-container-*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// TestContainerThatCannotStart has a systemd-nspawn that fails, as on a host whose
// control groups are not where a container sees them.
func TestContainerThatCannotStart(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"not there":    {"", "systemd-nspawn is not installed"},
		"says why":     {"#!/bin/sh\necho Failed to chown cgroup >&2\necho and more >&2\nexit 1\n", "Failed to chown cgroup"},
		"says nothing": {"#!/bin/sh\nexit 7\n", "systemd-nspawn: exit status 7"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.script != "" {
				if err := os.WriteFile(filepath.Join(dir, "systemd-nspawn"), []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			got := checkContainer(t.Context())
			if got.State != Missing || !got.Needed || got.Detail != c.want || !strings.Contains(got.Without, "cgroupns") {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}
