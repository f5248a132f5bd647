package ledger_test

import (
	"errors"
	"testing"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

func TestEpochIsTheLastFreshRelease(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		start(t, l, ledger.Workers{Build: succeed, MaxBuilds: 1})
		n := 0
		next := func(change func(*ledger.NewBuild)) int64 {
			b := building("web")
			change(&b)
			id := accept(t, l, ledger.Acceptance{Source: source(n + 1), Old: oldCommit(n), Builds: []ledger.NewBuild{b}})[0]
			n++
			final(t, l, id)
			return id
		}
		epoch := func(id, want int64) {
			t.Helper()
			if got, err := l.Epoch(t.Context(), id); err != nil || got != want {
				t.Errorf("epoch of build %d is %d, %v; want %d", id, got, err, want)
			}
		}
		epoch(next(func(*ledger.NewBuild) {}), 0)
		candidate := next(func(b *ledger.NewBuild) { b.Fresh, b.Release = true, false })
		epoch(candidate, candidate)
		epoch(next(func(*ledger.NewBuild) {}), 0) // a candidate begins no epoch for others
		fresh := next(func(b *ledger.NewBuild) { b.Fresh = true })
		epoch(fresh, fresh)
		epoch(next(func(*ledger.NewBuild) {}), fresh)
		epoch(next(func(b *ledger.NewBuild) { b.Recipe = "other" }), 0)
		if _, err := l.Epoch(t.Context(), 4711); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("epoch of no build: %v", err)
		}
	})
}

func TestParentImageIsOfTheBuildThatWasWaitedFor(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		start(t, l, ledger.Workers{Build: succeed, MaxBuilds: 2})
		child := building("web")
		child.After = "base"
		ids := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("base"), child}})
		base, web := final(t, l, ids[0]), final(t, l, ids[1])
		if base.State != reporter.Succeeded || web.State != reporter.Succeeded {
			t.Fatalf("base %s, web %s", base.State, web.State)
		}
		img, found, err := l.ParentImage(t.Context(), web.ID)
		if err != nil || !found || img.ID != base.Image.ID {
			t.Errorf("parent image %q, %v, %v; want %s", img.ID, found, err, base.Image.ID)
		}
		if _, found, err := l.ParentImage(t.Context(), base.ID); err != nil || found {
			t.Errorf("base has a parent image: %v, %v", found, err)
		}
		revisions, err := l.DependencyState(t.Context(), "golden")
		if err != nil || len(revisions) != 2 {
			t.Errorf("revisions %v, %v", revisions, err)
		}
	})
}
