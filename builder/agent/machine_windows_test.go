package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Whether the task runs at a start of the machine is for a real one to show.
func TestWindowsTasksAreMadeAndRemoved(t *testing.T) {
	s, err := machineStarter()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.remove(t.Context(), "a"); err == nil {
		t.Error("a task that is not there was removed")
	}
	for range 2 { // the second one replaces the first
		if err := s.install(t.Context(), "a", []string{`C:\Program Files\ingot-agent.exe`, "resume", `C:\a "b".job`}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// The program itself, as it comes to a machine.
func TestWindowsAgentRunsAJob(t *testing.T) {
	agent := os.Getenv("INGOT_WINE_AGENT")
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	job, err := json.Marshal(component.Job{ID: "j", StateDir: "state", LogDir: "log", Documents: []component.JobDocument{{Name: "d", Path: "d.yaml", Text: `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: A, action: CreateFile, inputs: [{path: 'sub\a.txt', content: hello}]}
      - {name: R, action: Reboot}
      - {name: B, action: ReadFile, inputs: [{path: 'sub\a.txt', printFileContent: true}]}
`}}})
	if err != nil {
		t.Fatal(err)
	}
	run := func(want int) string {
		t.Helper()
		cmd := exec.Command(agent, "run")
		cmd.Dir = dir
		cmd.Stdin = bytes.NewReader(job)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%v, want status %d\n%s%s", err, want, out.String(), complaint.String())
		}
		return out.String()
	}
	if out := run(3010); !strings.Contains(out, `"kind":"rebooting"`) {
		t.Errorf("events: %s", out)
	}
	if out := run(0); !strings.Contains(out, `"text":"hello`) {
		t.Errorf("events: %s", out)
	}
}
