package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How long output may stay open after a program has ended, and how long the
// processes of a killed step may take to go.
const (
	outputGrace  = 2 * time.Second
	killPatience = 10 * time.Second
)

// markVariable names the environment variable that every process of a step
// inherits. It finds those that left the process group and lost their parent.
const markVariable = "INGOT_STEP"

// program is one process to run to its end.
type program struct {
	args   []string
	dir    string
	env    []string
	mark   string // value of markVariable
	stdout io.Writer
	stderr io.Writer
}

// run returns the exit status. When ctx ends, the program and all that it
// started are killed before run returns. A program that ends leaves what it
// started in the background alone; held is true when one of those still had the
// output open, which is then closed.
func (p program) run(ctx context.Context) (status int, held bool, err error) {
	env := append(p.env[:len(p.env):len(p.env)], markVariable+"="+p.mark)
	name, err := lookPath(p.args[0], p.dir, env)
	if err != nil {
		return 0, false, err
	}
	cmd := exec.CommandContext(ctx, name, p.args[1:]...)
	cmd.Dir, cmd.Env = p.dir, env
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.WaitDelay = outputGrace
	cmd.SysProcAttr = ownGroup()
	mark := markVariable + "=" + p.mark
	cmd.Cancel = func() error {
		killTree(cmd.Process.Pid, mark, killPatience)
		return os.ErrProcessDone
	}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		// Whoever was being born while the tree was cut down carries the mark.
		killTree(0, mark, killPatience)
		return 0, false, ctx.Err()
	}
	if held = errors.Is(err, exec.ErrWaitDelay); held {
		err = nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if exit.ExitCode() >= 0 {
			return exit.ExitCode(), held, nil
		}
		return 0, held, fmt.Errorf("%s", exit.ProcessState)
	}
	return 0, held, err
}

// lookPath finds a program as the step's own environment and folder have it, not
// as this program's.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.ContainsRune(name, '/') {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	var path string
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = value
		}
	}
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			continue // a program of the working folder has to be named ./program
		}
		candidate := filepath.Join(folder, name)
		if _, err := exec.LookPath(candidate); err == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%s: not found in PATH %s: %w", name, path, os.ErrNotExist)
}
