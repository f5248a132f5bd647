//go:build !linux

package agent

import (
	"context"
	"errors"
	"fmt"
)

// BootID is only known on Linux.
func BootID() (string, error) { return "", errors.ErrUnsupported }

// Power is only known on Linux.
func Power(_ context.Context, how string) error {
	return fmt.Errorf("power: %s: %w", how, errors.ErrUnsupported)
}
