package guest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

// tree lists every file of a folder with all that Inject could change.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		entry := fmt.Sprintf("%v %v", info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			entry += fmt.Sprintf(" %x", sha256.Sum256(text))
		}
		name, err := filepath.Rel(dir, path)
		files[name] = entry
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// systemd makes the root of a disk with what Inject looks for, last written to long ago.
func systemd(t *testing.T, folders ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(folders, "etc/systemd/system", "usr/bin") {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Date(2020, 2, 2, 2, 2, 2, 123456789, time.UTC)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// program is a file that stands for the agent.
func agentProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ingot-agent")
	if err := os.WriteFile(path, []byte("the agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInjectAndEjectLeaveNoTrace(t *testing.T) {
	for name, folders := range map[string][]string{
		"without the wants folder":   nil,
		"with an empty wants folder": {"etc/systemd/system/sysinit.target.wants"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := systemd(t, folders...)
			root := openRoot(t, dir)
			before := tree(t, dir)
			in, err := Inject(root, agentProgram(t))
			if err != nil {
				t.Fatal(err)
			}
			if text, err := root.ReadFile(agentFile); string(text) != "the agent" {
				t.Errorf("the agent: %q, %v", text, err)
			}
			if info, err := root.Stat(agentFile); err != nil || info.Mode() != 0o755 {
				t.Errorf("the agent: %v, %v", info, err)
			}
			if target, err := root.Readlink(wantsLink); target != "/"+unitFile {
				t.Errorf("link to %q, %v", target, err)
			}
			for range 2 { // a repeat is harmless
				if err := in.Eject(root); err != nil {
					t.Fatal(err)
				}
				if after := tree(t, dir); !maps.Equal(before, after) {
					t.Errorf("before %v\nafter  %v", before, after)
				}
			}
		})
	}
}

func TestEjectKeepsWhatOthersMade(t *testing.T) {
	dir := systemd(t)
	root := openRoot(t, dir)
	in, err := Inject(root, agentProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, wantsFolder, "other.service")
	if err := os.Symlink("/lib/systemd/system/other.service", theirs); err != nil {
		t.Fatal(err)
	}
	written := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(dir, unitFolder), written, written); err != nil {
		t.Fatal(err)
	}
	if err := in.Eject(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(theirs); err != nil {
		t.Errorf("what a component had made: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, unitFile)); err == nil {
		t.Error("the unit is still there")
	}
	info, err := os.Stat(filepath.Join(dir, unitFolder))
	if err != nil || info.ModTime().Before(written) {
		t.Errorf("the time of a folder that others wrote to was turned back: %v, %v", info.ModTime(), err)
	}
}

// A disk is foreign: whatever links it has, nothing outside is touched, nothing of ours
// stays in it, and the image is blamed.
func TestInjectIntoHostileDisk(t *testing.T) {
	for name, prepare := range map[string]func(dir, outside string) error{
		"no systemd":             func(dir, _ string) error { return os.Remove(filepath.Join(dir, unitFolder)) },
		"units elsewhere":        func(dir, outside string) error { return replace(filepath.Join(dir, unitFolder), outside) },
		"wants elsewhere":        func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, wantsFolder)) },
		"etc elsewhere, upwards": func(dir, _ string) error { return replace(filepath.Join(dir, "etc"), "../../etc") },
		"unit is a link":         func(dir, outside string) error { return os.Symlink(outside+"/x", filepath.Join(dir, unitFile)) },
		"folder is a link":       func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, agentFolder)) },
		"folder is a file":       func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, agentFolder), nil, 0o600) },
		"links in a circle":      func(dir, _ string) error { return replace(filepath.Join(dir, unitFolder), "system") },
		"unit folder is a file": func(dir, _ string) error {
			if err := os.Remove(filepath.Join(dir, unitFolder)); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, unitFolder), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := systemd(t), systemd(t)
			if err := prepare(dir, outside); err != nil {
				t.Fatal(err)
			}
			beforeIn, beforeOut := tree(t, dir), tree(t, outside)
			_, err := Inject(openRoot(t, dir), agentProgram(t))
			e := wantError(t, err, builder.Author, "the test agent cannot be put into the image")
			if strings.Contains(e.Reason, outside) {
				t.Errorf("the reason %q names a path of the host", e.Reason)
			}
			if after := tree(t, outside); !maps.Equal(beforeOut, after) {
				t.Errorf("outside, before %v\nafter %v", beforeOut, after)
			}
			if after := tree(t, dir); !maps.Equal(beforeIn, after) {
				t.Errorf("inside, before %v\nafter %v", beforeIn, after)
			}
		})
	}
}

// replace puts a link in the place of a folder.
func replace(folder, target string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.Symlink(target, folder)
}

func TestInjectWithoutAgent(t *testing.T) {
	_, err := Inject(openRoot(t, systemd(t)), filepath.Join(t.TempDir(), "missing"))
	wantError(t, err, builder.Internal, "the agent's program cannot be read")
}
