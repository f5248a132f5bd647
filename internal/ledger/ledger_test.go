package ledger_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		os.Exit(child())
	}
	// Tests that are parallel wait more than they work: for retries, leases, another leader.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(ledgertest.Main(m))
}

type opener = func(...func(*ledger.Options)) *ledger.Ledger

// commit makes a full object name that is easy to read.
func commit(n int) string { return fmt.Sprintf("%040d", n) }

// source is a commit of the branch main of a repository with a code host.
func source(n int) ledger.Source {
	return ledger.Source{
		Repository: "golden", CodeHost: "acme/golden", Ref: "refs/heads/main", Commit: commit(n),
		Title: "Change nginx", Author: "Ada",
	}
}

func pullRequest(n int) ledger.Source {
	s := source(n)
	s.Ref, s.PullRequest = "refs/pull/7/head", 7
	return s
}

// building is a release build of a recipe.
func building(recipe string) ledger.NewBuild {
	return ledger.NewBuild{
		Recipe: recipe, RecipePath: "recipes/" + recipe + ".yaml", Version: "1.0.0",
		Trigger: reporter.Push, Release: true, Action: reporter.ActionBuild, Why: []string{recipe + " is new"},
	}
}

func accept(t testing.TB, l *ledger.Ledger, a ledger.Acceptance) []int64 {
	t.Helper()
	ids, err := l.Accept(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func imageOf(build int64, recipe string) *builder.Image {
	id := fmt.Sprintf("img-%d", build)
	return &builder.Image{
		ID: id, Key: "key-" + recipe, Driver: "local", Ref: "/images/" + id, Digest: "sha256:" + id,
		Size: 640 << 20, Virtual: 2 << 30, Revision: "r1", Created: time.UnixMilli(1_700_000_000_000),
		Inventory: builder.Inventory{OS: "Debian 12", Packages: []builder.Package{{Name: "nginx", Version: "1.22"}}},
	}
}

// succeed is a Build function that makes an image at once.
func succeed(_ context.Context, b reporter.Build) (ledger.Outcome, error) {
	return ledger.Outcome{Image: imageOf(b.ID, b.Recipe), Tests: []reporter.Test{{Name: "boot", State: "succeeded"}}}, nil
}

// swallow is a Report function of a code host that takes everything.
func swallow(context.Context, ledger.Report) (string, error) { return "", nil }

func start(t testing.TB, l *ledger.Ledger, w ledger.Workers) {
	t.Helper()
	if w.Report == nil {
		w.Report = swallow
	}
	if w.MaxBuilds == 0 {
		w.MaxBuilds = 2
	}
	if err := l.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// final waits until a build has ended.
func final(t testing.TB, l *ledger.Ledger, id int64) reporter.Build {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	for _, err := range l.Follow(ctx, id, 0) {
		if err != nil {
			t.Fatalf("build %d: %v", id, err)
		}
	}
	return get(t, l, id)
}

func get(t testing.TB, l *ledger.Ledger, id int64) reporter.Build {
	t.Helper()
	b, err := l.Build(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantState(t testing.TB, l *ledger.Ledger, id int64, want reporter.State) {
	t.Helper()
	if b := get(t, l, id); b.State != want {
		t.Errorf("build %d of %s is %s, want %s", id, b.Recipe, b.State, want)
	}
}

// patience is far more than anything here takes, also on a machine with other work.
const patience = 5 * time.Minute

// eventually waits for something that has no event of its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func TestAcceptedBuildRunsToItsImage(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		start(t, l, ledger.Workers{Build: succeed})
		b := final(t, l, ids[0])

		if b.State != reporter.Succeeded || b.Number != 1 || b.Started.IsZero() || b.Finished.Before(b.Started) {
			t.Errorf("got %+v", b)
		}
		if b.Image == nil || b.Image.Name != "web/1.0.0/1" || len(b.Image.Packages) != 1 || b.Image.OS != "Debian 12" {
			t.Errorf("image %+v", b.Image)
		}
		if len(b.Tests) != 1 || b.Why[0] != "web is new" || b.Title != "Change nginx" {
			t.Errorf("tests %v, why %v, title %q", b.Tests, b.Why, b.Title)
		}
		heads, err := l.Heads(t.Context(), "golden")
		if err != nil || len(heads) != 1 || heads["refs/heads/main"] != commit(1) {
			t.Errorf("heads %v, %v", heads, err)
		}
	})
}

func TestAcceptRefusesAHeadThatMovedMeanwhile(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		accept(t, l, ledger.Acceptance{Source: source(1)})
		for _, old := range []string{"", commit(9)} {
			_, err := l.Accept(t.Context(), ledger.Acceptance{Source: source(2), Old: old, Builds: []ledger.NewBuild{building("web")}})
			if !errors.Is(err, ledger.ErrConflict) {
				t.Errorf("from %q: %v, want ErrConflict", old, err)
			}
		}
		if builds, err := l.Builds(t.Context(), ledger.Filter{}); err != nil || len(builds) != 0 {
			t.Errorf("%d builds, %v; want none", len(builds), err)
		}
		accept(t, l, ledger.Acceptance{Source: source(2), Old: commit(1)})
	})
}

