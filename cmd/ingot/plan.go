package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
	"github.com/seed-6db18919/ingot/reporter"
	"github.com/seed-6db18919/ingot/watcher"
)

// approvals says whether somebody with write permission approved a commit of a fork.
type approvals interface {
	Approved(ctx context.Context, number int, commit string) (by string, ok bool, err error)
}

// desk turns the changes of one repository into what the ledger accepts: it is
// where a watcher.Change becomes builds.
type desk struct {
	name      string // of the repository in the configuration
	codeHost  string // owner/name; empty: nobody is told
	branch    string // refs/heads/…
	options   recipe.Options
	mirror    *watcher.Mirror
	ledger    *ledger.Ledger
	approvals approvals  // nil: forks are never built
	estimates *estimator // nil: nothing is built where it costs
	changed   func()     // called when the branch's calendars may have changed
	keep      config.Builds
	log       logrus.FieldLogger

	mu   sync.Mutex
	last []knownSet // the few that the next change is compared with, last used last
}

// knownSet is what the recipes of a commit are.
type knownSet struct {
	commit string
	set    *recipe.Set
}

// accept plans a change and records all that follows from it.
func (d *desk) accept(ctx context.Context, c watcher.Change) error {
	a, err := d.acceptance(ctx, c)
	if err != nil {
		return err
	}
	ids, err := d.ledger.Accept(ctx, a)
	if err != nil {
		return err
	}
	if c.Ref == d.branch {
		d.changed()
	}
	d.log.WithFields(logrus.Fields{"ref": c.Ref, "commit": c.New, "builds": len(ids)}).Info("change accepted")
	return nil
}

// acceptance is all that follows from a change. Nothing is recorded yet.
func (d *desk) acceptance(ctx context.Context, c watcher.Change) (ledger.Acceptance, error) {
	a := ledger.Acceptance{
		Source:  ledger.Source{Repository: d.name, CodeHost: d.codeHost, Ref: c.Ref, Commit: c.New},
		Old:     c.Old,
		Deleted: c.Deleted,
	}
	if c.PullRequest != nil {
		a.PullRequest, a.Fork = c.PullRequest.Number, c.PullRequest.Fork
	}
	if c.Deleted {
		return a, nil
	}
	info, err := d.mirror.Commit(ctx, c.New)
	if err != nil {
		return a, err
	}
	a.Title, a.Author = info.Title, info.Author
	if a.Builds, err = d.builds(ctx, c); err != nil {
		return a, fmt.Errorf("plan %s: %w", c.New, err)
	}
	return a, nil
}

// builds plans what a change asks for.
func (d *desk) builds(ctx context.Context, c watcher.Change) ([]ledger.NewBuild, error) {
	if c.PullRequest != nil && c.PullRequest.Fork && d.approvals == nil {
		return nil, nil
	}
	base, err := d.base(ctx, c)
	if err != nil {
		return nil, err
	}
	decisions, err := d.plan(ctx, base, c.New)
	if err != nil {
		return nil, err
	}
	state, err := d.admission(ctx, c)
	if err != nil {
		return nil, err
	}
	builds := newBuilds(decisions, keepsNone(d.keep))
	if err := d.estimates.tell(ctx, decisions, builds); err != nil {
		return nil, err
	}
	for i := range builds {
		b := &builds[i]
		b.Release, b.Trigger = true, reporter.Push
		if c.PullRequest != nil {
			b.Release, b.Trigger = false, reporter.PullRequest
		}
		if b.State == "" {
			b.State = state
		}
	}
	return builds, nil
}

// base is the commit that a change is compared with: of a branch what was
// accepted before, of a pull request where it left the branch.
func (d *desk) base(ctx context.Context, c watcher.Change) (string, error) {
	if c.PullRequest == nil {
		return c.Old, nil
	}
	heads, err := d.ledger.Heads(ctx, d.name)
	if err != nil {
		return "", err
	}
	head := heads[d.branch]
	if head == "" {
		return "", fmt.Errorf("%s is not known yet, and pull requests are compared with it", d.branch)
	}
	return d.mirror.MergeBase(ctx, head, c.New)
}

