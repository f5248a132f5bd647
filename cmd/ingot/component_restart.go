package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder/component"
)

// savedRun is what goes on after a restart of this machine. The documents are in it,
// because a folder for temporary files may be empty by then.
type savedRun struct {
	Job     component.Job `json:"job"`
	Dir     string        `json:"dir"`     // that the run was started in
	Trigger string        `json:"trigger"` // that starts it again
	Trace   bool          `json:"trace"`
	Logs    logTarget     `json:"logs"`
}

// restart does, or asks for, what a run that stopped for a restart needs.
func (r *componentRun) restart(ctx context.Context, job component.Job) error {
	code := exitReboot
	if hostPlatform() == component.Windows {
		code = exitRebootWindows
	}
	if !r.options.reboot {
		r.live.say("a restart is needed: restart this machine and run the same command again, which goes on where it stopped; --reboot does both")
		return code
	}
	t, err := r.arm(ctx, job)
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	r.live.say("this machine restarts now; the run goes on by itself after it (%s), and its log is in %s", t.name(), job.LogDir)
	if err := r.power(ctx); err != nil {
		return errors.Join(fmt.Errorf("restart: %w; restart the machine, and the run goes on by itself", err), r.live.err)
	}
	return code
}

// arm makes sure that the run goes on when the machine has come back.
func (r *componentRun) arm(ctx context.Context, job component.Job) (trigger, error) {
	var chosen trigger
	for _, t := range r.triggers {
		if chosen == nil && t.usable() {
			chosen = t
		}
	}
	if chosen == nil {
		return nil, errors.New("neither systemd nor cron can start the run again on this machine; leave out --reboot, restart the machine, and run the same command again")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(savedRun{Job: job, Dir: dir, Trigger: chosen.name(), Trace: r.options.trace, Logs: r.options.logs})
	if err != nil {
		return nil, err
	}
	// Values of parameters are in it as they are.
	file := filepath.Join(job.StateDir, job.ID+".run")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return chosen, chosen.install(ctx, job.ID, []string{self, "component", "run", "--resume", file})
}

// resume goes on after a restart. What started it is taken away first, so that
// another restart does not start it again.
func (r *componentRun) resume(ctx context.Context) error {
	text, err := os.ReadFile(r.options.resume)
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	var saved savedRun
	if err := json.Unmarshal(text, &saved); err != nil {
		return fmt.Errorf("--resume %s: %w", r.options.resume, err)
	}
	for _, t := range r.triggers {
		if t.name() == saved.Trigger {
			if err := t.remove(ctx, saved.Job.ID); err != nil {
				return fmt.Errorf("remove what starts the run after a restart: %w", err)
			}
		}
	}
	if err := os.Remove(r.options.resume); err != nil {
		return err
	}
	pending, err := component.Pending(saved.Job, component.Env{})
	switch {
	case err != nil:
		return err
	case !pending:
		return fmt.Errorf("the run %s does not wait for a restart any more", saved.Job.ID)
	}
	if err := os.Chdir(saved.Dir); err != nil {
		return err
	}
	r.options.reboot, r.options.logs, r.live.trace = true, saved.Logs, saved.Trace
	return r.execute(ctx, saved.Job)
}

// restartMachine asks the system to restart in order. It never goes past the system
// to the kernel: whoever sits at this machine may have work open.
func restartMachine(ctx context.Context) error {
	command := []string{"shutdown", "-r", "now"}
	if systemdRuns() {
		command = []string{"systemctl", "reboot"}
	}
	return runQuietly(exec.CommandContext(ctx, command[0], command[1:]...))
}

func systemdRuns() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// trigger starts a command when the machine has started.
type trigger interface {
	name() string
	usable() bool
	install(ctx context.Context, id string, command []string) error
	remove(ctx context.Context, id string) error
}

// systemTriggers are the ways of this machine, the better one first: systemd waits for
// the network. The original knows cron alone, which small systems do not have.
func systemTriggers() []trigger {
	return []trigger{
		systemdTrigger{dir: "/etc/systemd/system", active: func() bool { return systemdRuns() && os.Geteuid() == 0 }},
		cronTrigger{},
	}
}

// systemdTrigger is a unit that is enabled until the run goes on.
type systemdTrigger struct {
	dir    string
	active func() bool
}

func (systemdTrigger) name() string { return "systemd" }

func (t systemdTrigger) usable() bool { return t.active() }

func (t systemdTrigger) unit(id string) string { return "ingot-component-" + id + ".service" }

func (t systemdTrigger) install(ctx context.Context, id string, command []string) error {
	words := make([]string, len(command))
	for i, word := range command {
		words[i] = unitWord(word)
	}
	text := `[Unit]
Description=Go on with the component run ` + id + `
Wants=network-online.target
After=network-online.target

[Service]
Environment=` + unitWord("PATH="+os.Getenv("PATH")) + `
ExecStart=` + strings.Join(words, " ") + `

[Install]
WantedBy=multi-user.target
`
	if err := os.WriteFile(filepath.Join(t.dir, t.unit(id)), []byte(text), 0o644); err != nil {
		return err
	}
	return runQuietly(exec.CommandContext(ctx, "systemctl", "--quiet", "enable", t.unit(id)))
}

func (t systemdTrigger) remove(ctx context.Context, id string) error {
	if err := runQuietly(exec.CommandContext(ctx, "systemctl", "--quiet", "disable", t.unit(id))); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.dir, t.unit(id))); err != nil {
		return err
	}
	return runQuietly(exec.CommandContext(ctx, "systemctl", "daemon-reload"))
}

// unitWord quotes a word as systemd reads command lines.
func unitWord(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`).Replace(word) + `"`
}

// cronTrigger is a line of the user's crontab.
type cronTrigger struct{}

func (cronTrigger) name() string { return "cron" }

func (cronTrigger) usable() bool {
	_, err := exec.LookPath("crontab")
	return err == nil
}

// mark stands at the end of the line that belongs to a run.
func (cronTrigger) mark(id string) string { return " # ingot-component-" + id }

func (t cronTrigger) install(ctx context.Context, id string, command []string) error {
	words := []string{"PATH=" + shellWord(os.Getenv("PATH"))}
	for _, word := range command {
		words = append(words, shellWord(word))
	}
	line := strings.Join(words, " ")
	if strings.Contains(line, "\n") {
		return fmt.Errorf("a crontab cannot hold %q", line)
	}
	// An unescaped % ends the command there.
	return t.edit(ctx, id, "@reboot "+strings.ReplaceAll(line, "%", `\%`)+t.mark(id)+"\n")
}

func (t cronTrigger) remove(ctx context.Context, id string) error { return t.edit(ctx, id, "") }

// edit replaces the line of a run by another one, or by nothing.
func (t cronTrigger) edit(ctx context.Context, id, line string) error {
	list := exec.CommandContext(ctx, "crontab", "-l")
	list.Env = append(os.Environ(), "LC_ALL=C")
	var complaint strings.Builder
	list.Stderr = &complaint
	out, err := list.Output()
	if err != nil && !strings.Contains(complaint.String(), "no crontab") {
		return fmt.Errorf("crontab -l: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	var kept strings.Builder
	for have := range strings.Lines(string(out)) {
		if !strings.HasSuffix(strings.TrimRight(have, "\n"), t.mark(id)) {
			kept.WriteString(have)
		}
	}
	write := exec.CommandContext(ctx, "crontab", "-")
	write.Stdin = strings.NewReader(kept.String() + line)
	return runQuietly(write)
}

// runQuietly runs a program whose output matters only when it fails.
func runQuietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
