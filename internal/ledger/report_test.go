package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

// codeHost is a code host that fails as long as it is told to, and remembers in
// which order it was told what.
type codeHost struct {
	l *ledger.Ledger

	mu    sync.Mutex
	fail  error
	tries int
	told  []string
}

func (h *codeHost) report(ctx context.Context, r ledger.Report) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries++
	if h.fail != nil {
		return "", h.fail
	}
	if r.Kind == ledger.CommentReport {
		h.told = append(h.told, fmt.Sprintf("comment %d id=%q", r.PullRequest, r.ExternalID))
		return "c1", nil
	}
	b, err := h.l.Build(ctx, r.Build)
	if err != nil {
		return "", err
	}
	h.told = append(h.told, r.Recipe+" "+string(b.State))
	return "", nil
}

func (h *codeHost) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

func (h *codeHost) seen() (told []string, tries int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told), h.tries
}

func reportsWaiting(t *testing.T, l *ledger.Ledger) int {
	t.Helper()
	c, err := l.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.ReportsWaiting
}

func TestReportsTellPendingThenTheEnd(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		h := &codeHost{l: l}
		pending := make(chan struct{})
		start(t, l, ledger.Workers{Report: h.report, Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			<-pending
			return succeed(ctx, b)
		}})
		ids := accept(t, l, ledger.Acceptance{Source: pullRequest(1), Builds: []ledger.NewBuild{building("web")}})
		eventually(t, "pending is told", func() bool { return reportsWaiting(t, l) == 0 })
		close(pending)
		final(t, l, ids[0])
		eventually(t, "the end is told", func() bool { return reportsWaiting(t, l) == 0 })

		told, _ := h.seen()
		if first := slices.Index(told, "web succeeded"); first < 1 || slices.Contains(told[first:], "web queued") {
			t.Errorf("told %q", told)
		}
		if !slices.Contains(told, `comment 7 id=""`) || !slices.Contains(told, `comment 7 id="c1"`) {
			t.Errorf("the comment's id did not come back: %q", told)
		}
	})
}

func TestReportsOutliveACodeHostThatIsDown(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		h := &codeHost{l: l, fail: errors.New("connection refused")}
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		start(t, l, ledger.Workers{Report: h.report, Build: succeed})
		final(t, l, ids[0])
		eventually(t, "several tries", func() bool { _, tries := h.seen(); return tries >= 3 })
		c, err := l.Counts(t.Context())
		if err != nil || c.ReportsWaiting != 1 || c.ReportsFailing != 1 {
			t.Errorf("counts %+v, %v; want 1 report waiting and failing", c, err)
		}
		h.set(nil)
		eventually(t, "the report arrives", func() bool { return reportsWaiting(t, l) == 0 })
		if told, _ := h.seen(); !slices.Equal(told, []string{"web succeeded"}) {
			t.Errorf("told %q, want the newest state only", told)
		}
	})
}

func TestReportTouchedWhileItIsDeliveredIsDeliveredAgain(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		first := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		rendered, touched := make(chan struct{}), make(chan struct{})
		var once sync.Once
		h := &codeHost{l: l}
		start(t, l, ledger.Workers{Build: succeed, MaxBuilds: 1, Report: func(ctx context.Context, r ledger.Report) (string, error) {
			answer, err := h.report(ctx, r)
			once.Do(func() {
				close(rendered)
				<-touched
			})
			return answer, err
		}})
		<-rendered
		again, err := l.Request(t.Context(), ledger.Request{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		if err != nil {
			t.Fatal(err)
		}
		final(t, l, first[0])
		final(t, l, again[0])
		close(touched)
		eventually(t, "told again", func() bool { return reportsWaiting(t, l) == 0 })
		if told, _ := h.seen(); len(told) < 2 || told[len(told)-1] != "web succeeded" {
			t.Errorf("told %q", told)
		}
	})
}

type refused struct{}

func (refused) Error() string   { return "404 not found" }
func (refused) Permanent() bool { return true }

type busy struct{ after time.Duration }

func (busy) Error() string               { return "rate limit" }
func (b busy) RetryAfter() time.Duration { return b.after }

func TestReportThatIsRefusedForGoodEnds(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		h := &codeHost{l: l, fail: fmt.Errorf("set status: %w", refused{})}
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		start(t, l, ledger.Workers{Report: h.report, Build: succeed})
		final(t, l, ids[0])
		eventually(t, "it is given up", func() bool { return reportsWaiting(t, l) == 0 })
		_, before := h.seen()
		h.set(nil)
		again, err := l.Request(t.Context(), ledger.Request{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		if err != nil {
			t.Fatal(err)
		}
		final(t, l, again[0])
		eventually(t, "the next state is tried", func() bool { return reportsWaiting(t, l) == 0 })
		if told, tries := h.seen(); before > 2 || tries <= before || len(told) == 0 {
			t.Errorf("%d tries before, %d after, told %q", before, tries, told)
		}
	})
}