func TestOneOfManyAcceptsTheSameChange(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		daemons := []*ledger.Ledger{open(), open(), open()}
		errs := make([]error, len(daemons))
		var wg sync.WaitGroup
		for i, l := range daemons {
			wg.Go(func() {
				_, errs[i] = l.Accept(t.Context(), ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
			})
		}
		wg.Wait()
		conflicts := 0
		for _, err := range errs {
			switch {
			case errors.Is(err, ledger.ErrConflict):
				conflicts++
			case err != nil:
				t.Error(err)
			}
		}
		builds, err := daemons[0].Builds(t.Context(), ledger.Filter{})
		if conflicts != 2 || len(builds) != 1 || err != nil {
			t.Errorf("%d conflicts and %d builds, %v; want 2 and 1", conflicts, len(builds), err)
		}
	})
}

func TestAcceptRefusesBuildsThatWouldWaitForEver(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	after := func(recipe, parent string) ledger.NewBuild {
		b := building(recipe)
		b.After = parent
		return b
	}
	for name, builds := range map[string][]ledger.NewBuild{
		"unknown parent":  {after("web", "base")},
		"its own parent":  {after("web", "web")},
		"cycle":           {after("a", "b"), after("b", "c"), after("c", "a")},
		"the same twice":  {building("web"), building("web")},
		"wrong beginning": {{Recipe: "web", State: reporter.Running}},
	} {
		if _, err := l.Accept(t.Context(), ledger.Acceptance{Source: source(1), Builds: builds}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if heads, err := l.Heads(t.Context(), "golden"); err != nil || len(heads) != 0 {
		t.Errorf("heads %v, %v; want none", heads, err)
	}
}

func TestNewerCommitSupersedesWhatHasNotStarted(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		child := building("child")
		child.After = "web"
		first := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web"), building("other"), child}})
		again := building("web")
		again.Action = reporter.ActionTest
		second := accept(t, l, ledger.Acceptance{Source: source(2), Old: commit(1), Builds: []ledger.NewBuild{again}})

		wantState(t, l, first[0], reporter.Superseded)
		wantState(t, l, first[1], reporter.Queued)
		if b := get(t, l, second[0]); b.Action != reporter.ActionBuild {
			t.Errorf("the newer build would %s an image that was never built", b.Action)
		}
		var mu sync.Mutex
		var ran []int64
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, b.ID)
			return succeed(ctx, b)
		}})
		final(t, l, first[1])
		final(t, l, second[0])
		final(t, l, first[2]) // waits for the newer build of its parent
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(ran)
		if !slices.Equal(ran, []int64{first[1], first[2], second[0]}) {
			t.Errorf("ran %v", ran)
		}
	})
}

func TestRebuildOfAnOldCommitSupersedesNothingNewer(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		pushed := accept(t, l, ledger.Acceptance{Source: source(2), Builds: []ledger.NewBuild{building("web")}})
		var asked [2][]int64
		for i := range asked {
			var err error
			if asked[i], err = l.Request(t.Context(), ledger.Request{Source: source(1), Builds: []ledger.NewBuild{building("web")}}); err != nil {
				t.Fatal(err)
			}
		}
		wantState(t, l, pushed[0], reporter.Queued)
		wantState(t, l, asked[0][0], reporter.Superseded)
		wantState(t, l, asked[1][0], reporter.Queued)
	})
}

func TestDeletedRefCancelsWhatHasNotStarted(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		ids := accept(t, l, ledger.Acceptance{Source: pullRequest(1), Builds: []ledger.NewBuild{building("web")}})
		gone := pullRequest(0)
		accept(t, l, ledger.Acceptance{Source: gone, Old: commit(1), Deleted: true})
		b := get(t, l, ids[0])
		if b.State != reporter.Cancelled || b.Failure.Reason != "refs/pull/7/head was deleted" {
			t.Errorf("got %s, %+v", b.State, b.Failure)
		}
		if heads, err := l.Heads(t.Context(), "golden"); err != nil || len(heads) != 0 {
			t.Errorf("heads %v, %v", heads, err)
		}
	})
}

