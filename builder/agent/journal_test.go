package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
)

func TestAJournalNobodyReadsIsBounded(t *testing.T) {
	j := newJournal("t", func() {})
	piece := strings.Repeat("x", 32<<10)
	for range 2 * maxKept / len(piece) {
		j.add(t.Context(), component.Event{Kind: component.Output, Text: piece})
	}
	if j.size > maxKept {
		t.Errorf("%d bytes are kept", j.size)
	}
	j.finish(component.Result{Status: component.Success}, nil)
	var kinds []component.EventKind
	last := uint64(0)
	err := j.follow(t.Context(), 0, func(seq uint64, e component.Event) error {
		if seq <= last {
			t.Errorf("event %d after %d", seq, last)
		}
		last = seq
		kinds = append(kinds, e.Kind)
		return nil
	}, func(r component.Result, _ error) error {
		if r.Status != component.Success {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil || kinds[0] != component.Warning || kinds[1] != component.Output {
		t.Errorf("%v, %v", kinds[:2], err)
	}
}

// A host that stops reading holds the run, until it leaves.
func TestASlowHostHoldsTheRunUntilItLeaves(t *testing.T) {
	j := newJournal("t", func() {})
	stuck, release := make(chan struct{}), make(chan struct{})
	gone := errors.New("gone")
	followed := make(chan error, 1)
	go func() {
		once := false
		followed <- j.follow(t.Context(), 0, func(uint64, component.Event) error {
			if !once {
				once = true
				close(stuck)
				<-release
			}
			return gone
		}, nil)
	}()
	piece := component.Event{Kind: component.Output, Text: strings.Repeat("x", 32<<10)}
	j.add(t.Context(), piece)
	<-stuck
	added := make(chan struct{})
	go func() {
		defer close(added)
		for range 2 * maxLag / len(piece.Text) {
			j.add(t.Context(), piece)
		}
	}()
	for {
		j.mu.Lock()
		lag, changed := j.reader.lag, j.changed
		j.mu.Unlock()
		if lag > maxLag {
			break
		}
		<-changed
	}
	select {
	case <-added:
		t.Fatal("the run did not wait")
	default:
	}
	close(release)
	if err := <-followed; !errors.Is(err, gone) {
		t.Error(err)
	}
	<-added
}

func TestACanceledRunDoesNotWaitForItsHost(t *testing.T) {
	j := newJournal("t", func() {})
	j.reader = &subscription{lag: maxLag + 1}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.add(ctx, component.Event{})
}
