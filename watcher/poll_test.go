package watcher

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// setup is a repository and a watcher of it, over one transport.
type setup struct {
	repo  *repo
	watch func(t *testing.T, b *book) Config
}

// transports runs a test over everything that a repository can be reached by.
func transports(t *testing.T, f func(t *testing.T, s setup)) {
	over := func(name string, start func(t *testing.T) (root string, config func(*testing.T, *book) Config)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, config := start(t)
			f(t, setup{newRepo(t, root, "images.git"), config})
		})
	}
	over("path", func(t *testing.T) (string, func(*testing.T, *book) Config) {
		root := t.TempDir()
		return root, func(t *testing.T, b *book) Config { return testConfig(t, filepath.Join(root, "images.git"), b) }
	})
	for _, version := range []string{"https v2", "https v0"} {
		over(version, func(t *testing.T) (string, func(*testing.T, *book) Config) {
			server := newGitServer(t, true)
			server.token = "secret"
			server.v0.Store(version == "https v0")
			return server.root, func(t *testing.T, b *book) Config { return httpsConfig(t, server, b) }
		})
	}
	for _, version := range []string{"ssh v2", "ssh v0"} {
		over(version, func(t *testing.T) (string, func(*testing.T, *book) Config) {
			server := newSSHServer(t, version == "ssh v2")
			return server.root, func(t *testing.T, b *book) Config {
				c := testConfig(t, server.url("images.git"), b)
				c.Auth = server.auth
				return c
			}
		})
	}
}

func httpsConfig(t testing.TB, server *gitServer, b *book) Config {
	c := testConfig(t, server.URL+"/images.git", b)
	c.Auth.Token = func(context.Context) (string, error) { return "secret", nil }
	transport := NewTransport()
	transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	t.Cleanup(transport.CloseIdleConnections)
	c.Transport = transport
	return c
}

func TestPollThroughARepositorysLife(t *testing.T) {
	transports(t, func(t *testing.T, s setup) {
		var b book
		c := s.watch(t, &b)
		w := mustNew(t, c)
		wantLines(t, poll(t, w, &b)) // empty: nothing has happened yet

		s.repo.write("recipes/web.yaml", "name: web\n", "README", "hello\n")
		one := s.repo.push("first", "refs/heads/main")
		wantLines(t, poll(t, w, &b), "refs/heads/main .."+one[:7])
		wantLines(t, poll(t, w, &b))
		checkFile(t, w, one, "recipes/web.yaml", "name: web\n")

		s.repo.write("recipes/web.yaml", "name: web2\n")
		two := s.repo.push("second", "refs/heads/main")
		s.repo.push("elsewhere", "refs/heads/topic")
		s.repo.push("elsewhere again", "refs/heads/main-but-longer")
		wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/heads/main %.7s..%.7s", one, two))
		checkFile(t, w, two, "recipes/web.yaml", "name: web2\n")

		s.repo.git("reset", "-q", "--hard", one)
		s.repo.write("README", "rewritten\n")
		three := s.repo.push("rewritten", "refs/heads/main")
		wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/heads/main %.7s..%.7s forced", two, three))

		s.repo.git("push", "-q", "origin", ":refs/heads/main")
		wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/heads/main %.7s.. deleted", three))
		wantLines(t, poll(t, w, &b))

		s.repo.git("push", "-q", "origin", "HEAD:refs/heads/main")
		wantLines(t, poll(t, w, &b), "refs/heads/main .."+three[:7])

		gone := s.repo.dir + ".gone"
		rename(t, s.repo.dir, gone)
		if _, err := w.Poll(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Fatalf("Poll of a repository that is gone: %v, want an error without secrets", err)
		}
		wantLines(t, b.take())
		rename(t, gone, s.repo.dir)
		wantLines(t, poll(t, w, &b)) // the same as before: no change

		// While the daemon is down, much happens; it wants the newest only.
		for i := range 3 {
			s.repo.write("README", fmt.Sprint(i))
			s.repo.push("while down", "refs/heads/main")
		}
		newest := s.repo.git("rev-parse", "HEAD")
		wantLines(t, poll(t, mustNew(t, c), &b), fmt.Sprintf("refs/heads/main %.7s..%.7s", three, newest))

		// The repository is replaced by another one.
		rename(t, s.repo.dir, gone)
		s.repo.create()
		s.repo.git("checkout", "-q", "--orphan", "fresh")
		other := s.repo.push("another history", "refs/heads/main")
		wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/heads/main %.7s..%.7s forced", three, other))
	})
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, w *Watcher, commit, path, want string) {
	t.Helper()
	tree, err := w.Mirror().Tree(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.ReadFile(path)
	if err != nil || string(got) != want {
		t.Fatalf("%s of %.7s: %q, %v; want %q", path, commit, got, err, want)
	}
}

func TestPollPullRequests(t *testing.T) {
	transports(t, func(t *testing.T, s setup) {
		var b book
		var host pulls
		c := s.watch(t, &b)
		c.PullRequests = &host
		w := mustNew(t, c)
		main := s.repo.push("main", "refs/heads/main")
		s.repo.write("a", "1")
		seven := s.repo.push("seven", "refs/pull/7/head")
		s.repo.git("reset", "-q", "--hard", main)
		s.repo.write("b", "1")
		twelve := s.repo.push("twelve", "refs/pull/12/head")

		host.open = []PullRequest{{Number: 12, Head: twelve, Fork: true, Author: "mallory"}, {Number: 7, Head: seven}}
		wantLines(t, poll(t, w, &b), "refs/heads/main .."+main[:7], "refs/pull/7/head .."+seven[:7], "refs/pull/12/head .."+twelve[:7])
		checkFile(t, w, twelve, "b", "1")
		wantLines(t, poll(t, w, &b))

		host.err = errors.New("the code host is down")
		next := s.repo.push("main moves on", "refs/heads/main")
		if _, err := w.Poll(t.Context()); !errors.Is(err, host.err) {
			t.Fatalf("Poll: %v, want the code host's error", err)
		}
		wantLines(t, b.take(), fmt.Sprintf("refs/heads/main %.7s..%.7s forced", main, next)[:len("refs/heads/main 1234567..1234567")])
		host.err = nil

		host.open = []PullRequest{{Number: 7, Head: seven}}
		wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/pull/12/head %.7s.. deleted", twelve))

		// A head that the server does not have holds up neither the branch nor the others.
		nowhere := strings.Repeat("5", 40)
		last := s.repo.push("main again", "refs/heads/main")
		s.repo.write("c", "1")
		nine := s.repo.push("nine", "refs/pull/9/head")
		host.open = []PullRequest{{Number: 7, Head: seven}, {Number: 8, Head: nowhere}, {Number: 9, Head: nine}}
		if _, err := w.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "refs/pull/8/head") {
			t.Fatalf("Poll: %v, want an error of pull request 8", err)
		}
		wantLines(t, b.take(), fmt.Sprintf("refs/heads/main %.7s..%.7s", next, last), "refs/pull/9/head .."+nine[:7])
	})
}

