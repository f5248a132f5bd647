package ledger_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

func eachDatabase(b *testing.B, bench func(b *testing.B, l *ledger.Ledger)) {
	for _, name := range ledgertest.Databases() {
		b.Run(name, func(b *testing.B) {
			quiet := logrus.New()
			quiet.SetOutput(io.Discard)
			bench(b, ledgertest.Open(b, ledgertest.URL(b, name), func(o *ledger.Options) { o.Log = quiet }))
		})
	}
}

// BenchmarkAccept is one change with three builds, a commit status each, and a comment.
func BenchmarkAccept(b *testing.B) {
	eachDatabase(b, func(b *testing.B, l *ledger.Ledger) {
		n := 0
		for b.Loop() {
			n++
			accept(b, l, ledger.Acceptance{Source: pullRequest(n), Old: oldCommit(n - 1), Builds: recipesOfChange()})
		}
	})
}

// BenchmarkAcceptToStart is from the moment at which a change is accepted to the
// moment at which its build begins; the reports of the build before are being told.
func BenchmarkAcceptToStart(b *testing.B) {
	eachDatabase(b, func(b *testing.B, l *ledger.Ledger) {
		began := make(chan time.Time)
		start(b, l, ledger.Workers{Build: func(ctx context.Context, r reporter.Build) (ledger.Outcome, error) {
			began <- time.Now()
			return succeed(ctx, r)
		}})
		var waited time.Duration
		n := 0
		for b.Loop() {
			n++
			id := accept(b, l, ledger.Acceptance{Source: source(n), Old: oldCommit(n - 1), Builds: []ledger.NewBuild{building("web")}})[0]
			accepted := time.Now()
			waited += (<-began).Sub(accepted)
			final(b, l, id)
		}
		b.ReportMetric(float64(waited.Milliseconds())/float64(n), "ms/start")
	})
}

// BenchmarkRecord is a batch of 100 lines with the stage they belong to.
func BenchmarkRecord(b *testing.B) {
	eachDatabase(b, func(b *testing.B, l *ledger.Ledger) {
		id := accept(b, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		line := strings.Repeat("x", 99) + "\n"
		batch := []builder.Event{{Kind: builder.Started, Stage: builder.StageBuild, Name: "nginx"}}
		for range 100 {
			batch = append(batch, builder.Event{Kind: builder.Output, Stage: builder.StageBuild, Name: "nginx", Text: line})
		}
		b.SetBytes(int64(len(line) * 100))
		for b.Loop() {
			if err := l.Record(b.Context(), id, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBuilds is the first page of a list that has many.
func BenchmarkBuilds(b *testing.B) {
	eachDatabase(b, func(b *testing.B, l *ledger.Ledger) {
		for n := range 200 {
			var recipes []ledger.NewBuild
			for r := range 10 {
				recipes = append(recipes, building(fmt.Sprintf("r%d", r)))
			}
			accept(b, l, ledger.Acceptance{Source: source(n + 1), Old: oldCommit(n), Builds: recipes})
		}
		for b.Loop() {
			if _, err := l.Builds(b.Context(), ledger.Filter{Repository: "golden"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
