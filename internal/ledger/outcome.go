package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

// Outcome is what came of a build that was not interrupted.
type Outcome struct {
	State   reporter.State // Succeeded (default), Failed, Errored or Cancelled
	Image   *builder.Image // that was made, tested or distributed; nil: none
	Tests   []reporter.Test
	Failure *reporter.Failure
}

// finish ends the run of a build: image, outcome, release, reports and dependents
// in one transaction.
func finish(ctx context.Context, t tx, id, run int64, o Outcome) error {
	if o.State == "" {
		o.State = reporter.Succeeded
	}
	tests, err := toJSON(&o.Tests)
	if err != nil {
		return err
	}
	image := ""
	if o.Image != nil {
		image = o.Image.ID
		if err := saveImage(ctx, t, id, *o.Image); err != nil {
			return err
		}
	}
	if _, err := t.exec(ctx, "UPDATE builds SET tests = $3, image_id = $4 WHERE id = $1 AND run = $2 AND state = 'running'", id, run, tests, image); err != nil {
		return err
	}
	if o.State == reporter.Succeeded && image != "" {
		if err := publish(ctx, t, id, image); err != nil {
			return err
		}
	}
	return end(ctx, t, id, run, o.State, o.Failure, reporter.Running)
}

// publish gives the image of a release its number: builds of one recipe and
// version count from 1, and a number is never given twice.
func publish(ctx context.Context, t tx, id int64, image string) error {
	var repository, recipe, version string
	var release bool
	err := t.row(ctx, "SELECT repository, recipe, version, release FROM builds WHERE id = $1", id).
		Scan(&repository, &recipe, &version, &release)
	if err != nil || !release {
		return err
	}
	number, err := value[int](t.row(ctx, `INSERT INTO release_numbers (recipe, version, latest) VALUES ($1, $2, 1)
		ON CONFLICT (recipe, version) DO UPDATE SET latest = release_numbers.latest + 1 RETURNING latest`, recipe, version))
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO releases (recipe, version, number, repository, build, image_id, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, recipe, version, number, repository, id, image, now())
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "UPDATE builds SET number = $2 WHERE id = $1", id, number)
	return err
}

// failed turns the error of a build into its outcome. The cause of an error stays
// in our log: only what the builder wrote for the author goes further.
func failed(err error) Outcome {
	var e *builder.Error
	if !errors.As(err, &e) {
		return Outcome{State: reporter.Errored, Failure: &reporter.Failure{
			Reason: "the build ended with an error of ours",
			Hint:   "the operator finds the reason in the daemon's log",
		}}
	}
	o := Outcome{State: reporter.Errored, Failure: &reporter.Failure{
		Stage: string(e.Stage), Name: e.Name, Step: e.Step, Reason: e.Reason, Hint: e.Hint, Output: e.Output,
	}}
	if e.Fault == builder.Author {
		o.State = reporter.Failed
	}
	return o
}

// NotKept has an ended build tell why its instance is kept no longer. A build that tells
// of none, or is not there, is left alone.
func (l *Ledger) NotKept(ctx context.Context, build int64, why string) error {
	err := l.db.inTx(ctx, func(t tx) error {
		text, found, err := one(ctx, t, value[string], "SELECT failure FROM builds WHERE id = $1", build)
		if err != nil || !found {
			return err
		}
		failure, err := fromJSON[reporter.Failure](text)
		if err != nil || failure == nil || failure.Kept == nil {
			return err
		}
		failure.Kept, failure.NotKept = nil, why
		if text, err = toJSON(failure); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE builds SET failure = $2 WHERE id = $1", build, text); err != nil {
			return err
		}
		var s Source
		err = t.row(ctx, "SELECT repository, code_host, commit_id, pull_request FROM builds WHERE id = $1", build).
			Scan(&s.Repository, &s.CodeHost, &s.Commit, &s.PullRequest)
		if err != nil {
			return err
		}
		return oweComment(ctx, t, s, true)
	})
	if err != nil {
		return fmt.Errorf("build %d is not kept: %w", build, err)
	}
	l.changes.tell(build)
	return nil
}

// panicked is the error of a function that was given to us and panicked.
func panicked(what string, value any, stack []byte) error {
	return fmt.Errorf("%s panicked: %v\n%s", what, value, stack)
}
