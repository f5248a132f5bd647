//go:build unix

package component

import (
	"errors"
	"fmt"
)

// systemRegistry is what there is where there is none.
type systemRegistry struct{}

func (systemRegistry) set(registryKey, string, registryValue) error {
	return fmt.Errorf("this system has no registry: %w", errors.ErrUnsupported)
}
