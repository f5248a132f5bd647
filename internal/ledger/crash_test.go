package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
	"github.com/seed-6db18919/ingot/reporter"
)

// The daemon of these tests is this test binary, started again with its orders in
// the environment. It accepts one change after the other, builds, reports, and is
// killed at a moment that the world chooses.
const (
	childURL    = "INGOT_TEST_DATABASE"
	childWorld  = "INGOT_TEST_WORLD"
	childName   = "INGOT_TEST_WORKER"
	childAccept = "INGOT_TEST_ACCEPT" // empty: only work off what is there
)

const kills = 24

// childLease is long enough for a slow machine to renew in time, and short enough
// to wait for.
const childLease = 6 * time.Second

// recipes is what every change of these tests asks for: a chain and a single one.
func recipesOfChange() []ledger.NewBuild {
	leaf := building("leaf")
	leaf.After = "base"
	return []ledger.NewBuild{building("base"), leaf, building("single")}
}

// child is the daemon's process.
func child() int {
	ctx := context.Background()
	log := logrus.New()
	log.SetLevel(logrus.WarnLevel)
	fail := func(err error) int {
		log.Error(err)
		return 1
	}
	l, err := ledger.Open(ctx, ledger.Options{
		URL: os.Getenv(childURL), Log: log, WorkerID: os.Getenv(childName),
		RetryBuild: time.Millisecond, RetryReport: time.Millisecond, Lease: childLease,
	})
	if err != nil {
		return fail(err)
	}
	w := &host{address: os.Getenv(childWorld), name: os.Getenv(childName), ledger: l}
	if err := l.Start(ctx, ledger.Workers{Build: w.build, Report: w.report, MaxBuilds: 2}); err != nil {
		return fail(err)
	}
	for os.Getenv(childAccept) != "" {
		if err := w.acceptNext(ctx); err != nil {
			return fail(err)
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the test has seen enough
	return fail(errors.Join(err, errors.New("the test has let go of it")))
}

// host is the child's way to the world of the test.
type host struct {
	address string
	name    string
	ledger  *ledger.Ledger
}

func (h *host) call(ctx context.Context, path string, values url.Values, answer any) error {
	values.Set("daemon", h.name)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.address+path, strings.NewReader(values.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// acceptNext moves the branch and the pull request on by one commit.
func (h *host) acceptNext(ctx context.Context) error {
	heads, err := h.ledger.Heads(ctx, "golden")
	if err != nil {
		return err
	}
	for _, s := range []ledger.Source{source(0), pullRequest(0)} {
		old := heads[s.Ref]
		n := 1
		if old != "" {
			if n, err = strconv.Atoi(old); err != nil {
				return err
			}
			n += 2
		} else if s.PullRequest != 0 {
			n = 2 // odd commits are of the branch, even ones of the pull request
		}
		s.Commit = commit(n)
		_, err := h.ledger.Accept(ctx, ledger.Acceptance{Source: s, Old: old, Builds: recipesOfChange()})
		if errors.Is(err, ledger.ErrConflict) {
			continue // the other daemon was first
		}
		if err != nil {
			return err
		}
		var answer string
		if err := h.call(ctx, "/accepted", url.Values{"commit": {s.Commit}}, &answer); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) build(ctx context.Context, b reporter.Build) (ledger.Outcome, error) {
	var answer string
	if err := h.call(ctx, "/run", url.Values{"build": {fmt.Sprint(b.ID)}}, &answer); err != nil {
		return ledger.Outcome{}, err
	}
	return ledger.Outcome{Image: imageOf(b.ID, b.Recipe)}, nil
}

func (h *host) report(ctx context.Context, r ledger.Report) (string, error) {
	if r.Kind == ledger.StatusReport {
		b, err := h.ledger.Build(ctx, r.Build)
		if err != nil {
			return "", err
		}
		var answer string
		return "", h.call(ctx, "/status", url.Values{"subject": {r.Commit + " " + r.Recipe}, "text": {string(b.State)}}, &answer)
	}
	text, err := comment(ctx, h.ledger)
	if err != nil {
		return "", err
	}
	id := r.ExternalID
	if id == "" { // perhaps an earlier process made it and died before it could say so
		if err := h.call(ctx, "/find", url.Values{}, &id); err != nil {
			return "", err
		}
	}
	return id, h.call(ctx, "/comment", url.Values{"id": {id}, "text": {text}}, &id)
}

// comment renders the comment of the pull request.
func comment(ctx context.Context, l *ledger.Ledger) (string, error) {
	builds, commit, err := l.PullRequestBuilds(ctx, "golden", 7)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, commit)
	for _, b := range builds {
		fmt.Fprintln(&text, b.ID, b.Recipe, b.State)
	}
	return text.String(), nil
}

// world is the code host and the machine on which builds run, as the daemons see
// them. It outlives them.
type world struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	open     map[string]int // requests by daemon
	busy     map[string]int // builds and reports being worked on
	accepted []string
	statuses map[string]string
	comments []string
	calls    int
	killAt   int // at which call kill is called; 0: never
	kill     func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, open: make(map[string]int), busy: make(map[string]int), statuses: make(map[string]string)}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		return // the daemon died while it wrote
	}
	daemon := r.Form.Get("daemon")
	key := ""
	switch r.URL.Path {
	case "/run":
		key = "build " + r.Form.Get("build")
	case "/status":
		key = "status " + r.Form.Get("subject")
	case "/find", "/comment":
		key = "comment"
	}
	w.enter(daemon, key)
	// A build and the way to the next change take a little time, which the daemon
	// may not live to see.
	if takes := map[string]int{"/run": 20, "/accepted": 150}[r.URL.Path]; takes > 0 {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(rand.IntN(takes)) * time.Millisecond):
		}
	}
	answer := w.leave(daemon, key, r)
	if err := json.NewEncoder(out).Encode(answer); err != nil {
		return // the daemon died while it waited
	}
}

