package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

func TestBuildsAreFilteredAndPaged(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("a"), building("b")}})
		accept(t, l, ledger.Acceptance{Source: pullRequest(2), Builds: []ledger.NewBuild{building("a")}})
		accept(t, l, ledger.Acceptance{Source: source(3), Old: commit(1), Builds: []ledger.NewBuild{building("b")}})
		other := source(1)
		other.Repository = "other"
		accept(t, l, ledger.Acceptance{Source: other, Builds: []ledger.NewBuild{building("a")}})

		for _, c := range []struct {
			name   string
			filter ledger.Filter
			want   []int64
		}{
			{"all", ledger.Filter{}, []int64{5, 4, 3, 2, 1}},
			{"repository", ledger.Filter{Repository: "golden"}, []int64{4, 3, 2, 1}},
			{"recipe", ledger.Filter{Repository: "golden", Recipe: "a"}, []int64{3, 1}},
			{"state", ledger.Filter{State: reporter.Superseded}, []int64{2}},
			{"commit", ledger.Filter{Repository: "golden", Commit: commit(1)}, []int64{2, 1}},
			{"pull request", ledger.Filter{PullRequest: 7}, []int64{3}},
			{"page", ledger.Filter{Before: 4, Limit: 2}, []int64{3, 2}},
		} {
			builds, err := l.Builds(t.Context(), c.filter)
			if err != nil {
				t.Fatal(err)
			}
			var ids []int64
			for _, b := range builds {
				ids = append(ids, b.ID)
			}
			if len(ids) != len(c.want) {
				t.Errorf("%s: %v, want %v", c.name, ids, c.want)
				continue
			}
			for i := range ids {
				if ids[i] != c.want[i] {
					t.Errorf("%s: %v, want %v", c.name, ids, c.want)
					break
				}
			}
		}
		if _, err := l.Build(t.Context(), 99); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("build 99: %v, want ErrNotFound", err)
		}
	})
}

func TestImagesBearTheirLastRelease(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		start(t, l, ledger.Workers{Build: succeed})
		candidate := building("web")
		candidate.Release = false
		one := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{candidate}})[0]
		final(t, l, one)
		two := accept(t, l, ledger.Acceptance{Source: source(2), Old: commit(1), Builds: []ledger.NewBuild{building("web")}})[0]
		final(t, l, two)

		images, err := l.Images(t.Context(), ledger.ImageFilter{Recipe: "web"})
		if err != nil || len(images) != 2 || images[0].Name != "web/1.0.0/1" || images[1].Name != "" || images[0].OS != "Debian 12" || images[0].Packages != nil {
			t.Errorf("images %+v, %v", images, err)
		}
		released, err := l.Images(t.Context(), ledger.ImageFilter{Released: true})
		if err != nil || len(released) != 1 || released[0].Build != two {
			t.Errorf("released %+v, %v", released, err)
		}
		full, err := l.Images(t.Context(), ledger.ImageFilter{ID: images[0].ID})
		if err != nil || len(full) != 1 || len(full[0].Packages) != 1 {
			t.Errorf("one %+v, %v", full, err)
		}
		listed, err := l.Builds(t.Context(), ledger.Filter{})
		if err != nil || listed[0].Image == nil || listed[0].Image.Name != "web/1.0.0/1" || listed[1].Image == nil || listed[1].Image.Name != "" {
			t.Errorf("listed %+v, %v", listed, err)
		}
		byKey, found, err := l.ImageByKey(t.Context(), "local", "key-web")
		if err != nil || !found || byKey.ID != images[0].ID || len(byKey.Inventory.Packages) != 1 {
			t.Errorf("by key %+v, %v, %v", byKey, found, err)
		}
		if _, found, err := l.ImageByKey(t.Context(), "ec2", "key-web"); found || err != nil {
			t.Errorf("of another driver: %v, %v", found, err)
		}
		for _, ami := range []string{"ami-1", "ami-2"} { // the last one counts
			if err := l.SavePublished(t.Context(), two, byKey.ID, builder.Image{ID: ami, Driver: "ec2", Created: time.UnixMilli(1)}); err != nil {
				t.Fatal(err)
			}
		}
		again := accept(t, l, ledger.Acceptance{Source: source(3), Old: commit(2), Builds: []ledger.NewBuild{building("web")}})[0]
		if got := final(t, l, again); got.Image.Published != "" || got.PreviousImage == nil || got.PreviousImage.Published != "ami-2" {
			t.Errorf("published: %+v before %+v", got.PreviousImage, got.Image)
		}
		if id, err := l.PublishedAs(t.Context(), byKey.ID); id != "ami-2" || err != nil {
			t.Errorf("published as %q, %v", id, err)
		}
		for driver, want := range map[string]string{"ec2": "ami-2", "local": ""} {
			if id, err := l.PublishedTo(t.Context(), byKey.ID, driver); id != want || err != nil {
				t.Errorf("published to %s as %q, %v", driver, id, err)
			}
		}
		if id, err := l.PublishedAs(t.Context(), "img-99"); id != "" || err != nil {
			t.Errorf("what was not published is published as %q, %v", id, err)
		}
		if err := l.SaveImage(t.Context(), 99, byKey); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("an image of no build: %v, want ErrNotFound", err)
		}
	})
}

