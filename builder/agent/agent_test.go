package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// limit is how long anything here may take on a machine that is very busy.
const limit = 3 * time.Minute

// The test program itself is the agent when these are set, so that agents are
// processes of their own which can be killed, and which can play a reboot.
const (
	agentMode = "INGOT_TEST_AGENT"      // run, port, socket
	agentPath = "INGOT_TEST_AGENT_PATH" // of the port or socket
	agentRoot = "INGOT_TEST_AGENT_ROOT"
	bootFile  = "boot" // in the root; its content is the boot id
)

func TestMain(m *testing.M) {
	if os.Getenv(agentMode) == "" {
		os.Exit(m.Run())
	}
	os.Exit(beAgent())
}

func beAgent() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	root, path := os.Getenv(agentRoot), os.Getenv(agentPath)
	env := component.Env{Root: root}
	boot, err := os.ReadFile(filepath.Join(root, bootFile))
	if err != nil {
		boot = []byte("first")
	}
	server := &Server{Hello: Hello{Version: "test", BootID: string(boot)}, Env: env, Power: playPower(root, string(boot))}
	switch os.Getenv(agentMode) {
	case "run":
		status, err := RunStream(ctx, os.Stdin, os.Stdout, env, true)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return status
	case "port":
		err = ServePort(ctx, server, path, func(err error) { fmt.Fprintln(os.Stderr, err) })
	default:
		err = ServeSocket(ctx, server, path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// playPower ends the process the way a reboot does: at once. Whoever started it
// starts it again.
func playPower(root, boot string) func(context.Context, string) error {
	return func(_ context.Context, how string) error {
		if how == "reboot" {
			if err := os.WriteFile(filepath.Join(root, bootFile), []byte(boot+"+"), 0o600); err != nil {
				return err
			}
		}
		os.Exit(map[string]int{"reboot": 77, "poweroff": 78}[how])
		return nil
	}
}

func agentCommand(t *testing.T, mode, path, root string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), agentMode+"="+mode, agentPath+"="+path, agentRoot+"="+root)
	return cmd
}

// machine is a guest: an agent process that is started again when it "reboots".
type machine struct {
	t      *testing.T
	root   string
	socket string

	mu   sync.Mutex
	cmd  *exec.Cmd
	off  bool
	boot int
	done chan struct{}
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{t: t, root: root, socket: filepath.Join(root, "agent.sock"), done: make(chan struct{})}
	m.start()
	go m.watch()
	t.Cleanup(func() {
		m.mu.Lock()
		m.off = true
		if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		m.mu.Unlock()
		<-m.done
	})
	return m
}

func (m *machine) start() {
	m.cmd = agentCommand(m.t, "socket", m.socket, m.root)
	m.cmd.Stderr = os.Stderr
	if err := m.cmd.Start(); err != nil {
		m.t.Error(err)
	}
	m.boot++
}

func (m *machine) watch() {
	defer close(m.done)
	for {
		m.mu.Lock()
		cmd := m.cmd
		m.mu.Unlock()
		_ = cmd.Wait() // its exit status is looked at below
		m.mu.Lock()
		if m.off || cmd.ProcessState.ExitCode() == 78 {
			m.mu.Unlock()
			return
		}
		m.start()
		m.mu.Unlock()
	}
}

// crash restarts the machine without being asked to.
func (m *machine) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := os.WriteFile(filepath.Join(m.root, bootFile), []byte("crashed"), 0o600); err != nil {
		m.t.Error(err)
	}
	if err := m.cmd.Process.Kill(); err != nil {
		m.t.Error(err)
	}
}

func (m *machine) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", m.socket)
}