func (w *world) enter(daemon, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[daemon]++
	w.busy[key]++
	if key != "" && w.busy[key] > 1 {
		w.t.Errorf("%s: twice at the same time", key)
	}
	w.calls++
	if w.killAt > 0 && w.calls >= w.killAt {
		w.killAt = 0
		w.kill()
	}
}

// leave does what the call asked for: the daemon may be dead, but its request has
// arrived.
func (w *world) leave(daemon, key string, r *http.Request) (answer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[daemon]--
	w.busy[key]--
	switch r.URL.Path {
	case "/accepted":
		w.accepted = append(w.accepted, r.Form.Get("commit"))
	case "/status":
		w.statuses[r.Form.Get("subject")] = r.Form.Get("text")
	case "/find":
		if len(w.comments) > 0 {
			return "0"
		}
	case "/comment":
		if r.Form.Get("id") == "" {
			w.comments = append(w.comments, "")
			w.comments[len(w.comments)-1] = r.Form.Get("text")
			return strconv.Itoa(len(w.comments) - 1)
		}
		w.comments[0] = r.Form.Get("text")
		return r.Form.Get("id")
	}
	return ""
}

// killAfter calls kill from within the n-th call from now.
func (w *world) killAfter(n int, kill func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killAt, w.kill = w.calls+n, kill
}

func (w *world) quiet(daemon string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[daemon] == 0
}

// daemon starts a child process.
func (w *world) daemon(url, name string, accepts bool) *exec.Cmd {
	w.t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childURL+"="+url, childWorld+"="+w.server.URL, childName+"="+name)
	if accepts {
		c.Env = append(c.Env, childAccept+"=yes")
	}
	out := &testOutput{t: w.t, name: name}
	c.Stdout, c.Stderr = out, out
	if _, err := c.StdinPipe(); err != nil { // open as long as we live
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

type testOutput struct {
	t    *testing.T
	name string
}

func (o *testOutput) Write(p []byte) (int, error) {
	o.t.Logf("%s: %s", o.name, bytes.TrimSpace(p))
	return len(p), nil
}

// killAtCall kills a daemon while somebody, not always itself, is in the n-th call
// from now, and waits until all that it had begun at the world is over.
func (w *world) killAtCall(c *exec.Cmd, name string, n int) {
	w.t.Helper()
	killed := make(chan struct{})
	w.killAfter(n, func() {
		if err := c.Process.Kill(); err != nil {
			w.t.Errorf("kill %s: %v", name, err)
		}
		close(killed)
	})
	select {
	case <-killed:
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("%s does nothing", name)
	}
	_ = c.Wait() // "signal: killed"
	eventually(w.t, name+" is gone", func() bool { return w.quiet(name) })
}

func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts daemons for half a minute")
	}
	for _, c := range []struct {
		database string
		daemons  []string
	}{
		{"sqlite", []string{"one"}},
		{"postgres", []string{"one", "two"}},
	} {
		t.Run(c.database, func(t *testing.T) {
			url := ledgertest.URL(t, c.database)
			l := ledgertest.Open(t, url)
			w := newWorld(t)
			alive := make(map[string]*exec.Cmd)
			for _, name := range c.daemons {
				alive[name] = w.daemon(url, name, true)
			}
			for i := range kills {
				name := c.daemons[i%len(c.daemons)]
				w.killAtCall(alive[name], name, 1+rand.IntN(40))
				alive[name] = w.daemon(url, name, true)
			}
			for _, name := range c.daemons {
				w.killAtCall(alive[name], name, 1+rand.IntN(40))
				alive[name] = w.daemon(url, name, false)
			}
			eventually(t, "everything is built and told", func() bool {
				n, err := l.Counts(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				open := n.Builds[reporter.Waiting] + n.Builds[reporter.Queued] + n.Builds[reporter.Running]
				return open == 0 && n.ReportsWaiting == 0
			})
			w.check(l)
		})
	}
}

