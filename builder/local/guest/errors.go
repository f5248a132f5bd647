package guest

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
)

// ErrStopped is the end of a machine that was closed or shut down.
var ErrStopped = errors.New("the machine was stopped")

// hostError blames the host or us.
func hostError(err error, hint, format string, args ...any) error {
	return &builder.Error{Fault: builder.Internal, Stage: builder.StageBoot, Reason: fmt.Sprintf(format, args...), Hint: hint, Err: err}
}

// transientError blames nobody: another attempt may well succeed.
func transientError(err error, output, format string, args ...any) error {
	return &builder.Error{Fault: builder.Transient, Stage: builder.StageBoot, Reason: fmt.Sprintf(format, args...), Output: output, Err: err}
}

// bootError blames the image, and so the author of its recipe.
func bootError(err error, hint, output, format string, args ...any) error {
	return &builder.Error{Fault: builder.Author, Stage: builder.StageBoot, Reason: fmt.Sprintf(format, args...), Hint: hint, Output: output, Err: err}
}

// explain turns a deadline that passed during a wait into what its reader can use.
// Every other error stays as it is: a cancelled wait is nobody's fault.
func (m *Machine) explain(ctx context.Context, err error, what, hint string) error {
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() == nil {
		return err
	}
	return bootError(err, hint, m.console.lastLines(), "waited in vain for %s", what)
}

// lost replaces an error of the control channel by the machine's own, where it has one.
func (m *Machine) lost(err error) error {
	if own := m.Err(); own != nil {
		return own
	}
	return hostError(err, "", "QEMU does not answer on its control channel")
}
