package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// watched is how many repositories the daemon watches whose memory is measured.
const watched = 1000

// memory starts the daemon on one repository and on many, over smart HTTP on
// loopback, and reads what is resident once each was looked at twice.
func (b *bench) memory(ctx context.Context) ([]table, error) {
	one, err := b.resident(ctx, "memory-1", 1)
	if err != nil {
		return nil, err
	}
	many, err := b.resident(ctx, "memory-many", watched)
	if err != nil {
		return nil, err
	}
	t := table{head: []string{"ingot daemon", "resident", "at most", "all fetched and planned after"}}
	t.add("1 repository", size(one.now), size(one.peak), took(one.after))
	t.add(fmt.Sprintf("%d repositories", watched), size(many.now), size(many.peak), took(many.after))
	t.add("each further repository", size((many.now-one.now)/(watched-1)))
	t.note("Each repository holds the sample's documents. Its recipes name a parent that nobody knows, so that they are read and judged but not built.")
	m, err := goBench(ctx, "./watcher", "^BenchmarkMemory1000Repositories$", "1x")
	if err != nil {
		return []table{t}, err
	}
	kb, err := m.of("Memory1000Repositories", "kB/repository")
	if err != nil {
		return []table{t}, err
	}
	t.add("of it the watcher alone", size(kb*1000))
	return []table{t}, nil
}

// usage is what a daemon had resident, in bytes.
type usage struct {
	now, peak float64
	after     time.Duration // from its start until each repository was looked at once
}

func (b *bench) resident(ctx context.Context, name string, repositories int) (u usage, err error) {
	address, err := freeAddress()
	if err != nil {
		return u, err
	}
	served, err := serveGit(ctx, filepath.Join(b.workTree(name), ".git"))
	if err != nil {
		return u, err
	}
	server := httptest.NewServer(served)
	defer server.Close()
	s, err := b.newSample(ctx, name, manyRepositories(address, server.URL, repositories))
	if err != nil {
		return u, err
	}
	if err := s.standOnNothing(); err != nil {
		return u, err
	}
	if _, err := s.commit(ctx, "The sample"); err != nil {
		return u, err
	}
	start := time.Now()
	d, err := b.startDaemon(ctx, s.config, address)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.looked(ctx, repositories); err != nil {
		return u, err
	}
	u.after = time.Since(start)
	if err := d.looked(ctx, 2*repositories); err != nil {
		return u, err
	}
	return u, u.read(d.cmd.Process.Pid)
}

// manyRepositories is the configuration of a daemon that watches one server.
func manyRepositories(address, server string, n int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "server: {listen: %q}\nrepositories:\n", address)
	for i := range n {
		fmt.Fprintf(&text, "  - {name: r%d, url: \"%s/r%d.git\", github: \"\", pollInterval: 20s}\n", i, server, i)
	}
	return text.String()
}

// read asks the kernel what a process has resident.
func (u *usage) read(pid int) (err error) {
	status := fmt.Sprintf("/proc/%d/status", pid)
	if u.now, err = kilobytes(status, "VmRSS"); err != nil {
		return err
	}
	u.peak, err = kilobytes(status, "VmHWM")
	return err
}

// looked waits until the daemon has looked that often, and always with success.
func (d *daemon) looked(ctx context.Context, times int) error {
	return d.until(ctx, time.Second, func() (bool, error) {
		text, err := d.get(ctx, "/metrics")
		if err != nil {
			return false, err
		}
		var well, badly float64
		for line := range strings.Lines(text) {
			_, _ = fmt.Sscanf(line, `ingot_polls_total{outcome="ok"} %g`, &well)
			_, _ = fmt.Sscanf(line, `ingot_polls_total{outcome="error"} %g`, &badly)
		}
		if badly > 0 {
			return false, fmt.Errorf("%.0f looks at repositories have failed\n%s", badly, d.said)
		}
		return int(well) >= times, nil
	})
}

// standOnNothing gives the recipes a parent that nobody knows.
func (s *sample) standOnNothing() error {
	for _, recipe := range []string{sampleRecipe, "recipes/base/recipe.yaml"} {
		path := filepath.Join(s.dir, recipe)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed := strings.Replace(string(text), "parentImage: debian-12", "parentImage: debian-of-tomorrow", 1)
		if changed == string(text) {
			return fmt.Errorf("%s does not stand on debian-12", recipe)
		}
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// kilobytes reads a line such as "VmRSS: 12345 kB", in bytes.
func kilobytes(path, key string) (float64, error) {
	var kb float64
	if _, err := fmt.Sscanf(field(path, key, ":"), "%g kB", &kb); err != nil {
		return 0, fmt.Errorf("%s of %s: %w", key, path, err)
	}
	return kb * 1024, nil
}
