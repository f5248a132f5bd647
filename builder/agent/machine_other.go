//go:build !linux && !windows

package agent

import (
	"context"
	"errors"
	"fmt"
)

// ExitReboot asks the caller to restart the machine and to run the same job again.
const ExitReboot = 194

// BootID is only known on Linux.
func BootID() (string, error) { return "", errors.ErrUnsupported }

// Power is only known on Linux and Windows.
func Power(_ context.Context, how string) error {
	return fmt.Errorf("power: %s: %w", how, errors.ErrUnsupported)
}

// machineStarter: only Windows has no other program of ours for it.
func machineStarter() (starter, error) {
	return nil, errors.New("--restart is for Windows; here `ingot component run --reboot` does it")
}
