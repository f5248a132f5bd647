package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	line   string // the arguments as Windows hands them over, for programs that split them their own way
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
	cmd := exec.Command(name, p.args[1:]...)
	cmd.Dir, cmd.Env = p.dir, env
	cmd.WaitDelay = outputGrace
	tree, err := newProcessTree(markVariable + "=" + p.mark)
	if err != nil {
		return 0, false, err
	}
	defer tree.release()
	cmd.SysProcAttr = tree.attributes(p.line)
	output, err := p.connect(cmd)
	if err != nil {
		return 0, false, err
	}
	defer output.close()
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	// exec.CommandContext would have a goroutine wait for ctx, which a short step notices.
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		tree.kill(cmd.Process)
		close(killed)
	})
	notAdopted := tree.adopt(cmd.Process)
	if notAdopted != nil {
		tree.kill(cmd.Process)
	}
	held, err = output.wait(cmd)
	if !stop() {
		<-killed
	}
	if notAdopted != nil { // ctx has ended where that is the reason
		return 0, false, cmp.Or(ctx.Err(), notAdopted)
	}
	if ctx.Err() != nil {
		tree.kill(nil) // whoever was being born while the tree was cut down
		return 0, false, ctx.Err()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if exit.ExitCode() >= 0 {
			return exit.ExitCode(), held, nil
		}
		return 0, held, &signalError{signalOf(exit.ProcessState), exit.ProcessState}
	}
	return 0, held, err
}

// awaiter is the output of a program that was started, and with it the program's end.
type awaiter interface {
	// wait returns when the program has ended and its output is closed; held is true
	// when something kept that open for outputGrace and longer. The error is that of
	// cmd.Wait, or says why the output could not be read.
	wait(cmd *exec.Cmd) (held bool, err error)
	close()
}

// copies is output that exec.Cmd copies.
type copies struct{}

func (p program) connectCopies(cmd *exec.Cmd) awaiter {
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	return copies{}
}

func (copies) wait(cmd *exec.Cmd) (held bool, err error) {
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return true, nil
	}
	return false, err
}

func (copies) close() {}

// lookPath finds a program as the step's own environment and folder have it, not
// as this program's.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.ContainsRune(name, '/') {
		return within(dir, name), nil
	}
	path := lookEnv(env, "PATH")
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

// lookEnv is the value of an environment variable, the last one of that name.
// Windows knows it in any case of letters: there PATH is most often Path.
func lookEnv(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		key, value, _ := strings.Cut(kv, "=")
		if key == name || onWindows && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}
