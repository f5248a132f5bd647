package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// TestDaemonOutlivesSignals takes one build through everything that can happen to its
// daemon: killed while a component runs, told to stop there, killed after the image was
// made and while the guest boots. The same build goes on each time, and succeeds.
func TestDaemonOutlivesSignals(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	commit, err := s.repo.commit("Add an image")
	must(t, err)

	t.Log("killed while a component runs")
	s.start()
	s.awaitHold()
	before := s.workspaces()
	s.kill()
	s.start()
	s.nothingLeftOf(before)

	t.Log("told to stop while a component runs")
	s.awaitHold()
	before = s.workspaces()
	s.signal(syscall.SIGTERM)
	if state := s.wait(); state.ExitCode() != 0 {
		t.Fatalf("after SIGTERM: %v\n%s", state, s.log)
	}
	s.nothingLeftOf(append(before, s.dir))
	s.onlyBuild(commit, reporter.Queued)

	t.Log("killed after the image was made")
	s.start()
	s.endHold()
	s.eventually("an image", func() bool { return len(s.files("images", "*.json")) == 1 })
	before = s.workspaces()
	s.kill()

	t.Log("killed while the guest boots")
	s.start()
	s.nothingLeftOf(before)
	s.eventually("a guest", func() bool { return len(s.guests()) > 0 })
	before = s.workspaces()
	s.kill()

	t.Log("finished by the next")
	s.start()
	s.nothingLeftOf(before)
	s.eventually("the end of the build", func() bool { return s.builds()[0].State.Final() })
	if b := s.onlyBuild(commit, reporter.Succeeded); b.Number != 1 {
		t.Errorf("the release has the number %d, want 1: %+v", b.Number, b)
	}
	if images := s.ingot("images", "--released", "--json"); strings.Count(images, "\n") != 1 {
		t.Errorf("released more than once: %s", images)
	}
	if out := s.ingot("logs", "1"); !strings.Contains(out, "told to go on") {
		t.Errorf("the log does not hold what the component printed:\n%s", out)
	}
	if n := len(s.files("images", "*.json")); n != 1 {
		t.Errorf("%d images were made, want 1", n)
	}

	t.Log("a second signal does not wait for what the first one does")
	s.connect() // keeps the first busy for some seconds
	s.signal(syscall.SIGTERM)
	s.awaitLog("stopping")
	s.signal(syscall.SIGTERM)
	if status := s.wait().Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("after two signals: %v\n%s", status, s.log)
	}
	s.nothingLeftOf([]string{s.dir})
	if left := append(s.workspaces(), namesIn(t, s.temp)...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSlowClientDoesNotHoldTheDaemon stops a daemon that somebody has connected to
// without asking for anything.
func TestSlowClientDoesNotHoldTheDaemon(t *testing.T) {
	s := newIngotProcess(t)
	s.start()
	s.connect()
	s.signal(syscall.SIGTERM)
	if state := s.wait(); state.ExitCode() != 0 {
		t.Errorf("after SIGTERM: %v\n%s", state, s.log)
	}
}

// ingotProcess is ingot as a process, on a repository of its own with one recipe, whose component runs until the test ends it.
type ingotProcess struct {
	*testing.T
	dir, temp, config string
	repo              *sampleRepository
	hold              string   // how long the component sleeps: a number that nobody else has
	env               []string // added to the environment
	process           *exec.Cmd
	log               *text
}

func newIngotProcess(t *testing.T) *ingotProcess {
	t.Helper()
	s := &ingotProcess{T: t, dir: t.TempDir()}
	s.temp, s.config = filepath.Join(s.dir, "tmp"), filepath.Join(s.dir, "ingot.yaml")
	s.hold = fmt.Sprintf("%d.%d", 24*60*60, time.Now().UnixNano())
	must(t, os.Mkdir(s.temp, 0o700))
	var err error
	s.repo, err = newSampleRepository(filepath.Join(s.dir, "golden-images"))
	must(t, err)
	s.write(s.config, fmt.Sprintf(`dataDir: %s
cacheDir: %s
server: {listen: "127.0.0.1:0", publicURL: "http://127.0.0.1:8080"}
repositories: [{name: golden-images, url: %s, pollInterval: 1s}]
log: {format: json}
`, filepath.Join(s.dir, "data"), filepath.Join(s.dir, "cache"), s.repo.dir))
	s.write(filepath.Join(s.repo.dir, "recipe.yaml"), `apiVersion: ingot/v1
kind: ImageRecipe
name: held
version: 1.0.0
parentImage: debian-12
components: [{component: ./hold.yaml}]
`)
	s.write(filepath.Join(s.repo.dir, "hold.yaml"), fmt.Sprintf(`name: hold
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Hold
        action: ExecuteBash
        inputs: {commands: ["sleep %s || echo told to go on"]}
`, s.hold))
	return s
}

func (s *ingotProcess) write(path, content string) {
	s.Helper()
	must(s.T, os.WriteFile(path, []byte(content), 0o644))
}

// start starts the daemon and waits until it is up.
func (s *ingotProcess) start() {
	s.Helper()
	s.begin("daemon")
	s.awaitLog("ingot is up")
}

// begin starts a command. One that lives still when the test ends is killed, and
// its leftovers are removed by a last daemon.
func (s *ingotProcess) begin(args ...string) {
	s.Helper()
	s.launch(append(args, "-c", s.config)...)
}

// launch is begin for a command to which -c means something else.
func (s *ingotProcess) launch(args ...string) {
	s.Helper()
	if s.process == nil {
		s.Cleanup(s.cleanUp)
	}
	s.log = &text{}
	s.process = exec.Command(program(s.T), args...)
	s.process.Env = append(append(os.Environ(), "TMPDIR="+s.temp), s.env...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	must(s.T, s.process.Start())
}

func (s *ingotProcess) cleanUp() {
	if s.process.ProcessState == nil {
		s.kill()
	}
	if s.Failed() && len(traces(s.T, s.dir)) > 0 {
		s.start()
		s.signal(syscall.SIGTERM)
		s.wait()
	}
}

func (s *ingotProcess) signal(sig os.Signal) {
	s.Helper()
	must(s.T, s.process.Process.Signal(sig))
}

// wait waits for the end of the process, which is bounded.
func (s *ingotProcess) wait() *os.ProcessState {
	s.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.process.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			s.Fatal(err)
		}
	case <-time.After(patience):
		s.process.Process.Kill()
		<-ended
		s.Fatalf("the process did not end in %s\n%s", patience, s.log)
	}
	return s.process.ProcessState
}

