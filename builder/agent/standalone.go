package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder/component"
)

// starter starts a command when the machine has started.
type starter interface {
	install(ctx context.Context, id string, command []string) error
	remove(ctx context.Context, id string) error
}

// standalone runs jobs on a machine that nobody else restarts: what a document
// asks for, it does itself, and goes on afterwards.
type standalone struct {
	env     component.Env
	self    string // this program
	starter starter
	power   func(ctx context.Context, how string) error
}

// run runs the job that it reads from in. dir keeps what has to survive a restart,
// and the logs unless the job says where those go.
func (s standalone) run(ctx context.Context, in io.Reader, out io.Writer, dir string) (int, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ExitFailure, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ExitFailure, err
	}
	var job component.Job
	if err := json.NewDecoder(io.LimitReader(in, maxMessage)).Decode(&job); err != nil {
		return ExitFailure, fmt.Errorf("read the job: %w", err)
	}
	if job.StateDir = dir; job.LogDir == "" {
		job.LogDir = dir
	}
	return s.once(ctx, job, out)
}

// resume goes on after a restart with the job of a file. What started this program
// is removed first, so that another restart does not start it again.
func (s standalone) resume(ctx context.Context, file string) (status int, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return ExitFailure, err
	}
	var job component.Job
	if err := json.Unmarshal(text, &job); err != nil {
		return ExitFailure, fmt.Errorf("%s: %w", file, err)
	}
	if err := errors.Join(s.starter.remove(ctx, job.ID), os.Remove(file)); err != nil {
		return ExitFailure, err
	}
	pending, err := component.Pending(job, s.env)
	switch {
	case err != nil:
		return ExitFailure, err
	case !pending:
		return ExitFailure, fmt.Errorf("the run %s does not wait for a restart any more", job.ID)
	}
	// Nobody reads what a task prints.
	events, err := os.OpenFile(filepath.Join(job.StateDir, job.ID+".events"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return ExitFailure, err
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	return s.once(ctx, job, events)
}

// once runs a job until its end, or until the machine restarts.
func (s standalone) once(ctx context.Context, job component.Job, out io.Writer) (int, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return ExitFailure, err
	}
	status, err := RunStream(ctx, bytes.NewReader(text), out, s.env, false)
	if status != ExitReboot || err != nil {
		return status, err
	}
	// Values of parameters are in it as they are.
	file := filepath.Join(job.StateDir, job.ID+".job")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return ExitFailure, err
	}
	if err := s.starter.install(ctx, job.ID, []string{s.self, "resume", file}); err != nil {
		return ExitFailure, fmt.Errorf("let the run go on after a restart: %w", err)
	}
	if err := s.power(ctx, string(opReboot)); err != nil {
		return ExitFailure, fmt.Errorf("%w; restart this machine, and the run goes on by itself", err)
	}
	return ExitReboot, nil
}
