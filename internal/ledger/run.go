package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/reporter"
)

const (
	// maxRetries is how often a transient fault is tried again.
	maxRetries = 3
	// recordPatience is how long the end of a build waits for a database that does
	// not answer. The lease usually lapses first, and then nothing may be written.
	recordPatience = time.Minute
)

// buildWorker is River's handle on one run of a build. It never returns an error:
// every end of a run is in the build's row, together with the end of the job.
type buildWorker struct {
	river.WorkerDefaults[buildArgs]
	w *worker
}

// Timeout leaves the limit to the recipe. River then never takes the job for
// stuck; the lease says whether its worker lives.
func (*buildWorker) Timeout(*river.Job[buildArgs]) time.Duration { return -1 }

func (b *buildWorker) Work(ctx context.Context, job *river.Job[buildArgs]) error {
	return b.w.run(ctx, job.JobRow, job.Args)
}

// run takes one run of a build from the queue to its end.
func (w *worker) run(ctx context.Context, job *rivertype.JobRow, args buildArgs) error {
	log := w.logOf(args.Build)
	claimed, err := w.claim(ctx, args)
	if err != nil {
		log.WithError(err).Warn("cannot take the build; it stays queued")
		return river.JobSnooze(time.Second)
	}
	if !claimed {
		return nil // cancelled, superseded, or an older run's job
	}
	w.l.changes.tell(args.Build)
	defer w.l.changes.tell(args.Build)

	building, cancel := w.begin(ctx, args.Build, args.Run)
	defer cancel(nil)
	defer w.done(args.Build)
	outcome, err := w.build(building, args.Build)
	logEnd(log, context.Cause(building), err)
	return w.record(building, job, args, outcome, err)
}

// logEnd tells the operator of an end that is not in the build's own pages: what
// is ours, with its cause.
func logEnd(log logrus.FieldLogger, cause, err error) {
	switch {
	case err == nil:
	case cause != nil:
		log.WithField("cause", cause).Info("the build was interrupted")
	case builder.FaultOf(err) == builder.Author:
		log.WithError(err).Info("the build failed")
	case builder.FaultOf(err) == builder.Transient:
		log.WithError(err).Warn("the build met a fault that may pass")
	default:
		log.WithError(err).Error("the build could not be done")
	}
}

// claim takes a build out of the queue, which succeeds once per run.
func (w *worker) claim(ctx context.Context, args buildArgs) (claimed bool, err error) {
	err = w.l.db.inTx(ctx, func(t tx) error {
		var err error
		if _, claimed, err = move(ctx, t, args.Build, args.Run, reporter.Running); err != nil || !claimed {
			return err
		}
		_, err = t.exec(ctx, "UPDATE builds SET worker = $2, lease = "+w.l.db.clock()+` + $3, attempts = attempts + 1,
			started = CASE started WHEN 0 THEN $4 ELSE started END WHERE id = $1`,
			args.Build, w.l.options.WorkerID, w.l.options.Lease.Milliseconds(), now())
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, "DELETE FROM stages WHERE build = $1", args.Build)
		return err
	})
	return claimed, err
}

// build calls Workers.Build; a panic in it is an error of ours like any other.
func (w *worker) build(ctx context.Context, id int64) (o Outcome, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("the build", v, debug.Stack())
		}
	}()
	b, err := w.l.Build(ctx, id)
	if err != nil {
		return Outcome{}, &builder.Error{Fault: builder.Transient, Reason: "the ledger could not be read", Err: err}
	}
	return w.do.Build(ctx, b)
}

// record writes how a run ended. It goes on for a while when the database does not
// answer, because hours of work may hang on it.
func (w *worker) record(ctx context.Context, job *rivertype.JobRow, args buildArgs, o Outcome, failure error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrLost) {
		return nil // whoever has it now writes
	}
	writing, done := context.WithTimeout(context.WithoutCancel(ctx), recordPatience)
	defer done()
	var err error
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err = w.l.db.inTx(writing, func(t tx) error {
			if err := w.conclude(writing, t, args, cause, o, failure); err != nil {
				return err
			}
			return t.complete(writing, job)
		})
		if err == nil || errors.Is(err, errNotMoved) {
			return nil // recorded; or by an earlier try whose answer was lost; or no longer ours
		}
		select {
		case <-writing.Done():
			w.logOf(args.Build).WithError(err).Error("cannot record the end of the build; it is built again when its lease has lapsed")
			return fmt.Errorf("record the end of build %d: %w", args.Build, err)
		case <-time.After(wait):
		}
	}
}

// conclude decides what the end of a run means for its build. A build that was
// interrupted may well come back as failed, by a step that was killed; only its
// success counts then.
func (w *worker) conclude(ctx context.Context, t tx, args buildArgs, cause error, o Outcome, failure error) error {
	succeeded := o.State == "" || o.State == reporter.Succeeded
	switch {
	case failure == nil && (succeeded || cause == nil):
		return finish(ctx, t, args.Build, args.Run, o)
	case errors.Is(cause, ErrCancelled):
		return end(ctx, t, args.Build, args.Run, reporter.Cancelled, cancelled(), reporter.Running)
	case cause != nil: // ErrStopping, or River's own impatience when Stop ran out of time
		return handBack(ctx, t, args.Build, args.Run, 0, 1)
	case builder.FaultOf(failure) == builder.Transient:
		attempts, err := value[int](t.row(ctx, "SELECT attempts FROM builds WHERE id = $1", args.Build))
		if err != nil {
			return err
		}
		if attempts <= maxRetries {
			return handBack(ctx, t, args.Build, args.Run, backOff(w.l.options.RetryBuild, 3, attempts-1, 10*time.Minute), 0)
		}
	}
	return finish(ctx, t, args.Build, args.Run, failed(failure))
}

// handBack puts a running build back into the queue, and takes attempts back that
// were not its fault. A cancellation that its worker has not noticed still holds.
func handBack(ctx context.Context, t tx, id, run int64, delay time.Duration, attempts int) error {
	cancel, found, err := one(ctx, t, value[bool], "SELECT cancel_requested FROM builds WHERE id = $1 AND run = $2 AND state = 'running'", id, run)
	switch {
	case err != nil:
		return err
	case !found:
		return errNotMoved
	case cancel:
		return end(ctx, t, id, run, reporter.Cancelled, cancelled(), reporter.Running)
	}
	next, moved, err := move(ctx, t, id, run, reporter.Queued, reporter.Running)
	if err != nil {
		return err
	}
	if !moved {
		return errNotMoved
	}
	if _, err := t.exec(ctx, "UPDATE builds SET attempts = attempts - $2 WHERE id = $1", id, attempts); err != nil {
		return err
	}
	return enqueueBuild(ctx, t, id, next, delay)
}

// backOff is first, grown by factor for each failure so far, up to limit.
func backOff(first time.Duration, factor, failures int, limit time.Duration) time.Duration {
	d := first
	for range failures {
		if d >= limit/time.Duration(factor) {
			return limit
		}
		d *= time.Duration(factor)
	}
	return min(d, limit)
}
