package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// Source is what builds are made from.
type Source struct {
	Repository  string // the name in the daemon's configuration
	CodeHost    string // owner/name; empty: nobody is told
	Ref         string // refs/heads/main, refs/pull/7/head
	Commit      string // full object name
	PullRequest int    // 0: none
	Fork        bool
	Title       string // first line of the commit's message
	Author      string
}

// Acceptance is a head that moved, with all that follows from it.
type Acceptance struct {
	Source
	Old     string // where the head was; empty: there was none
	Deleted bool   // the ref is gone; Commit is ignored
	Builds  []NewBuild
}

// Request asks for builds without a head having moved: by hand, or because a
// calendar or a dependency says so.
type Request struct {
	Source
	Builds   []NewBuild // may be empty when a calendar fired for nothing
	Schedule *ScheduleRun
}

// ScheduleRun says that the calendar of a recipe fired.
type ScheduleRun struct {
	Recipe string
	At     time.Time // when it was due
}

// NewBuild is one recipe to be built.
type NewBuild struct {
	Recipe          string
	RecipePath      string
	Version         string
	PreviousVersion string
	Trigger         reporter.Trigger
	Release         bool
	Action          reporter.Action
	Why             []string
	Findings        []reporter.Finding
	Failure         *reporter.Failure // of Failed
	State           reporter.State    // Queued (default), Approval, or Failed for documents that are wrong
	After           string            // a recipe of the same acceptance whose image is the parent; empty: none
	Fresh           bool              // reuse nothing
	Estimate        string            // what it is expected to take; empty: nothing is told
}

// Heads returns where every known ref of a repository points.
func (l *Ledger) Heads(ctx context.Context, repository string) (map[string]string, error) {
	type head struct{ ref, commit string }
	found, err := collect(ctx, l.db, func(s scanner) (head, error) {
		var h head
		return h, s.Scan(&h.ref, &h.commit)
	}, "SELECT ref, commit_id FROM heads WHERE repository = $1", repository)
	if err != nil {
		return nil, fmt.Errorf("heads of %s: %w", repository, err)
	}
	heads := make(map[string]string, len(found))
	for _, h := range found {
		heads[h.ref] = h.commit
	}
	return heads, nil
}

// Accept records a head that moved, its builds and the reports owed for them, and
// queues what can start, all in one transaction. It returns the ids of the
// builds, in order. ErrConflict means that the head is not where Old says, because
// another daemon was first; nothing is written then.
//
// Builds of the same recipe and ref that have not started are superseded. What
// such a build would have done beyond the new one (building, where the new one
// only tests) goes over to the new one.
func (l *Ledger) Accept(ctx context.Context, a Acceptance) ([]int64, error) {
	if err := checkBuilds(a.Builds); err != nil {
		return nil, err
	}
	var ids []int64
	err := l.db.inTx(ctx, func(t tx) error {
		if err := moveHead(ctx, t, a); err != nil {
			return err
		}
		if a.Deleted {
			return abandon(ctx, t, a.Source)
		}
		var err error
		ids, err = addBuilds(ctx, t, a.Source, a.Builds, "")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("accept %s of %s: %w", a.Ref, a.Repository, err)
	}
	return ids, nil
}

// Request records builds that nobody pushed. ErrConflict means that another
// daemon recorded the same run of the calendar, or a later one.
func (l *Ledger) Request(ctx context.Context, r Request) ([]int64, error) {
	if err := checkBuilds(r.Builds); err != nil {
		return nil, err
	}
	var ids []int64
	err := l.db.inTx(ctx, func(t tx) error {
		if err := recordSchedule(ctx, t, r.Repository, r.Schedule); err != nil {
			return err
		}
		var err error
		ids, err = addBuilds(ctx, t, r.Source, r.Builds, r.Commit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("request builds of %s: %w", r.Repository, err)
	}
	return ids, nil
}

func moveHead(ctx context.Context, t tx, a Acceptance) error {
	var moved int64
	var err error
	switch {
	case a.Deleted:
		moved, err = t.exec(ctx, "DELETE FROM heads WHERE repository = $1 AND ref = $2 AND commit_id = $3", a.Repository, a.Ref, a.Old)
	case a.Old == "":
		moved, err = t.exec(ctx,
			"INSERT INTO heads (repository, ref, commit_id, pull_request, moved) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
			a.Repository, a.Ref, a.Commit, a.PullRequest, now())
	default:
		moved, err = t.exec(ctx,
			"UPDATE heads SET commit_id = $3, pull_request = $4, moved = $5 WHERE repository = $1 AND ref = $2 AND commit_id = $6",
			a.Repository, a.Ref, a.Commit, a.PullRequest, now(), a.Old)
	}
	if err == nil && moved == 0 {
		return ErrConflict
	}
	return err
}

// abandon cancels what has not started of a ref that is gone.
func abandon(ctx context.Context, t tx, s Source) error {
	open, err := collect(ctx, t, value[int64],
		"SELECT id FROM builds WHERE repository = $1 AND ref = $2 AND "+inStates(cameFrom[reporter.Superseded]...)+" ORDER BY id",
		s.Repository, s.Ref)
	if err != nil {
		return err
	}
	for _, id := range open {
		if err := end(ctx, t, id, anyRun, reporter.Cancelled, &reporter.Failure{Reason: s.Ref + " was deleted"}); err != nil && !errors.Is(err, errNotMoved) {
			return err
		}
	}
	return nil
}

func recordSchedule(ctx context.Context, t tx, repository string, run *ScheduleRun) error {
	if run == nil {
		return nil
	}
	moved, err := t.exec(ctx, `INSERT INTO schedules (repository, recipe, last_run) VALUES ($1, $2, $3)
		ON CONFLICT (repository, recipe) DO UPDATE SET last_run = excluded.last_run WHERE schedules.last_run < excluded.last_run`,
		repository, run.Recipe, run.At.UnixMilli())
	if err == nil && moved == 0 {
		return ErrConflict
	}
	return err
}

// ScheduleState returns when the calendar of each recipe last fired.
func (l *Ledger) ScheduleState(ctx context.Context, repository string) (map[string]time.Time, error) {
	type fired struct {
		recipe string
		at     int64
	}
	found, err := collect(ctx, l.db, func(s scanner) (fired, error) {
		var f fired
		return f, s.Scan(&f.recipe, &f.at)
	}, "SELECT recipe, last_run FROM schedules WHERE repository = $1", repository)
	if err != nil {
		return nil, fmt.Errorf("schedules of %s: %w", repository, err)
	}
	last := make(map[string]time.Time, len(found))
	for _, f := range found {
		last[f.recipe] = fromMillis(f.at)
	}
	return last, nil
}

// checkBuilds refuses what would wait for ever.
func checkBuilds(builds []NewBuild) error {
	after := make(map[string]string, len(builds))
	for _, b := range builds {
		if _, twice := after[b.Recipe]; twice {
			return fmt.Errorf("recipe %q is there twice", b.Recipe)
		}
		after[b.Recipe] = b.After
	}
	for _, b := range builds {
		seen := map[string]bool{b.Recipe: true}
		for next := b.After; next != ""; next = after[next] {
			if _, known := after[next]; !known {
				return fmt.Errorf("recipe %q waits for %q, which is not built", b.Recipe, next)
			}
			if seen[next] {
				return fmt.Errorf("recipe %q waits for itself", b.Recipe)
			}
			seen[next] = true
		}
	}
	return nil
}