func (s *ingotProcess) kill() {
	s.Helper()
	s.signal(syscall.SIGKILL)
	s.wait()
}

func (s *ingotProcess) eventually(what string, so func() bool) {
	s.Helper()
	eventually(s.T, what, func() bool {
		if s.process.ProcessState != nil {
			s.Fatalf("the process is gone, waiting for %s\n%s", what, s.log)
		}
		return so()
	})
}

func (s *ingotProcess) awaitLog(message string) {
	s.Helper()
	eventually(s.T, message, func() bool { return strings.Contains(s.log.String(), message) })
}

// awaitHold waits until the component runs, and endHold lets it go on.
func (s *ingotProcess) awaitHold() int {
	s.Helper()
	var pid int
	s.eventually("the component", func() bool { pid = s.holder(); return pid != 0 })
	return pid
}

func (s *ingotProcess) endHold() {
	s.Helper()
	must(s.T, syscall.Kill(s.awaitHold(), syscall.SIGTERM))
}

// holder is the process that sleeps in the container; 0: there is none.
func (s *ingotProcess) holder() int {
	return slices.Max(append(s.processes(func(args []string) bool { return slices.Equal(args, []string{"sleep", s.hold}) }), 0))
}

// guests are the machines that this daemon has started.
func (s *ingotProcess) guests() []int {
	return s.processes(func(args []string) bool {
		return strings.HasPrefix(filepath.Base(args[0]), "qemu-system-") && strings.Contains(strings.Join(args, " "), filepath.Join(s.dir, "data"))
	})
}

func (s *ingotProcess) processes(are func(args []string) bool) []int {
	s.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(s.T, err)
	var pids []int
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil || len(line) == 0 || !are(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		must(s.T, err)
		pids = append(pids, pid)
	}
	return pids
}

func (s *ingotProcess) workspaces() []string { return workspacesOf(s.T, filepath.Join(s.dir, "data")) }

// files are those of the driver in one of its folders.
func (s *ingotProcess) files(folder, pattern string) []string {
	found, err := filepath.Glob(filepath.Join(s.dir, "data", "local", folder, pattern))
	must(s.T, err)
	return found
}

// nothingLeftOf looks for what belongs to workspaces that should be gone.
func (s *ingotProcess) nothingLeftOf(names []string) {
	s.Helper()
	if len(names) == 0 {
		s.Fatal("no workspace was seen, so the search for leftovers means nothing")
	}
	if left := traces(s.T, names...); len(left) > 0 {
		s.Errorf("left behind: %s\n%s", strings.Join(left, "\n"), s.log)
	}
	for _, name := range s.workspaces() {
		if slices.Contains(names, name) {
			s.Errorf("the workspace %s is left behind\n%s", name, s.log)
		}
	}
}

// ingot runs another command on the same configuration and returns what it prints.
func (s *ingotProcess) ingot(args ...string) string {
	s.Helper()
	cmd := exec.Command(program(s.T), append(args, "-c", s.config)...)
	cmd.Env = append(os.Environ(), s.env...)
	var problem text
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("ingot %v: %v\n%s", args, err, &problem)
	}
	return string(out)
}

func (s *ingotProcess) builds() []reporter.Build {
	s.Helper()
	var all []reporter.Build
	for line := range strings.Lines(s.ingot("builds", "--json")) {
		var b reporter.Build
		must(s.T, json.Unmarshal([]byte(line), &b))
		all = append(all, b)
	}
	return all
}

// onlyBuild is the one build that there is, and it is in that state.
func (s *ingotProcess) onlyBuild(commit string, state reporter.State) reporter.Build {
	s.Helper()
	all := s.builds()
	if len(all) != 1 || all[0].Commit != commit || all[0].State != state {
		s.Fatalf("builds %+v; want one of %s, %s\n%s", all, commit, state, s.log)
	}
	return all[0]
}

// connect opens a connection and asks for nothing, as browsers do in advance. The
// daemon has accepted it: it has answered another one since.
func (s *ingotProcess) connect() {
	s.Helper()
	var up struct{ Listen string }
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "ingot is up") {
			must(s.T, json.Unmarshal([]byte(line), &up))
		}
	}
	c, err := net.Dial("tcp", up.Listen)
	must(s.T, err)
	s.Cleanup(func() { c.Close() })
	res, err := http.Get("http://" + up.Listen + "/healthz")
	must(s.T, err)
	must(s.T, res.Body.Close())
}

// text is what a process writes, to be read while it goes on.
type text struct {
	mu  sync.Mutex
	all strings.Builder
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.String()
}