// TestBranchThatIsBeingWrittenStands: go-git, for one, empties a ref's file before it
// writes it. The branch is neither gone then nor where it was when refs were packed.
func TestBranchThatIsBeingWrittenStands(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	var b book
	w := mustNew(t, testConfig(t, r.dir, &b))
	one := r.push("one", "refs/heads/main")
	wantLines(t, poll(t, w, &b), "refs/heads/main .."+one[:7])

	file := filepath.Join(r.dir, "refs/heads/main")
	halfWritten := func(whole string) {
		t.Helper()
		for _, text := range []string{"", "\n", whole[:20], strings.Repeat("\x00", 41)} {
			writeFile(t, file, text)
			if _, err := w.Poll(t.Context()); !errors.Is(err, errHalfWritten) || !strings.Contains(err.Error(), "reading refs/heads/main") {
				t.Errorf("Poll of a ref that is %q: %v; want an error that names it", text, err)
			}
			wantLines(t, b.take())
		}
		writeFile(t, file, whole+"\n")
	}
	halfWritten(one)
	wantLines(t, poll(t, w, &b))
	run(t, r.dir, "git", "pack-refs", "--all")
	wantLines(t, poll(t, w, &b))
	two := r.push("two", "refs/heads/main")
	wantLines(t, poll(t, w, &b), "refs/heads/main "+one[:7]+".."+two[:7])
	halfWritten(two)
	wantLines(t, poll(t, w, &b))
}

