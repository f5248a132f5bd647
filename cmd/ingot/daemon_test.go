package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe/recipetest"
	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
	reportgithub "github.com/seed-6db18919/ingot/reporter/github"
)

const ownerRepo = "acme/golden-images"

// world is a daemon, the repository that it watches and the code host that it
// reports to. Only the driver is scripted.
type world struct {
	*testing.T
	dir    string
	url    string // of the database; empty: the default
	more   string // lines of the configuration
	repo   *sampleRepository
	github *githubfake.Server
	driver *buildertest.Driver
	cloud  *cloud // nil: not configured
	daemon *daemon
	stop   func() // ends the daemon, as SIGTERM does
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), github: githubfake.New(t), driver: buildertest.New()}
	w.github.AddRepository(ownerRepo)
	repo, err := newSampleRepository(filepath.Join(w.dir, "golden-images"))
	if err != nil {
		t.Fatal(err)
	}
	w.repo = repo
	return w
}

// start starts the daemon on what is there; after stop it may start again.
func (w *world) start() {
	w.Helper()
	text := fmt.Sprintf(`dataDir: %s
server: {listen: "127.0.0.1:0", publicURL: "https://ingot.example.com"}
github: {apiURL: %s}
repositories:
  - {name: golden-images, url: %s, github: %s, pollInterval: 1s, paths: [recipes]}
%s`, filepath.Join(w.dir, "data"), w.github.APIURL(), w.repo.dir, ownerRepo, w.more)
	cfg, err := config.Read(filepath.Join(w.dir, "ingot.yaml"), []byte(text), func(key string) string {
		return map[string]string{"INGOT_GITHUB_TOKEN": githubfake.Token, "INGOT_WEBHOOK_SECRET": "hook", "INGOT_DATABASE": w.url}[key]
	})
	w.must(err)
	lock, err := lockDir(w.Context(), cfg.DataDir)
	w.must(err)
	id, err := workerID(cfg.DataDir)
	w.must(err)
	log := logrus.New()
	log.SetOutput(w.Output())
	l, err := ledger.Open(w.Context(), ledger.Options{URL: cfg.Database.Reveal(), Log: log, WorkerID: id})
	w.must(err)
	h, err := newHosts(cfg)
	w.must(err)
	h.write, err = reportgithub.New(reportgithub.Config{
		APIURL: cfg.GitHub.APIURL, Token: func() (string, error) { return githubfake.Token, nil }, Pause: time.Millisecond,
	})
	w.must(err)
	w.daemon, err = newDaemon(cfg, log, lock, &parts{ledger: l, driver: w.driver, cloud: w.cloud, keep: cfg.Builds}, h)
	w.must(err)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.daemon.Run(ctx) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("daemon: %v", err)
		}
	}
	w.Cleanup(w.stop)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// commit commits the working tree and tells the code host of the commit.
func (w *world) commit(message string) string {
	w.Helper()
	commit, err := w.repo.commit(message)
	w.must(err)
	w.github.AddCommit(ownerRepo, commit)
	if w.daemon != nil {
		w.daemon.group.Nudge("golden-images")
	}
	return commit
}

// branch makes a branch of the current commit and goes there.
func (w *world) branch(name string, create bool) {
	w.Helper()
	tree, err := w.repo.repo.Worktree()
	w.must(err)
	w.must(tree.Checkout(&git.CheckoutOptions{Branch: plumbing.NewBranchReferenceName(name), Create: create}))
}

// pull opens a pull request, or moves it to a new commit.
func (w *world) pull(p githubfake.Pull) {
	w.Helper()
	ref := plumbing.NewHashReference(plumbing.ReferenceName(fmt.Sprintf("refs/pull/%d/head", p.Number)), plumbing.NewHash(p.Head))
	w.must(w.repo.repo.Storer.SetReference(ref))
	w.github.OpenPull(ownerRepo, p)
}

// forkPull is the pull request of a stranger.
const forkPull = 8

// fork opens a stranger's pull request, whose commit puts text in the place of old in
// a file, and returns once its build waits for approval.
func (w *world) fork(file, old, text string) (commit string, waits githubfake.Status) {
	w.Helper()
	w.branch("fork", true)
	w.must(w.repo.replace(file, old, text))
	commit = w.commit("Change " + file)
	w.branch("main", false)
	w.pull(githubfake.Pull{Number: forkPull, Head: commit, HeadRepo: "stranger/golden-images", Author: "stranger"})
	return commit, w.status(commit, "ingot/web", isState("pending"))
}

// approve has somebody who may write approve of the stranger's commit.
func (w *world) approve(commit string) {
	w.Helper()
	w.github.SetPermission(ownerRepo, "maintainer", "write")
	w.github.AddReview(ownerRepo, forkPull, githubfake.Review{User: "maintainer", State: "APPROVED", Commit: commit})
	w.must(w.daemon.desks["golden-images"].approveWaiting(w.Context()))
}

