package main

import (
	"context"
	"time"
)

// The goals of polling: shares of what git ls-remote and the bare request take.
const (
	mostCPU   = 1.0 / 30
	mostBytes = 1.2
)

// polling compares looks that find nothing new.
func (b *bench) polling(ctx context.Context) ([]table, error) {
	t := table{head: []string{"one look, smart HTTP on loopback", "git ls-remote", "bare request", "ingot", "ratio", "goal"}}
	for _, way := range []struct{ name, title, times string }{
		{"Poll200Repositories", "200 repositories, 8 at a time", "3x"},
		{"Poll20000Refs", "one repository with 20,000 refs", "20x"},
	} {
		m, err := goBench(ctx, "./watcher", "^Benchmark"+way.name+"$", way.times)
		if err != nil {
			return []table{t}, err
		}
		if err := addPolls(&t, m, way.name, way.title); err != nil {
			return []table{t}, err
		}
	}
	t.note("CPU time is that of the client: the ratio is to git ls-remote. Bytes are what the server sent: the ratio is to the bare request.")
	return []table{t}, nil
}

func addPolls(t *table, m metrics, name, title string) error {
	for _, what := range []struct{ unit, title string }{
		{"wall-µs/poll", "wall"}, {"cpu-µs/poll", "CPU"}, {"B/poll", "received"},
	} {
		var ways [3]float64
		for i, way := range []string{"git-", "bare-", "ours-"} {
			v, err := m.of(name, way+what.unit)
			if err != nil {
				return err
			}
			ways[i] = v
		}
		git, bare, ours := ways[0], ways[1], ways[2]
		switch what.title {
		case "received":
			t.add(title+", "+what.title, size(git), size(bare), size(ours), ratio(ours, bare), goal(ours/bare, mostBytes, "1.2"))
		case "CPU":
			t.add(title+", "+what.title, micro(git), micro(bare), micro(ours), ratio(ours, git), goal(ours/git, mostCPU, "1/30"))
		default:
			t.add(title+", "+what.title, micro(git), micro(bare), micro(ours), ratio(ours, git))
		}
	}
	return nil
}

func micro(us float64) string { return took(time.Duration(us * float64(time.Microsecond))) }
