package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/watcher"
)

// BenchmarkPlan5000Files is all that the daemon does between a fetched commit and
// what it then records, for one changed file in a repository of 5,000 with 500
// released recipes, beside `git diff --name-only` of the same commits in the same
// mirror, which is a process each time.
func BenchmarkPlan5000Files(b *testing.B) {
	top := b.TempDir()
	work := filepath.Join(top, "work")
	if err := os.CopyFS(work, largeRepository()); err != nil {
		b.Fatal(err)
	}
	git := gitIn(b, work)
	commit := func() {
		git("add", "--all")
		git("commit", "--quiet", "--message=another")
	}
	git("init", "--quiet", "--initial-branch=main")
	commit()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	database := filepath.Join(top, "ingot.db")
	p := &timedDesk{mirror: filepath.Join(top, "mirrors", "large.git"), desk: desk{
		name: "large", branch: "refs/heads/main", options: recipeOptions(), log: quiet, changed: func() {},
		ledger: ledgertest.Open(b, "sqlite:"+database, func(o *ledger.Options) { o.Log = quiet }),
	}}
	w, err := watcher.New(watcher.Config{
		Name: p.name, URL: serveGit(b, filepath.Join(work, ".git")) + "/large.git", MirrorDir: filepath.Dir(p.mirror), Log: quiet,
		Known:  func(context.Context) (map[string]string, error) { return map[string]string{}, nil },
		Accept: p.accept,
	})
	if err != nil {
		b.Fatal(err)
	}
	p.desk.mirror = w.Mirror()
	look := func() {
		if polled, err := w.Poll(b.Context()); err != nil || polled.Accepted != 1 {
			b.Fatalf("the look accepted %d changes: %v", polled.Accepted, err)
		}
	}
	look() // the first commit is read as a whole, which BenchmarkLoad of builder/recipe measures
	releaseAll(b, database)
	p.git, p.ours = nil, nil
	rounds := 0
	for b.Loop() {
		rounds++
		changed := filepath.Join(work, "recipes/7/one.yaml")
		if err := os.WriteFile(changed, []byte(largeComponent(fmt.Sprint("changed ", rounds))), 0o644); err != nil {
			b.Fatal(err)
		}
		commit()
		look()
	}
	theirs, ours := middle(p.git), middle(p.ours) // a mean would be spoilt by one pause
	b.ReportMetric(float64(theirs.Microseconds()), "git-µs/plan")
	b.ReportMetric(float64(ours.Microseconds()), "ours-µs/plan")
	b.ReportMetric(float64(ours)/float64(theirs), "time-ratio")
}

// timedDesk takes changes as the daemon's desk, and git's time beside its own.
type timedDesk struct {
	desk
	mirror    string
	git, ours []time.Duration // of each change
}

func (p *timedDesk) accept(ctx context.Context, c watcher.Change) error {
	if c.Old != "" {
		start := time.Now()
		out, err := exec.CommandContext(ctx, "git", "--git-dir="+p.mirror, "diff", "--name-only", c.Old, c.New).Output()
		p.git = append(p.git, time.Since(start))
		if err != nil || strings.TrimSpace(string(out)) != "recipes/7/one.yaml" {
			return fmt.Errorf("git diff: %q, %w", out, err)
		}
	}
	start := time.Now()
	a, err := p.acceptance(ctx, c)
	p.ours = append(p.ours, time.Since(start))
	if err != nil {
		return err
	}
	if c.Old != "" && (len(a.Builds) != 1 || a.Builds[0].Recipe != "recipe-7" || !slices.Contains(a.Builds[0].Why, "recipes/7/one.yaml changed")) {
		return fmt.Errorf("planned %+v", a.Builds)
	}
	_, err = p.ledger.Accept(ctx, a)
	return err
}

// releaseAll makes releases of all builds that were recorded, as if they had run.
func releaseAll(b *testing.B, database string) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+database+"?_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`INSERT INTO images (id, build, repository, recipe, version, driver, build_key, ref, digest, size, virtual, revision, inventory, created)
			SELECT 'image-' || id, id, repository, recipe, version, 'local', '', '', '', 0, 0, '', '', 0 FROM builds`,
		`INSERT INTO releases (recipe, version, number, repository, build, image_id, created)
			SELECT recipe, version, 1, repository, id, 'image-' || id, 0 FROM builds`,
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
}

// serveGit serves one repository under every name, over git's own smart HTTP
// program, and returns the address.
func serveGit(b *testing.B, gitDir string) string {
	b.Helper()
	path, err := exec.CommandContext(b.Context(), "git", "--exec-path").Output()
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path = "/" + rest
		backend := cgi.Handler{
			Path:   filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
			Env:    []string{"GIT_PROJECT_ROOT=" + gitDir, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=" + r.Header.Get("Git-Protocol")},
			Stderr: io.Discard,
		}
		backend.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// gitIn runs git in a folder, without the settings of whoever runs the benchmark.
func gitIn(b *testing.B, dir string) func(args ...string) {
	return func(args ...string) {
		b.Helper()
		c := exec.CommandContext(b.Context(), "git", args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@example.com", "GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@example.com")
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
}

// middle is the median.
func middle(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