func TestReportComesBackWhenTheCodeHostSaysSo(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open(func(o *ledger.Options) { o.RetryReport = time.Hour })
		h := &codeHost{l: l, fail: busy{time.Millisecond}}
		start(t, l, ledger.Workers{Report: h.report, Build: succeed})
		accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		eventually(t, "several tries within the hour", func() bool { _, tries := h.seen(); return tries >= 3 })
		h.set(nil)
		eventually(t, "told", func() bool { return reportsWaiting(t, l) == 0 })
	})
}

func TestStopLetsReportsGoOut(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		h := &codeHost{l: l}
		var recipes []ledger.NewBuild
		for i := range 30 {
			recipes = append(recipes, building(fmt.Sprintf("r%d", i)))
		}
		began := make(chan struct{})
		var once sync.Once
		start(t, l, ledger.Workers{Report: h.report, Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			once.Do(func() { close(began) })
			<-ctx.Done()
			return ledger.Outcome{}, context.Cause(ctx)
		}})
		accept(t, l, ledger.Acceptance{Source: source(1), Builds: recipes})
		<-began
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if told, _ := h.seen(); len(told) < 30 || reportsWaiting(t, l) != 0 {
			t.Errorf("%d reports told, %d wait", len(told), reportsWaiting(t, l))
		}
	})
}

func TestStopCancelsADeliveryThatHangs(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open(func(o *ledger.Options) { o.Drain = 50 * time.Millisecond })
		hanging := make(chan struct{})
		var once sync.Once
		start(t, l, ledger.Workers{Build: succeed, Report: func(ctx context.Context, _ ledger.Report) (string, error) {
			once.Do(func() { close(hanging) })
			<-ctx.Done()
			return "", ctx.Err()
		}})
		accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})
		<-hanging
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		h := &codeHost{l: l}
		start(t, l, ledger.Workers{Build: succeed, Report: h.report})
		eventually(t, "the report is told after the restart", func() bool { return reportsWaiting(t, l) == 0 })
	})
}

func TestNoCodeHostNoReports(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	s := pullRequest(1)
	s.CodeHost = ""
	accept(t, l, ledger.Acceptance{Source: s, Builds: []ledger.NewBuild{building("web")}})
	if n := reportsWaiting(t, l); n != 0 {
		t.Errorf("%d reports", n)
	}
}

func TestPullRequestWithoutBuildsGetsNoComment(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		accept(t, l, ledger.Acceptance{Source: pullRequest(1)})
		if n := reportsWaiting(t, l); n != 0 {
			t.Errorf("%d reports for nothing", n)
		}
		accept(t, l, ledger.Acceptance{Source: pullRequest(2), Old: commit(1), Builds: []ledger.NewBuild{building("web")}})
		start(t, l, ledger.Workers{Build: succeed})
		eventually(t, "told", func() bool { return reportsWaiting(t, l) == 0 })
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		accept(t, l, ledger.Acceptance{Source: pullRequest(3), Old: commit(2)})
		if n := reportsWaiting(t, l); n != 1 {
			t.Errorf("%d reports, want the comment that nothing is left", n)
		}
		builds, head, err := l.PullRequestBuilds(t.Context(), "golden", 7)
		if err != nil || len(builds) != 0 || head != commit(3) {
			t.Errorf("%d builds at %s, %v", len(builds), head, err)
		}
	})
}

// TestKeptNoMoreIsTold has an ended build say that its instance is gone, once it said
// that there is one, and the comment of its pull request told again.
func TestKeptNoMoreIsTold(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		h := &codeHost{l: l}
		until := time.Now().Add(time.Hour).UTC()
		start(t, l, ledger.Workers{Report: h.report, Build: func(_ context.Context, b reporter.Build) (ledger.Outcome, error) {
			o := ledger.Outcome{State: reporter.Failed, Failure: &reporter.Failure{Reason: "exit status 1"}}
			if b.Recipe == "kept" {
				o.Failure.Kept = &reporter.Kept{Until: until, Exec: "ingot exec 1 -- COMMAND"}
			}
			return o, nil
		}})
		ids := accept(t, l, ledger.Acceptance{Source: pullRequest(1), Builds: []ledger.NewBuild{building("kept"), building("other")}})
		for _, id := range ids {
			final(t, l, id)
		}
		eventually(t, "the failures are told", func() bool { return reportsWaiting(t, l) == 0 })
		before, _ := h.seen()
		for _, id := range append(ids, 999) {
			if err := l.NotKept(t.Context(), id, "gone"); err != nil {
				t.Fatal(err)
			}
		}
		if f := get(t, l, ids[0]).Failure; f == nil || f.Kept != nil || f.NotKept != "gone" || f.Reason != "exit status 1" {
			t.Errorf("its failure is %+v", f)
		}
		if f := get(t, l, ids[1]).Failure; f == nil || f.NotKept != "" {
			t.Errorf("that of the other build is %+v", f)
		}
		eventually(t, "it is told", func() bool { return reportsWaiting(t, l) == 0 })
		if told, _ := h.seen(); !slices.Equal(told[len(before):], []string{`comment 7 id="c1"`}) {
			t.Errorf("told %q after %q", told[len(before):], before)
		}
	})
}
