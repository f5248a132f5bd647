package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/seed-6db18919/ingot/reporter"
)

// errNotMoved: the build was not where it had to be. Callers decide what that means.
var errNotMoved = errors.New("the build has moved on")

// buildArgs is the job of one run of a build.
type buildArgs struct {
	Build int64 `json:"build"`
	Run   int64 `json:"run"`
}

func (buildArgs) Kind() string { return "build" }

// enqueueBuild puts the job of a build's run into the queue.
func enqueueBuild(ctx context.Context, t tx, id, run int64, delay time.Duration) error {
	// One attempt: whether to try again is for the build's own row to say.
	opts := &river.InsertOpts{Queue: queueBuilds, MaxAttempts: 1}
	if delay > 0 {
		opts.ScheduledAt = time.Now().Add(delay)
	}
	return t.enqueue(ctx, river.InsertManyParams{Args: buildArgs{Build: id, Run: run}, InsertOpts: opts})
}

// release lets a build that waited into the queue.
func release(ctx context.Context, t tx, id int64) error {
	run, moved, err := move(ctx, t, id, anyRun, reporter.Queued, reporter.Waiting)
	if err != nil || !moved {
		return err
	}
	return enqueueBuild(ctx, t, id, run, 0)
}

// end takes a build to its final state with all that follows. errNotMoved: it was
// not in that run, or not in one of the states that only allows.
func end(ctx context.Context, t tx, id, run int64, state reporter.State, failure *reporter.Failure, only ...reporter.State) error {
	_, moved, err := move(ctx, t, id, run, state, only...)
	if err != nil {
		return err
	}
	if !moved {
		return errNotMoved
	}
	text, err := toJSON(failure)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, "UPDATE builds SET failure = $2 WHERE id = $1", id, text); err != nil {
		return err
	}
	if err := oweReports(ctx, t, id); err != nil {
		return err
	}
	return settleDependents(ctx, t, id, state)
}

// settleDependents moves on what waited for a build that has ended: into the
// queue when there is an image, and to an end of the same kind when there is not.
func settleDependents(ctx context.Context, t tx, parent int64, state reporter.State) error {
	waiting, err := collect(ctx, t, value[int64], "SELECT id FROM builds WHERE after_build = $1 AND state = 'waiting' ORDER BY id", parent)
	if err != nil || len(waiting) == 0 {
		return err
	}
	recipe, err := value[string](t.row(ctx, "SELECT recipe FROM builds WHERE id = $1", parent))
	if err != nil {
		return err
	}
	for _, id := range waiting {
		if state == reporter.Succeeded {
			if err := release(ctx, t, id); err != nil {
				return err
			}
			continue
		}
		if err := end(ctx, t, id, anyRun, orphaned(state), orphan(recipe, parent, state)); err != nil && !errors.Is(err, errNotMoved) {
			return err
		}
	}
	return nil
}

// orphaned is how a build ends whose parent image was not made.
func orphaned(parent reporter.State) reporter.State {
	switch parent {
	case reporter.Failed, reporter.Errored:
		return parent
	default:
		return reporter.Cancelled
	}
}

func orphan(recipe string, parent int64, state reporter.State) *reporter.Failure {
	return &reporter.Failure{
		Stage:  "resolve",
		Reason: fmt.Sprintf("its parent image %s was not made: build %d %s", recipe, parent, told(state)),
		Hint:   fmt.Sprintf("look at build %d; this recipe is built again with it", parent),
	}
}

func told(s reporter.State) string {
	switch s {
	case reporter.Errored:
		return "ended with an error"
	case reporter.Cancelled, reporter.Superseded:
		return "was " + string(s)
	default:
		return string(s)
	}
}
