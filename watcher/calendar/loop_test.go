package calendar

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// ledger is where the entries of a test are kept.
type ledger struct {
	entries []Entry
	fired   []string // ID and time
	fail    int      // how many calls of Fire, or of Entries, fail next
}

func (l *ledger) list(context.Context) ([]Entry, error) {
	return slices.Clone(l.entries), nil
}

func (l *ledger) fire(_ context.Context, e Entry, _ time.Time) error {
	if l.fail > 0 {
		l.fail--
		return errors.New("the database is down")
	}
	l.fired = append(l.fired, e.ID+" "+time.Now().UTC().Format("02 15:04"))
	for i := range l.entries {
		if l.entries[i].ID == e.ID {
			l.entries[i].LastRun = time.Now()
		}
	}
	return nil
}

// run runs a loop in a bubble, where it is midnight on 1 January 2000, lets script
// go through the days, and ends the loop.
func run(t *testing.T, l *ledger, script func(*Loop)) {
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		ctx, stop := context.WithCancel(t.Context())
		loop := NewLoop(LoopConfig{Entries: l.list, Fire: l.fire, Log: log})
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()
		synctest.Wait()
		script(loop)
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Fatalf("Run after its context ended: %v, want nil", err)
		}
	})
}

func check(t *testing.T, l *ledger, want ...string) {
	t.Helper()
	if !slices.Equal(l.fired, want) {
		t.Fatalf("fired %q, want %q", l.fired, want)
	}
}

const day = 24 * time.Hour

func TestLoopFiresInOrder(t *testing.T) {
	l := &ledger{entries: []Entry{
		{ID: "noon", Schedule: Schedule{"0 12 * * *", ""}},
		{ID: "three", Schedule: Schedule{"0 3 * * *", ""}},
		{ID: "also three", Schedule: Schedule{"0 3 * * *", ""}},
		{ID: "unreadable", Schedule: Schedule{"at noon", ""}},
		{ID: "never", Schedule: Schedule{"0 0 30 2 *", ""}},
	}}
	run(t, l, func(*Loop) { time.Sleep(day + 4*time.Hour) })
	check(t, l, "also three 01 03:00", "three 01 03:00", "noon 01 12:00", "also three 02 03:00", "three 02 03:00")
}

func TestLoopMakesUpForMissedRunsOnce(t *testing.T) {
	l := &ledger{entries: []Entry{
		{ID: "missed", Schedule: Schedule{"0 3 * * *", ""}, LastRun: time.Date(1999, 12, 20, 3, 0, 0, 0, time.UTC)},
		{ID: "new", Schedule: Schedule{"0 3 * * *", ""}},
	}}
	run(t, l, func(*Loop) { time.Sleep(4 * time.Hour) })
	check(t, l, "missed 01 00:00", "missed 01 03:00", "new 01 03:00")
}

func TestLoopTriesAgain(t *testing.T) {
	l := &ledger{entries: []Entry{{ID: "a", Schedule: Schedule{"0 3 * * *", ""}}}, fail: 2}
	run(t, l, func(*Loop) { time.Sleep(12 * time.Hour) })
	check(t, l, "a 01 03:02")
}

func TestLoopHearsOfChanges(t *testing.T) {
	l := &ledger{}
	run(t, l, func(loop *Loop) {
		pass(time.Hour)
		l.entries = []Entry{{ID: "a", Schedule: Schedule{"0 3 * * *", ""}}}
		loop.Changed()
		pass(3 * time.Hour)
		l.entries[0].Schedule.Cron = "0 5 * * *"
		loop.Changed()
		pass(2 * time.Hour)
		l.entries = nil
		loop.Changed()
		pass(day)
	})
	check(t, l, "a 01 03:00", "a 01 05:00")
}

// pass lets time go by, and the loop come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestLoopReadsAgainAfterAFailure(t *testing.T) {
	l := &ledger{entries: []Entry{{ID: "a", Schedule: Schedule{"0 3 * * *", ""}}}}
	failures := 3
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		ctx, stop := context.WithTimeout(t.Context(), 4*time.Hour)
		defer stop()
		loop := NewLoop(LoopConfig{Fire: l.fire, Log: log, Entries: func(ctx context.Context) ([]Entry, error) {
			if failures--; failures >= 0 {
				return nil, errors.New("the database is down")
			}
			return l.list(ctx)
		}})
		if err := loop.Run(ctx); err != nil {
			t.Fatal(err)
		}
	})
	check(t, l, "a 01 03:00")
}
