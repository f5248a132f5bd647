package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seed-6db18919/ingot/reporter"
)

// throughDaemon commits to a watched repository and reads from the ledger when what
// happened. No code host is told: a status is owed from the moment the build has ended.
func (b *bench) throughDaemon(ctx context.Context) (tables []table, err error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s, err := b.newSample(ctx, "daemon", fmt.Sprintf(
		"server: {listen: %q}\nrepositories:\n  - {name: golden-images, url: %s, paths: [recipes/web], pollInterval: 1s}\n",
		address, b.workTree("daemon")))
	if err != nil {
		return nil, err
	}
	d, err := b.startDaemon(ctx, s.config, address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()

	// A daemon that has just started is finding out what this host can do.
	if _, err := b.push(ctx, d, s, "Add images"); err != nil {
		return nil, fmt.Errorf("the first commit: %w", err)
	}
	changes := []*pushes{
		{title: "everything new", edit: func(n int) error { return s.remark(firstComponent, fmt.Sprintf("commit %d of %s", n, b.dir)) }},
		{title: "last component", edit: func(n int) error { return s.greet(fmt.Sprint("commit ", n)) }},
		{title: "a test", edit: func(n int) error { return s.remark(lastTest, fmt.Sprint("commit ", n)) }},
	}
	for n := range b.rounds {
		for _, change := range changes {
			if err := change.edit(n); err != nil {
				return nil, err
			}
			r, err := b.push(ctx, d, s, change.title)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", change.title, n+1, err)
			}
			change.runs = append(change.runs, r)
			fmt.Fprintf(os.Stderr, "   %s: %s to the status\n", change.title, took(r.toStatus()))
		}
	}
	return []table{describe(changes, b.rounds)}, nil
}

// pushes is one kind of change, committed again and again.
type pushes struct {
	title string
	edit  func(round int) error
	runs  []passage
}

// passage is a commit on its way to a status.
type passage struct {
	committed time.Time
	build     reporter.Build
}

// toImage is from the beginning of the build; 0: the image was there.
func (p passage) toImage() time.Duration {
	if p.build.Image == nil || p.build.Image.Created.Before(p.build.Started) {
		return 0
	}
	return p.build.Image.Created.Sub(p.build.Started)
}

// toStatus is from the beginning of the build.
func (p passage) toStatus() time.Duration { return p.build.Finished.Sub(p.build.Started) }

// push commits, and waits until the build of the commit has ended.
func (b *bench) push(ctx context.Context, d *daemon, s *sample, message string) (passage, error) {
	commit, err := s.commit(ctx, message)
	if err != nil {
		return passage{}, err
	}
	p := passage{committed: time.Now()}
	// The times come from the ledger: asking seldom costs them nothing, and leaves
	// the processors to the build.
	err = d.until(ctx, 2*time.Second, func() (bool, error) {
		text, err := command{name: b.ingot(), args: []string{"-c", s.config, "builds", "--json", "--limit", "1"}}.output(ctx)
		if err != nil || text == "" {
			return false, err
		}
		p.build = reporter.Build{} // what an answer leaves out is not of the one before
		if err := json.Unmarshal([]byte(text), &p.build); err != nil {
			return false, err
		}
		return p.build.Commit == commit && p.build.State.Final(), nil
	})
	if err == nil && p.build.State != reporter.Succeeded {
		err = fmt.Errorf("the build ended as %s", p.build.State)
	}
	return p, err
}

// describe shows a column of medians for each kind of change.
func describe(changes []*pushes, rounds int) table {
	t := table{head: []string{fmt.Sprintf("medians of %d commits, pollInterval 1s", rounds)}}
	for _, c := range changes {
		t.head = append(t.head, c.title)
	}
	t.head = append(t.head, "goal")
	row := func(text string, of func(passage) time.Duration, most time.Duration) {
		cells := []string{text}
		for _, c := range changes {
			cells = append(cells, took(median(c.runs, of)))
		}
		if most > 0 {
			cells = append(cells, goal(median(changes[0].runs, of).Seconds(), most.Seconds(), took(most)))
		}
		t.add(cells...)
	}
	row("commit → noticed and planned", func(p passage) time.Duration { return p.build.Created.Sub(p.committed) }, 0)
	row("→ build begins", func(p passage) time.Duration { return p.build.Started.Sub(p.build.Created) }, 0)
	row("→ image", passage.toImage, mostToImage)
	row("build begins → tested, status is due", passage.toStatus, mostToTested)
	row("commit → status, in all", func(p passage) time.Duration { return p.build.Finished.Sub(p.committed) }, 0)
	t.note("The first line is the wait for the next poll, at most 1 s, and then the fetch and the plan.")
	return t
}
