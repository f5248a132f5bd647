package component

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// BenchmarkStep is one step that does nothing; BenchmarkBash is the process that
// it starts, and so the floor.
func BenchmarkStep(b *testing.B) {
	var steps strings.Builder
	for i := range b.N {
		steps.WriteString(bash(fmt.Sprintf("S%d", i%100), "true"))
		if i%100 == 99 || i == b.N-1 {
			runOnce(b, oneStep(steps.String()))
			steps.Reset()
		}
	}
}

func runOnce(b *testing.B, text string) {
	dir := b.TempDir()
	job := Job{ID: "bench", Documents: []JobDocument{{Name: "d", Path: "d", Text: text}}}
	if r, err := Run(b.Context(), job, Env{Root: dir}, nil); err != nil || r.Status != Success {
		b.Fatal(r, err)
	}
}

func BenchmarkBash(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/bash", "-c", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheck reads and checks one document of ordinary size.
func BenchmarkCheck(b *testing.B) {
	var steps strings.Builder
	for i := range 10 {
		steps.WriteString(bash(fmt.Sprintf("S%d", i), "echo {{ Word }}\ninstall something"))
	}
	text := []byte("parameters:\n  - Word: {type: string, default: x}\n" + oneStep(steps.String()))
	for b.Loop() {
		d, problems := Parse("x", text)
		if problems = append(problems, d.Check(Linux, nil)...); problems.Err() != nil {
			b.Fatal(problems)
		}
	}
}
