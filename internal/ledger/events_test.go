package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

func at(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms) }

// progress is a build that fails in its second component.
func progress() []builder.Event {
	const nginx, site = "nginx", "site"
	return []builder.Event{
		{Time: at(0), Kind: builder.Started, Stage: builder.StageResolve},
		{Time: at(1), Kind: builder.Reused, Stage: builder.StageResolve, Text: "debian-12"},
		{Time: at(2), Kind: builder.Started, Stage: builder.StageBuild, Name: nginx},
		{Time: at(3), Kind: builder.Started, Stage: builder.StageBuild, Name: nginx, Step: "build/Install"},
		{Time: at(4), Kind: builder.Output, Stage: builder.StageBuild, Name: nginx, Step: "build/Install", Text: "Reading package lists…\n"},
		{Time: at(5), Kind: builder.Succeeded, Stage: builder.StageBuild, Name: nginx, Step: "build/Install"},
		{Time: at(6), Kind: builder.Succeeded, Stage: builder.StageBuild, Name: nginx},
		{Time: at(7), Kind: builder.Started, Stage: builder.StageBuild, Name: site},
		{Time: at(8), Kind: builder.Output, Stage: builder.StageBuild, Name: site, Step: "build/Copy", Text: "no such \x00\xff file"},
		{Time: at(9), Kind: builder.Failed, Stage: builder.StageBuild, Name: site, Step: "build/Copy", Text: "exit status 1"},
		{Time: at(10), Kind: builder.Failed, Stage: builder.StageBuild, Name: site},
	}
}

func wantProgress(t *testing.T, l *ledger.Ledger, id int64) {
	t.Helper()
	got, err := l.Stages(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := []reporter.Stage{
		{Stage: "resolve", State: "reused", Text: "debian-12", Started: at(0), Finished: at(1)},
		{Stage: "build", Name: "nginx", State: "succeeded", Step: "build/Install", Started: at(2), Finished: at(6)},
		{Stage: "build", Name: "site", State: "failed", Step: "build/Copy", Text: "exit status 1", Started: at(7), Finished: at(10)},
	}
	if len(got) != len(want) {
		t.Fatalf("%d stages: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("stage %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestRecordKeepsStagesAndLog(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		for _, batch := range []int{1, 3, 100} {
			t.Run(fmt.Sprint(batch), func(t *testing.T) {
				l := open()
				s := source(1)
				s.Repository = fmt.Sprint(batch)
				id := accept(t, l, ledger.Acceptance{Source: s, Builds: []ledger.NewBuild{building("web")}})[0]
				for rest := progress(); len(rest) > 0; rest = rest[min(batch, len(rest)):] {
					if err := l.Record(t.Context(), id, rest[:min(batch, len(rest))]); err != nil {
						t.Fatal(err)
					}
				}
				wantProgress(t, l, id)
				log := logOf(t, l, id)
				for _, want := range []string{
					"Reading package lists…\n", "no such \uFFFD\uFFFD file", "failed: exit status 1\n",
				} {
					if strings.Count(log, want) != 1 {
						t.Errorf("%d × %q in %q", strings.Count(log, want), want, log)
					}
				}
			})
		}
	})
}

func logOf(t *testing.T, l *ledger.Ledger, id int64) string {
	t.Helper()
	var text strings.Builder
	for after := int64(0); ; {
		pieces, err := l.Log(t.Context(), id, after, 64)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pieces {
			if p.ID != after+int64(i)+1 {
				t.Errorf("piece %d follows piece %d", p.ID, after+int64(i))
			}
			text.WriteString(p.Text)
		}
		if len(pieces) == 0 {
			return text.String()
		}
		after = pieces[len(pieces)-1].ID
	}
}

func TestLogEndsAtItsLimitAndSaysSo(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		flood := builder.Event{Kind: builder.Output, Stage: builder.StageBuild, Text: strings.Repeat("x", 3<<20)}
		for range 7 {
			if err := l.Record(t.Context(), id, []builder.Event{flood}); err != nil {
				t.Fatal(err)
			}
		}
		log := logOf(t, l, id)
		end := "\n[the log ends here: it has reached 16 MiB]\n"
		if len(log) != 16<<20+len(end) || !strings.HasSuffix(log, end) || strings.Count(log, end) != 1 {
			t.Errorf("%d bytes, ending in %q", len(log), log[len(log)-80:])
		}
	})
}

