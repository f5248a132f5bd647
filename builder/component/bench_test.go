//go:build unix

package component

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stepsPerRun is how many steps the documents of the benchmarks have.
const stepsPerRun = 50

// BenchmarkNoOpStep is what the engine adds to a step that does nothing: a document
// of such steps beside as many `bash -c true`, in turns, since a machine is seldom
// equally fast for long. Reading the document and writing the files of a run are in it.
func BenchmarkNoOpStep(b *testing.B) {
	var steps strings.Builder
	for i := range stepsPerRun {
		steps.WriteString(bash(fmt.Sprintf("S%d", i), "true"))
	}
	document := oneStep(steps.String())
	dir := b.TempDir()
	var floor, ours []time.Duration
	for round := 0; b.Loop(); round++ {
		start := time.Now()
		for range stepsPerRun {
			if err := exec.Command("/bin/bash", "-c", "true").Run(); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		runOnce(b, document, filepath.Join(dir, fmt.Sprint(round)))
		floor, ours = append(floor, between.Sub(start)), append(ours, time.Since(between))
	}
	bashTime, engineTime := middle(floor), middle(ours)
	b.ReportMetric(float64(bashTime.Nanoseconds())/1e3/stepsPerRun, "bash-µs/step")
	b.ReportMetric(float64(engineTime.Nanoseconds())/1e3/stepsPerRun, "ours-µs/step")
	b.ReportMetric(float64(engineTime)/float64(bashTime), "time-ratio")
}

func middle(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func runOnce(b *testing.B, text, dir string) {
	b.Helper()
	job := Job{ID: "bench", Documents: []JobDocument{{Name: "d", Path: "d", Text: text}}}
	if r, err := Run(b.Context(), job, Env{Root: dir}, nil); err != nil || r.Status != Success {
		b.Fatal(r, err)
	}
}

// BenchmarkStepWithoutProgram is what the engine does for a step beside starting a
// program.
func BenchmarkStepWithoutProgram(b *testing.B) {
	var steps strings.Builder
	for i := range stepsPerRun {
		fmt.Fprintf(&steps, "- {name: S%d, action: Assert, inputs: {stringIsEmpty: ''}}\n", i)
	}
	document := oneStep(steps.String())
	dir := b.TempDir()
	rounds := 0
	for b.Loop() {
		rounds++
		runOnce(b, document, filepath.Join(dir, fmt.Sprint(rounds)))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(rounds)/stepsPerRun, "µs/step")
}

// BenchmarkValidate1000 reads and checks a thousand documents: those of the corpus,
// over and over.
func BenchmarkValidate1000(b *testing.B) {
	files, err := filepath.Glob(filepath.Join("testdata", "corpus", "linux", "*", "*.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	var texts [][]byte
	bytes := 0
	for _, file := range files {
		if filepath.Base(file) == "case.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		texts = append(texts, text)
	}
	rounds, before := 0, processorTime(b)
	for b.Loop() {
		rounds++
		bytes = 0
		for i := range 1000 {
			text := texts[i%len(texts)]
			bytes += len(text)
			d, problems := Parse("document.yaml", text)
			if problems.Err() != nil {
				b.Fatal(problems)
			}
			d.Check(Linux, nil) // some need parameters that nobody gives here
		}
	}
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(rounds), "cpu-ns/op")
	b.ReportMetric(float64(bytes)/1000, "B/document")
}

// processorTime is what this process has used, which others on the machine do not
// change as much as they change the time that passes.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
