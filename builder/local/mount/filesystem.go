package mount

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// checkFilesystem lets through only what a userland check finds consistent, or could
// easily make so. What a stranger wrote should meet it before it meets the kernel.
func checkFilesystem(ctx context.Context, device string, env []string) error {
	const corrected = 1 // what e2fsck says when it found something harmless
	return tool(ctx, env, corrected, "e2fsck", "-f", "-p", device)
}

// growFilesystem lets the filesystem on a device fill it. That is done before it is
// mounted: growing a mounted one takes a right that root in a container lacks.
func growFilesystem(ctx context.Context, device string, env []string) error {
	if err := checkFilesystem(ctx, device, env); err != nil {
		return err
	}
	return tool(ctx, env, 0, "resize2fs", device)
}

// tool runs a program that may end with at most that status.
func tool(ctx context.Context, env []string, most int, name string, args ...string) error {
	said := &tail{limit: 4 << 10}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: install the package e2fsprogs", err)
	case errors.As(err, &exit) && exit.ExitCode() >= 0 && exit.ExitCode() <= most:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.text(err)))
	}
	return nil
}