// What is built by hand has no build, until one of the daemon's uses it.
func TestImageByHandBecomesABuilds(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		made := *imageOf(1, "web")
		made.ID, made.Driver = "ami-1", "ec2"
		only := func(when string) reporter.Image {
			t.Helper()
			images, err := l.Images(t.Context(), ledger.ImageFilter{})
			if err != nil || len(images) != 1 {
				t.Fatalf("%s: %+v, %v", when, images, err)
			}
			return images[0]
		}
		for range 2 {
			if err := l.SaveImageByHand(t.Context(), "web", "0.9.0", made); err != nil {
				t.Fatal(err)
			}
		}
		if got := only("by hand"); got.Build != ledger.ByHand || got.Repository != "" || got.Recipe != "web" || got.Version != "0.9.0" || got.Driver != "ec2" {
			t.Errorf("by hand: %+v", got)
		}
		start(t, l, ledger.Workers{Build: func(context.Context, reporter.Build) (ledger.Outcome, error) {
			return ledger.Outcome{Image: &made}, nil
		}})
		for _, a := range []ledger.Acceptance{{Source: source(1)}, {Source: source(2), Old: commit(1)}} {
			a.Builds = []ledger.NewBuild{building("web")}
			id := accept(t, l, a)[0]
			final(t, l, id)
			if got := only("adopted"); got.Build != 1 || got.Repository != "golden" {
				t.Errorf("after build %d: %+v", id, got)
			}
		}
		if err := l.SaveImageByHand(t.Context(), "web", "0.9.0", made); err != nil {
			t.Fatal(err)
		}
		if got := only("by hand once more"); got.Build != 1 {
			t.Errorf("the build lost its image: %+v", got)
		}
	})
}

func TestTestsAreKeptUnderTheirKey(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		if _, found, err := l.TestsByKey(t.Context(), "k"); found || err != nil {
			t.Errorf("nothing saved: %v, %v", found, err)
		}
		for _, state := range []string{"failed", "succeeded"} {
			if err := l.SaveTests(t.Context(), "k", []reporter.Test{{Name: "boot", State: state, Duration: time.Second}}); err != nil {
				t.Fatal(err)
			}
		}
		tests, found, err := l.TestsByKey(t.Context(), "k")
		if err != nil || !found || len(tests) != 1 || tests[0].State != "succeeded" || tests[0].Duration != time.Second {
			t.Errorf("got %+v, %v, %v", tests, found, err)
		}
	})
}

func TestRepositoriesRememberTheirPolls(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		accept(t, l, ledger.Acceptance{Source: source(1)})
		note := func(err error) ledger.Repository {
			t.Helper()
			if err := l.NotePoll(t.Context(), "broken", err); err != nil {
				t.Fatal(err)
			}
			all, err := l.Repositories(t.Context())
			if err != nil || len(all) != 2 || all[0].Name != "broken" || all[1].Heads["refs/heads/main"] != commit(1) {
				t.Fatalf("repositories %+v, %v", all, err)
			}
			return all[0]
		}
		first := note(errors.New("connection refused"))
		second := note(errors.New("timeout"))
		if first.FailingSince.IsZero() || !second.FailingSince.Equal(first.FailingSince) || second.Error != "timeout" {
			t.Errorf("first %+v, second %+v", first, second)
		}
		if r := note(nil); !r.FailingSince.IsZero() || r.Error != "" || r.Polled.IsZero() {
			t.Errorf("recovered %+v", r)
		}
	})
}

func TestCounts(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		if c, err := l.Counts(t.Context()); err != nil || !c.OldestQueued.IsZero() || len(c.Builds) != 9 {
			t.Errorf("empty: %+v, %v", c, err)
		}
		accept(t, l, ledger.Acceptance{Source: pullRequest(1), Builds: []ledger.NewBuild{building("a"), building("b")}})
		c, err := l.Counts(t.Context())
		if err != nil || c.Builds[reporter.Queued] != 2 || c.OldestQueued.IsZero() || c.ReportsWaiting != 3 || c.ReportsFailing != 0 {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}

func TestTestsOfTheLastReleaseStandBesideThoseOfABuild(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			o, err := succeed(ctx, b)
			o.Tests = []reporter.Test{{Name: "scan", State: "succeeded", Scan: &reporter.Scan{
				Profile: "p", Score: 60 + float64(b.ID), Failed: []reporter.Rule{{ID: "r", Severity: "high", Title: "Rule"}},
			}}}
			return o, err
		}})
		one := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		final(t, l, one)
		candidate := building("web")
		candidate.Release = false
		two := accept(t, l, ledger.Acceptance{Source: source(2), Old: commit(1), Builds: []ledger.NewBuild{candidate}})[0]
		final(t, l, two)
		three := accept(t, l, ledger.Acceptance{Source: source(3), Old: commit(2), Builds: []ledger.NewBuild{building("web")}})[0]
		final(t, l, three)

		first, err := l.Build(t.Context(), one)
		if err != nil || len(first.PreviousTests) != 0 {
			t.Errorf("before the first release: %+v, %v", first.PreviousTests, err)
		}
		last, err := l.Build(t.Context(), three)
		if err != nil || len(last.PreviousTests) != 1 || last.PreviousTests[0].Scan == nil {
			t.Fatalf("before the second: %+v, %v", last.PreviousTests, err)
		}
		if then, now := last.PreviousTests[0].Scan, last.Tests[0].Scan; then.Score != 61 || now.Score != 63 || then.Failed[0].Title != "Rule" {
			t.Errorf("scans %+v and %+v", then, now)
		}
	})
}
