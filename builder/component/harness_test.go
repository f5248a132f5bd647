package component

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// bench is a folder to run jobs in, for real, with bash.
type bench struct {
	t      *testing.T
	dir    string
	job    Job
	env    Env
	mu     sync.Mutex
	events []Event
}

func newBench(t *testing.T, documents ...string) *bench {
	t.Helper()
	b := &bench{t: t, dir: tempDir(t)}
	b.env = Env{Root: b.dir, Backoff: time.Millisecond}
	b.job = Job{ID: "run-1", WorkingDir: b.dir}
	for i, text := range documents {
		b.job.Documents = append(b.job.Documents, JobDocument{Name: fmt.Sprintf("doc%d", i+1), Path: fmt.Sprintf("doc%d.yaml", i+1), Text: text})
	}
	return b
}

func (b *bench) run() Result {
	b.t.Helper()
	result, err := Run(b.t.Context(), b.job, b.env, b.hear)
	if err != nil {
		b.t.Fatalf("Run: %v", err)
	}
	return result
}

func (b *bench) hear(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// ok runs and expects success.
func (b *bench) ok() Result {
	b.t.Helper()
	result := b.run()
	if result.Status != Success {
		b.t.Fatalf("status %s, failure %+v\noutput:\n%s", result.Status, result.Failure, b.printed())
	}
	return result
}

// fails runs and expects a failure whose message contains want.
func (b *bench) fails(want string) Result {
	b.t.Helper()
	result := b.run()
	if result.Status != Failed || result.Failure == nil {
		b.t.Fatalf("status %s, want a failure with %q", result.Status, want)
	}
	if !strings.Contains(result.Failure.Message, want) {
		b.t.Fatalf("failure %q, want %q", result.Failure.Message, want)
	}
	return result
}

// printed is all that steps printed.
func (b *bench) printed() string {
	var text strings.Builder
	for _, e := range b.events {
		if e.Kind == Output {
			text.WriteString(e.Text)
		}
	}
	return text.String()
}

func (b *bench) prints(want string) {
	b.t.Helper()
	b.ok()
	if got := b.printed(); got != want {
		b.t.Errorf("printed:\n%s\nwant:\n%s", got, want)
	}
}

func (b *bench) steps(r Result) string {
	var out []string
	for _, d := range r.Documents {
		for _, s := range d.Steps {
			out = append(out, fmt.Sprintf("%s/%s/%s=%s", d.Name, s.Phase, s.Name, s.Status))
		}
	}
	return strings.Join(out, " ")
}

func (b *bench) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func (b *bench) logFile(name string) string {
	b.t.Helper()
	folders, err := filepath.Glob(filepath.Join(b.dir, "log", "TOE_*_UTC-0_run-1"))
	if err != nil || len(folders) != 1 {
		b.t.Fatalf("log folders: %v, %v", folders, err)
	}
	text, err := os.ReadFile(filepath.Join(folders[0], name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// bash is a step that runs commands, with extra fields of the step.
func bash(name, commands string, fields ...string) string {
	out := "- name: " + name + "\n  action: ExecuteBash\n"
	for _, f := range fields {
		out += indent(f, "  ")
	}
	return out + "  inputs:\n    commands:\n      - |\n" + indent(commands, "        ")
}

func inPhase(name string, steps ...string) string {
	return "  - name: " + name + "\n    steps:\n" + indent(strings.Join(steps, ""), "      ")
}

func document(parts ...string) string {
	return "schemaVersion: 1.0\nphases:\n" + strings.Join(parts, "")
}
