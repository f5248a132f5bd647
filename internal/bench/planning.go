package main

import (
	"context"
	"time"
)

// planning compares what happens between a fetched commit and queued builds.
func (b *bench) planning(ctx context.Context) ([]table, error) {
	t := table{head: []string{"one file of 5,000 changed", "git diff --name-only", "ingot", "ratio", "goal"}}
	trees, err := goBench(ctx, "./watcher", "^BenchmarkDiff5000Files$", "30x")
	if err != nil {
		return nil, err
	}
	whole, err := goBench(ctx, "./cmd/ingot", "^BenchmarkPlan5000Files$", "60x")
	if err != nil {
		return nil, err
	}
	for _, row := range []struct {
		m                     metrics
		name, git, ours, text string
	}{
		{trees, "Diff5000Files", "git-µs/diff", "ours-µs/diff", "which files, from a mirror that was not open"},
		{whole, "Plan5000Files", "git-µs/plan", "ours-µs/plan", "the whole plan: files, recipes, releases, what to build"},
	} {
		git, err := row.m.of(row.name, row.git)
		if err != nil {
			return nil, err
		}
		ours, err := row.m.of(row.name, row.ours)
		if err != nil {
			return nil, err
		}
		t.add(row.text, micro(git), micro(ours), ratio(ours, git), goal(ours/git, 1, "1"))
	}
	parts, err := planningParts(ctx)
	return []table{t, parts}, err
}

// planningParts have no peer: they show where the time of a change goes.
func planningParts(ctx context.Context) (table, error) {
	t := table{head: []string{"by itself", "ingot"}}
	recipes, err := goBench(ctx, "./builder/recipe", "^Benchmark(PlanOneFile|Load)$", "20x")
	if err != nil {
		return t, err
	}
	ledger, err := goBench(ctx, "./internal/ledger", "^Benchmark(Accept|AcceptToStart)$/^sqlite$", "100x")
	if err != nil {
		return t, err
	}
	for _, row := range []struct {
		m          metrics
		name, text string
	}{
		{recipes, "Load", "first reading of 500 recipes among 5,000 files"},
		{recipes, "PlanOneFile/component", "reading and planning them again, a component changed"},
		{ledger, "Accept/sqlite", "recording a change: three builds and their reports, SQLite"},
	} {
		d, err := row.m.perOperation(row.name)
		if err != nil {
			return t, err
		}
		t.add(row.text, took(d))
	}
	ms, err := ledger.of("AcceptToStart/sqlite", "ms/start")
	if err != nil {
		return t, err
	}
	t.add("from the recorded change to the start of its build", took(time.Duration(ms*float64(time.Millisecond))))
	return t, nil
}
