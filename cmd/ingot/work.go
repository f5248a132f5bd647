package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// workshop runs the builds that the ledger hands out.
type workshop struct {
	desks  map[string]*desk // by repository
	parts  *parts
	ledger *ledger.Ledger
	limit  time.Duration // that the operator sets to any build
	log    logrus.FieldLogger
}

// build is ledger.Workers.Build.
func (w *workshop) build(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
	log := w.log.WithFields(logrus.Fields{"build": b.ID, "repo": b.Repository, "ref": b.Ref, "commit": b.Commit, "recipe": b.Recipe})
	log.WithField("action", b.Action).Info("build started")
	req, err := w.request(ctx, b)
	if err != nil {
		return failed(b, nil, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.limit, &builder.Error{
		Reason: fmt.Sprintf("the build took longer than the %s that this daemon allows", w.limit),
		Hint:   "builds.timeoutMinutes in the daemon's configuration",
	})
	defer cancel()

	recorder := w.ledger.Recorder(context.WithoutCancel(ctx), b.ID)
	driver, err := w.parts.driverOf(req.Recipe)
	if err != nil {
		return failed(b, nil, err)
	}
	result, err := builder.New(driver, tests{w.ledger}).Build(ctx, req, recorder.Observe)
	err = errors.Join(err, recorder.Close())
	if kept := w.keep(context.WithoutCancel(ctx), b, result); kept != nil {
		err = errors.Join(err, kept)
	}
	if told := tellDisplaced(context.WithoutCancel(ctx), w.ledger, result.Displaced); told != nil {
		log.WithError(told).Error("builds whose kept instances were removed do not say so")
	}
	outcome, undecided := failed(b, &result, err)
	if undecided == nil && outcome.State == reporter.Errored {
		log.WithError(err).Error("build ended in an error") // its cause is for the operator alone
	}
	if undecided == nil {
		log.WithField("state", outcome.State).Info("build ended")
	}
	return outcome, undecided
}

// request puts together what the builder needs: the recipe as the commit has it,
// its files, and the image of the recipe that it stands on.
func (w *workshop) request(ctx context.Context, b reporter.Build) (builder.Request, error) {
	d := w.desks[b.Repository]
	if d == nil {
		return builder.Request{}, &builder.Error{Reason: "the repository " + b.Repository + " is not configured any more", Hint: "the operator can add it again"}
	}
	tree, err := d.mirror.Tree(ctx, b.Commit)
	if err != nil {
		return builder.Request{}, &builder.Error{Fault: builder.Transient, Reason: "commit " + b.Commit + " could not be read", Err: err}
	}
	set, err := d.set(ctx, b.Commit, tree, nil, nil)
	if err != nil {
		return builder.Request{}, &builder.Error{Fault: builder.Transient, Reason: "the recipes of commit " + b.Commit + " could not be read", Err: err}
	}
	r := set.Recipes[b.Recipe]
	if r == nil {
		return builder.Request{}, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve, Reason: "the recipe " + b.Recipe + " is not valid any more"}
	}
	req := builder.Request{Build: strconv.FormatInt(b.ID, 10), Recipe: r, Tree: tree, Release: b.Release, Publisher: w.parts.publisherOf(r)}
	req.Keep = keepOf(r, w.parts.keep, fmt.Sprintf("%s/%s@%s", b.Repository, b.Recipe, b.Ref))
	if b.Fork {
		if r.Infrastructure.Driver != w.parts.driver.Name() || r.Publish != nil {
			return builder.Request{}, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
				Reason: "commits of forks are built on this host alone, and published nowhere",
				Hint:   "someone with write permission can push the commit to a branch of the repository"}
		}
		req.Isolation = recipe.VM // a stranger's code gets a machine of its own
		if req.Keep.For > 0 {
			req.Keep = builder.Keep{Never: "of a fork's commit nothing lives on"}
		}
	}
	epoch, err := w.ledger.Epoch(ctx, b.ID)
	if err != nil {
		return builder.Request{}, err
	}
	req.Refresh = epoch == b.ID
	if epoch != 0 {
		req.Epoch = strconv.FormatInt(epoch, 10)
	}
	if r.Parent.Kind == recipe.ParentRecipe {
		parent, err := w.parent(ctx, b, r.Parent)
		if err != nil {
			return builder.Request{}, err
		}
		if req.Parent, err = w.parts.parentFor(ctx, r, parent); err != nil {
			return builder.Request{}, err
		}
	}
	return req, nil
}

// parent finds the image that stands for another recipe: the one of the build
// that this one waited for, or else the newest release that the pattern matches.
func (w *workshop) parent(ctx context.Context, b reporter.Build, p recipe.Parent) (*builder.Image, error) {
	if img, found, err := w.ledger.ParentImage(ctx, b.ID); err != nil || found {
		return &img, err
	}
	releases, err := w.ledger.Releases(ctx, p.Name, 200)
	if err != nil {
		return nil, err
	}
	if img := newestRelease(releases, p.Version); img != nil {
		return img, nil
	}
	return nil, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
		Reason: fmt.Sprintf("no release of %s matches %s", p.Name, p.Version),
		Hint:   "release the parent recipe first: merge it to the release branch"}
}

