package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// pages reads from the ledger what the dashboard shows.
type pages struct {
	ledger       *ledger.Ledger
	repositories []reporter.Repository // as configured, in order
}

// Repositories joins the configuration with what the ledger knows of each.
func (p *pages) Repositories(ctx context.Context) ([]reporter.Repository, error) {
	known, err := p.ledger.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]ledger.Repository, len(known))
	for _, k := range known {
		byName[k.Name] = k
	}
	out := make([]reporter.Repository, len(p.repositories))
	for i, r := range p.repositories {
		k := byName[r.Name]
		branch := "refs/heads/" + r.Branch
		r.Head, r.LastPoll, r.Problem = k.Heads[branch], k.Polled, k.Error
		for ref := range k.Heads {
			if strings.HasPrefix(ref, "refs/pull/") {
				r.PullRequests++
			}
		}
		if r.Builds, err = p.newest(ctx, r.Name, branch); err != nil {
			return nil, err
		}
		for _, b := range r.Builds {
			if b.Commit == r.Head {
				r.HeadTitle = b.Title
			}
		}
		out[i] = r
	}
	return out, nil
}

// newest is the last build of each recipe on a branch.
func (p *pages) newest(ctx context.Context, repository, branch string) ([]reporter.Build, error) {
	builds, err := p.ledger.Builds(ctx, ledger.Filter{Repository: repository, Limit: 200})
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var out []reporter.Build
	for _, b := range builds {
		if b.Ref == branch && !seen[b.Recipe] {
			seen[b.Recipe] = true
			out = append(out, b)
		}
	}
	return out, nil
}

func (p *pages) Builds(ctx context.Context, f reporter.BuildFilter) ([]reporter.Build, error) {
	return p.ledger.Builds(ctx, ledger.Filter{Repository: f.Repository, Recipe: f.Recipe, State: f.State, Before: f.Before, Limit: f.Limit})
}

func (p *pages) Build(ctx context.Context, id int64) (reporter.Build, error) {
	b, err := p.ledger.Build(ctx, id)
	return b, notFound(err)
}

func (p *pages) Images(ctx context.Context, f reporter.ImageFilter) ([]reporter.Image, error) {
	return p.ledger.Images(ctx, ledger.ImageFilter{Repository: f.Repository, Recipe: f.Recipe, Limit: f.Limit})
}

func (p *pages) Image(ctx context.Context, id string) (reporter.Image, error) {
	found, err := p.ledger.Images(ctx, ledger.ImageFilter{ID: id, Limit: 1})
	if err != nil {
		return reporter.Image{}, err
	}
	if len(found) == 0 {
		return reporter.Image{}, fmt.Errorf("image %s: %w", id, reporter.ErrNotFound)
	}
	return found[0], nil
}

func (p *pages) Log(ctx context.Context, build, after int64, limit int) ([]reporter.LogPiece, error) {
	return p.ledger.Log(ctx, build, after, limit)
}

func (p *pages) Changed(build int64) <-chan struct{} { return p.ledger.Changed(build) }

// notFound puts the ledger's word for a missing row into the reporter's.
func notFound(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("%w: %w", reporter.ErrNotFound, err)
	}
	return err
}
