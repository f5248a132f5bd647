package ledger

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ReportKind says what is told, and so where.
type ReportKind string

const (
	StatusReport  ReportKind = "status"  // of one recipe on one commit
	CommentReport ReportKind = "comment" // the one comment of a pull request
)

// reportArgs is the job that delivers one report.
type reportArgs struct {
	Report int64 `json:"report" river:"unique"`
}

func (reportArgs) Kind() string { return "report" }

// oweReports owes the reports that a build's new state is worth.
func oweReports(ctx context.Context, t tx, build int64) error {
	var s Source
	var recipe string
	err := t.row(ctx, "SELECT repository, code_host, commit_id, pull_request, recipe FROM builds WHERE id = $1", build).
		Scan(&s.Repository, &s.CodeHost, &s.Commit, &s.PullRequest, &recipe)
	if err != nil {
		return err
	}
	if err := oweStatus(ctx, t, s, recipe); err != nil {
		return err
	}
	return oweComment(ctx, t, s, true)
}

func oweStatus(ctx context.Context, t tx, s Source, recipe string) error {
	if s.CodeHost == "" {
		return nil
	}
	return owe(ctx, t, StatusReport, s, recipe, s.Commit+" "+recipe)
}

// oweComment owes the comment of a pull request. One that has no builds gets none,
// but one that had some is told that nothing is left of them.
func oweComment(ctx context.Context, t tx, s Source, builds bool) error {
	if s.CodeHost == "" || s.PullRequest == 0 {
		return nil
	}
	subject := fmt.Sprint(s.PullRequest)
	if !builds {
		_, found, err := one(ctx, t, value[int64],
			"SELECT id FROM reports WHERE kind = $1 AND repository = $2 AND subject = $3", string(CommentReport), s.Repository, subject)
		if err != nil || !found {
			return err
		}
	}
	return owe(ctx, t, CommentReport, s, "", subject)
}

// owe raises what a report has to say and sees to it that a job delivers it. The
// update comes first: its row lock orders it against the transaction in which a
// worker finds that it has said everything and ends its job (see deliver).
func owe(ctx context.Context, t tx, kind ReportKind, s Source, recipe, subject string) error {
	id, err := value[int64](t.row(ctx, `INSERT INTO reports (kind, repository, code_host, subject, commit_id, recipe, pull_request, wanted)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
		ON CONFLICT (kind, repository, subject) DO UPDATE SET
			wanted = reports.wanted + 1, code_host = excluded.code_host, commit_id = excluded.commit_id
		RETURNING id`,
		string(kind), s.Repository, s.CodeHost, subject, s.Commit, recipe, s.PullRequest))
	if err != nil {
		return err
	}
	return t.enqueue(ctx, river.InsertManyParams{Args: reportArgs{Report: id}, InsertOpts: reportOpts()})
}

// reportOpts allows one living job per report. The number of attempts is what the
// column holds: a report is tried until it is told.
func reportOpts() *river.InsertOpts {
	return &river.InsertOpts{
		Queue:       queueReports,
		MaxAttempts: 32767,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}
