package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/watcher/calendar"
)

// head is what the release branch of a repository holds now.
type head struct {
	desk   *desk
	commit string
	set    *recipe.Set
}

// head reads the recipes of a repository's release branch; nil when nothing was
// accepted from it yet.
func (d *daemon) head(ctx context.Context, k *desk) (*head, error) {
	heads, err := d.parts.ledger.Heads(ctx, k.name)
	if err != nil {
		return nil, err
	}
	commit := heads[k.branch]
	if commit == "" {
		return nil, nil
	}
	tree, err := k.mirror.Tree(ctx, commit)
	if err != nil {
		return nil, err
	}
	set, err := k.set(ctx, commit, tree, nil, nil)
	if err != nil {
		return nil, err
	}
	return &head{desk: k, commit: commit, set: set}, nil
}

// calendarEntries lists the schedules of all release branches. A repository that
// cannot be read now is left out; its next change brings it back.
func (d *daemon) calendarEntries(ctx context.Context) ([]calendar.Entry, error) {
	var out []calendar.Entry
	for _, name := range slices.Sorted(maps.Keys(d.desks)) {
		h, err := d.head(ctx, d.desks[name])
		if err != nil {
			d.log.WithError(err).WithField("repo", name).Warn("its calendars cannot be read now")
			continue
		}
		if h == nil {
			continue
		}
		last, err := d.parts.ledger.ScheduleState(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, r := range sortedRecipes(h.set) {
			if r.Schedule == nil {
				continue
			}
			if _, known := last[r.Name]; !known {
				if last[r.Name], err = d.firstSight(ctx, h, r.Name); err != nil {
					return nil, err
				}
			}
			out = append(out, calendar.Entry{
				ID:       entryID(name, r.Name),
				Schedule: calendar.Schedule{Cron: r.Schedule.Cron, Timezone: r.Schedule.Timezone},
				LastRun:  last[r.Name],
			})
		}
	}
	return out, nil
}

// firstSight notes when a schedule was first seen: it counts from then on, also
// over restarts that come more often than it is due.
func (d *daemon) firstSight(ctx context.Context, h *head, name string) (time.Time, error) {
	now := time.Now()
	_, err := d.parts.ledger.Request(ctx, ledger.Request{
		Source:   ledger.Source{Repository: h.desk.name, CodeHost: h.desk.codeHost, Ref: h.desk.branch, Commit: h.commit},
		Schedule: &ledger.ScheduleRun{Recipe: name, At: now},
	})
	if errors.Is(err, ledger.ErrConflict) {
		err = nil // another daemon saw it first, a moment ago
	}
	return now, err
}

// entryID names a schedule. No name contains a zero byte.
func entryID(repository, recipe string) string { return repository + "\x00" + recipe }

// fire runs a schedule that is due: it asks for a build, unless the recipe wants
// one only after a dependency moved and none has.
func (d *daemon) fire(ctx context.Context, e calendar.Entry, at time.Time) error {
	repository, name, _ := strings.Cut(e.ID, "\x00")
	k := d.desks[repository]
	h, err := d.head(ctx, k)
	if err != nil {
		return err
	}
	if h == nil || h.set.Recipes[name] == nil {
		return nil // it went while it was due
	}
	r := h.set.Recipes[name]
	log := d.log.WithFields(logrus.Fields{"repo": repository, "recipe": name, "due": at})
	req := ledger.Request{
		Source:   ledger.Source{Repository: repository, CodeHost: k.codeHost, Ref: k.branch, Commit: h.commit},
		Schedule: &ledger.ScheduleRun{Recipe: name, At: time.Now()},
	}
	if info, err := k.mirror.Commit(ctx, h.commit); err == nil {
		req.Title, req.Author = info.Title, info.Author
	}
	why, err := d.scheduleReason(ctx, k, r)
	if err != nil {
		return err
	}
	if why != "" {
		req.Builds = []ledger.NewBuild{{
			Recipe: r.Name, RecipePath: r.Path, Version: r.Version.String(), PreviousVersion: r.Version.String(),
			Trigger: reporter.Schedule, Release: true, Action: reporter.ActionBuild, Why: []string{why}, Fresh: true,
		}}
	}
	if _, err := d.parts.ledger.Request(ctx, req); err != nil {
		return err
	}
	log.WithField("builds", why != "").Info("calendar fired")
	return nil
}

// scheduleReason says why a due schedule builds; empty: it does not.
func (d *daemon) scheduleReason(ctx context.Context, k *desk, r *recipe.Recipe) (string, error) {
	if r.Schedule.StartCondition == recipe.Always {
		return "its calendar is due", nil
	}
	built, err := d.parts.ledger.DependencyState(ctx, k.name)
	if err != nil {
		return "", err
	}
	now, err := d.revision(ctx, r)
	if err != nil {
		return "", err
	}
	was, ever := built[r.Name]
	switch {
	case !ever:
		return "its calendar is due, and it was never released", nil
	case was != now:
		return fmt.Sprintf("its calendar is due, and its parent image %s moved", r.Parent.Text), nil
	default:
		return "", nil
	}
}

// revision is what a parent stands for right now, in the words of Base.Revision.
func (d *daemon) revision(ctx context.Context, r *recipe.Recipe) (string, error) {
	p := r.Parent
	if p.Kind != recipe.ParentRecipe {
		driver, err := d.parts.driverOf(r)
		if err != nil {
			return "", err
		}
		return driver.Revision(ctx, p)
	}
	releases, err := d.parts.ledger.Releases(ctx, p.Name, 200)
	if err != nil {
		return "", err
	}
	img, err := d.parts.parentFor(ctx, r, newestRelease(releases, p.Version))
	if img == nil || err != nil {
		return "", err
	}
	return img.Digest, nil
}

// watchApprovals looks now and then whether commits of forks that wait have been
// approved.
func (d *daemon) watchApprovals(ctx context.Context) error {
	tick := time.NewTicker(approvalInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, k := range d.desks {
				if err := k.approveWaiting(ctx); err != nil && ctx.Err() == nil {
					k.log.WithError(err).Warn("approvals could not be asked for")
				}
			}
		}
	}
}

const approvalInterval = 15 * time.Second

// approveWaiting releases the builds of commits that somebody has approved since.
func (d *desk) approveWaiting(ctx context.Context) error {
	if d.approvals == nil {
		return nil
	}
	waiting, err := d.ledger.Builds(ctx, ledger.Filter{Repository: d.name, State: reporter.Approval})
	if err != nil {
		return err
	}
	type head struct {
		pullRequest int
		commit      string
	}
	asked := make(map[head]bool)
	for _, b := range waiting {
		h := head{b.PullRequest, b.Commit}
		if asked[h] {
			continue
		}
		asked[h] = true
		by, ok, err := d.approvals.Approved(ctx, b.PullRequest, b.Commit)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if _, err := d.ledger.Approve(ctx, d.name, b.PullRequest, b.Commit, by); err != nil {
			return err
		}
		d.log.WithFields(logrus.Fields{"pullRequest": b.PullRequest, "commit": b.Commit, "by": by}).Info("fork approved")
	}
	return nil
}
