package component

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// alive reports whether a process runs; a zombie does not.
func alive(t *testing.T, pidFile string) bool {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := processStat(pid)
	return ok && s.state != 'Z' && s.state != 'X'
}

// Trap 33: children, children in a session of their own, and orphans.
func TestTrap33TimeoutsKillTheWholeTree(t *testing.T) {
	b := newBench(t, oneStep(bash("A", `sleep 1000 & echo $! > child
setsid sh -c 'echo $$ > session; exec sleep 1000' &
(setsid sh -c 'trap "" TERM HUP; echo $$ > orphan; sleep 1000' & )
while [ ! -s session ] || [ ! -s orphan ]; do sleep 0.01; done
echo ready
wait`, "timeoutSeconds: 1")))
	began := time.Now()
	b.fails("timed out after 1s")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	for _, name := range []string{"child", "session", "orphan"} {
		if alive(t, filepath.Join(b.dir, name)) {
			t.Errorf("%s is still alive", name)
		}
	}
}

func TestCancellationKillsTheTreeAndEndsTheRun(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "sleep 1000 & echo $! > child; echo started; wait", "maxAttempts: 5\nonFailure: Ignore")+bash("B", "echo never")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, err := Run(ctx, b.job, b.env, func(e Event) {
		b.hear(e)
		if e.Kind == Output && strings.Contains(e.Text, "started") {
			cancel()
		}
	})
	if err == nil || result.Status != Failed {
		t.Fatalf("result %+v, error %v", result, err)
	}
	if alive(t, filepath.Join(b.dir, "child")) {
		t.Error("the child is still alive")
	}
	if b.printed() != "started\n" {
		t.Errorf("printed %q", b.printed())
	}
	if last := b.events[len(b.events)-1]; last.Kind != Finished || last.Result.Status != Failed {
		t.Errorf("last event: %+v", last)
	}
}

// A program in the background that keeps the output open does not hold the step.
func TestBackgroundProgramsDoNotHoldTheStep(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "sleep 1000 & echo $! > child; echo done")))
	b.prints("done\n")
	if !alive(t, filepath.Join(b.dir, "child")) {
		t.Error("a step that succeeded lost what it had started")
	}
	warned := false
	for _, e := range b.events {
		warned = warned || e.Kind == Warning && strings.Contains(e.Text, "background")
	}
	if !warned {
		t.Error("nobody was told")
	}
	text := b.read("child")
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := os.FindProcess(pid); err != nil || p.Kill() != nil {
		t.Errorf("kill %d: %v", pid, err)
	}
}

// TestOutputIsAwaited holds what is done on Linux, and what is done where the kernel is
// too old for it, to the same.
func TestOutputIsAwaited(t *testing.T) {
	ways := map[string]func(program, *exec.Cmd) (awaiter, error){
		"in one thread": program.connect,
		"copied":        func(p program, cmd *exec.Cmd) (awaiter, error) { return p.connectCopies(cmd), nil },
	}
	const much, any = 5 << 20, -1
	tests := map[string]struct {
		script         string
		stdout, stderr int
		held           bool
		status         int
	}{
		"nothing":                   {script: "true"},
		"exit status":               {script: "exit 7", status: 7},
		"a little":                  {script: "echo out; echo error >&2", stdout: 4, stderr: 6},
		"much":                      {script: fmt.Sprintf("head -c %d /dev/zero", much), stdout: much},
		"much on both":              {script: fmt.Sprintf("head -c %d /dev/zero & head -c %[1]d /dev/zero >&2; wait", much), stdout: much, stderr: much},
		"one closed early":          {script: "exec >&-; sleep 0.1; echo error >&2", stderr: 6},
		"both closed early":         {script: "exec >&- 2>&-; sleep 0.1; exit 3", status: 3},
		"held":                      {script: "sleep 1000 & echo out", stdout: 4, held: true},
		"held and printed to":       {script: "while sleep 0.01; do echo; done &", stdout: any, held: true},
		"closed soon after the end": {script: "(sleep 0.2; echo out) &", stdout: 4},
	}
	for way, connect := range ways {
		for name, test := range tests {
			t.Run(way+"/"+name, func(t *testing.T) {
				t.Parallel()
				var stdout, stderr bytes.Buffer
				cmd := exec.Command("/bin/bash", "-c", test.script)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.WaitDelay = outputGrace
				mark := markVariable + "=" + t.Name()
				cmd.Env = append(os.Environ(), mark)
				defer killTree(0, mark, time.Second)
				output, err := connect(program{stdout: &stdout, stderr: &stderr}, cmd)
				if err != nil {
					t.Fatal(err)
				}
				defer output.close()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				held, err := output.wait(cmd)
				if (err != nil) != (test.status != 0) || cmd.ProcessState.ExitCode() != test.status {
					t.Errorf("exit status %d, error %v, want status %d", cmd.ProcessState.ExitCode(), err, test.status)
				}
				if held != test.held {
					t.Errorf("held: %t, want %t", held, test.held)
				}
				if test.stdout != any && stdout.Len() != test.stdout || stderr.Len() != test.stderr {
					t.Errorf("%d bytes on stdout and %d on stderr, want %d and %d", stdout.Len(), stderr.Len(), test.stdout, test.stderr)
				}
			})
		}
	}
}
