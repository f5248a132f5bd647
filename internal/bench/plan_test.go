package main

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/watcher"
)

// BenchmarkWholePlan5000Files is all that the daemon does between a fetched commit
// and the decision what to build, for one changed file in a repository of 5,000 with
// 500 recipes, beside `git diff --name-only` of the same commits in the same mirror.
func BenchmarkWholePlan5000Files(b *testing.B) {
	top := b.TempDir()
	work := filepath.Join(top, "work")
	if err := os.CopyFS(work, largeRepository()); err != nil {
		b.Fatal(err)
	}
	git(b, work, "init", "--quiet", "--initial-branch=main")
	commitAll(b, work)
	served, err := serveGit(b.Context(), filepath.Join(work, ".git"))
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(served)
	defer server.Close()

	p := &planner{b: b, options: recipe.Options{Aliases: map[string][]recipe.Alias{"local": {{Name: "debian-12"}}}}, mirror: filepath.Join(top, "mirrors", "large.git")}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	w, err := watcher.New(watcher.Config{
		Name: "large", URL: server.URL + "/large.git", MirrorDir: filepath.Dir(p.mirror), Log: quiet,
		Known:  func(context.Context) (map[string]string, error) { return map[string]string{}, nil },
		Accept: p.accept,
	})
	if err != nil {
		b.Fatal(err)
	}
	p.trees = w.Mirror()
	look := func() {
		if polled, err := w.Poll(b.Context()); err != nil || polled.Accepted != 1 {
			b.Fatalf("the look accepted %d changes: %v", polled.Accepted, err)
		}
	}
	look() // the first commit is read as a whole, which BenchmarkLoad measures
	rounds := 0
	for b.Loop() {
		rounds++
		write(b, filepath.Join(work, "recipes/7/one.yaml"), component(fmt.Sprint("changed ", rounds)))
		commitAll(b, work)
		look()
	}
	same := func(d time.Duration) time.Duration { return d }
	theirs, ours := median(p.git, same), median(p.ours, same) // a mean would be spoilt by one pause
	b.ReportMetric(float64(theirs.Microseconds()), "git-µs/plan")
	b.ReportMetric(float64(ours.Microseconds()), "ours-µs/plan")
	b.ReportMetric(float64(ours)/float64(theirs), "time-ratio")
}

// planner takes changes as the daemon does, and git's time beside its own.
type planner struct {
	b         *testing.B
	options   recipe.Options
	mirror    string
	trees     *watcher.Mirror
	last      *recipe.Set
	git, ours []time.Duration // of each change
}

func (p *planner) accept(ctx context.Context, c watcher.Change) error {
	if p.last == nil {
		tree, err := p.trees.Tree(ctx, c.New)
		if err != nil {
			return err
		}
		p.last, err = recipe.Load(ctx, tree, p.options)
		return err
	}
	start := time.Now()
	out, err := exec.CommandContext(ctx, "git", "--git-dir="+p.mirror, "diff", "--name-only", c.Old, c.New).Output()
	p.git = append(p.git, time.Since(start))
	if err != nil || strings.TrimSpace(string(out)) != "recipes/7/one.yaml" {
		return fmt.Errorf("git diff: %q, %w", out, err)
	}
	start = time.Now()
	decisions, err := p.plan(ctx, c)
	p.ours = append(p.ours, time.Since(start))
	if err != nil {
		return err
	}
	for _, d := range decisions {
		if (d.Name == "recipe-7") != (d.Action != recipe.ActionNone) {
			return fmt.Errorf("%s: %q because %q", d.Name, d.Action, d.Why)
		}
	}
	return nil
}

func (p *planner) plan(ctx context.Context, c watcher.Change) ([]recipe.Decision, error) {
	before, err := p.trees.Tree(ctx, c.Old)
	if err != nil {
		return nil, err
	}
	after, err := p.trees.Tree(ctx, c.New)
	if err != nil {
		return nil, err
	}
	changed, err := watcher.Changed(ctx, before, after)
	if err != nil {
		return nil, err
	}
	now, err := p.last.Update(ctx, after, changed)
	if err != nil {
		return nil, err
	}
	decisions := recipe.Plan(p.last, now, recipe.PlanOptions{})
	p.last = now
	return decisions, nil
}

func component(text string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: Run, action: ExecuteBash, inputs: {commands: ['echo " + text + "']}}\n"
}

func write(b *testing.B, path, text string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

func git(b *testing.B, dir string, args ...string) {
	b.Helper()
	c := command{dir: dir, name: "git", args: args, env: gitEnv()}
	if err := c.run(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func commitAll(b *testing.B, dir string) {
	b.Helper()
	git(b, dir, "add", "--all")
	git(b, dir, "commit", "--quiet", "--message=another")
}
