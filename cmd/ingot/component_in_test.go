package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

// TestComponentInAThrowAwayMachine runs documents in containers made of a parent image:
// one that restarts, one that fails, and one that is interrupted. Nothing is left of
// any of them but the log that was asked for.
func TestComponentInAThrowAwayMachine(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	logs := filepath.Join(s.dir, "logs")
	document := func(name, steps string) string {
		path := filepath.Join(s.dir, name)
		s.write(path, "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"+steps+
			"  - name: test\n    steps: [{name: Never, action: ExecuteBash, inputs: {commands: [echo tested]}}]\n")
		return path
	}
	good := document("good.yaml", `
      - {name: Restart, action: Reboot}
      - {name: Where, action: ExecuteBash, inputs: {commands: [". /etc/os-release; echo this is $ID $VERSION_ID", touch /made-here]}}
`)
	bad := document("bad.yaml", `
      - {name: Look, action: ExecuteBash, inputs: {commands: [ls /made-here]}}
`)
	in := func(more ...string) []string {
		return append([]string{"component", "run", "--in", "debian-12", "--ingot-config", s.config}, more...)
	}

	s.launch(in(good, "-l", logs)...)
	if state := s.wait(); state.ExitCode() != exitOK {
		t.Fatalf("%v\n%s", state, s.log)
	}
	result := resultIn(t, s.log.String())
	if result.Status != component.Success || result.Executed != 2 || filepath.Dir(result.LogURL) != logs {
		t.Errorf("%+v", result)
	}
	if shown := s.log.String(); !strings.Contains(shown, "| this is debian 12\n") || strings.Contains(shown, "tested") {
		t.Errorf("it shows\n%s", shown)
	}
	if files := strings.Join(namesIn(t, result.LogURL), " "); files != "application.log chaining.json console.log detailedoutput.json document.yaml" {
		t.Errorf("the log has %s", files)
	}

	s.launch(in(bad)...)
	if state := s.wait(); state.ExitCode() != exitAuthor {
		t.Errorf("of a failing document: %v\n%s", state, s.log)
	}
	if result := resultIn(t, s.log.String()); result.Status != component.Failed || result.Failed != 1 || result.Message != "exit status 2" || result.LogURL != "" {
		t.Errorf("%+v", result)
	}

	hearHangups(t)
	s.launch(in(filepath.Join(s.repo.dir, "hold.yaml"))...)
	s.awaitHold()
	before := s.workspaces()
	s.signal(syscall.SIGINT)
	if state := s.wait(); state.ExitCode() != exitStopped || !strings.Contains(s.log.String(), "ingot: stopped") {
		t.Errorf("after an interrupt: %v\n%s", state, s.log)
	}
	s.nothingLeftOf(append(before, s.dir))
	if left := append(s.workspaces(), namesIn(t, s.temp)...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if images := s.ingot("images"); !strings.Contains(images, "no images") {
		t.Errorf("an image is left:\n%s", images)
	}
}

// TestComponentInAThrowAwayGuest runs the test phase of a document where services run.
func TestComponentInAThrowAwayGuest(t *testing.T) {
	skipIfShort(t)
	s := newIngotProcess(t)
	lendParent(t, filepath.Join(s.dir, "cache"))
	path, logs := filepath.Join(s.dir, "running.yaml"), filepath.Join(s.dir, "logs")
	s.write(path, `schemaVersion: 1.0
phases:
  - name: test
    steps:
      - {name: Booted, action: ExecuteBash, inputs: {commands: ["systemctl is-active systemd-journald.service", "echo this is $(systemd-detect-virt --vm)"]}}
`)
	s.launch("component", "run", "--in", "debian-12", "--isolation", "vm", "--phases", "test", "--ingot-config", s.config, "-l", logs, path)
	if state := s.wait(); state.ExitCode() != exitOK {
		t.Fatalf("%v\n%s", state, s.log)
	}
	shown := s.log.String()
	if result := resultIn(t, shown); result.Status != component.Success || result.Executed != 1 || filepath.Dir(result.LogURL) != logs {
		t.Errorf("%+v", result)
	}
	// Which of its emulators is used depends on the host.
	if !strings.Contains(shown, "| active\n") || !strings.Contains(shown, "| this is qemu\n") && !strings.Contains(shown, "| this is kvm\n") {
		t.Errorf("it shows\n%s", shown)
	}
	s.nothingLeftOf([]string{s.dir})
	if left := append(s.workspaces(), namesIn(t, s.temp)...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// resultIn is the result at the end of what a run shows.
func resultIn(t *testing.T, shown string) runSummary {
	t.Helper()
	at := strings.Index(shown, "{\n")
	if at < 0 {
		t.Fatalf("there is no result in\n%s", shown)
	}
	var s runSummary
	must(t, json.NewDecoder(strings.NewReader(shown[at:])).Decode(&s))
	return s
}