// status waits until the newest status of a context fits.
func (w *world) status(commit, name string, fits func(githubfake.Status) bool) githubfake.Status {
	w.Helper()
	var last githubfake.Status
	w.eventually(func() (bool, string) {
		for _, s := range w.github.Statuses(ownerRepo, commit) {
			if s.Context == name {
				last = s
			}
		}
		return fits(last), fmt.Sprintf("status %s of %.10s is %+v", name, commit, last)
	})
	return last
}

func isState(state string) func(githubfake.Status) bool {
	return func(s githubfake.Status) bool { return s.State == state }
}

// eventually waits, with a limit that only a broken daemon reaches.
func (w *world) eventually(done func() (bool, string)) {
	w.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := done()
		if ok {
			return
		}
		select {
		case <-deadline:
			w.Fatal("waited a minute: " + state)
		case <-tick.C:
		}
	}
}

// builds lists the builds of a commit.
func (w *world) builds(commit string) []reporter.Build {
	w.Helper()
	builds, err := w.daemon.parts.ledger.Builds(w.Context(), ledger.Filter{Commit: commit})
	w.must(err)
	return builds
}

func TestPushBecomesRelease(t *testing.T) {
	for _, database := range ledgertest.Databases() {
		t.Run(database, func(t *testing.T) { pushBecomesRelease(t, ledgertest.URL(t, database)) })
	}
}

func pushBecomesRelease(t *testing.T, database string) {
	w := newWorld(t)
	w.url = database
	w.must(w.repo.copy())
	first := w.commit("Add images")
	// A report says how things stand when it goes out: a build that ends at once may
	// never have been seen pending.
	gate := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(gate) })
	w.driver.Until = map[string]<-chan struct{}{"launch": gate}
	w.start()
	t.Cleanup(goOn) // before the daemon is stopped, which waits for builds
	w.status(first, "ingot/web", isState("pending"))
	goOn()

	s := w.status(first, "ingot/web", isState("success"))
	if !strings.Contains(s.Description, "img-") || !strings.Contains(s.Description, "2 tests") || !strings.HasPrefix(s.TargetURL, "https://ingot.example.com/builds/") {
		t.Errorf("status %+v", s)
	}
	w.status(first, "ingot/base", isState("success"))

	t.Log("only the recipe whose closure changed is built again")
	w.must(w.repo.replace("recipes/web/site.yaml", "<h1>", "<h1 class=big>"))
	second := w.commit("Shout")
	w.status(second, "ingot/web", isState("success"))
	if b := w.builds(second); len(b) != 1 || b[0].Number != 2 || !slices.Contains(b[0].Why, "recipes/web/site.yaml changed") {
		t.Errorf("builds of the second commit: %+v", b)
	}

	t.Log("an unrelated file touches nothing")
	w.must(os.WriteFile(filepath.Join(w.repo.dir, "NOTES"), []byte("x"), 0o644))
	third := w.commit("Take notes")
	w.eventually(func() (bool, string) {
		heads, err := w.daemon.parts.ledger.Heads(t.Context(), "golden-images")
		w.must(err)
		return heads["refs/heads/main"] == third, "the third commit is not accepted"
	})
	if b := w.builds(third); len(b) != 0 {
		t.Errorf("builds of the third commit: %+v", b)
	}
}