// admission is the state in which the builds of a change begin. Whoever can push
// a branch may have it built; a fork's commit needs somebody's approval first.
func (d *desk) admission(ctx context.Context, c watcher.Change) (reporter.State, error) {
	if c.PullRequest == nil || !c.PullRequest.Fork {
		return reporter.Queued, nil
	}
	by, ok, err := d.approvals.Approved(ctx, c.PullRequest.Number, c.New)
	if err != nil || !ok {
		// Not being able to ask is no reason to lose the change: it waits for approval.
		if err != nil {
			d.log.WithError(err).WithField("pullRequest", c.PullRequest.Number).Warn("approval could not be asked for; the commit waits")
		}
		return reporter.Approval, nil
	}
	d.log.WithFields(logrus.Fields{"pullRequest": c.PullRequest.Number, "commit": c.New, "by": by}).Info("fork approved")
	return reporter.Queued, nil
}

// plan compares two commits. An empty old one means that everything is new; so
// does one that is gone, which happens when history was rewritten.
func (d *desk) plan(ctx context.Context, old, now string) ([]recipe.Decision, error) {
	var before *recipe.Set
	var beforeTree *watcher.Tree
	if old != "" {
		tree, err := d.mirror.Tree(ctx, old)
		if err != nil {
			d.log.WithError(err).WithField("commit", old).Warn("the commit accepted before is gone; everything is planned anew")
		} else {
			beforeTree = tree
			if before, err = d.set(ctx, old, tree, nil, nil); err != nil {
				return nil, err
			}
		}
	}
	tree, err := d.mirror.Tree(ctx, now)
	if err != nil {
		return nil, err
	}
	after, err := d.set(ctx, now, tree, before, beforeTree)
	if err != nil {
		return nil, err
	}
	released := releases{ctx: ctx, ledger: d.ledger, repository: d.name}
	decisions := recipe.Plan(before, after, recipe.PlanOptions{Released: released.version})
	return decisions, released.err
}

// releases asks the ledger for the versions of released recipes: for the few that most
// changes are about one by one, for many all at once.
type releases struct {
	ctx        context.Context
	ledger     *ledger.Ledger
	repository string
	asked      int
	all        map[string]string
	err        error // the first
}

func (r *releases) version(name string) (recipe.Version, bool) {
	const few = 8
	if r.err != nil {
		return recipe.Version{}, false
	}
	var text string
	switch r.asked++; {
	case r.asked <= few:
		text, r.err = r.ledger.ReleasedVersion(r.ctx, r.repository, name)
	case r.all == nil:
		r.all, r.err = r.ledger.Released(r.ctx, r.repository)
		fallthrough
	default:
		text = r.all[name]
	}
	v, err := recipe.ParseVersion(text)
	return v, err == nil
}

// set reads the recipes of a commit, from what is known of a neighbour where
// there is one.
func (d *desk) set(ctx context.Context, commit string, tree *watcher.Tree, near *recipe.Set, nearTree *watcher.Tree) (*recipe.Set, error) {
	if known := d.known(commit); known != nil {
		return known, nil
	}
	var set *recipe.Set
	if near != nil {
		changed, err := watcher.Changed(ctx, nearTree, tree)
		if err != nil {
			return nil, err
		}
		if set, err = near.Update(ctx, tree, changed); err != nil {
			return nil, err
		}
	} else {
		var err error
		if set, err = recipe.Load(ctx, tree, d.options); err != nil {
			return nil, err
		}
	}
	d.remember(commit, set)
	return set, nil
}

// known returns the recipes of a commit if they are among those that are kept.
func (d *desk) known(commit string) *recipe.Set {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.last, func(k knownSet) bool { return k.commit == commit })
	if i < 0 {
		return nil
	}
	k := d.last[i]
	d.last = append(slices.Delete(d.last, i, i+1), k)
	return k.set
}

// remember keeps a few sets: the next change is compared with one of them. The branch
// that pull requests are compared with is used again and again, and so stays.
func (d *desk) remember(commit string, set *recipe.Set) {
	const few = 4
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.last) == few {
		d.last = slices.Delete(d.last, 0, 1)
	}
	d.last = append(d.last, knownSet{commit, set})
}

