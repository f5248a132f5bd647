package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Run runs a job to its end. Reboots that its documents ask for happen on the
// way: emit hears one run, and Finished once. When ctx ends, the run is canceled
// inside, and Run returns once its processes are dead or the agent has not
// answered for a while.
func (c *Client) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	if err := c.begin(ctx); err != nil {
		return component.Result{}, err
	}
	defer c.end()
	r := &remoteRun{Client: c, job: job, emit: emit, token: rand.Text()}
	for {
		result, over, err := r.once(ctx)
		if over {
			return result, err
		}
	}
}

// remoteRun is one call of Run over all its connections and reboots.
type remoteRun struct {
	*Client
	job    component.Job
	emit   func(component.Event)
	token  string
	begun  bool   // the agent has answered: the job must not begin anew
	boot   string // the start of the machine that heard counts in
	heard  uint64
	ended  bool   // the end in this start of the machine was heard
	reboot string // the start of the machine that has to be over
}

// once goes on with the run over one connection.
func (r *remoteRun) once(ctx context.Context) (result component.Result, over bool, err error) {
	if r.reboot != "" {
		if err := r.rebooted(ctx, r.reboot); err != nil {
			return component.Result{}, true, err
		}
		r.reboot = ""
	}
	l, err := r.connect(ctx)
	if err != nil {
		return component.Result{}, true, err
	}
	if r.boot != l.hello.BootID {
		if r.begun && !r.ended {
			r.emit(component.Event{Time: time.Now(), Kind: component.Warning, Text: "the instance restarted before the end of its output was heard"})
		}
		r.boot, r.heard, r.ended = l.hello.BootID, 0, false
	}
	r.last++
	id := r.last
	if err := l.send(ctx, request{ID: id, Op: opRun, Run: r.token, Job: &r.job, After: r.heard, Attach: r.begun}); err != nil {
		r.drop()
		return component.Result{}, ctx.Err() != nil, context.Cause(ctx)
	}
	return r.follow(ctx, l, id)
}

func (r *remoteRun) follow(ctx context.Context, l *link, id uint64) (component.Result, bool, error) {
	for {
		answer, err := l.wait(ctx, id)
		switch {
		case ctx.Err() != nil:
			return r.canceled(ctx, l, id)
		case err != nil:
			r.drop()
			return component.Result{}, false, nil
		}
		r.begun = true
		if answer.Event != nil {
			r.heard = max(r.heard, answer.Seq)
			r.hear(*answer.Event)
		}
		if !answer.Done {
			continue
		}
		return r.outcome(ctx, l, answer)
	}
}

// hear passes on an event, but not the end of what a reboot interrupts.
func (r *remoteRun) hear(e component.Event) {
	if e.Kind == component.Finished && e.Result != nil && e.Result.Reboot {
		return
	}
	e.Text = clip(e.Text)
	r.emit(e)
}

func (r *remoteRun) outcome(ctx context.Context, l *link, answer response) (component.Result, bool, error) {
	var result component.Result
	if answer.Result != nil {
		result = *answer.Result
	}
	switch {
	case answer.Error != "":
		return result, true, errors.New(clip(answer.Error))
	case answer.Result == nil:
		return result, true, errors.New("the agent ended the run without a result")
	case result.Reboot:
		r.reboot, r.ended = r.boot, true
		r.last++
		// If it gets lost, the machine restarts a little later.
		_ = l.send(ctx, request{ID: r.last, Op: opHeard, Run: r.token})
		return result, false, nil
	}
	return result, true, nil
}

// canceled tells the agent and waits for the run's end.
func (r *remoteRun) canceled(ctx context.Context, l *link, id uint64) (component.Result, bool, error) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer cancel()
	defer r.drop()
	r.last++
	if err := l.send(limited, request{ID: r.last, Op: opCancel, Run: r.token}); err != nil {
		return component.Result{Status: component.Failed}, true, context.Cause(ctx)
	}
	for {
		answer, err := l.wait(limited, id)
		if err != nil {
			return component.Result{Status: component.Failed}, true, errors.Join(context.Cause(ctx), err)
		}
		if answer.Event != nil {
			r.hear(*answer.Event)
		}
		if answer.Done {
			result := component.Result{Status: component.Failed}
			if answer.Result != nil {
				result = *answer.Result
			}
			return result, true, context.Cause(ctx)
		}
	}
}