// TestBranchesWhoseNamesCollide: where one is a file the other would be a folder.
func TestBranchesWhoseNamesCollide(t *testing.T) {
	for _, c := range []struct{ watched, other string }{{"release", "release/1"}, {"release/1", "release"}} {
		r := newRepo(t, t.TempDir(), "images.git")
		var b book
		config := testConfig(t, r.dir, &b)
		config.Branch = c.watched
		w := mustNew(t, config)
		one := r.push("one", "refs/heads/"+c.watched)
		wantLines(t, poll(t, w, &b), "refs/heads/"+c.watched+" .."+one[:7])
		run(t, r.dir, "git", "update-ref", "-d", "refs/heads/"+c.watched)
		r.push("two", "refs/heads/"+c.other)
		wantLines(t, poll(t, w, &b), "refs/heads/"+c.watched+" "+one[:7]+".. deleted")
	}
}

// TestBranchIsReadWhileOthersWriteIt has go-git write a ref, as fast as it can, while
// it is looked at.
func TestBranchIsReadWhileOthersWriteIt(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	one := r.push("one", "refs/heads/main")
	store, err := openLocal(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := store.SetReference(plumbing.NewHashReference("refs/heads/main", plumbing.NewHash(one))); err != nil {
				done <- err
				return
			}
		}
	}()
	var read, refused int
	remote := &localRemote{path: r.dir}
	for read+refused < 500 {
		heads, err := remote.heads(t.Context(), []string{"refs/heads/main"})
		switch {
		case errors.Is(err, errHalfWritten):
			refused++
		case err != nil:
			t.Error(err)
		case heads["refs/heads/main"] != one:
			t.Errorf("after %d looks the heads are %v", read+refused, heads)
		}
		if t.Failed() {
			break
		}
		if err == nil {
			read++
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if read == 0 {
		t.Error("no look has found the branch")
	}
	t.Logf("%d looks found the branch, %d found it being written", read, refused)
}

func TestHeadIsRememberedOnlyWhenAccepted(t *testing.T) {
	root := t.TempDir()
	r := newRepo(t, root, "images.git")
	var b book
	w := mustNew(t, testConfig(t, r.dir, &b))
	one := r.push("one", "refs/heads/main")
	down := errors.New("the database is down")
	b.refuse = func(Change) error { return down }
	for range 2 {
		if p, err := w.Poll(t.Context()); !errors.Is(err, down) || p.Accepted != 0 {
			t.Fatalf("Poll: %v, %v; want nothing accepted and the database's error", p, err)
		}
	}
	b.refuse = nil
	wantLines(t, poll(t, w, &b), "refs/heads/main .."+one[:7])
}

func TestKnownIsAskedUntilItAnswers(t *testing.T) {
	root := t.TempDir()
	r := newRepo(t, root, "images.git")
	one := r.push("one", "refs/heads/main")
	b := book{known: map[string]string{"refs/heads/main": one}}
	c := testConfig(t, r.dir, &b)
	down := errors.New("the database is down")
	calls := 0
	c.Known = func(ctx context.Context) (map[string]string, error) {
		if calls++; calls == 1 {
			return nil, down
		}
		return b.Known(ctx)
	}
	w := mustNew(t, c)
	if _, err := w.Poll(t.Context()); !errors.Is(err, down) {
		t.Fatalf("Poll: %v, want the database's error", err)
	}
	for range 2 {
		wantLines(t, poll(t, w, &b))
	}
	if calls != 2 {
		t.Fatalf("Known was asked %d times, want 2", calls)
	}
}

func TestPollOverHTTPAsksLittle(t *testing.T) {
	server := newGitServer(t, true)
	server.token = "secret"
	r := newRepo(t, server.root, "images.git")
	r.push("one", "refs/heads/main")
	var b book
	w := mustNew(t, httpsConfig(t, server, &b))
	poll(t, w, &b)
	want := []string{"GET /images.git/info/refs", "POST /images.git/git-upload-pack", "POST /images.git/git-upload-pack"}
	if asked := server.takeAsked(); !slices.Equal(asked, want) {
		t.Errorf("the first look asked %q, want %q", asked, want)
	}
	poll(t, w, &b)
	if asked := server.takeAsked(); !slices.Equal(asked, want[1:2]) {
		t.Errorf("a look without news asked %q, want %q", asked, want[1:2])
	}
	r.push("two", "refs/heads/main")
	poll(t, w, &b)
	if asked := server.takeAsked(); !slices.Equal(asked, want[1:]) {
		t.Errorf("a look with news asked %q, want %q", asked, want[1:])
	}
	server.v0.Store(true) // the server is replaced by an older one
	two := r.push("three", "refs/heads/main")
	wantLines(t, poll(t, w, &b), fmt.Sprintf("refs/heads/main %.7s..%.7s", r.git("rev-parse", "HEAD~1"), two))
}
