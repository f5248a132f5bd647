package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-6db18919/ingot/reporter"
)

// Approve lets the builds of one commit of a pull request start, and remembers
// who said so. It returns how many there were.
func (l *Ledger) Approve(ctx context.Context, repository string, pullRequest int, commit, by string) (int, error) {
	var approved int
	err := l.db.inTx(ctx, func(t tx) error {
		ids, err := collect(ctx, t, value[int64],
			"SELECT id FROM builds WHERE repository = $1 AND pull_request = $2 AND commit_id = $3 AND state = 'approval' ORDER BY id",
			repository, pullRequest, commit)
		if err != nil {
			return err
		}
		approved = 0
		for _, id := range ids {
			done, err := approve(ctx, t, id, by)
			if err != nil {
				return err
			}
			if done {
				approved++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("approve %s of pull request %d of %s: %w", commit, pullRequest, repository, err)
	}
	return approved, nil
}

func approve(ctx context.Context, t tx, id int64, by string) (bool, error) {
	if _, moved, err := move(ctx, t, id, anyRun, reporter.Waiting); err != nil || !moved {
		return false, err
	}
	if _, err := t.exec(ctx, "UPDATE builds SET approved_by = $2 WHERE id = $1", id, by); err != nil {
		return false, err
	}
	parent, err := value[int64](t.row(ctx, "SELECT after_build FROM builds WHERE id = $1", id))
	if err != nil {
		return false, err
	}
	if err := oweReports(ctx, t, id); err != nil {
		return false, err
	}
	if parent == 0 {
		return true, release(ctx, t, id)
	}
	state, err := value[string](t.row(ctx, "SELECT state FROM builds WHERE id = $1", parent))
	if err != nil {
		return false, err
	}
	if reporter.State(state).Final() {
		return true, settleDependents(ctx, t, parent, reporter.State(state))
	}
	return true, nil
}

// Cancel ends a build that has not started, at once, and asks the worker of a
// running one to stop, wherever it runs. ErrFinal: it was too late.
func (l *Ledger) Cancel(ctx context.Context, build int64) error {
	err := l.db.inTx(ctx, func(t tx) error {
		err := end(ctx, t, build, anyRun, reporter.Cancelled, cancelled(),
			reporter.Waiting, reporter.Approval, reporter.Queued)
		if !errors.Is(err, errNotMoved) {
			return err
		}
		asked, err := t.exec(ctx, "UPDATE builds SET cancel_requested = TRUE WHERE id = $1 AND state = 'running'", build)
		if err != nil || asked > 0 {
			return err
		}
		_, found, err := one(ctx, t, value[int64], "SELECT id FROM builds WHERE id = $1", build)
		switch {
		case err != nil:
			return err
		case !found:
			return ErrNotFound
		default:
			return ErrFinal
		}
	})
	if err != nil {
		return fmt.Errorf("cancel build %d: %w", build, err)
	}
	l.interrupt(build)
	l.changes.tell(build)
	return nil
}

func cancelled() *reporter.Failure { return &reporter.Failure{Reason: "somebody cancelled it"} }