func TestPullRequestIsBuiltAndMergePromotes(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.status(func() string { c := w.commit("Add images"); w.start(); return c }(), "ingot/web", isState("success"))

	w.branch("topic", true)
	w.must(w.repo.replace("recipes/web/site.yaml", "<h1>", "<h1 class=big>"))
	candidate := w.commit("Shout")
	w.branch("main", false)
	w.pull(githubfake.Pull{Number: 7, Head: candidate, HeadRef: "topic"})
	w.status(candidate, "ingot/web", isState("success"))
	built := w.builds(candidate)[0]
	if built.Release || built.Number != 0 {
		t.Errorf("a candidate was released: %+v", built)
	}
	w.eventually(func() (bool, string) {
		c := w.github.Comments(ownerRepo, 7)
		return len(c) == 1 && strings.Contains(c[0].Body, built.Image.ID), fmt.Sprintf("comments %+v", c)
	})

	t.Log("merging promotes the candidate that was tested")
	w.driver.Calls()
	w.must(w.repo.repo.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", plumbing.NewHash(candidate))))
	w.eventually(func() (bool, string) {
		for _, b := range w.builds(candidate) {
			if b.Release && b.State == reporter.Succeeded {
				return b.Number == 2 && b.Image.ID == built.Image.ID, fmt.Sprintf("release %+v", b)
			}
		}
		return false, "no release yet"
	})
	if calls := strings.Join(w.driver.Calls(), " "); calls != "resolve" {
		t.Errorf("promotion called the driver: %s", calls)
	}
	if c := w.github.Comments(ownerRepo, 7); len(c) != 1 {
		t.Errorf("%d comments, want the one", len(c))
	}
}

func TestForkWaitsForApprovalOfThatCommit(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	first := w.commit("Add images")
	w.start()
	w.status(first, "ingot/web", isState("success"))

	stranger, s := w.fork("recipes/web/site.yaml", "<h1>", "<h1 class=big>")
	if !strings.Contains(s.Description, "approv") {
		t.Errorf("status %+v does not say what it waits for", s)
	}
	w.driver.Calls()
	w.github.SetPermission(ownerRepo, "stranger", "read")
	w.github.AddComment(ownerRepo, forkPull, "stranger", "/ingot build "+stranger)
	w.must(w.daemon.desks["golden-images"].approveWaiting(t.Context()))
	if b := w.builds(stranger)[0]; b.State != reporter.Approval {
		t.Fatalf("the stranger's own word started the build: %s", b.State)
	}
	w.approve(stranger)
	w.status(stranger, "ingot/web", isState("success"))
	if calls := w.driver.Calls(); !slices.Contains(calls, "launch vm") {
		t.Errorf("a fork's build did not run in a virtual machine: %v", calls)
	}
}

// TestForkSpendsNobodysMoney: an approval lets a stranger's commit use a machine of
// this host, and no account.
func TestForkSpendsNobodysMoney(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	first := w.commit("Add images")
	w.start()
	w.status(first, "ingot/web", isState("success"))

	stranger, _ := w.fork("recipes/web/recipe.yaml", "parentImage: debian-12", "publish: {driver: ec2}\nparentImage: debian-12")
	w.approve(stranger)
	if s := w.status(stranger, "ingot/web", isState("failure")); !strings.Contains(s.Description, "forks are built on this host alone") {
		t.Errorf("status %+v does not say why", s)
	}
}

func TestFailureNamesStepAndReplay(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.driver.Fail["nginx build"] = component.Failure{Path: "recipes/web/nginx.yaml", Phase: "build", Step: "Install", Action: "ExecuteBash", Message: "exit status 100"}
	c := w.commit("Add images")
	w.pull(githubfake.Pull{Number: 9, Head: c})
	w.start()
	s := w.status(c, "ingot/web", isState("failure"))
	for _, want := range []string{"Install", "exit status 100"} {
		if !strings.Contains(s.Description, want) {
			t.Errorf("description %q does not say %q", s.Description, want)
		}
	}
	b, err := w.daemon.parts.ledger.Build(t.Context(), w.builds(c)[0].ID)
	w.must(err)
	if b.Recipe != "web" {
		b, err = w.daemon.parts.ledger.Build(t.Context(), w.builds(c)[1].ID)
		w.must(err)
	}
	if b.Failure == nil || !strings.Contains(b.Failure.Replay, "ingot build recipes/web/recipe.yaml") || b.Failure.Output == "" {
		t.Errorf("failure %+v", b.Failure)
	}
}

// TestBadDocumentsEndAsFailedStatus commits every bad example, one after the
// other, to one daemon.
func TestBadDocumentsEndAsFailedStatus(t *testing.T) {
	w := newWorld(t)
	w.must(os.MkdirAll(filepath.Join(w.repo.dir, "recipes"), 0o755))
	w.must(os.WriteFile(filepath.Join(w.repo.dir, "README"), []byte("x"), 0o644))
	w.commit("Begin")
	w.start()
	bad := "../../builder/recipe/testdata/bad"
	cases, err := os.ReadDir(bad)
	w.must(err)
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			into := filepath.Join(w.repo.dir, "recipes")
			w.must(os.RemoveAll(into))
			recipetest.LayOut(t, filepath.Join(bad, c.Name()), into)
			commit := w.commit(c.Name())
			w.eventually(func() (bool, string) {
				statuses := w.github.Statuses(ownerRepo, commit)
				return slices.ContainsFunc(statuses, isState("failure")), fmt.Sprintf("statuses %+v", statuses)
			})
		})
	}
}

func TestReportsWaitForTheCodeHost(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.github.SetFault(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/statuses/") {
			return false
		}
		rw.WriteHeader(http.StatusBadGateway)
		return true
	})
	c := w.commit("Add images")
	w.start()
	w.eventually(func() (bool, string) {
		b := w.builds(c)
		return len(b) == 2 && b[0].State.Final() && b[1].State.Final(), fmt.Sprintf("builds %+v", b)
	})
	w.github.SetFault(nil)
	w.status(c, "ingot/web", isState("success"))
	for _, s := range w.github.Statuses(ownerRepo, c) {
		if s.State == "pending" {
			t.Errorf("an old state arrived late: %+v", s)
		}
	}
}

