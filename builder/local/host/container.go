package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// containerPatience is how long the smallest container may take, from start to end.
const containerPatience = 20 * time.Second

// checkContainer starts one: control groups and namespaces that look right may still
// not be what systemd-nspawn finds.
func checkContainer(ctx context.Context) Check {
	c := Check{Name: "containers", State: OK, Detail: "systemd-nspawn runs one", Needed: true}
	if err := runContainer(ctx); err != nil {
		c.State, c.Detail = Missing, err.Error()
		c.Without = "container builds do not work (in a container: --privileged, and --cgroupns=private where control groups are of version 1)"
	}
	return c
}

// runContainer runs a program of this machine in a container that has nothing else.
func runContainer(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, containerPatience)
	defer cancel()
	root, err := os.MkdirTemp("", "ingot-container-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	for _, dir := range []string{"usr", "etc", "proc", "sys", "dev", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "systemd-nspawn", "--quiet", "--settings=no", "--register=no", "--keep-unit", "--as-pid2",
		"--console=pipe", "--kill-signal=SIGKILL", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--directory="+root, "--bind-ro=/usr", "/usr/bin/true")
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("systemd-nspawn is not installed")
	case ctx.Err() != nil:
		return fmt.Errorf("systemd-nspawn hangs: nothing within %s", containerPatience)
	case line != "":
		return errors.New(line)
	default:
		return fmt.Errorf("systemd-nspawn: %w", err)
	}
}