func TestDependentsFollowTheirParent(t *testing.T) {
	chain := func() []ledger.NewBuild {
		middle, leaf := building("middle"), building("leaf")
		middle.After, leaf.After = "base", "middle"
		return []ledger.NewBuild{leaf, middle, building("base")} // in no helpful order
	}
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		for _, c := range []struct {
			name string
			err  error
			base reporter.State
			leaf reporter.State
		}{
			{"success", nil, reporter.Succeeded, reporter.Succeeded},
			{"recipe", &builder.Error{Fault: builder.Author, Stage: builder.StageBuild, Name: "nginx", Reason: "exit status 100"}, reporter.Failed, reporter.Failed},
			{"ours", errors.New("disk full"), reporter.Errored, reporter.Errored},
		} {
			t.Run(c.name, func(t *testing.T) {
				l := open()
				s := source(1)
				s.Repository = c.name
				ids := accept(t, l, ledger.Acceptance{Source: s, Builds: chain()})
				wantState(t, l, ids[0], reporter.Waiting)
				wantState(t, l, ids[1], reporter.Waiting)
				var mu sync.Mutex
				var order []string
				start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, b.Recipe)
					if c.err != nil {
						return ledger.Outcome{}, c.err
					}
					return succeed(ctx, b)
				}})
				leaf := final(t, l, ids[0])
				if err := l.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantState(t, l, ids[2], c.base)
				wantState(t, l, ids[1], c.leaf)
				wantState(t, l, ids[0], c.leaf)
				if c.err == nil {
					if !slices.Equal(order, []string{"base", "middle", "leaf"}) {
						t.Errorf("order %v", order)
					}
				} else if want := fmt.Sprintf("build %d", ids[1]); !strings.Contains(leaf.Failure.Reason, want) {
					t.Errorf("reason %q does not name %s", leaf.Failure.Reason, want)
				}
			})
		}
	})
}

func TestEstimateIsKept(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		costly := building("cloud")
		costly.Estimate = "about 8 minutes and $0.01"
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{costly, building("web")}})
		if a, b := get(t, l, ids[0]).Estimate, get(t, l, ids[1]).Estimate; a != costly.Estimate || b != "" {
			t.Errorf("estimates %q and %q", a, b)
		}
	})
}

func TestBrokenDocumentsFailAtOnceWithWhatHangsOnThem(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		broken, child := building("base"), building("web")
		broken.State, broken.Action = reporter.Failed, reporter.ActionCheck
		broken.Findings = []reporter.Finding{{File: "recipes/base.yaml", Line: 3, Message: "unknown key \x00\xff", Blocking: true}}
		broken.Failure = &reporter.Failure{Reason: "1 problem in recipes/base.yaml"}
		child.After = "base"
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{broken, child}})
		b := get(t, l, ids[0])
		if b.State != reporter.Failed || b.Finished.IsZero() || len(b.Findings) != 1 || b.Findings[0].Line != 3 {
			t.Errorf("got %+v", b)
		}
		wantState(t, l, ids[1], reporter.Failed)
	})
}

func TestForkWaitsForApprovalOfThatCommit(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		fork, child := building("base"), building("web")
		fork.State, child.State, child.After = reporter.Approval, reporter.Approval, "base"
		s := pullRequest(1)
		s.Fork = true
		ids := accept(t, l, ledger.Acceptance{Source: s, Builds: []ledger.NewBuild{fork, child}})
		start(t, l, ledger.Workers{Build: succeed})

		if n, err := l.Approve(t.Context(), "golden", 7, commit(2), "grace"); n != 0 || err != nil {
			t.Errorf("another commit: %d, %v", n, err)
		}
		wantState(t, l, ids[0], reporter.Approval)
		if n, err := l.Approve(t.Context(), "golden", 7, commit(1), "grace"); n != 2 || err != nil {
			t.Errorf("approved %d, %v; want 2", n, err)
		}
		if b := final(t, l, ids[1]); b.State != reporter.Succeeded {
			t.Errorf("got %s", b.State)
		}
		if n, err := l.Approve(t.Context(), "golden", 7, commit(1), "grace"); n != 0 || err != nil {
			t.Errorf("a second time: %d, %v", n, err)
		}
	})
}

