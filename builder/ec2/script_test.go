package ec2

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-6db18919/ingot/builder/relay"
)

// TestAnotherAgentIsNotRun has an instance fetch the agent from a store in which
// somebody has put something else in its place.
func TestAnotherAgentIsNotRun(t *testing.T) {
	const agent = "#!/bin/sh\necho \"the agent: $*\"\n"
	var served atomic.Value
	served.Store(agent)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(served.Load().(string))) }))
	defer server.Close()
	run := func() (string, string, error) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "ingot")
		text := strings.Join(shell(server.URL, relay.Digest([]byte(agent)), relay.Source{URL: "https://bucket/request", SHA256: "00", Size: 7}), "\n")
		if !strings.Contains(text, "dir="+linuxDir+"\n") {
			t.Fatalf("no folder in\n%s", text)
		}
		out, err := exec.Command("sh", "-c", strings.Replace(text, "dir="+linuxDir+"\n", "dir='"+dir+"'\n", 1)).CombinedOutput()
		return dir, string(out), err
	}
	dir, out, err := run()
	if err != nil || !strings.HasPrefix(out, "the agent: relay --dir "+dir+" --url https://bucket/request --sha256 00 --size 7") {
		t.Fatalf("the agent that was announced: %v\n%s", err, out)
	}
	for name, text := range map[string]string{"other": "#!/bin/sh\necho \"the agent: mine\"\n", "half": agent[:len(agent)/2], "empty": ""} {
		served.Store(text)
		dir, out, err := run()
		if err == nil || strings.Contains(out, "the agent: ") || !strings.Contains(out, "the agent that came is not the one that was announced") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "agent-*")); err != nil {
			t.Error(err)
		} else {
			for _, file := range files {
				if info, err := os.Stat(file); err != nil || info.Mode()&0o111 != 0 {
					t.Errorf("%s: %s may be run (%v)", name, file, err)
				}
			}
		}
	}
}

// TestPowerShellComparesBeforeItMoves: there is no Windows here that could run it, so
// that the order of its steps stands for what they do.
func TestPowerShellComparesBeforeItMoves(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	text := strings.Join(powerShell("https://bucket/agent", sum, relay.Source{URL: "https://bucket/request", SHA256: "00", Size: 7}), "\n")
	last := -1
	for _, step := range []string{
		"$ErrorActionPreference = 'Stop'", "Invoke-WebRequest -UseBasicParsing -Uri 'https://bucket/agent' -OutFile $part",
		"(Get-FileHash -Algorithm SHA256 $part).Hash -ne '" + sum + "') { throw ", "Move-Item -Force $part $agent", "& $agent relay ",
	} {
		at := strings.Index(text, step)
		if at <= last {
			t.Errorf("%q is not there, or too early, in\n%s", step, text)
		}
		last = at
	}
}