// newestRelease picks the newest version that matches, and of it the newest build.
func newestRelease(releases []ledger.Release, pattern string) *builder.Image {
	want, err := recipe.ParsePattern(pattern)
	if err != nil {
		return nil
	}
	var best *ledger.Release
	var newest recipe.Version
	for i, r := range releases {
		v, err := recipe.ParseVersion(r.Version)
		if err != nil || !want.Match(v) {
			continue
		}
		if best == nil || v.Compare(newest) > 0 || v == newest && r.Number > best.Number {
			best, newest = &releases[i], v
		}
	}
	if best == nil {
		return nil
	}
	return &best.Image
}

// keep records what a build made, also when it failed later: an image whose tests
// failed is not made again for the next try.
func (w *workshop) keep(ctx context.Context, b reporter.Build, result builder.Result) error {
	if result.Image != nil && !result.ImageReused {
		if err := w.ledger.SaveImage(ctx, b.ID, *result.Image); err != nil {
			return err
		}
	}
	if result.Published != nil {
		if err := w.ledger.SavePublished(ctx, b.ID, result.Image.ID, *result.Published); err != nil {
			return err
		}
	}
	if result.TestsReused || !result.Passed() {
		return nil
	}
	return w.ledger.SaveTests(ctx, result.Keys.Test, testsOf(result))
}

// failed turns the builder's outcome into the ledger's. An error that it returns
// is for the ledger to act on: interrupted, or to be tried again.
func failed(b reporter.Build, result *builder.Result, err error) (ledger.Outcome, error) {
	out := ledger.Outcome{State: reporter.Succeeded}
	if result != nil {
		out.Image, out.Tests = result.Image, testsOf(*result)
	}
	if err == nil {
		return out, nil
	}
	for _, cause := range []error{ledger.ErrStopping, ledger.ErrCancelled, ledger.ErrLost} {
		if errors.Is(err, cause) {
			return out, err
		}
	}
	out.Failure = failureOf(b, err)
	if result != nil {
		out.Failure.Kept, out.Failure.NotKept = keptOf(*result)
	}
	switch builder.FaultOf(err) {
	case builder.Author:
		out.State = reporter.Failed
	case builder.Transient:
		return out, err
	default:
		out.State = reporter.Errored
	}
	return out, nil
}

// failureOf is what the author is shown of an error. What is behind it is for the
// operator: a cause may name paths and hosts that are none of the author's business.
func failureOf(b reporter.Build, err error) *reporter.Failure {
	f := &reporter.Failure{Reason: "an internal error; the daemon's log has the details", Replay: replay(b)}
	var e *builder.Error
	if errors.As(err, &e) {
		f.Stage, f.Name, f.Step, f.Hint, f.Output = string(e.Stage), e.Name, e.Step, e.Hint, e.Output
		if e.Reason != "" {
			f.Reason = e.Reason
		}
	}
	return f
}

// replay is the command that does the same on the author's machine.
func replay(b reporter.Build) string {
	return fmt.Sprintf("git fetch origin %s && git checkout %s && ingot build %s", shellWord(b.Ref), shellWord(b.Commit), shellWord(b.RecipePath))
}

// shellWord quotes text for people to paste into a shell.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@+", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// tests is the builder's memory, kept by the ledger.
type tests struct{ ledger *ledger.Ledger }

func (t tests) TestsByKey(ctx context.Context, key string) ([]builder.TestResult, bool, error) {
	known, found, err := t.ledger.TestsByKey(ctx, key)
	if err != nil || !found {
		return nil, false, err
	}
	out := make([]builder.TestResult, len(known))
	for i, k := range known {
		out[i] = builder.TestResult{Name: k.Name, Status: component.Success, Message: k.Message, Steps: k.Steps, Elapsed: k.Duration, Scan: scanFrom(k.Scan)}
		if k.State == "skipped" {
			out[i].Status = component.Skipped
		}
	}
	return out, true, nil
}

// testsOf is the outcome of tests in the reporter's words.
func testsOf(result builder.Result) []reporter.Test {
	out := make([]reporter.Test, len(result.Tests))
	for i, t := range result.Tests {
		state := "succeeded"
		switch {
		case t.Status == component.Skipped:
			state = "skipped"
		case !t.Status.OK():
			state = "failed"
		}
		out[i] = reporter.Test{Name: t.Name, State: state, Message: t.Message, Steps: t.Steps, Duration: t.Elapsed, Reused: result.TestsReused, Scan: scanOf(t.Scan)}
	}
	return out
}

// scanOf is a scan in the reporter's words.
func scanOf(s *builder.Scan) *reporter.Scan {
	if s == nil {
		return nil
	}
	out := &reporter.Scan{Profile: s.Profile, Score: s.Score, Passed: s.Passed, Omitted: s.Omitted}
	for _, r := range s.Failed {
		out.Failed = append(out.Failed, reporter.Rule(r))
	}
	return out
}

// scanFrom is the way back.
func scanFrom(s *reporter.Scan) *builder.Scan {
	if s == nil {
		return nil
	}
	out := &builder.Scan{Profile: s.Profile, Score: s.Score, Passed: s.Passed, Omitted: s.Omitted}
	for _, r := range s.Failed {
		out.Failed = append(out.Failed, builder.Rule(r))
	}
	return out
}
