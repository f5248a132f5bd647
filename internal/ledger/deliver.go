package ledger

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Report is something to tell a code host. What it says is read from the ledger
// when it is told.
type Report struct {
	ID          int64
	Kind        ReportKind
	Repository  string // the name in the daemon's configuration
	CodeHost    string // owner/name
	Commit      string // of StatusReport; of CommentReport, the one that moved last
	Recipe      string // of StatusReport
	Build       int64  // of StatusReport: the newest build of that recipe on that commit
	PullRequest int
	ExternalID  string // what the last delivery returned
	Attempts    int    // deliveries that failed in a row
}

// maxReportDelay bounds the wait between two tries, so that a code host that is
// back is told soon.
const maxReportDelay = 5 * time.Minute

type reportWorker struct {
	river.WorkerDefaults[reportArgs]
	w *worker
}

func (r *reportWorker) Work(ctx context.Context, job *river.Job[reportArgs]) error {
	return r.w.deliver(ctx, job.JobRow, job.Args.Report)
}

// deliver tells the newest state once. The job ends in the transaction that finds
// nothing left to tell; when the report was touched meanwhile, the job stays.
func (w *worker) deliver(ctx context.Context, job *rivertype.JobRow, id int64) error {
	log := w.l.log.WithField("report", id)
	r, wanted, err := w.l.report(ctx, id)
	if err != nil {
		log.WithError(err).Warn("cannot read the report; it is tried again")
		return river.JobSnooze(time.Second)
	}
	log = log.WithField("commit", r.Commit).WithField("repository", r.Repository)
	external, failure := w.tell(ctx, r)
	writing, done := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer done()
	if failure != nil && !permanent(failure) {
		delay := w.reportDelay(failure, r.Attempts)
		if errors.Is(ctx.Err(), context.Canceled) {
			delay = 0 // we are stopping: nobody's fault
		}
		log.WithError(failure).WithField("again", delay).Info("the report was not taken")
		if err := w.l.postpone(writing, id, failure, delay); err != nil {
			log.WithError(err).Warn("cannot record that the report was not taken")
		}
		return river.JobSnooze(delay)
	}
	if failure != nil {
		log.WithError(failure).Error("the report was refused for good; it is not tried again")
	}
	finished, err := w.l.delivered(writing, job, id, wanted, external, failure)
	switch {
	case err != nil:
		log.WithError(err).Warn("cannot record that the report was taken; it is told again")
		return river.JobSnooze(time.Second)
	case !finished:
		return river.JobSnooze(0)
	}
	return nil
}

func (w *worker) tell(ctx context.Context, r Report) (external string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("the report", v, debug.Stack())
		}
	}()
	return w.do.Report(ctx, r)
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// reportDelay honours what the other side asked for, and doubles otherwise. The
// jitter keeps reports apart that failed together.
func (w *worker) reportDelay(err error, failures int) time.Duration {
	var asked interface{ RetryAfter() time.Duration }
	if errors.As(err, &asked) && asked.RetryAfter() > 0 {
		return asked.RetryAfter()
	}
	d := backOff(w.l.options.RetryReport, 2, failures, maxReportDelay)
	return d - rand.N(d/4+1)
}

// report reads a report with the state of it that is about to be told.
func (l *Ledger) report(ctx context.Context, id int64) (r Report, wanted int64, err error) {
	err = l.db.row(ctx, `SELECT id, kind, repository, code_host, commit_id, recipe, pull_request, external_id, attempts, wanted,
			COALESCE((SELECT MAX(b.id) FROM builds AS b
				WHERE reports.kind = 'status' AND b.repository = reports.repository AND b.commit_id = reports.commit_id AND b.recipe = reports.recipe), 0)
		FROM reports WHERE id = $1`, id).
		Scan(&r.ID, (*string)(&r.Kind), &r.Repository, &r.CodeHost, &r.Commit, &r.Recipe, &r.PullRequest, &r.ExternalID, &r.Attempts, &wanted, &r.Build)
	return r, wanted, err
}

func (l *Ledger) postpone(ctx context.Context, id int64, failure error, delay time.Duration) error {
	return l.db.inTx(ctx, func(t tx) error {
		_, err := t.exec(ctx, "UPDATE reports SET attempts = attempts + 1, last_error = $2, next_at = $3 WHERE id = $1",
			id, failure.Error(), now()+delay.Milliseconds())
		return err
	})
}

// delivered records what was told, and ends the job when that was everything. The
// update locks the row, so that a transaction which owes more either came before,
// and is seen here, or comes after, and finds the job gone.
func (l *Ledger) delivered(ctx context.Context, job *rivertype.JobRow, id, told int64, external string, failure error) (finished bool, err error) {
	last := ""
	if failure != nil {
		last = failure.Error()
	}
	err = l.db.inTx(ctx, func(t tx) error {
		wanted, err := value[int64](t.row(ctx, `UPDATE reports SET sent = $2, attempts = 0, last_error = $3, next_at = 0,
				external_id = CASE $4 WHEN '' THEN external_id ELSE $4 END
			WHERE id = $1 RETURNING wanted`, id, told, last, external))
		if err != nil {
			return err
		}
		if finished = wanted == told; finished {
			return t.complete(ctx, job)
		}
		return nil
	})
	return finished, err
}
