package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// codeHost is where reports go.
type codeHost interface {
	SetStatus(ctx context.Context, ownerRepo, commit string, s reporter.Status) error
	UpsertComment(ctx context.Context, ownerRepo string, pullRequest int, marker, body string, knownID int64) (id int64, err error)
}

// messenger brings to the code host what the ledger says at that moment.
type messenger struct {
	ledger    *ledger.Ledger
	host      codeHost
	publicURL string
}

// deliver is ledger.Workers.Report.
func (m *messenger) deliver(ctx context.Context, r ledger.Report) (externalID string, err error) {
	switch r.Kind {
	case ledger.StatusReport:
		return "", m.status(ctx, r)
	case ledger.CommentReport:
		return m.comment(ctx, r)
	default:
		return "", fmt.Errorf("report %d is of unknown kind %q", r.ID, r.Kind)
	}
}

func (m *messenger) status(ctx context.Context, r ledger.Report) error {
	b, err := m.ledger.Build(ctx, r.Build)
	if err != nil {
		return err
	}
	return m.host.SetStatus(ctx, r.CodeHost, r.Commit, reporter.StatusOf(b, m.publicURL, time.Now()))
}

func (m *messenger) comment(ctx context.Context, r ledger.Report) (string, error) {
	builds, commit, err := m.ledger.PullRequestBuilds(ctx, r.Repository, r.PullRequest)
	if err != nil {
		return "", err
	}
	if len(builds) == 0 && r.ExternalID == "" {
		return "", nil // a pull request that touches no recipe is not talked to
	}
	body := reporter.Comment(reporter.PullRequestView{
		Repository: r.Repository, Number: r.PullRequest, Commit: commit, Builds: builds, PublicURL: m.publicURL,
	}, time.Now())
	var known int64
	if r.ExternalID != "" {
		if known, err = strconv.ParseInt(r.ExternalID, 10, 64); err != nil {
			return "", fmt.Errorf("comment id %q: %w", r.ExternalID, err)
		}
	}
	id, err := m.host.UpsertComment(ctx, r.CodeHost, r.PullRequest, reporter.Marker(r.Repository), body, known)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(id, 10), nil
}