func (m *machine) client() *Client {
	c := NewClient(m.dial)
	m.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func bashJob(dir, id string, steps ...string) component.Job {
	text := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"
	for i, commands := range steps {
		if commands == "Reboot" {
			text += fmt.Sprintf("      - {name: S%d, action: Reboot}\n", i)
			continue
		}
		text += fmt.Sprintf("      - name: S%d\n        action: ExecuteBash\n        inputs:\n          commands:\n            - |\n              %s\n", i, strings.ReplaceAll(commands, "\n", "\n              "))
	}
	return component.Job{ID: id, WorkingDir: dir, Documents: []component.JobDocument{{Name: "doc", Path: "doc.yaml", Text: text}}}
}

// ear collects what a run says.
type ear struct {
	mu       sync.Mutex
	text     strings.Builder
	kinds    map[component.EventKind]int
	onOutput func(string)
}

func (e *ear) hear(event component.Event) {
	e.mu.Lock()
	if e.kinds == nil {
		e.kinds = map[component.EventKind]int{}
	}
	e.kinds[event.Kind]++
	if event.Kind == component.Output {
		e.text.WriteString(event.Text)
	}
	call := e.onOutput
	e.mu.Unlock()
	if call != nil && event.Kind == component.Output {
		call(event.Text)
	}
}

func alive(t *testing.T, pidFile string) bool {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	state := stat[bytes.LastIndexByte(stat, ')')+2]
	return state != 'Z' && state != 'X'
}

func TestExecRunsAJob(t *testing.T) {
	root := t.TempDir()
	var e ear
	result, err := Exec(within(t), agentCommand(t, "run", "", root), bashJob(root, "a", "echo one; echo two >&2", "echo '{\"kind\":\"finished\"}'"), e.hear)
	if err != nil || result.Status != component.Success || len(result.Documents[0].Steps) != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	if got := e.text.String(); got != "one\ntwo\n{\"kind\":\"finished\"}\n" && got != "two\none\n{\"kind\":\"finished\"}\n" {
		t.Errorf("output %q", got)
	}
	if e.kinds[component.Finished] != 1 || e.kinds[component.StepFinished] != 2 {
		t.Errorf("events: %v", e.kinds)
	}
}

func TestExecTellsFailuresApart(t *testing.T) {
	root := t.TempDir()
	var e ear
	result, err := Exec(within(t), agentCommand(t, "run", "", root), bashJob(root, "a", "exit 3"), e.hear)
	if err != nil || result.Status != component.Failed || result.Failure.Message != "exit status 3" {
		t.Errorf("a failed step: %+v, %v", result, err)
	}
	result, err = Exec(within(t), agentCommand(t, "run", "", root), bashJob(root, "../a", "exit 3"), e.hear)
	if err == nil || !strings.Contains(err.Error(), "job id") {
		t.Errorf("a bad job: %+v, %v", result, err)
	}
	_, err = Exec(within(t), exec.Command("sh", "-c", "echo no such container >&2; exit 5"), bashJob(root, "a", "x"), e.hear)
	if err == nil || !strings.Contains(err.Error(), "no such container") || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("no agent: %v", err)
	}
	_, err = Exec(within(t), exec.Command("sh", "-c", "head -c 50000000 /dev/zero; echo; echo '{'; yes | head -c 5000000"), bashJob(root, "a", "x"), e.hear)
	if err == nil {
		t.Error("garbage counts as a result")
	}
}

func TestExecResumesAfterAReboot(t *testing.T) {
	root := t.TempDir()
	var e ear
	job := bashJob(root, "a", "echo before", "Reboot", "echo after")
	result, err := Exec(within(t), agentCommand(t, "run", "", root), job, e.hear)
	if err != nil || !result.Reboot || e.kinds[component.Finished] != 0 {
		t.Fatalf("%+v, %v, %v", result, err, e.kinds)
	}
	result, err = Exec(within(t), agentCommand(t, "run", "", root), job, e.hear)
	if err != nil || result.Status != component.Success || e.text.String() != "before\nafter\n" {
		t.Errorf("%+v, %v, %q", result, err, e.text.String())
	}
}

