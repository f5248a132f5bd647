package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/windows"
)

// ExitReboot asks the caller to restart the machine and to run the same job again.
const ExitReboot = 3010

// BootID is only known on Linux: no guest that answers on a port runs Windows.
func BootID() (string, error) { return "", errors.ErrUnsupported }

// Power restarts ("reboot") or stops ("poweroff") this machine, now and whatever
// still runs on it.
func Power(ctx context.Context, how string) error {
	option, ok := map[string]string{string(opReboot): "/r", string(opPoweroff): "/s"}[how]
	if !ok {
		return fmt.Errorf("power: unknown request %q", how)
	}
	out, err := exec.CommandContext(ctx, "shutdown.exe", option, "/f", "/t", "0").CombinedOutput()
	if err != nil {
		return fmt.Errorf("shutdown %s: %w: %s", option, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// taskScheduler starts commands by tasks of Windows Task Scheduler, as the
// original does.
type taskScheduler struct{}

func machineStarter() (starter, error) { return taskScheduler{}, nil }

func (taskScheduler) name(id string) string { return "ingot-component-" + id }

func (t taskScheduler) install(ctx context.Context, id string, command []string) (err error) {
	text, err := bootTask("Goes on with the component run "+id, command[0], windows.ComposeCommandLine(command[1:]))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "task-*.xml")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return schtasks(ctx, "/create", "/tn", t.name(id), "/xml", f.Name(), "/f")
}

func (t taskScheduler) remove(ctx context.Context, id string) error {
	return schtasks(ctx, "/delete", "/tn", t.name(id), "/f")
}

func schtasks(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "schtasks.exe", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("schtasks %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
