package component

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestCommandEndsWithTheStatusOfItsProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the programs are those of Unix")
	}
	for _, c := range []struct {
		name           string
		command        []string
		exit           int
		stdout, stderr string
	}{
		{"well", []string{"echo", "one two", "{{ three }}", "$HOME;*"}, 0, "one two {{ three }} $HOME;*\n", ""},
		{"two streams", []string{"sh", "-c", "echo out; echo err >&2; exit 7"}, 7, "out\n", "err\n"},
		{"no request for a reboot", []string{"sh", "-c", "exit 194"}, 194, "", ""},
		{"without a line end", []string{"printf", "x"}, 0, "x", ""},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, 137, "", ""},
		{"no such program", []string{"no-such-program"}, 127, "", "no-such-program: not found in PATH"},
		{"no program", []string{"/"}, 126, "", "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.job.Command = c.command
			result := b.ok()
			if result.Exit == nil || *result.Exit != c.exit {
				t.Errorf("exit %v, want %d", result.Exit, c.exit)
			}
			if got := b.stream("stdout"); got != c.stdout {
				t.Errorf("stdout %q, want %q", got, c.stdout)
			}
			if got := b.stream("stderr"); !strings.Contains(got, c.stderr) || c.stderr == "" && got != "" {
				t.Errorf("stderr %q, want %q", got, c.stderr)
			}
			if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// stream is all that was printed on one of the two.
func (b *bench) stream(name string) string {
	var text strings.Builder
	for _, e := range b.events {
		if e.Kind == Output && e.Stream == name {
			text.WriteString(e.Text)
		}
	}
	return text.String()
}

func TestCommandIsMaskedAndEndsWithItsContext(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the programs are those of Unix")
	}
	b := newBench(t)
	b.job.Command, b.job.Secrets = []string{"sh", "-c", "echo hunter22; sleep 600"}, []string{"hunter22"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, err := Run(ctx, b.job, b.env, func(e Event) {
		b.hear(e)
		if e.Kind == Output {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || result.Exit != nil {
		t.Errorf("ended with %v, %+v", err, result)
	}
	if strings.Contains(b.printed(), "hunter22") {
		t.Errorf("printed %q", b.printed())
	}
}