func TestProgressIsBounded(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
	var events []builder.Event
	for i := range 1500 {
		events = append(events, builder.Event{Kind: builder.Started, Stage: builder.StageTest, Name: fmt.Sprint(i), Text: strings.Repeat("é", 1<<12)})
	}
	if err := l.Record(t.Context(), id, events); err != nil {
		t.Fatal(err)
	}
	stages, err := l.Stages(t.Context(), id)
	if err != nil || len(stages) != 1000 || len(stages[0].Text) > 5<<10 {
		t.Errorf("%d stages, %v", len(stages), err)
	}
}

func TestFollowSeesEverythingAsItHappens(t *testing.T) {
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l, other := open(), open() // other stands for another process: nothing wakes it
		began, seen := make(chan struct{}), make(chan struct{}, 2)
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			r := l.Recorder(ctx, b.ID)
			r.Observe(builder.Event{Time: at(0), Kind: builder.Started, Stage: builder.StageResolve})
			r.Observe(builder.Event{Time: at(1), Kind: builder.Output, Stage: builder.StageResolve, Text: "first\n"})
			close(began)
			<-seen // both have seen the first line while the build runs
			<-seen
			for i := range 1000 {
				r.Observe(builder.Event{Time: at(2), Kind: builder.Output, Stage: builder.StageResolve, Text: fmt.Sprintf("line %d\n", i)})
			}
			r.Observe(builder.Event{Time: at(3), Kind: builder.Succeeded, Stage: builder.StageResolve})
			if err := r.Close(); err != nil {
				return ledger.Outcome{}, err
			}
			return succeed(ctx, b)
		}})
		id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		<-began
		done := make(chan string, 2)
		for _, reader := range []*ledger.Ledger{l, other} {
			go func() { done <- follow(t.Context(), reader, id, seen) }()
		}
		for range 2 {
			got := <-done
			if n := strings.Count(got, "line "); n != 1000 || !strings.HasSuffix(got, "[succeeded resolve succeeded]") {
				t.Errorf("%d lines, ending in %q", n, got[max(0, len(got)-80):])
			}
		}
	})
}

// follow reads a build to its end and says so at the first line of its log.
func follow(ctx context.Context, l *ledger.Ledger, id int64, seen chan<- struct{}) string {
	var text strings.Builder
	var last ledger.Progress
	for p, err := range l.Follow(ctx, id, 0) {
		if err != nil {
			return err.Error()
		}
		for _, piece := range p.Pieces {
			before := text.Len()
			text.WriteString(piece.Text)
			if strings.Contains(text.String(), "first\n") && !strings.Contains(text.String()[:before], "first\n") {
				seen <- struct{}{}
			}
		}
		if p.Stages != nil {
			last.Stages = p.Stages
		}
		last.State = p.State
	}
	for _, s := range last.Stages {
		fmt.Fprintf(&text, "[%s %s %s]", last.State, s.Stage, s.State)
	}
	return text.String()
}

func TestFollowOfNothing(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	for _, err := range l.Follow(t.Context(), 42, 0) {
		if !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	}
}

func TestRecorderWritesItsLastWordsAfterTheBuildWasInterrupted(t *testing.T) {
	l := ledgertest.Open(t, ledgertest.URL(t, "sqlite"))
	id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
	r := l.Recorder(t.Context(), id)
	for _, e := range progress() {
		r.Observe(e)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	wantProgress(t, l, id)
}

func TestRetriedBuildShowsItsOwnStages(t *testing.T) {
	t.Parallel() // a retry waits for River's scheduler
	ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
		l := open()
		id := accept(t, l, ledger.Acceptance{Source: source(1), Builds: []ledger.NewBuild{building("web")}})[0]
		first := true
		start(t, l, ledger.Workers{Build: func(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
			stage := builder.StageBuild
			if first {
				stage = builder.StageResolve
			}
			if err := l.Record(ctx, b.ID, []builder.Event{{Kind: builder.Started, Stage: stage}}); err != nil {
				return ledger.Outcome{}, err
			}
			if first {
				first = false
				return ledger.Outcome{}, &builder.Error{Fault: builder.Transient, Reason: "try again"}
			}
			return succeed(ctx, b)
		}})
		b := final(t, l, id)
		if len(b.Stages) != 1 || b.Stages[0].Stage != "build" {
			t.Errorf("stages %+v", b.Stages)
		}
	})
}