// newBuilds is what decisions ask for. A recipe has one status on a commit, so that
// documents which claim the same name share one build, which says so. neverKept is why
// this daemon keeps no instances, empty when it does.
func newBuilds(decisions []recipe.Decision, neverKept string) []ledger.NewBuild {
	var builds []ledger.NewBuild
	at := make(map[string]int)
	for _, decision := range decisions {
		b, ok := newBuild(decision, neverKept)
		if !ok {
			continue
		}
		i, twice := at[b.Recipe]
		if !twice {
			at[b.Recipe] = len(builds)
			builds = append(builds, b)
			continue
		}
		both := &builds[i]
		both.Why = append(both.Why, b.Why...)
		both.Findings = append(both.Findings, b.Findings...)
		if both.Failure == nil {
			both.Action, both.State, both.Failure = b.Action, b.State, b.Failure
		}
	}
	return builds
}

// newBuild is what a decision asks for; false: nothing.
func newBuild(decision recipe.Decision, neverKept string) (ledger.NewBuild, bool) {
	b := ledger.NewBuild{
		Recipe:     decision.Name,
		RecipePath: decision.Path,
		Why:        decision.Why,
		After:      decision.After,
		Findings:   findings(decision, neverKept),
	}
	if decision.Recipe != nil {
		b.Version = decision.Recipe.Version.String()
	}
	if decision.Old != nil {
		b.PreviousVersion = decision.Old.Version.String()
	}
	if b.Recipe == "" {
		b.Recipe = decision.Path
	}
	switch decision.Action {
	case recipe.ActionBuild:
		b.Action = reporter.ActionBuild
	case recipe.ActionTest:
		b.Action = reporter.ActionTest
	case recipe.ActionDistribute:
		b.Action = reporter.ActionDistribute
	case recipe.ActionCheck:
		b.Action = reporter.ActionCheck
		if b.Failure = checkFailure(b); b.Failure == nil {
			return b, false // a change of settings alone, and nothing is wrong with it
		}
		b.State = reporter.Failed
	default:
		return b, false
	}
	return b, true
}

// checkFailure sums up why documents are not built; nil: nothing keeps them from it.
func checkFailure(b ledger.NewBuild) *reporter.Failure {
	first := slices.IndexFunc(b.Findings, func(f reporter.Finding) bool { return f.Blocking })
	if first < 0 {
		return nil
	}
	return &reporter.Failure{
		Stage: "check", Name: b.RecipePath, Reason: b.Findings[first].Message,
		Hint: "correct the documents and push again", Replay: "ingot validate " + shellWord(b.RecipePath),
	}
}

// findings puts what is wrong and what is worth knowing into the reporter's words.
func findings(decision recipe.Decision, neverKept string) []reporter.Finding {
	var out []reporter.Finding
	add := func(p yamldoc.Problem, blocking bool) {
		out = append(out, reporter.Finding{
			File: p.File, Line: p.Line, Column: p.Column, Excerpt: p.Excerpt,
			Message: p.Message, Expected: p.Expected, Blocking: blocking,
		})
	}
	for _, p := range decision.Problems {
		add(p, true)
	}
	for _, f := range decision.Findings {
		add(f.Problem, f.Blocking)
	}
	if decision.Recipe != nil {
		for _, message := range notCarriedOut(decision.Recipe, neverKept) {
			add(yamldoc.Problem{File: decision.Path, Message: message}, false)
		}
	}
	return out
}

// notCarriedOut names what a recipe asks for and nobody does, so that nobody waits
// for it.
func notCarriedOut(r *recipe.Recipe, neverKept string) []string {
	var out []string
	if len(r.Exports) > 0 {
		out = append(out, "exports are checked, but not made by this daemon")
	}
	if len(r.Distribution) > 0 {
		out = append(out, "distribution is checked, but not carried out by this daemon")
	}
	if r.Infrastructure.KeepOnFailure && neverKept != "" {
		out = append(out, "keepOnFailure keeps no instance here: "+neverKept)
	}
	return out
}
