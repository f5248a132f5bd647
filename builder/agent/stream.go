package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Exit statuses of `ingot-agent run`, beside ExitReboot, which is the status with
// which the system's programs ask for a restart.
const (
	ExitSuccess = 0
	ExitFailure = 1
)

// cancelWord is a line on stdin that cancels the run.
const cancelWord = "cancel"

// execLimit is how long a canceled agent may take to end by itself.
const execLimit = 30 * time.Second

// RunStream is `ingot-agent run`: it reads a Job as JSON from in, runs it, and
// writes events as JSON lines to out. A line "cancel" on in cancels the run, and
// when attended is true so does the end of in: whoever gave the job is gone then.
// It returns the exit status; an error is also worth printing.
func RunStream(ctx context.Context, in io.Reader, out io.Writer, env component.Env, attended bool) (int, error) {
	decoder := json.NewDecoder(io.LimitReader(in, maxMessage))
	var job component.Job
	if err := decoder.Decode(&job); err != nil {
		return ExitFailure, fmt.Errorf("read the job: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// It ends with its input, which nobody can be made to end; the program ends first.
	go watch(io.MultiReader(decoder.Buffered(), in), attended, cancel)

	encoder := json.NewEncoder(out)
	result, err := component.Run(ctx, job, env, func(e component.Event) {
		if err := encoder.Encode(e); err != nil {
			cancel(fmt.Errorf("nobody hears the events: %w", err))
		}
	})
	switch {
	case err != nil:
		return ExitFailure, err
	case result.Reboot:
		return ExitReboot, nil
	case result.Status.OK():
		return ExitSuccess, nil
	}
	return ExitFailure, nil
}

func watch(in io.Reader, attended bool, cancel context.CancelCauseFunc) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == cancelWord {
			cancel(errors.New("canceled"))
			return
		}
	}
	if attended {
		cancel(errors.New("whoever gave the job is gone"))
	}
}

// Exec starts a command that ends up in `ingot-agent run --attended`, gives it
// the job, and passes on its events. cmd comes from exec.Command, with no stdin,
// stdout or stderr set. When ctx ends, the run is canceled inside; a command that
// does not end then is killed. Result.Reboot asks the caller to restart the
// container and to call Exec again with the same job; Finished is not passed on
// for such an end.
func Exec(ctx context.Context, cmd *exec.Cmd, job component.Job, emit func(component.Event)) (component.Result, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return component.Result{}, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return component.Result{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return component.Result{}, err
	}
	complaints := &tail{}
	cmd.Stderr = complaints
	if err := cmd.Start(); err != nil {
		return component.Result{}, err
	}
	var helpers sync.WaitGroup
	over := make(chan struct{})
	// An agent that does not take its job says so by ending.
	helpers.Go(func() { _, _ = stdin.Write(append(text, '\n')) })
	helpers.Go(func() {
		cancelAgent(ctx, stdin, over, func() {
			_ = cmd.Process.Kill()
			_ = stdout.Close() // processes of it may live on and hold the other end
		})
	})
	result, heard := readEvents(stdout, emit)
	// What the command still writes is of no interest, but it must not block.
	_, readErr := io.Copy(io.Discard, stdout)
	waitErr := cmd.Wait() // closes stdin
	close(over)
	helpers.Wait()
	switch {
	case ctx.Err() != nil:
		result.Status, result.Reboot = component.Failed, false
		return result, context.Cause(ctx)
	case !heard:
		return result, fmt.Errorf("the agent ended without a result: %w", errors.Join(waitErr, readErr, complaints.err()))
	case result.Status == component.Failed && result.Failure == nil && !failedStep(result):
		return result, fmt.Errorf("the agent could not run the job: %w", errors.Join(waitErr, complaints.err()))
	}
	return result, nil
}

func failedStep(r component.Result) bool {
	for _, d := range r.Documents {
		if d.Status == component.Failed {
			return true
		}
	}
	return false
}

// cancelAgent waits for the end of ctx, or for the agent's. A canceled agent that
// does not end is killed.
func cancelAgent(ctx context.Context, stdin io.WriteCloser, over <-chan struct{}, kill func()) {
	select {
	case <-over:
		return
	case <-ctx.Done():
	}
	// The pipe may be full of a job that nobody reads: the limit counts from here.
	timer := time.AfterFunc(execLimit, kill)
	defer timer.Stop()
	_, _ = io.WriteString(stdin, cancelWord+"\n")
	<-over
}

// readEvents passes on events until Finished. Lines that are none are dropped.
func readEvents(out io.Reader, emit func(component.Event)) (result component.Result, heard bool) {
	in := newReader(out)
	for {
		line, err := in.next()
		if err != nil {
			return result, heard
		}
		var e component.Event
		if json.Unmarshal(line, &e) != nil || e.Kind == "" {
			continue
		}
		e.Text = clip(e.Text)
		if e.Kind != component.Finished || e.Result == nil {
			emit(e)
			continue
		}
		if !e.Result.Reboot {
			emit(e)
		}
		return *e.Result, true
	}
}

// tail keeps the end of what a command complains about.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.buf.Write(p)
	if over := t.buf.Len() - most; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) err() error {
	if text := strings.TrimSpace(strings.ToValidUTF8(t.buf.String(), "\ufffd")); text != "" {
		return errors.New(text)
	}
	return nil
}