func TestCancel(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l, other := open(), open() // other stands for another process: it has no worker
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("queued")}})
		if err := l.Cancel(t.Context(), ids[0]); err != nil {
			t.Fatal(err)
		}
		wantState(t, l, ids[0], reporter.Cancelled)
		if err := l.Cancel(t.Context(), ids[0]); !errors.Is(err, ledger.ErrFinal) {
			t.Errorf("a second time: %v, want ErrFinal", err)
		}
		if err := l.Cancel(t.Context(), 999); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("of nothing: %v, want ErrNotFound", err)
		}

		began := make(chan int64)
		causes := make(chan error, 2)
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			began <- b.ID
			<-ctx.Done()
			causes <- context.Cause(ctx)
			if b.Commit == commit(3) { // a step that was killed looks like the author's fault
				return ledger.Outcome{State: reporter.Failed, Failure: &reporter.Failure{Reason: "signal: killed"}}, nil
			}
			return ledger.Outcome{}, ctx.Err()
		}})
		for i, by := range []*ledger.Ledger{l, other} {
			ids := accept(t, l, ledger.Acceptance{Source: source(i + 2), Old: commit(i + 1), Builds: []ledger.NewBuild{building("running")}})
			id := <-began
			if id != ids[0] {
				t.Fatalf("build %d began, want %d", id, ids[0])
			}
			if err := by.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if cause := <-causes; !errors.Is(cause, ledger.ErrCancelled) {
				t.Errorf("cause %v", cause)
			}
			if b := final(t, l, id); b.State != reporter.Cancelled {
				t.Errorf("got %s", b.State)
			}
		}
	})
}

func TestTransientFaultsAreTriedAgainAndNoOthers(t *testing.T) {
	t.Parallel()
	transient := &builder.Error{Fault: builder.Transient, Reason: "the mirror does not answer"}
	for _, c := range []struct {
		name     string
		failures int
		err      error
		panics   bool
		want     reporter.State
		runs     int
	}{
		{"passes", 2, transient, false, reporter.Succeeded, 3},
		{"stays", 9, transient, false, reporter.Errored, 4},
		{"author", 9, &builder.Error{Fault: builder.Author, Reason: "exit status 1"}, false, reporter.Failed, 1},
		{"ours", 9, errors.New("secret path"), false, reporter.Errored, 1},
		{"panic", 9, nil, true, reporter.Errored, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // a retry waits for River's scheduler
			ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
				l := open()
				ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
				runs := 0 // one build: its runs are one after the other
				start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
					runs++
					if runs > c.failures {
						return succeed(ctx, b)
					}
					if c.panics {
						panic("nil map")
					}
					return ledger.Outcome{}, c.err
				}})
				b := final(t, l, ids[0])
				if b.State != c.want || runs != c.runs {
					t.Errorf("%s after %d runs, want %s after %d", b.State, runs, c.want, c.runs)
				}
				if b.Failure != nil && strings.Contains(b.Failure.Reason, "secret") {
					t.Errorf("the cause has reached the author: %q", b.Failure.Reason)
				}
			})
		})
	}
}

func TestStopHandsRunningBuildsBack(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web"), building("next")}})
		began := make(chan struct{})
		start(t, l, ledger.Workers{MaxBuilds: 1, Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			close(began)
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), ledger.ErrStopping) {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			return ledger.Outcome{}, ctx.Err()
		}})
		<-began
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantState(t, l, ids[0], reporter.Queued)
		wantState(t, l, ids[1], reporter.Queued)
		start(t, l, ledger.Workers{Build: succeed})
		for _, id := range ids {
			if b := final(t, l, id); b.State != reporter.Succeeded {
				t.Errorf("got %s", b.State)
			}
		}
	})
}

func TestCancellationOutlivesAStop(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l, other := open(), open()
		id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		began := make(chan struct{})
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			close(began)
			<-ctx.Done()
			if err := other.Cancel(t.Context(), b.ID); err != nil { // too late for the watch
				t.Error(err)
			}
			return ledger.Outcome{}, ctx.Err()
		}})
		<-began
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantState(t, l, id, reporter.Cancelled)
	})
}

func TestStopDoesNotWaitForWhatDoesNotListen(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("deaf")}})
	began, release := make(chan struct{}), make(chan struct{})
	start(t, l, ledger.Workers{Build: func(context.Context, reporter.Build) (ledger.Outcome, error) {
		close(began)
		<-release
		return ledger.Outcome{}, errors.New("too late")
	}})
	<-began
	ctx, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer done()
	if err := l.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop: %v, want a deadline", err)
	}
	close(release)
	eventually(t, "the build is back in the queue", func() bool { return get(t, l, ids[0]).State == reporter.Queued })
}

func TestSecondProcessOfOneNameIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("waits 10 s for a predecessor to go")
	}
	t.Parallel()
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		start(t, open(), ledger.Workers{Build: succeed})
		err := open().Start(t.Context(), ledger.Workers{Build: succeed, Report: swallow})
		if err == nil || !strings.Contains(err.Error(), `"test" is in use`) {
			t.Errorf("Start: %v", err)
		}
	})
}

func TestTwoDaemonsShareTheWork(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		const builds = 40
		var mu sync.Mutex
		ran := make(map[int64]int)
		var daemons []*ledger.Ledger
		for _, name := range []string{"one", "two"} {
			l := open(func(o *ledger.Options) { o.WorkerID = name })
			daemons = append(daemons, l)
			start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				ran[b.ID]++
				return succeed(ctx, b)
			}})
		}
		var recipes []ledger.NewBuild
		for i := range builds {
			recipes = append(recipes, building(fmt.Sprintf("r%d", i)))
		}
		for _, id := range accept(t, daemons[0], ledger.Acceptance{Source: source(1), Builds: recipes}) {
			if b := final(t, daemons[1], id); b.State != reporter.Succeeded {
				t.Errorf("build %d: %s", id, b.State)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for id, n := range ran {
			if n != 1 {
				t.Errorf("build %d ran %d times", id, n)
			}
		}
		if len(ran) != builds {
			t.Errorf("%d builds ran, want %d", len(ran), builds)
		}
	})
}

func TestReleaseNumbersCountPerRecipeAndVersion(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		start(t, l, ledger.Workers{Build: succeed, MaxBuilds: 4})
		for n := range 3 {
			b := building("web")
			if n == 2 {
				b.Version = "1.1.0"
			}
			candidate := building("web2")
			candidate.Release = false
			ids := accept(t, l, ledger.Acceptance{Source: source(n + 1), Old: oldCommit(n), Builds: []ledger.NewBuild{b, candidate}})
			got := final(t, l, ids[0])
			if want := [][2]any{{"1.0.0", 1}, {"1.0.0", 2}, {"1.1.0", 1}}[n]; got.Version != want[0] || got.Number != want[1] {
				t.Errorf("%s/%d, want %v", got.Version, got.Number, want)
			}
			if previous := []string{"", "web/1.0.0/1", "web/1.0.0/2"}[n]; previous != nameOf(got.PreviousImage) {
				t.Errorf("previous image %q, want %q", nameOf(got.PreviousImage), previous)
			}
			if c := final(t, l, ids[1]); c.Number != 0 || c.Image.Name != "" {
				t.Errorf("the candidate has the number %d", c.Number)
			}
		}
		released, err := l.Released(t.Context(), "golden")
		if err != nil || len(released) != 1 || released["web"] != "1.1.0" {
			t.Errorf("released %v, %v", released, err)
		}
		for recipe, want := range map[string]string{"web": "1.1.0", "web2": "", "other": ""} {
			if version, err := l.ReleasedVersion(t.Context(), "golden", recipe); err != nil || version != want {
				t.Errorf("released %s: %q, %v, want %q", recipe, version, err, want)
			}
		}
		releases, err := l.Releases(t.Context(), "web", 10)
		if err != nil || len(releases) != 3 || releases[0].Version != "1.1.0" || releases[0].Image.Inventory.OS != "Debian 12" {
			t.Errorf("releases %+v, %v", releases, err)
		}
		last, err := l.LastRelease(t.Context(), "golden", "web")
		if err != nil || nameOf(last) != "web/1.1.0/1" {
			t.Errorf("last release %+v, %v", last, err)
		}
	})
}

func oldCommit(n int) string {
	if n == 0 {
		return ""
	}
	return commit(n)
}

func nameOf(i *reporter.Image) string {
	if i == nil {
		return ""
	}
	return i.Name
}

func TestCalendarFiresOnce(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		due := time.UnixMilli(1_700_000_000_000)
		for i, c := range []struct {
			at   time.Time
			want error
		}{{due, nil}, {due, ledger.ErrConflict}, {due.Add(-time.Hour), ledger.ErrConflict}, {due.Add(time.Hour), nil}} {
			_, err := l.Request(t.Context(), ledger.Request{Source: source(1), Schedule: &ledger.ScheduleRun{Recipe: "web", At: c.at}})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%d: %v, want %v", i, err, c.want)
			}
		}
		last, err := l.ScheduleState(t.Context(), "golden")
		if err != nil || !last["web"].Equal(due.Add(time.Hour)) {
			t.Errorf("last run %v, %v", last, err)
		}
	})
}
