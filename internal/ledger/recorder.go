package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

const (
	flushAfter = 100 * time.Millisecond // what a reader feels as live
	flushBytes = 16 << 10
	// maxPending bounds what waits while the database does not answer, in bytes. The
	// build then waits as well, rather than lose its log.
	maxPending = 4 << 20
)

// Recorder brings the events of one build into the ledger, in batches: when 100 ms
// have passed, when 16 KiB wait, and at once when a stage changes.
type Recorder struct {
	l     *Ledger
	build int64

	mu      sync.Mutex
	pending []builder.Event
	bytes   int
	room    *sync.Cond
	failed  error // of the last write; cleared by the next that succeeds

	wake    chan struct{} // holds one: there is something worth writing now
	closing chan struct{}
	once    sync.Once
	written sync.WaitGroup
}

// Recorder returns a recorder whose Observe is the builder.Observer of a build.
// Close it: that writes what is left. ctx ends its writes early; the build's own
// context would lose the last words of a build that is interrupted.
func (l *Ledger) Recorder(ctx context.Context, build int64) *Recorder {
	r := &Recorder{l: l, build: build, wake: make(chan struct{}, 1), closing: make(chan struct{})}
	r.room = sync.NewCond(&r.mu)
	r.written.Go(func() { r.write(ctx) })
	return r
}

// Observe takes an event. It blocks only while the database is far behind.
func (r *Recorder) Observe(e builder.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.bytes > maxPending {
		r.room.Wait()
	}
	r.pending = append(r.pending, e)
	r.bytes += len(e.Text) + 64
	if e.Kind != builder.Output || r.bytes >= flushBytes {
		r.poke()
	}
}

// Close writes what is left and returns the error of the last write, if that one
// failed. Observe must not be called any more.
func (r *Recorder) Close() error {
	r.once.Do(func() { close(r.closing) })
	r.written.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *Recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

func (r *Recorder) write(ctx context.Context) {
	tick := time.NewTicker(flushAfter)
	defer tick.Stop()
	for {
		select {
		case <-r.closing:
			r.flush(ctx)
			return
		case <-r.wake:
		case <-tick.C:
		}
		r.flush(ctx)
	}
}

// flush writes one batch. One that fails waits for the next tick, unless it was
// the last.
func (r *Recorder) flush(ctx context.Context) {
	r.mu.Lock()
	batch, bytes := r.pending, r.bytes
	r.pending, r.bytes = nil, 0
	r.room.Broadcast()
	r.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := r.l.Record(ctx, r.build, batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = err
	if err == nil {
		return
	}
	if ctx.Err() != nil || errors.Is(err, ErrNotFound) {
		return // nothing will ever write it
	}
	r.pending, r.bytes = append(batch, r.pending...), r.bytes+bytes
}
