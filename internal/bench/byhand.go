package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/seed-6db18919/ingot/builder"
)

// The goals of building.
const (
	mostToImage  = 6 * time.Second
	mostLast     = 800 * time.Millisecond
	mostToTested = 20 * time.Second
)

// Names under which parts tell each other what the builds by hand took.
const (
	toImage     = "to image"
	lastToImage = "last component to image"
	installing  = "the install step"
	booting     = "the boot"
)

// series is one kind of change, repeated.
type series struct {
	title string
	edit  func(s *sample, round int) error
	want  map[string]builder.EventKind // that the change did what it should
	runs  []outcome
}

// byHand builds the sample again and again, as somebody at a terminal would.
func (b *bench) byHand(ctx context.Context) ([]table, error) {
	s, err := b.newSample(ctx, "by-hand", noRepositories)
	if err != nil {
		return nil, err
	}
	warm, err := b.build(ctx, s, sampleRecipe) // makes the parent where it lacks, and fills the page cache
	if err != nil {
		return nil, err
	}
	all := b.changes()
	for n := range b.rounds {
		for _, one := range all {
			if err := b.repeat(ctx, s, one, n); err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", one.title, n+1, err)
			}
		}
	}
	b.learn(all)
	return []table{summary(all, warm, b.rounds), stages(all)}, nil
}

// changes are what the rounds go through, each on what the one before has left.
func (b *bench) changes() []*series {
	return []*series{
		{
			title: "everything new",
			edit: func(s *sample, n int) error {
				return s.remark(firstComponent, fmt.Sprintf("round %d of %s", n, b.dir))
			},
			want: map[string]builder.EventKind{"build nginx": builder.Succeeded, "test http": builder.Succeeded},
		},
		{
			title: "last component changed",
			edit:  func(s *sample, n int) error { return s.greet(fmt.Sprint("round ", n)) },
			want:  map[string]builder.EventKind{"build nginx": builder.Reused, "build site": builder.Succeeded, "test http": builder.Succeeded},
		},
		{
			title: "a test changed",
			edit:  func(s *sample, n int) error { return s.remark(lastTest, fmt.Sprint("round ", n)) },
			want:  map[string]builder.EventKind{"image": builder.Reused, "test http": builder.Succeeded},
		},
		{
			title: "nothing changed",
			edit:  func(*sample, int) error { return nil },
			want:  map[string]builder.EventKind{"image": builder.Reused, "test http": builder.Reused},
		},
	}
}

// repeat makes one change, builds, and makes sure that the right things were reused.
func (b *bench) repeat(ctx context.Context, s *sample, one *series, round int) error {
	if err := one.edit(s, round); err != nil {
		return err
	}
	o, err := b.build(ctx, s, sampleRecipe)
	if err != nil {
		return err
	}
	for stage, want := range one.want {
		if got := o.kinds[stage]; got != want {
			return fmt.Errorf("%s is %q, not %q: the round would measure something else", stage, got, want)
		}
	}
	one.runs = append(one.runs, o)
	fmt.Fprintf(os.Stderr, "   %s: %s to the image, %s in all\n", one.title, took(o.toImage), took(o.toEnd))
	return nil
}

// build runs ingot once.
func (b *bench) build(ctx context.Context, s *sample, recipe string) (outcome, error) {
	var events bytes.Buffer
	c := command{dir: s.dir, name: b.ingot(), args: []string{"-c", s.config, "build", recipe, "--json"}, stdout: &events}
	start := time.Now()
	err := c.run(ctx)
	end := time.Since(start)
	if err != nil {
		last := &tail{}
		_, _ = last.Write(events.Bytes())
		return outcome{}, fmt.Errorf("%w\n%s", err, last)
	}
	o, err := parseOutcome(&events, start)
	o.toEnd = end
	return o, err
}

// learn keeps what other parts compare with.
func (b *bench) learn(all []*series) {
	fresh, last := all[0].runs, all[1].runs
	b.ours[toImage] = median(fresh, untilImage)
	b.ours[lastToImage] = median(last, untilImage)
	b.ours[installing] = median(fresh, func(o outcome) time.Duration { return o.steps["build nginx build/Install"] })
	b.ours[booting] = median(fresh, func(o outcome) time.Duration { return o.elapsed["boot"] })
	b.image = fresh[len(fresh)-1].imageRef
}

func untilImage(o outcome) time.Duration { return o.toImage }
func untilEnd(o outcome) time.Duration   { return o.toEnd }

func summary(all []*series, warm outcome, rounds int) table {
	t := table{head: []string{fmt.Sprintf("median of %d, from the start of the process", rounds), "median", "span", "goal"}}
	add := func(s *series, what string, f func(outcome) time.Duration, most time.Duration) {
		m := median(s.runs, f)
		row := []string{s.title + ", " + what, took(m), span(s.runs, f)}
		if most > 0 {
			row = append(row, goal(m.Seconds(), most.Seconds(), took(most)))
		}
		t.add(row...)
	}
	add(all[0], "to the image", untilImage, mostToImage)
	add(all[0], "to the tested image", untilEnd, mostToTested)
	add(all[1], "to the image", untilImage, mostLast)
	add(all[1], "to the tested image", untilEnd, 0)
	add(all[2], "to the tested image", untilEnd, 0)
	add(all[3], "to the answer", untilEnd, 0)
	if made := warm.elapsed["resolve"]; made > time.Second {
		t.note("the parent image was not there: making it once took %s", took(made))
	}
	return t
}

// stages shows where the time goes.
func stages(all []*series) table {
	t := table{head: []string{"by stage, medians", all[0].title, all[1].title, all[2].title, all[3].title}}
	for _, stage := range all[0].runs[0].stages {
		row := []string{stage}
		for _, s := range all {
			row = append(row, cell(s.runs, stage))
		}
		t.add(row...)
	}
	row := []string{"process, database, closing"}
	for _, s := range all {
		row = append(row, took(median(s.runs, outcome.rest)))
	}
	t.add(row...)
	return t
}

// cell is a stage's time, or what became of it instead.
func cell(runs []outcome, stage string) string {
	switch kind := runs[0].kinds[stage]; kind {
	case "":
		return "not needed"
	case builder.Reused:
		return string(kind)
	default:
		return took(median(runs, func(o outcome) time.Duration { return o.elapsed[stage] }))
	}
}
