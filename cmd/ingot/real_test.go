package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/disk"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
	"github.com/seed-6db18919/ingot/reporter"
)

// TestDemo is the main job on real parts, as `make demo ONCE=1` runs it: a commit
// becomes an image that is booted and tested, a change builds one component, and a
// broken test is shown to its author. Nothing of it is left, nor of one that was
// killed before.
func TestDemo(t *testing.T) {
	skipIfShort(t)
	dir := t.TempDir()
	lendParent(t, filepath.Join(dir, "cache", "ingot"))
	temp := filepath.Join(dir, "tmp")
	must(t, os.Mkdir(temp, 0o700))

	env := append(os.Environ(), "TMPDIR="+temp, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	work := filepath.Join(dir, "cache", "ingot", "demo")

	killed, out := beginDemo(t, env)
	_, workspaces := watchDemo(t, out, work, "Build nginx: step build/Install")
	must(t, killed.Process.Kill())
	killed.Wait() // killed: its status says nothing

	cmd, out := beginDemo(t, env)
	shown, more := watchDemo(t, out, work, "")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ingot demo --once: %v\n%s\n%s", err, cmd.Stderr, shown)
	}
	workspaces = append(workspaces, more...)

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
	if _, err := os.Stat(work); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", work, err)
	}
}

func beginDemo(t *testing.T, env []string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(program(t), "demo", "--once")
	cmd.Env, cmd.Stderr = env, &text{}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() }) // only where the test failed before its end
	return cmd, out
}

// watchDemo reads what the demonstration prints, to a line or to its end, and notes
// the workspaces that it has on its way.
func watchDemo(t *testing.T, out io.Reader, work, last string) (shown string, workspaces []string) {
	t.Helper()
	var all strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		workspaces = append(workspaces, workspacesOf(t, filepath.Join(work, "data"))...)
		if last != "" && lines.Text() == last {
			break
		}
	}
	must(t, lines.Err())
	slices.Sort(workspaces)
	return all.String(), slices.Compact(workspaces)
}

// TestCommandsReachTheDaemon cancels what another process builds, while a third one
// follows its log.
func TestCommandsReachTheDaemon(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	commit, err := s.repo.commit("Add an image")
	must(t, err)
	s.start()
	s.awaitHold()
	before := s.workspaces()
	if table := s.ingot("builds"); !strings.Contains(table, "running") || !strings.Contains(table, "held") {
		t.Errorf("builds while one runs:\n%s", table)
	}
	follow := exec.Command(program(t), "logs", "--follow", "1", "-c", s.config)
	followed := &text{}
	follow.Stdout, follow.Stderr = followed, followed
	must(t, follow.Start())
	t.Cleanup(func() { follow.Process.Kill() }) // only where the test failed before its end

	if out := s.ingot("cancel", "1"); !strings.Contains(out, "build 1 is cancelled") {
		t.Errorf("cancel says %q", out)
	}
	s.eventually("the end of the build", func() bool { return s.builds()[0].State.Final() })
	s.onlyBuild(commit, reporter.Cancelled)
	if err := follow.Wait(); err != nil {
		t.Errorf("ingot logs --follow: %v\n%s", err, followed)
	}
	s.nothingLeftOf(before)
	if s.holder() != 0 {
		t.Error("the component runs on")
	}
	for _, again := range []string{"cancel", "approve"} {
		out, err := exec.Command(program(t), again, "1", "-c", s.config).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitOurs || !strings.Contains(string(out), "it is cancelled") {
			t.Errorf("%s of what has ended: %v, %s", again, err, out)
		}
	}
	s.signal(syscall.SIGTERM)
	if state := s.wait(); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, s.log)
	}
}

// hearHangups keeps the programs that the test starts from ignoring hang-ups, which
// they would inherit from a runner that was started by nohup.
func hearHangups(t *testing.T) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heard) })
}

// TestBuildByHandEndsClean interrupts a build by hand, kills another, and looks at
// what a failing one tells.
func TestBuildByHandEndsClean(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	recipe := filepath.Join(s.repo.dir, "recipe.yaml")

	hearHangups(t)
	for _, stop := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		s.begin("build", recipe)
		s.awaitHold()
		before := s.workspaces()
		s.signal(stop)
		if state := s.wait(); state.ExitCode() != exitStopped {
			t.Errorf("after %v: %v\n%s", stop, state, s.log)
		}
		for _, want := range []string{"held 1.0.0 cancelled", "ingot: stopped"} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("after %v it does not say %q:\n%s", stop, want, s.log)
			}
		}
		s.nothingLeftOf(append(before, s.dir))
	}

	s.begin("build", recipe)
	s.awaitHold()
	before := s.workspaces()
	s.kill()

	s.write(filepath.Join(s.repo.dir, "hold.yaml"), `name: hold
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Explain
        action: ExecuteBash
        inputs: {commands: ["echo the disk is on fire; exit 7"]}
`)
	s.begin("build", recipe)
	if state := s.wait(); state.ExitCode() != exitAuthor {
		t.Errorf("of a failing component: %v", state)
	}
	for _, want := range []string{"✗ held 1.0.0 failed", "step Explain (ExecuteBash) failed: exit status 7", "│ the disk is on fire", "see hold.yaml, phase build, step Explain"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("a failure does not say %q:\n%s", want, s.log)
		}
	}
	s.nothingLeftOf(append(before, s.dir))

	s.begin("build", "--json", recipe)
	if state := s.wait(); state.ExitCode() != exitAuthor {
		t.Errorf("of a failing component: %v", state)
	}
	var last struct{ Kind, State string }
	for line := range strings.Lines(s.log.String()) {
		must(t, json.Unmarshal([]byte(line), &last))
	}
	if last.Kind != "result" || last.State != "failed" {
		t.Errorf("the last line of JSON is not the result: %s", s.log)
	}
	if left := append(s.workspaces(), namesIn(t, s.temp)...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestOperatorIsToldTheCause takes the host's programs away: its operator learns what
// is missing, and the author of the recipe that it is not theirs to mend.
func TestOperatorIsToldTheCause(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	s.env = []string{"PATH=" + s.temp}
	const cause = "install the package qemu-utils"

	s.begin("build", filepath.Join(s.repo.dir, "recipe.yaml"))
	if state := s.wait(); state.ExitCode() != exitOurs || !strings.Contains(s.log.String(), cause) {
		t.Errorf("by hand: %v\n%s", state, s.log)
	}

	commit, err := s.repo.commit("Add an image")
	must(t, err)
	s.start()
	s.eventually("the end of the build", func() bool { b := s.builds(); return len(b) == 1 && b[0].State.Final() })
	b := s.onlyBuild(commit, reporter.Errored)
	if b.Failure == nil || strings.Contains(b.Failure.Reason, cause) {
		t.Errorf("the author is told %+v", b.Failure)
	}
	s.awaitLog(cause)
	s.signal(syscall.SIGTERM)
	if state := s.wait(); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, s.log)
	}
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
	lendParentAt(t, cache, disktest.Debian12(t))
}

// lendParentAt is lendParent for a program that sees the disk elsewhere.
func lendParentAt(t *testing.T, cache, lent string) {
	t.Helper()
	bases := filepath.Join(cache, "bases")
	must(t, os.MkdirAll(bases, 0o700))
	must(t, os.Symlink(lent, filepath.Join(bases, "lent.qcow2")))
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