func TestStopHandsBuildsBack(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.driver.Hang = "site"
	c := w.commit("Add images")
	w.start()
	w.eventually(func() (bool, string) {
		return slices.Contains(w.driver.Live(), "instance of "+fmt.Sprint(w.buildOf(c, "web"))), fmt.Sprintf("alive: %v", w.driver.Live())
	})
	w.stop()
	if live := w.driver.Live(); len(live) != 0 {
		t.Errorf("alive after stop: %v", live)
	}
	w.driver.Hang = ""
	w.start()
	w.status(c, "ingot/web", isState("success"))
	if n := len(w.builds(c)); n != 2 {
		t.Errorf("%d builds, want the same two", n)
	}
}

// buildOf is the number of a recipe's build of a commit; 0: not there yet.
func (w *world) buildOf(commit, recipe string) int64 {
	for _, b := range w.builds(commit) {
		if b.Recipe == recipe {
			return b.ID
		}
	}
	return 0
}

func TestRecipeStandsOnRecipeOfTheSameCommit(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.must(w.repo.replace("recipes/web/recipe.yaml", "parentImage: debian-12", "parentImage: base/1.x.x"))
	c := w.commit("Stand web on base")
	w.start()
	w.status(c, "ingot/web", isState("success"))
	var base, web reporter.Build
	for _, b := range w.builds(c) {
		full, err := w.daemon.parts.ledger.Build(t.Context(), b.ID)
		w.must(err)
		if b.Recipe == "base" {
			base = full
		} else {
			web = full
		}
	}
	if web.Started.Before(base.Finished) {
		t.Errorf("web began at %v, before base ended at %v", web.Started, base.Finished)
	}

	t.Log("when the parent changes, its child is built again on the new image")
	w.must(w.repo.replace("recipes/base/recipe.yaml", "MaxUse: 64M", "MaxUse: 32M"))
	c = w.commit("Keep less")
	w.status(c, "ingot/web", isState("success"))
	if n := len(w.builds(c)); n != 2 {
		t.Errorf("%d builds, want base and web", n)
	}
}

func TestScheduleBuildsWhenTheParentMoved(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	c := w.commit("Add images")
	w.start()
	w.status(c, "ingot/base", isState("success"))
	entries, err := w.daemon.calendarEntries(t.Context())
	w.must(err)
	if len(entries) != 1 || entries[0].LastRun.IsZero() {
		t.Fatalf("entries %+v", entries)
	}
	w.must(w.daemon.fire(t.Context(), entries[0], time.Now()))
	if n := len(w.builds(c)); n != 2 {
		t.Errorf("%d builds after a run without news, want the first two", n)
	}
	w.driver.SetRevision("r2")
	w.must(w.daemon.fire(t.Context(), entries[0], time.Now()))
	w.eventually(func() (bool, string) {
		b := w.builds(c)
		return len(b) == 3 && b[0].Trigger == reporter.Schedule && b[0].State == reporter.Succeeded && b[0].Number == 2, fmt.Sprintf("builds %+v", b)
	})
	w.driver.Calls()

	t.Log("what the calendar built is what the next push goes on with")
	w.must(w.repo.replace("recipes/base/tests/settings.yaml", "name: settings", "name: all-settings"))
	next := w.commit("Rename a test")
	w.status(next, "ingot/base", isState("success"))
	if calls := strings.Join(w.driver.Calls(), " "); strings.Contains(calls, "launch") {
		t.Errorf("a changed test built an image: %s", calls)
	}
}

func TestPagesAnswer(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	c := w.commit("Add images")
	w.start()
	w.status(c, "ingot/web", isState("success"))
	base := "http://" + w.daemon.listener.Addr().String()
	for path, want := range map[string]string{
		"/": "golden-images", "/builds": "web", fmt.Sprintf("/builds/%d", w.buildOf(c, "web")): "img-",
		"/images": "img-", "/healthz": "ok", "/readyz": "ready", "/metrics": `ingot_builds{state="succeeded"} 2`,
	} {
		res, err := http.Get(base + path)
		w.must(err)
		body, err := io.ReadAll(res.Body)
		w.must(err)
		w.must(res.Body.Close())
		if res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, without %q", path, res.Status, want)
		}
	}
	res, err := http.Post(base+"/webhooks/github", "application/json", strings.NewReader("{}"))
	w.must(err)
	w.must(res.Body.Close())
	if res.StatusCode < 400 {
		t.Errorf("an unsigned webhook was answered %s", res.Status)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	w := newWorld(t)
	w.must(w.repo.copy())
	w.commit("Add images")
	w.start()
	if _, err := lockDir(w.Context(), filepath.Join(w.dir, "data")); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("second lock: %v", err)
	}
}
