package github

import (
	"context"
	"errors"
	"time"
)

// gate lets one write through at a time, with a pause between two, and none while
// the host has asked us to wait.
type gate struct {
	turn  chan struct{} // holds one value while nobody writes; guards the rest
	pause time.Duration
	last  time.Time // the end of the last write
	until time.Time // nothing is sent before
}

func newGate(pause time.Duration) *gate {
	g := &gate{turn: make(chan struct{}, 1), pause: pause}
	g.turn <- struct{}{}
	return g
}

// do waits for its turn and writes. It fails at once with an *Error when the host
// wants to be left alone: a job that waits costs nothing, a blocked worker does.
func (g *gate) do(ctx context.Context, what string, write func() error) error {
	select {
	case <-g.turn:
		defer func() { g.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if wait := time.Until(g.until); wait > 0 {
		return &Error{Op: what, Message: "GitHub asked us to wait", retryAfter: wait}
	}
	if err := sleep(ctx, time.Until(g.last.Add(g.pause))); err != nil {
		return err
	}
	err := write()
	g.last = time.Now()
	if e, ok := errors.AsType[*Error](err); ok && e.limited {
		g.until = g.last.Add(e.retryAfter)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
