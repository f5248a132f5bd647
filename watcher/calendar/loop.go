package calendar

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// lookAgain bounds a sleep: the clock of the machine may be set, or the machine
	// may sleep itself.
	lookAgain = time.Minute
	// tryAgain is how long after a failure an entry is fired again.
	tryAgain = time.Minute
)

// Entry is something with a schedule.
type Entry struct {
	ID       string // unique among the entries
	Schedule Schedule
	LastRun  time.Time // as it was recorded; zero: never
}

// LoopConfig is what a Loop works with.
type LoopConfig struct {
	// Entries returns what there is. It is asked at the beginning and after Changed.
	Entries func(ctx context.Context) ([]Entry, error)
	// Fire runs an entry that has been due since at, and records now as its last
	// run. After an error it is called again a minute later. One call at a time.
	Fire func(ctx context.Context, e Entry, at time.Time) error
	Log  logrus.FieldLogger
}

// Loop fires entries when they are due.
type Loop struct {
	config  LoopConfig
	changed chan struct{}

	// What follows belongs to the goroutine of Run.
	state map[string]*pending
	load  time.Time // when the entries are read again after a failure; zero: not
	last  time.Time // when the clock was last looked at
}

// NewLoop makes a Loop.
func NewLoop(c LoopConfig) *Loop {
	return &Loop{config: c, changed: make(chan struct{}, 1)}
}

// pending is an entry with when it is due.
type pending struct {
	entry Entry
	due   time.Time // zero: never
	retry time.Time // not before, after a failure
}

// Changed says that the entries may not be what they were. It never blocks.
func (l *Loop) Changed() {
	select {
	case l.changed <- struct{}{}:
	default: // it is about to look
	}
}

// Run fires entries until ctx ends, and then returns nil.
func (l *Loop) Run(ctx context.Context) error {
	l.last = now()
	l.read(ctx)
	for {
		timer := time.NewTimer(l.untilNext())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-l.changed:
			l.read(ctx)
		case <-timer.C:
			if !l.load.IsZero() && !l.load.After(now()) {
				l.read(ctx)
			}
		}
		timer.Stop()
		l.fireDue(ctx)
	}
}

// read reads the entries and works out when each is due.
func (l *Loop) read(ctx context.Context) {
	l.load = time.Time{}
	entries, err := l.config.Entries(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.config.Log.WithError(err).Error("the calendar could not be read; the schedules known so far go on")
		}
		l.load = now().Add(tryAgain)
		return
	}
	had := l.state
	l.state = make(map[string]*pending, len(entries))
	for _, e := range entries {
		p := had[e.ID]
		if p == nil || p.entry.Schedule != e.Schedule || !p.entry.LastRun.Equal(e.LastRun) {
			p = &pending{due: l.due(e)}
		}
		p.entry = e
		l.state[e.ID] = p
	}
}

// due is when an entry has to run next, or had to run.
func (l *Loop) due(e Entry) time.Time {
	_, at, err := e.Schedule.Due(e.LastRun, now())
	if err != nil {
		l.config.Log.WithError(err).WithField("schedule", e.ID).Warn("the schedule cannot be read and will not run")
	}
	return at
}

// now is the clock of the machine, without the monotonic reading: it may be set.
func now() time.Time { return time.Now().Round(0) }

// fireDue fires what is due, what has waited longest first.
func (l *Loop) fireDue(ctx context.Context) {
	l.watchClock()
	for _, p := range slices.SortedFunc(maps.Values(l.state), longestWaiting) {
		at := now()
		if ctx.Err() != nil || p.due.After(at) {
			return
		}
		if p.due.IsZero() || p.retry.After(at) {
			continue
		}
		if err := l.config.Fire(ctx, p.entry, p.due); err != nil {
			p.retry = at.Add(tryAgain)
			l.config.Log.WithError(err).WithField("schedule", p.entry.ID).Error("the scheduled run could not be recorded; it is tried again in a minute")
			continue
		}
		p.entry.LastRun, p.retry = at, time.Time{}
		p.due = l.due(p.entry)
	}
}

func longestWaiting(a, b *pending) int {
	return cmp.Or(a.due.Compare(b.due), strings.Compare(a.entry.ID, b.entry.ID))
}

// watchClock works everything out again when the clock was set back.
func (l *Loop) watchClock() {
	at := now()
	if l.last.Sub(at) > setBack {
		for _, p := range l.state {
			p.due, p.retry = l.due(p.entry), time.Time{}
		}
	}
	l.last = at
}

// untilNext is how long nothing is due, and not too long.
func (l *Loop) untilNext() time.Duration {
	at := now()
	wait := lookAgain
	for _, p := range l.state {
		if p.due.IsZero() {
			continue
		}
		next := p.due
		if p.retry.After(next) {
			next = p.retry
		}
		wait = min(wait, next.Sub(at))
	}
	return max(wait, 0)
}
