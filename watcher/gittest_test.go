package watcher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sirupsen/logrus"
)

// repo is a bare repository that a test pushes to, made with the real git.
type repo struct {
	t    testing.TB
	dir  string // bare, below a root that servers serve
	work string
}

func newRepo(t testing.TB, root, name string) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(root, name), work: t.TempDir()}
	r.create()
	r.git("init", "-q", "-b", "main")
	r.git("remote", "add", "origin", r.dir)
	return r
}

// create makes the bare repository, empty.
func (r *repo) create() {
	r.t.Helper()
	run(r.t, "", "git", "init", "-q", "--bare", "-b", "main", r.dir)
	run(r.t, r.dir, "git", "config", "receive.denyDeleteCurrent", "ignore")
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	return run(r.t, r.work, "git", args...)
}

// write puts files into the working copy: name, content, name, content.
func (r *repo) write(files ...string) {
	r.t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(r.work, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// commit commits everything and returns the commit.
func (r *repo) commit(title string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", title)
	return r.git("rev-parse", "HEAD")
}

// push commits, pushes to ref, and returns the commit.
func (r *repo) push(title, ref string) string {
	r.t.Helper()
	hash := r.commit(title)
	r.git("push", "-q", "-f", "origin", "HEAD:"+ref)
	return hash
}

func run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n(Debian package git is needed)", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// gitServer serves the repositories below a directory with git's own HTTP
// backend.
type gitServer struct {
	*httptest.Server
	backend cgi.Handler
	root    string
	token   string        // wanted, when not empty
	v0      atomic.Bool   // do not hear of version 2
	sent    *atomic.Int64 // bytes

	mu     sync.Mutex
	mangle func(w http.ResponseWriter, r *http.Request) bool // may answer instead
	asked  []string                                          // method and path
}

func newGitServer(t testing.TB, tls bool) *gitServer {
	t.Helper()
	s := makeGitServer(t.TempDir(), gitExecPath(t))
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func gitExecPath(t testing.TB) string {
	t.Helper()
	return run(t, "", "git", "--exec-path")
}

// makeGitServer makes a server that is not started yet.
func makeGitServer(root, execPath string) *gitServer {
	s := &gitServer{root: root, sent: new(atomic.Int64)}
	s.backend = cgi.Handler{
		Path:   filepath.Join(execPath, "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
		Stderr: io.Discard,
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Listener = countingListener{s.Listener, s.sent}
	return s
}

func (s *gitServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	mangle := s.mangle
	s.mu.Unlock()
	if _, password, _ := r.BasicAuth(); s.token != "" && password != s.token {
		w.Header().Set("WWW-Authenticate", "Basic")
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if mangle != nil && mangle(w, r) {
		return
	}
	h := s.backend
	if protocol := r.Header.Get("Git-Protocol"); protocol != "" && !s.v0.Load() {
		h.Env = append(slices.Clip(h.Env), "GIT_PROTOCOL="+protocol)
	}
	h.ServeHTTP(w, r)
}

// setMangle puts f in front of every request.
func (s *gitServer) setMangle(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mangle = f
}

// takeAsked returns what was asked since the last call.
func (s *gitServer) takeAsked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// countingListener counts what the server sends.
type countingListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countingConn{c, l.sent}, err
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// testLog sends log lines to the test's own.
func testLog(t testing.TB) logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(testWriter{t})
	log.SetLevel(logrus.DebugLevel)
	return log
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// book records what a watcher hands on, as the ledger would.
type book struct {
	mu      sync.Mutex
	known   map[string]string
	changes []Change
	refuse  func(Change) error // may refuse a change
}

func (b *book) Known(context.Context) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]string{}
	for k, v := range b.known {
		out[k] = v
	}
	return out, nil
}

func (b *book) Accept(_ context.Context, c Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil {
		if err := b.refuse(c); err != nil {
			return err
		}
	}
	if b.known == nil {
		b.known = map[string]string{}
	}
	b.known[c.Ref] = c.New
	if c.Deleted {
		delete(b.known, c.Ref)
	}
	b.changes = append(b.changes, c)
	return nil
}

// take returns the changes since the last call, written short.
func (b *book) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, c := range b.changes {
		out = append(out, short(c))
	}
	b.changes = nil
	return out
}

func short(c Change) string {
	s := fmt.Sprintf("%s %.7s..%.7s", c.Ref, c.Old, c.New)
	if c.Forced {
		s += " forced"
	}
	if c.Deleted {
		s += " deleted"
	}
	return s
}

// pulls is a code host with settable pull requests.
type pulls struct {
	open []PullRequest
	err  error
}

func (p *pulls) Open(context.Context) ([]PullRequest, error) { return p.open, p.err }

// config is a Config for a test; change what matters.
func testConfig(t testing.TB, url string, b *book) Config {
	return Config{
		Name:      "images",
		URL:       url,
		MirrorDir: t.TempDir(),
		Known:     b.Known,
		Accept:    b.Accept,
		Log:       testLog(t),
	}
}

func mustNew(t testing.TB, c Config) *Watcher {
	t.Helper()
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// poll looks once and returns the changes; an error fails the test.
func poll(t testing.TB, w *Watcher, b *book) []string {
	t.Helper()
	if _, err := w.Poll(t.Context()); err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return b.take()
}

func wantLines(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
