package component

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// What a program that could not be started counts as having ended with, as in shells.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128 // and the signal's number
)

// command runs Job.Command: one program with its arguments, of which nothing is
// split, quoted or globbed, without a document, logs or reboots. Whatever its exit
// status, the run succeeds; that is in Result.Exit.
func (r *engine) command(ctx context.Context) (Result, error) {
	pass := func(name string) *stream {
		return &stream{masker: r.masker, emit: func(text string) { r.send(Event{Kind: Output, Stream: name, Text: text}) }}
	}
	stdout, stderr := pass("stdout"), pass("stderr")
	p := program{args: r.job.Command, dir: r.job.WorkingDir, env: r.env.Environ, mark: r.job.ID, stdout: stdout, stderr: stderr}
	status, held, err := p.run(ctx)
	stdout.flush()
	stderr.flush()
	signalled, killed := errors.AsType[*signalError](err)
	switch {
	case ctx.Err() != nil:
		return Result{}, context.Cause(ctx)
	case killed:
		status = exitSignal + signalled.number
	case err != nil:
		r.send(Event{Kind: Output, Stream: "stderr", Text: err.Error() + "\n"})
		if status = exitCannotRun; errors.Is(err, os.ErrNotExist) {
			status = exitNotFound
		}
	}
	if held {
		r.send(Event{Kind: Warning, Text: "a program that still runs in the background kept the output open; what it prints from now on is lost"})
	}
	return Result{Status: Success, Exit: &status}, nil
}

// signalError is the end of a program by a signal.
type signalError struct {
	number int
	state  *os.ProcessState
}

func (e *signalError) Error() string { return fmt.Sprint(e.state) }
