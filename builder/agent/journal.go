package agent

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/seed-6db18919/ingot/builder/component"
)

// How much of a run's events is kept for a host that is away, and how far a host
// that is there may lag behind before the run waits for it, in bytes.
const (
	maxKept = 8 << 20
	maxLag  = 4 << 20
)

// journal is one run with its events. It outlives connections.
type journal struct {
	token  string // of the Client.Run that began it
	cancel context.CancelFunc
	heard  chan struct{} // takes one value when the host has heard the end

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	events  []entry
	first   uint64 // number of events[0]
	size    int
	reader  *subscription // at most one
	done    bool
	result  component.Result
	err     error
}

type entry struct {
	event component.Event
	size  int
}

// subscription is a host that listens.
type subscription struct {
	next uint64 // number of the event that it needs next
	lag  int    // bytes of what it has not taken
}

func newJournal(token string, cancel context.CancelFunc) *journal {
	return &journal{token: token, cancel: cancel, heard: make(chan struct{}, 1), first: 1, changed: make(chan struct{})}
}

// announce must be called with the lock held.
func (j *journal) announce() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// add keeps an event. While a host listens that is far behind, it waits: the
// program that prints is slowed down rather than its output lost.
func (j *journal) add(ctx context.Context, e component.Event) {
	size := eventSize(e)
	j.mu.Lock()
	for j.reader != nil && j.reader.lag > maxLag && ctx.Err() == nil {
		changed := j.changed
		j.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		j.mu.Lock()
	}
	j.events = append(j.events, entry{e, size})
	j.size += size
	if j.reader != nil {
		j.reader.lag += size
	}
	for j.size > maxKept && len(j.events) > 1 {
		j.size -= j.events[0].size
		j.events = j.events[1:]
		j.first++
	}
	j.announce()
	j.mu.Unlock()
}

func eventSize(e component.Event) int {
	const overhead = 256
	size := overhead + len(e.Text)
	if e.Result != nil {
		text, err := json.Marshal(e.Result)
		if err == nil {
			size += len(text)
		}
	}
	return size
}

func (j *journal) finish(result component.Result, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done, j.result, j.err = true, result, err
	j.announce()
}

func (j *journal) finished() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

// follow hands every event after the given one to each, and then the end to
// done. A newer follower takes the place of this one. It returns when all has
// been said, when ctx ends, or at the first error of each.
func (j *journal) follow(ctx context.Context, after uint64, each func(uint64, component.Event) error, done func(component.Result, error) error) error {
	me := j.subscribe(after)
	defer j.leave(me)
	for {
		j.mu.Lock()
		batch, number := j.batch(me)
		over, result, err := j.done, j.result, j.err
		changed, mine := j.changed, j.reader == me
		j.mu.Unlock()
		if !mine {
			return nil
		}
		for i, e := range batch {
			if err := each(number+uint64(i), e.event); err != nil {
				return err
			}
		}
		switch {
		case len(batch) > 0:
			j.taken(me, batch, number)
		case over:
			return done(result, err)
		default:
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (j *journal) subscribe(after uint64) *subscription {
	j.mu.Lock()
	defer j.mu.Unlock()
	me := &subscription{next: after + 1}
	for i, e := range j.events {
		if j.first+uint64(i) >= me.next {
			me.lag += e.size
		}
	}
	j.reader = me
	j.announce()
	return me
}

// batch is what a follower lacks. What it lacks and is gone is one warning.
func (j *journal) batch(s *subscription) (events []entry, number uint64) {
	const most = 64
	if s.next < j.first {
		gap := entry{event: component.Event{Kind: component.Warning, Text: "events were lost while nobody listened; the run's folder on the instance has all output"}}
		return []entry{gap}, j.first - 1
	}
	from := min(s.next-j.first, uint64(len(j.events)))
	to := min(from+most, uint64(len(j.events)))
	return append([]entry(nil), j.events[from:to]...), s.next
}

func (j *journal) taken(s *subscription, batch []entry, number uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.next = number + uint64(len(batch))
	for _, e := range batch {
		s.lag -= e.size
	}
	j.announce()
}

func (j *journal) leave(s *subscription) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reader == s {
		j.reader = nil
	}
	j.announce()
}
