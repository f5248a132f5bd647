package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// hearTime is how long a reboot waits for the host to have heard of it.
const hearTime = 10 * time.Second

// Server is the agent's end inside a guest. One run at a time belongs to it, not
// to a connection. The fields are set before the first Serve.
type Server struct {
	Hello Hello
	Env   component.Env
	// Power restarts ("reboot") or stops ("poweroff") the machine.
	Power func(ctx context.Context, how string) error

	mu      sync.Mutex
	current *journal
	runs    sync.WaitGroup
}

// session is one host that said hello on one wire.
type session struct {
	*Server
	out   *writer
	nonce string

	ctx     context.Context // of the answers to this host
	cancel  context.CancelFunc
	answers sync.WaitGroup
}

// Serve answers on one wire until it ends, or until ctx ends and the wire is
// closed. What a host began goes on. ctx also bounds the runs.
func (s *Server) Serve(ctx context.Context, wire io.ReadWriter) error {
	in := newReader(wire)
	now := &session{Server: s, out: &writer{w: wire}}
	now.ctx, now.cancel = context.WithCancel(ctx)
	defer func() { now.end() }()
	for {
		message, err := in.next()
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var q request
		if json.Unmarshal(message, &q) != nil {
			continue // noise of the wire
		}
		if q.Op == opHello && q.Nonce != now.nonce {
			// A new host: what the one before wanted to hear is of no interest to it.
			now.end()
			now = &session{Server: s, out: now.out, nonce: q.Nonce}
			now.ctx, now.cancel = context.WithCancel(ctx)
		}
		now.answer(ctx, q)
	}
}

// Wait returns when no run is going on any more.
func (s *Server) Wait() { s.runs.Wait() }

func (s *session) end() {
	s.cancel()
	s.answers.Wait()
}

// say answers; a wire that does not take it is noticed by the reader too.
func (s *session) say(r response) { _ = s.out.send(r) }

func (s *session) outcome(id uint64, err error) {
	r := response{ID: id, Done: true}
	if err != nil {
		r.Error = err.Error()
	}
	s.say(r)
}

func (s *session) answer(ctx context.Context, q request) {
	switch q.Op {
	case opHello:
		s.say(response{ID: q.ID, Nonce: q.Nonce, Hello: &s.Hello, Done: true})
	case opRun:
		s.run(ctx, q)
	case opCancel:
		if j := s.find(q.Run); j != nil {
			j.cancel()
		}
		s.outcome(q.ID, nil)
	case opHeard:
		if j := s.find(q.Run); j != nil {
			select {
			case j.heard <- struct{}{}:
			default: // said before
			}
		}
	case opPut:
		s.outcome(q.ID, q.Chunk.write())
	case opReboot, opPoweroff:
		s.outcome(q.ID, nil)
		if err := s.Power(ctx, string(q.Op)); err != nil {
			s.outcome(q.ID, err)
		}
	default:
		s.outcome(q.ID, fmt.Errorf("unknown operation %q", q.Op))
	}
}

// run begins a run, or takes up one that goes on, and lets the host follow it.
func (s *session) run(ctx context.Context, q request) {
	j, err := s.journal(ctx, q)
	if err != nil {
		s.outcome(q.ID, err)
		return
	}
	s.answers.Go(func() {
		// An error is one of the wire, or the end of the session.
		_ = j.follow(s.ctx, q.After,
			func(seq uint64, e component.Event) error {
				return s.out.send(response{ID: q.ID, Seq: seq, Event: &e})
			},
			func(result component.Result, err error) error {
				r := response{ID: q.ID, Done: true, Result: &result}
				if err != nil {
					r.Error = err.Error()
				}
				return s.out.send(r)
			})
	})
}

var errRestarted = errors.New("the instance restarted while the job ran, without the job having asked for it")

// journal finds or begins the run that a request means.
func (s *Server) journal(ctx context.Context, q request) (*journal, error) {
	if q.Job == nil || q.Run == "" {
		return nil, errors.New("a run without a job")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.token == q.Run {
		return s.current, nil
	}
	if s.current != nil && !s.current.finished() {
		return nil, errors.New("another job is running")
	}
	if q.Attach {
		pending, err := component.Pending(*q.Job, s.Env)
		if err != nil {
			return nil, err
		}
		if !pending {
			return nil, errRestarted
		}
	}
	runCtx, cancel := context.WithCancel(ctx)
	j := newJournal(q.Run, cancel)
	s.current = j
	s.runs.Go(func() {
		defer cancel()
		s.execute(runCtx, j, *q.Job)
	})
	return j, nil
}

func (s *Server) execute(ctx context.Context, j *journal, job component.Job) {
	result, err := component.Run(ctx, job, s.Env, func(e component.Event) { j.add(ctx, e) })
	j.finish(result, err)
	if !result.Reboot || err != nil {
		return
	}
	timer := time.NewTimer(hearTime)
	defer timer.Stop()
	select {
	case <-j.heard:
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	if err := s.Power(ctx, string(opReboot)); err != nil {
		j.finish(component.Result{Status: component.Failed}, fmt.Errorf("restart the instance: %w", err))
	}
}

// find returns the run of that token, if it is the present one.
func (s *Server) find(token string) *journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.token != token {
		return nil
	}
	return s.current
}
