package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// Repository is what the ledger knows of a watched repository.
type Repository struct {
	Name         string
	Heads        map[string]string // ref to commit
	Polled       time.Time         // zero: never
	FailingSince time.Time         // zero: the last poll went well
	Error        string            // of the last poll
}

// NotePoll remembers how the last poll of a repository went.
func (l *Ledger) NotePoll(ctx context.Context, repository string, failure error) error {
	text, at, failing := "", now(), int64(0)
	if failure != nil {
		text, failing = failure.Error(), at
	}
	err := l.db.inTx(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO polls (repository, polled, failing_since, error)
			VALUES ($1, $2, $3, $4)
			ON CONFLICT (repository) DO UPDATE SET polled = excluded.polled, error = excluded.error, failing_since =
				CASE WHEN excluded.failing_since <> 0 AND polls.failing_since <> 0 THEN polls.failing_since ELSE excluded.failing_since END`,
			repository, at, failing, text)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the poll of %s: %w", repository, err)
	}
	return nil
}

// Repositories lists every repository that was ever polled or accepted from, by name.
func (l *Ledger) Repositories(ctx context.Context) ([]Repository, error) {
	found, err := collect(ctx, l.db, func(s scanner) (Repository, error) {
		var r Repository
		var polled, failing int64
		err := s.Scan(&r.Name, &polled, &failing, &r.Error)
		r.Polled, r.FailingSince = fromMillis(polled), fromMillis(failing)
		return r, err
	}, `SELECT n.repository, COALESCE(p.polled, 0), COALESCE(p.failing_since, 0), COALESCE(p.error, '')
		FROM (SELECT repository FROM polls UNION SELECT repository FROM heads) AS n
		LEFT JOIN polls AS p ON p.repository = n.repository ORDER BY n.repository`)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	for i := range found {
		if found[i].Heads, err = l.Heads(ctx, found[i].Name); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Counts is what metrics are made from.
type Counts struct {
	Builds         map[reporter.State]int
	OldestQueued   time.Time // zero: none is queued
	ReportsWaiting int
	ReportsFailing int // of those, the ones whose last delivery failed
}

// Counts counts builds by state and reports that are owed.
func (l *Ledger) Counts(ctx context.Context) (Counts, error) {
	type state struct {
		name string
		n    int
	}
	c := Counts{Builds: make(map[reporter.State]int, len(cameFrom))}
	byState, err := collect(ctx, l.db, func(s scanner) (state, error) {
		var v state
		return v, s.Scan(&v.name, &v.n)
	}, "SELECT state, COUNT(*) FROM builds GROUP BY state")
	if err != nil {
		return c, fmt.Errorf("count builds: %w", err)
	}
	for _, s := range states() {
		c.Builds[s] = 0
	}
	for _, s := range byState {
		c.Builds[reporter.State(s.name)] = s.n
	}
	oldest, err := value[int64](l.db.row(ctx, "SELECT COALESCE(MIN(created), 0) FROM builds WHERE state = 'queued'"))
	if err != nil {
		return c, fmt.Errorf("count queued builds: %w", err)
	}
	c.OldestQueued = fromMillis(oldest)
	err = l.db.row(ctx, "SELECT COUNT(*), COALESCE(SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END), 0) FROM reports WHERE wanted > sent").
		Scan(&c.ReportsWaiting, &c.ReportsFailing)
	if err != nil {
		return c, fmt.Errorf("count reports: %w", err)
	}
	return c, nil
}
