package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

// stubs puts programs of the system into PATH that keep their state in a folder, and
// refuse whatever the real ones would.
func stubs(t *testing.T) (state string) {
	t.Helper()
	dir := t.TempDir()
	state = filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o700))
	for name, script := range map[string]string{
		"crontab": `
case "$*" in
-l) [ -f "$STATE/crontab" ] || { echo "no crontab for $USER" >&2; exit 1; }; cat "$STATE/crontab" ;;
-) cat >"$STATE/crontab.new"; [ -z "$(tail -c 1 "$STATE/crontab.new")" ] || { echo "premature end" >&2; exit 1; }; mv "$STATE/crontab.new" "$STATE/crontab" ;;
*) exit 2 ;;
esac`,
		"systemctl": `
case "$*" in
"--quiet enable "*) [ -f "$STATE/$3" ] || { echo "no unit $3" >&2; exit 1; }; touch "$STATE/enabled-$3" ;;
"--quiet disable "*) rm "$STATE/enabled-$3" ;;
daemon-reload) [ -z "$(ls "$STATE")" ] || { echo "something is left" >&2; exit 1; } ;;
*) exit 2 ;;
esac`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nSTATE="+state+script+"\n"), 0o700))
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return state
}

// TestARunGoesOnByItselfAfterARestart goes through what --reboot does, but for the
// restart: the trigger's own command is what goes on, from another folder.
func TestARunGoesOnByItselfAfterARestart(t *testing.T) {
	for _, kind := range []string{"systemd", "cron"} {
		t.Run(kind, func(t *testing.T) {
			state := stubs(t)
			triggers := []trigger{systemdTrigger{dir: state, active: func() bool { return kind == "systemd" }}, cronTrigger{}}
			dir := t.TempDir()
			t.Chdir(dir)
			document := "two words 100%.yaml"
			must(t, os.WriteFile(document, []byte(`schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: Restart, action: Reboot}
      - {name: Where, action: ExecuteBash, inputs: {commands: [pwd]}}
`), 0o600))
			restarts := 0
			begin := func(o runOptions) (string, string, error) {
				var out, shown bytes.Buffer
				r := &componentRun{options: &o, out: &out, live: newLive(&shown, false), triggers: triggers, power: func(context.Context) error {
					restarts++
					return nil
				}}
				err := r.run(t.Context(), func(string) bool { return false })
				return out.String(), shown.String(), err
			}
			out, shown, err := begin(runOptions{
				documents: []string{document}, isolation: "container", reboot: true, executionID: "run-1",
				stateDirectory: "state of runs", logDirectory: "logs",
			})
			if !errors.Is(err, exitReboot) || out != "" || restarts != 1 || !strings.Contains(shown, "goes on by itself") {
				t.Fatalf("%v, %d restarts\n%s%s", err, restarts, out, shown)
			}
			must(t, os.Remove(document)) // as a folder for temporary files is emptied

			saved := filepath.Join(dir, "state of runs", "run-1.run")
			if command := startedAtBoot(t, kind, state); !strings.HasSuffix(command, "component run --resume "+saved) {
				t.Errorf("at the start of the machine runs\n%s", command)
			}
			t.Chdir(t.TempDir())
			out, shown, err = begin(runOptions{resume: saved})
			if err != nil || !strings.Contains(out, `"status": "success"`) || !strings.Contains(shown, "| "+dir+"\n") {
				t.Errorf("%v\n%s%s", err, out, shown)
			}
			if left := append(namesIn(t, filepath.Dir(saved)), strings.Fields(trigged(t, state))...); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if _, _, err := begin(runOptions{resume: saved}); err == nil {
				t.Error("it goes on twice")
			}
		})
	}
}

// startedAtBoot is the command that the trigger starts, its words joined by blanks.
func startedAtBoot(t *testing.T, kind, state string) string {
	t.Helper()
	if kind == "cron" {
		text, err := os.ReadFile(filepath.Join(state, "crontab"))
		must(t, err)
		line, ok := strings.CutPrefix(string(text), "@reboot ")
		if !ok {
			t.Fatalf("crontab: %s", text)
		}
		// What cron makes of the line, with a program that only shows its words.
		line = strings.NewReplacer(`\%`, "%", shellWord(mustExecutable(t)), "echo").Replace(line)
		out, err := exec.Command("sh", "-c", line).Output()
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	unit := filepath.Join(state, "ingot-component-run-1.service")
	if _, err := os.Stat(filepath.Join(state, "enabled-ingot-component-run-1.service")); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "ingot-component") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	text, err := os.ReadFile(unit)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if words, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			return strings.NewReplacer(`" "`, " ", `"`, "", "%%", "%", "$$", "$").Replace(words)
		}
	}
	t.Fatalf("the unit starts nothing:\n%s", text)
	return ""
}

func mustExecutable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return self
}

// trigged is what the stubs still have of triggers.
func trigged(t *testing.T, state string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(state, "crontab"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	units, err := filepath.Glob(filepath.Join(state, "*.service"))
	must(t, err)
	return string(text) + strings.Join(units, " ")
}

func TestCrontabKeepsWhatIsOthers(t *testing.T) {
	state := stubs(t)
	const others = "5 4 * * * backup # ingot-component-run-12\n"
	file := filepath.Join(state, "crontab")
	must(t, os.WriteFile(file, []byte(others), 0o600))
	c := cronTrigger{}
	for range 2 {
		must(t, c.install(t.Context(), "run-1", []string{"ingot"}))
	}
	text, err := os.ReadFile(file)
	must(t, err)
	if got := string(text); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, others) || !strings.HasSuffix(got, " ingot # ingot-component-run-1\n") {
		t.Errorf("crontab:\n%s", got)
	}
	must(t, c.remove(t.Context(), "run-1"))
	if text, err = os.ReadFile(file); err != nil || string(text) != others {
		t.Errorf("%v, crontab:\n%s", err, text)
	}
	if err := c.install(t.Context(), "x", []string{"a\nb"}); err == nil {
		t.Error("a line end went into the crontab")
	}
}

// Nothing restarts a machine that cannot go on by itself.
func TestNoRestartWithoutATrigger(t *testing.T) {
	r := &componentRun{
		options: &runOptions{reboot: true}, live: newLive(&bytes.Buffer{}, false),
		triggers: []trigger{systemdTrigger{active: func() bool { return false }}},
		power:    func(context.Context) error { t.Error("the machine was restarted"); return nil },
	}
	err := r.restart(t.Context(), component.Job{ID: "x", StateDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "leave out --reboot") {
		t.Errorf("got %v", err)
	}
}
