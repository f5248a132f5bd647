package component

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