// check compares what the world has seen with what the ledger says.
func (w *world) check(l *ledger.Ledger) {
	w.t.Helper()
	ctx := w.t.Context()
	w.mu.Lock()
	defer w.mu.Unlock()
	builds, err := l.Builds(ctx, ledger.Filter{Limit: 1 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	byCommit := make(map[string][]reporter.Build)
	succeeded := make(map[string]int)
	for _, b := range builds {
		byCommit[b.Commit] = append(byCommit[b.Commit], b)
		switch {
		case b.State == reporter.Succeeded:
			succeeded[b.Recipe]++
		case b.State != reporter.Superseded:
			w.t.Errorf("build %d of %s is %s: %+v", b.ID, b.Recipe, b.State, b.Failure)
		}
		if told := w.statuses[b.Commit+" "+b.Recipe]; told != string(b.State) {
			w.t.Errorf("build %d of %s: the commit says %q, the ledger %q", b.ID, b.Recipe, told, b.State)
		}
	}
	w.checkHeads(ctx, l, byCommit)
	for recipe, n := range succeeded {
		releases, err := l.Releases(ctx, recipe, 1<<20)
		if err != nil {
			w.t.Fatal(err)
		}
		numbers := make(map[int]bool)
		for _, r := range releases {
			numbers[r.Number] = true
		}
		if len(releases) != n || len(numbers) != n || !numbers[n] {
			w.t.Errorf("%s: %d builds succeeded, %d releases with %d numbers", recipe, n, len(releases), len(numbers))
		}
	}
	want, err := comment(ctx, l)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(w.comments) != 1 || w.comments[0] != want {
		w.t.Errorf("%d comments, %q; want 1, %q", len(w.comments), w.comments, want)
	}
	w.t.Logf("%d calls, %d changes, %d builds, %v of them succeeded", w.calls, len(byCommit), len(builds), succeeded)
}

// checkHeads sees to it that every change up to the heads has its builds, once,
// and that no change is missing of which a daemon knew that it was accepted.
func (w *world) checkHeads(ctx context.Context, l *ledger.Ledger, builds map[string][]reporter.Build) {
	w.t.Helper()
	heads, err := l.Heads(ctx, "golden")
	if err != nil {
		w.t.Fatal(err)
	}
	for ref, head := range heads {
		last, err := strconv.Atoi(head)
		if err != nil {
			w.t.Fatal(err)
		}
		for n := last; n > 0; n -= 2 {
			if len(builds[commit(n)]) != len(recipesOfChange()) {
				w.t.Errorf("%s: change %d has %d builds", ref, n, len(builds[commit(n)]))
			}
		}
	}
	for _, c := range w.accepted {
		if len(builds[c]) == 0 {
			w.t.Errorf("change %s was accepted and is lost", c)
		}
	}
}

func TestBuildThatKillsItsDaemonIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a daemon many times")
	}
	for _, database := range ledgertest.Databases() {
		t.Run(database, func(t *testing.T) {
			url := ledgertest.URL(t, database)
			l := ledgertest.Open(t, url)
			w := newWorld(t)
			quiet := source(1)
			quiet.CodeHost = "" // every call is that of the build
			id := accept(t, l, ledger.Acceptance{Source: quiet, Builds: []ledger.NewBuild{building("bomb")}})[0]
			for range 11 {
				w.killAtCall(w.daemon(url, "one", false), "one", 1)
			}
			w.daemon(url, "one", false)
			if b := final(t, l, id); b.State != reporter.Errored || !strings.Contains(b.Failure.Reason, "died 11 times") {
				t.Errorf("got %s, %+v", b.State, b.Failure)
			}
		})
	}
}

func TestBuildOfADaemonThatStaysAwayIsTakenOver(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until River has another leader")
	}
	t.Parallel()
	for _, database := range ledgertest.Databases() {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			url := ledgertest.URL(t, database)
			l := ledgertest.Open(t, url, func(o *ledger.Options) { o.WorkerID, o.Lease = "two", childLease })
			w := newWorld(t)
			quiet := source(1)
			quiet.CodeHost = "" // the first call is then that of the build
			ids := accept(t, l, ledger.Acceptance{Source: quiet, Builds: []ledger.NewBuild{building("web")}})
			w.killAtCall(w.daemon(url, "one", false), "one", 1)
			wantState(t, l, ids[0], reporter.Running)
			start(t, l, ledger.Workers{Build: succeed})
			if b := final(t, l, ids[0]); b.State != reporter.Succeeded {
				t.Errorf("got %s", b.State)
			}
		})
	}
}