func TestExecCancelKillsTheTree(t *testing.T) {
	root := t.TempDir()
	ctx, cancel := context.WithCancel(within(t))
	e := ear{onOutput: func(string) { cancel() }}
	result, err := Exec(ctx, agentCommand(t, "run", "", root), bashJob(root, "a", "setsid sleep 1000 & echo $! > child\necho up\nwait"), e.hear)
	if !errors.Is(err, context.Canceled) || result.Status != component.Failed {
		t.Fatalf("%+v, %v", result, err)
	}
	if alive(t, filepath.Join(root, "child")) {
		t.Error("the child is alive")
	}
}

// A daemon that is killed leaves nothing running.
func TestTheEndOfStdinCancels(t *testing.T) {
	root := t.TempDir()
	cmd := agentCommand(t, "run", "", root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := (&writer{w: stdin}).send(bashJob(root, "a", "sleep 1000 & echo $! > child\necho up\nwait")); err != nil {
		t.Fatal(err)
	}
	result, heard := readEvents(stdout, func(e component.Event) {
		if e.Kind == component.Output {
			if err := stdin.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if err := cmd.Wait(); err == nil || !heard || result.Status != component.Failed {
		t.Errorf("%v, %v, %+v", err, heard, result)
	}
	if alive(t, filepath.Join(root, "child")) {
		t.Error("the child is alive")
	}
}

func TestClientRunsPutsAndAsks(t *testing.T) {
	m := newMachine(t)
	c := m.client()
	hello, err := c.Hello(within(t))
	if err != nil || hello.Version != "test" || hello.BootID != "first" {
		t.Fatalf("%+v, %v", hello, err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*chunkSize/16)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, len(content)} {
		path := filepath.Join(m.root, "new", "folder", strconv.Itoa(size))
		if err := c.Put(within(t), File{Path: path, Mode: 0o640, Owner: "0", Group: "root"}, bytes.NewReader(content[:size])); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, content[:size]) {
			t.Errorf("%d bytes became %d, %v", size, len(got), err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if err := c.Put(within(t), File{Path: "relative", Mode: 0o640}, strings.NewReader("x")); err == nil {
		t.Error("a relative path was accepted")
	}
	var e ear
	result, err := c.Run(within(t), bashJob(m.root, "a", "echo hello"), e.hear)
	if err != nil || result.Status != component.Success || e.text.String() != "hello\n" || e.kinds[component.Finished] != 1 {
		t.Errorf("%+v, %v, %q %v", result, err, e.text.String(), e.kinds)
	}
	result, err = c.Run(within(t), bashJob(m.root, "b", "exit 4"), e.hear)
	if err != nil || result.Failure.Message != "exit status 4" {
		t.Errorf("%+v, %v", result, err)
	}
	if _, err = c.Run(within(t), bashJob(m.root, "b/", "exit 4"), e.hear); err == nil || !strings.Contains(err.Error(), "job id") {
		t.Errorf("a bad job: %v", err)
	}
}

func TestClientRunGoesOnAfterReboots(t *testing.T) {
	m := newMachine(t)
	var e ear
	result, err := m.client().Run(within(t), bashJob(m.root, "a", "echo one", "Reboot", "echo two", "[ -e again ] || { touch again; exit 194; }\necho three", "Reboot"), e.hear)
	if err != nil || result.Status != component.Success {
		t.Fatalf("%+v, %v", result, err)
	}
	if e.text.String() != "one\ntwo\nthree\n" || e.kinds[component.Rebooting] != 3 || e.kinds[component.Finished] != 1 {
		t.Errorf("%q, %v", e.text.String(), e.kinds)
	}
	if len(result.Documents[0].Steps) != 5 {
		t.Errorf("steps: %+v", result.Documents[0].Steps)
	}
}

func TestClientRebootAndPoweroff(t *testing.T) {
	m := newMachine(t)
	c := m.client()
	if err := c.Reboot(within(t)); err != nil {
		t.Fatal(err)
	}
	hello, err := c.Hello(within(t))
	if err != nil || hello.BootID != "first+" {
		t.Errorf("%+v, %v", hello, err)
	}
	if err := c.Poweroff(within(t)); err != nil {
		t.Fatal(err)
	}
	<-m.done
}

func TestARestartThatNobodyAskedForIsAnError(t *testing.T) {
	m := newMachine(t)
	var once sync.Once
	e := ear{onOutput: func(string) { once.Do(m.crash) }}
	_, err := m.client().Run(within(t), bashJob(m.root, "a", "echo up\nsleep 5 & wait"), e.hear)
	if err == nil || err.Error() != errRestarted.Error() {
		t.Errorf("%v", err)
	}
}

func TestClientCancelKillsTheTree(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(within(t))
	e := ear{onOutput: func(string) { cancel() }}
	c := m.client()
	result, err := c.Run(ctx, bashJob(m.root, "a", "setsid sleep 1000 & echo $! > child\necho up\nwait"), e.hear)
	if !errors.Is(err, context.Canceled) || result.Status != component.Failed {
		t.Fatalf("%+v, %v", result, err)
	}
	if alive(t, filepath.Join(m.root, "child")) {
		t.Error("the child is alive")
	}
	if result, err = c.Run(within(t), bashJob(m.root, "b", "echo next"), e.hear); err != nil || result.Status != component.Success {
		t.Errorf("the next run: %+v, %v", result, err)
	}
}

func TestHelloEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := NewClient(func(context.Context) (io.ReadWriteCloser, error) { return nil, errors.New("nobody there") }).Hello(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nobody there") {
		t.Errorf("%v", err)
	}
}

// bad is a wire that puts garbage before what it carries and breaks after a while.
type bad struct {
	io.ReadWriteCloser
	left int
}

func (b *bad) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.Join(io.ErrUnexpectedEOF, b.Close())
	}
	n, err := b.ReadWriteCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Nothing is heard twice, nothing is missed, however often the connection breaks.
func TestARunSurvivesBrokenConnections(t *testing.T) {
	m := newMachine(t)
	dials := 0
	c := NewClient(func(ctx context.Context) (io.ReadWriteCloser, error) {
		wire, err := m.dial(ctx)
		if err != nil {
			return nil, err
		}
		dials++
		if _, err := wire.Write([]byte("+half a piece\n{\"op\":\"run\"\x00\xff")); err != nil {
			return nil, errors.Join(err, wire.Close())
		}
		return &bad{wire, 400 + 5000*dials}, nil
	})
	var e ear
	result, err := c.Run(within(t), bashJob(m.root, "a", "for i in $(seq 2000); do echo line $i; done", "Reboot", "for i in $(seq 2000); do echo more $i; done"), e.hear)
	if err != nil || result.Status != component.Success {
		t.Fatalf("%+v, %v", result, err)
	}
	var want strings.Builder
	for _, word := range []string{"line", "more"} {
		for i := 1; i <= 2000; i++ {
			fmt.Fprintf(&want, "%s %d\n", word, i)
		}
	}
	if e.text.String() != want.String() {
		t.Errorf("heard %d bytes, want %d", e.text.Len(), want.Len())
	}
	if dials < 3 {
		t.Errorf("%d connections: nothing broke", dials)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Output that nobody takes slows the run down instead of filling memory.
func TestALargeOutputArrivesWhole(t *testing.T) {
	m := newMachine(t)
	var e ear
	result, err := m.client().Run(within(t), bashJob(m.root, "a", "yes 0123456789abcde | head -c 12000000"), e.hear)
	if err != nil || result.Status != component.Success || e.text.Len() != 12000000 {
		t.Errorf("%v, %v, %d bytes", result.Status, err, e.text.Len())
	}
}
