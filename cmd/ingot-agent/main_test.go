package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/agent"
	"github.com/seed-6db18919/ingot/builder/component"
)

// maxSize is what a stripped agent may have: it travels into every instance.
const maxSize = 8 << 20

// build makes the program as a release does.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ingot-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func job(commands string) component.Job {
	return component.Job{
		ID:        "job",
		Documents: []component.JobDocument{{Name: "d", Path: "d.yaml", Text: "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: A, action: ExecuteBash, inputs: {commands: [\"" + commands + "\"]}}\n"}},
	}
}

func TestTheProgramIsSmallAndWorks(t *testing.T) {
	program := build(t)
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the agent has %d bytes", info.Size())
	if info.Size() > maxSize {
		t.Errorf("the agent has %d bytes, more than %d: what was linked in?", info.Size(), maxSize)
	}
	out, err := exec.Command(program, "version").Output()
	if err != nil || strings.TrimSpace(string(out)) != component.EngineVersion {
		t.Errorf("version: %q, %v", out, err)
	}
	t.Run("run", func(t *testing.T) { testRun(t, program) })
	t.Run("serve", func(t *testing.T) { testServe(t, program) })
	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{nil, {"dance"}, {"serve"}, {"serve", "--port", "a", "--socket", "b"}, {"run", "--no-such-flag"}} {
			out, err := exec.Command(program, args...).CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("usage")) && !bytes.Contains(out, []byte("Usage")) {
				t.Errorf("%v: %v, %s", args, err, out)
			}
		}
	})
}

func testRun(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for commands, want := range map[string]component.Status{
		"echo hello": component.Success, "exit 2": component.Failed,
		// Programs find signals as they are by default: 141 is an end by SIGPIPE.
		"yes | head -n 1; [ ${PIPESTATUS[0]} = 141 ]": component.Success,
	} {
		j := job(commands)
		j.LogDir, j.StateDir = t.TempDir(), t.TempDir()
		result, err := agent.Exec(ctx, exec.Command(program, "run", "--attended"), j, func(component.Event) {})
		if err != nil || result.Status != want {
			t.Errorf("%s: %+v, %v", commands, result, err)
		}
	}
	// A failure that the document ignores is a success for whoever asks the program.
	ignored := job("exit 2")
	ignored.LogDir, ignored.StateDir = t.TempDir(), t.TempDir()
	ignored.Documents[0].Text = strings.Replace(ignored.Documents[0].Text, "action:", "onFailure: Ignore, action:", 1)
	text, err := json.Marshal(ignored)
	if err != nil {
		t.Fatal(err)
	}
	plain := exec.CommandContext(ctx, program, "run")
	plain.Stdin = bytes.NewReader(text)
	if out, err := plain.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("ignoredFailure")) {
		t.Errorf("an ignored failure: %v\n%s", err, out)
	}
	j := job("exit 194")
	j.LogDir, j.StateDir = t.TempDir(), t.TempDir()
	result, err := agent.Exec(ctx, exec.Command(program, "run", "--attended"), j, func(component.Event) {})
	if err != nil || !result.Reboot {
		t.Errorf("reboot: %+v, %v", result, err)
	}
}

func testServe(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	cmd := exec.Command(program, "serve", "--socket", socket)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := agent.NewClient(func(ctx context.Context) (io.ReadWriteCloser, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	})
	hello, err := client.Hello(ctx)
	if err != nil || hello.Version != component.EngineVersion || len(hello.BootID) != 36 {
		t.Errorf("%+v, %v", hello, err)
	}
	j := job("echo hello")
	j.LogDir, j.StateDir = dir, dir
	result, err := client.Run(ctx, j, func(component.Event) {})
	if err != nil || result.Status != component.Success {
		t.Errorf("%+v, %v", result, err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

// A template engine or a cloud SDK would double what travels into every instance.
func TestTheProgramLinksNothingHeavy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"text/template", "html/template", "database/sql", "github.com/aws", "github.com/sirupsen", "github.com/go-git", "modernc.org"} {
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, heavy) {
				t.Errorf("the agent imports %s; it may stay small only without it", strings.TrimSpace(line))
			}
		}
	}
}
