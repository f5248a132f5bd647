package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/seed-6db18919/ingot/reporter"
)

// maxCrashes is how often a build is taken up again whose worker died.
const maxCrashes = 10

// manyJobs bounds one look at River's running jobs: far more than workers exist.
const manyJobs = 10_000

// recover puts back what this worker was doing when it died, before it starts
// again. Its lock says that no process of that name lives, so nothing has to lapse.
// Its jobs return to the queue, also those that it had taken without having begun;
// its builds return in a new run, so that the job of the old one is void.
func (w *worker) recover(ctx context.Context) error {
	return w.l.db.inTx(ctx, func(t tx) error {
		mine, err := jobsRunning(ctx, t, time.Now().Add(time.Hour))
		if err != nil {
			return err
		}
		var back []*rivertype.JobRow
		for _, job := range mine {
			if by := job.AttemptedBy; len(by) > 0 && by[len(by)-1] == w.l.options.WorkerID {
				back = append(back, job)
			}
		}
		if err := setJobs(ctx, t, back, rivertype.JobStateAvailable); err != nil {
			return err
		}
		left, err := collect(ctx, t, scanHeld,
			"SELECT id, run, cancel_requested FROM builds WHERE state = 'running' AND worker = $1 ORDER BY id", w.l.options.WorkerID)
		if err != nil {
			return err
		}
		for _, h := range left {
			if err := giveBack(ctx, t, h); err != nil {
				return err
			}
		}
		if len(left) > 0 || len(back) > 0 {
			w.l.log.WithField("builds", len(left)).WithField("jobs", len(back)).Info("took up what the last process left behind")
		}
		return nil
	})
}

// giveBack puts the build of a dead worker back into the queue. One that may well
// have killed its workers does not get at another one for ever.
func giveBack(ctx context.Context, t tx, h held) error {
	crashes, found, err := one(ctx, t, value[int],
		"UPDATE builds SET crashes = crashes + 1 WHERE id = $1 AND run = $2 AND state = 'running' RETURNING crashes", h.id, h.run)
	if err != nil || !found {
		return err
	}
	if crashes > maxCrashes && !h.cancel {
		err = end(ctx, t, h.id, h.run, reporter.Errored, &reporter.Failure{
			Reason: fmt.Sprintf("the daemon died %d times while it built this", crashes),
			Hint:   "the operator finds the reason in the log of the service manager: often it is memory",
		}, reporter.Running)
	} else {
		err = handBack(ctx, t, h.id, h.run, 0, 1)
	}
	if errors.Is(err, errNotMoved) {
		return nil
	}
	return err
}

// rescueArgs is the job that looks for what daemons left behind that do not come
// back under their name. River's leader queues it from time to time.
type rescueArgs struct{}

func (rescueArgs) Kind() string { return "rescue" }

func rescueOpts() *river.InsertOpts {
	opts := reportOpts()
	opts.MaxAttempts = 1 // the next one comes by itself
	return opts
}

type rescueWorker struct {
	river.WorkerDefaults[rescueArgs]
	w *worker
}

func (r *rescueWorker) Work(ctx context.Context, _ *river.Job[rescueArgs]) error {
	return errors.Join(r.w.rescueBuilds(ctx), r.w.rescueJobs(ctx))
}

// rescueBuilds puts builds back into the queue whose worker let its lease lapse.
func (w *worker) rescueBuilds(ctx context.Context) error {
	return w.l.db.inTx(ctx, func(t tx) error {
		lapsed, err := collect(ctx, t, scanHeld,
			"SELECT id, run, cancel_requested FROM builds WHERE state = 'running' AND lease < "+w.l.db.clock()+" ORDER BY id")
		if err != nil {
			return err
		}
		mine := w.runs()
		for _, h := range lapsed {
			if run, here := mine[h.id]; here && run == h.run {
				continue // this process slept, and its own watch comes to the same end
			}
			w.logOf(h.id).Warn("its worker does not answer; the build goes back to the queue")
			if err := giveBack(ctx, t, h); err != nil {
				return err
			}
		}
		return nil
	})
}

// rescueJobs looks at jobs of builds that have been running for longer than a
// lease. One whose build is still queued was taken by a worker that died before
// it began; one whose run is over was left by a worker that was given up.
func (w *worker) rescueJobs(ctx context.Context) error {
	return w.l.db.inTx(ctx, func(t tx) error {
		old, err := jobsRunning(ctx, t, time.Now().Add(-w.l.options.Lease))
		if err != nil {
			return err
		}
		var back, over []*rivertype.JobRow
		for _, job := range old {
			var args buildArgs
			if job.Kind != args.Kind() {
				continue
			}
			if err := json.Unmarshal(job.EncodedArgs, &args); err != nil {
				return err
			}
			state, found, err := one(ctx, t, value[string], "SELECT state FROM builds WHERE id = $1 AND run = $2", args.Build, args.Run)
			switch {
			case err != nil:
				return err
			case found && state == string(reporter.Queued):
				back = append(back, job)
			case !found || state != string(reporter.Running):
				over = append(over, job)
			}
		}
		return errors.Join(setJobs(ctx, t, back, rivertype.JobStateAvailable), setJobs(ctx, t, over, rivertype.JobStateDiscarded))
	})
}

// jobsRunning lists jobs that some worker took before a time.
func jobsRunning(ctx context.Context, t tx, before time.Time) ([]*rivertype.JobRow, error) {
	return t.executor().JobGetStuck(ctx, &riverdriver.JobGetStuckParams{Max: manyJobs, StuckHorizon: before})
}

// setJobs takes running jobs away from a worker that is gone.
func setJobs(ctx context.Context, t tx, jobs []*rivertype.JobRow, state rivertype.JobState) error {
	if len(jobs) == 0 {
		return nil
	}
	at := time.Now().UTC()
	why, err := json.Marshal(rivertype.AttemptError{At: at, Error: "its worker is gone"})
	if err != nil {
		return err
	}
	var finalized *time.Time
	if state == rivertype.JobStateDiscarded {
		finalized = &at
	}
	var p riverdriver.JobRescueManyParams
	for _, job := range jobs {
		p.ID = append(p.ID, job.ID)
		p.Error = append(p.Error, why)
		p.FinalizedAt = append(p.FinalizedAt, finalized)
		p.ScheduledAt = append(p.ScheduledAt, at)
		p.State = append(p.State, string(state))
	}
	p.StuckHorizon = at
	_, err = t.executor().JobRescueMany(ctx, &p)
	return err
}
