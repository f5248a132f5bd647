package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// metrics are the figures of benchmarks, by name without "Benchmark" and by unit.
type metrics map[string]map[string]float64

var processors = regexp.MustCompile(`-\d+$`)

// parseMetrics reads what `go test -bench` prints. Lines that are none of a
// benchmark, such as logs, are left out.
func parseMetrics(text string) metrics {
	all := make(metrics)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(words[1]); err != nil {
			continue
		}
		units := make(map[string]float64)
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				units[words[i+1]] = v
			}
		}
		all[processors.ReplaceAllString(strings.TrimPrefix(words[0], "Benchmark"), "")] = units
	}
	return all
}

// of returns one figure; that it is missing is an error, so that a benchmark which
// changes its name is noticed.
func (m metrics) of(name, unit string) (float64, error) {
	v, ok := m[name][unit]
	if !ok {
		return 0, fmt.Errorf("the benchmark %s has reported no %s", name, unit)
	}
	return v, nil
}

// perOperation is the time of one operation of a benchmark.
func (m metrics) perOperation(name string) (time.Duration, error) {
	ns, err := m.of(name, "ns/op")
	return time.Duration(ns), err
}

// goBench runs benchmarks of a package, which stands relative to the top of the sources.
func goBench(ctx context.Context, pkg, pattern, times string) (metrics, error) {
	out, err := command{name: "go", args: []string{"test", "-run", "^$", "-bench", pattern, "-benchtime", times, pkg}}.output(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return parseMetrics(out), nil
}
