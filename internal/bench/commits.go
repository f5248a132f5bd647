package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

	var runs []passage
	for _, change := range []struct {
		message string
		edit    func() error
	}{
		{"Everything", func() error { return s.remark(firstComponent, "first commit of "+b.dir) }},
		{"The last component", func() error { return s.greet("everybody") }},
		{"A test", func() error { return s.remark(lastTest, "another test") }},
	} {
		if err := change.edit(); err != nil {
			return nil, err
		}
		r, err := b.push(ctx, d, s, change.message)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", change.message, err)
		}
		runs = append(runs, r)
	}
	return []table{describe(runs)}, nil
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
	r := passage{committed: time.Now()}
	// The times come from the ledger: asking seldom costs them nothing, and leaves
	// the processors to the build.
	err = d.until(ctx, 2*time.Second, func() (bool, error) {
		text, err := command{name: b.ingot(), args: []string{"-c", s.config, "builds", "--json", "--limit", "1"}}.output(ctx)
		if err != nil || text == "" {
			return false, err
		}
		if err := json.Unmarshal([]byte(text), &r.build); err != nil {
			return false, err
		}
		return r.build.Commit == commit && r.build.State.Final(), nil
	})
	if err == nil && r.build.State != reporter.Succeeded {
		err = fmt.Errorf("the build ended as %s", r.build.State)
	}
	return r, err
}

// describe shows a column for each commit, in the order of throughDaemon.
func describe(runs []passage) table {
	t := table{head: []string{"one commit each, pollInterval 1s", "everything new", "last component", "a test", "goal"}}
	row := func(text string, of func(passage) time.Duration, more ...string) {
		cells := []string{text}
		for _, r := range runs {
			cells = append(cells, took(of(r)))
		}
		t.add(append(cells, more...)...)
	}
	row("commit → noticed and planned", func(r passage) time.Duration { return r.build.Created.Sub(r.committed) })
	row("→ build begins", func(r passage) time.Duration { return r.build.Started.Sub(r.build.Created) })
	row("→ image", passage.toImage, goal(runs[0].toImage().Seconds(), mostToImage.Seconds(), took(mostToImage)))
	row("build begins → tested, status is due", passage.toStatus, goal(runs[0].toStatus().Seconds(), mostToTested.Seconds(), took(mostToTested)))
	row("commit → status, in all", func(r passage) time.Duration { return r.build.Finished.Sub(r.committed) })
	t.note("The first line is the wait for the next poll, at most 1 s, and then the fetch and the plan.")
	return t
}
