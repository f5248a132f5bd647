package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ExitReboot asks the caller to restart the machine and to run the same job again.
const ExitReboot = 194

// powerLimit is how long systemctl may take to accept a request.
const powerLimit = 30 * time.Second

// BootID names this start of the machine.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// Power restarts ("reboot") or stops ("poweroff") this machine: in an orderly
// way, or by the kernel where there is no orderly way.
func Power(ctx context.Context, how string) error {
	codes := map[string]int{string(opReboot): syscall.LINUX_REBOOT_CMD_RESTART, string(opPoweroff): syscall.LINUX_REBOOT_CMD_POWER_OFF}
	code, ok := codes[how]
	if !ok {
		return fmt.Errorf("power: unknown request %q", how)
	}
	ctx, cancel := context.WithTimeout(ctx, powerLimit)
	defer cancel()
	orderly := exec.CommandContext(ctx, "systemctl", "--no-block", how).Run()
	if orderly == nil {
		return nil
	}
	syscall.Sync()
	if err := syscall.Reboot(code); err != nil {
		return errors.Join(fmt.Errorf("systemctl %s: %w", how, orderly), fmt.Errorf("%s by the kernel: %w", how, err))
	}
	return nil
}

// machineStarter: only Windows has no other program of ours for it.
func machineStarter() (starter, error) {
	return nil, errors.New("--restart is for Windows; here `ingot component run --reboot` does it")
}
