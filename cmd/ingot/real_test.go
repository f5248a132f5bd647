package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
)

// TestDemo is the main job on real parts, as `make demo ONCE=1` runs it: a commit
// becomes an image that is booted and tested, a change builds one component, and a
// broken test is shown to its author. Nothing of it is left.
func TestDemo(t *testing.T) {
	skipIfShort(t)
	dir := t.TempDir()
	lendParent(t, filepath.Join(dir, "cache", "ingot"))
	temp := filepath.Join(dir, "tmp")
	must(t, os.Mkdir(temp, 0o700))

	cmd := exec.Command(program(t), "demo", "--once")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() }) // only where the test failed before its end
	shown, workspaces := watchDemo(t, out, filepath.Join(temp, "ingot-demo-*", "data"))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ingot demo --once: %v\n%s\n%s", err, problem.String(), shown)
	}

	_, acts, _ := strings.Cut(shown, "\n1. A commit becomes a tested image\n")
	first, acts, _ := strings.Cut(acts, "\n2. The last component changes: only that one is built again\n")
	second, third, _ := strings.Cut(acts, "\n3. A test breaks: nothing is built, and its author sees why\n")
	for i, act := range []struct {
		text string
		want []string
	}{
		{first, []string{
			"Build nginx: done in", "Build site: done in", "Boot: done in", "login prompt", "Test http: done in",
			"✓ web 1.0.0 is ready", "✓ simple-boot-test-linux", "ingot/web  success: web/1.0.0/1 · img-", "2 tests passed",
		}},
		{second, []string{
			"Build nginx: reused", "Build site: done in", "Test http: done in", "✓ web 1.0.0 is ready", "ingot/web  success: web/1.0.0/2 · img-",
		}},
		{third, []string{
			"Image: reused: img-", "Test http: failed", "✗ web", "step Page", "ingot/web  failure: failed in test http",
			"The same again: git fetch", "ingot build recipes/web/recipe.yaml",
		}},
	} {
		for _, want := range act.want {
			if !strings.Contains(act.text, want) {
				t.Errorf("act %d does not show %q:\n%s", i+1, want, act.text)
			}
		}
	}
	if strings.Contains(second, "Build nginx: started") || strings.Contains(third, "Build ") {
		t.Errorf("something was built again that did not change:\n%s", second+third)
	}
	if len(workspaces) < 3 {
		t.Errorf("only the workspaces %v were seen, so the search for leftovers means little", workspaces)
	}
	if left := traces(t, append(workspaces, dir)...); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	if left := namesIn(t, temp); len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v", left)
	}
}

// watchDemo reads what the demonstration prints and notes the workspaces that it
// has on its way.
func watchDemo(t *testing.T, out io.Reader, data string) (shown string, workspaces []string) {
	t.Helper()
	var all strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		workspaces = append(workspaces, workspacesOf(t, data)...)
	}
	must(t, lines.Err())
	slices.Sort(workspaces)
	return all.String(), slices.Compact(workspaces)
}

// workspacesOf names the workspaces of the local driver in a data folder.
func workspacesOf(t *testing.T, data string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "local", "work", "*"))
	must(t, err)
	var names []string
	for _, path := range found {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".lock"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lendParent puts the base disk that all tests share where the program looks for
// the parent debian-12, so that it does not make one.
func lendParent(t *testing.T, cache string) {
	t.Helper()
	bases := filepath.Join(cache, "bases")
	must(t, os.MkdirAll(bases, 0o700))
	must(t, os.Symlink(disktest.Debian12(t), filepath.Join(bases, "lent.qcow2")))
	entry, err := json.Marshal(map[string]string{
		"file": "lent.qcow2", "digest": "sha256:" + strings.Repeat("12", 32), "revision": "lent",
	})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(bases, "debian-12-v"+disk.DebianVersion+".json"), entry, 0o600))
	t.Cleanup(func() {
		for _, name := range namesIn(t, bases) {
			if strings.HasSuffix(name, ".qcow2") && name != "lent.qcow2" {
				t.Errorf("the program made %s, though a parent was lent to it: has the layout of builder/local/cache.go changed?", name)
			}
		}
	})
}

// traces lists the mounts, loop devices and processes in which one of some names
// occurs: paths, or the workspaces that processes carry in their environment.
func traces(t *testing.T, names ...string) []string {
	t.Helper()
	has := func(text []byte) bool {
		return slices.ContainsFunc(names, func(name string) bool { return bytes.Contains(text, []byte(name)) })
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var found []string
	for line := range bytes.Lines(mounts) {
		if has(line) {
			found = append(found, "mount "+strings.TrimSpace(string(line)))
		}
	}
	for _, pattern := range []string{"/sys/block/loop*/loop/backing_file", "/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		paths, err := filepath.Glob(pattern)
		must(t, err)
		for _, path := range paths {
			if text, err := os.ReadFile(path); err == nil && has(text) { // what ended meanwhile is no trace
				found = append(found, fmt.Sprintf("%s: %s", path, bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
			}
		}
	}
	return found
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots guests: over ten seconds")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is far more than anything here takes, also in software emulation on a
// machine with other work.
const patience = 8 * time.Minute

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("waited %s: %s", patience, what)
		case <-tick.C:
		}
	}
}
