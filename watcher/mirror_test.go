package watcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// served is a repository behind a server, with a watcher that has seen its first commit.
func served(t *testing.T) (*gitServer, *repo, *Watcher, *book, string) {
	t.Helper()
	server := newGitServer(t, true)
	server.token = "secret"
	r := newRepo(t, server.root, "images.git")
	r.write("README", "hello\n", "recipes/web.yaml", "name: web\n")
	one := r.push("one", "refs/heads/main")
	b := &book{}
	w := mustNew(t, httpsConfig(t, server, b))
	wantLines(t, poll(t, w, b), "refs/heads/main .."+one[:7])
	server.takeAsked()
	return server, r, w, b, one
}

func packsOf(t *testing.T, w *Watcher) []string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(w.mirror.dir, "objects", "pack", "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func TestDamagedMirrorIsMadeAnew(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, w *Watcher){
		"removed": func(t *testing.T, w *Watcher) { remove(t, w.mirror.dir) },
		"no packs": func(t *testing.T, w *Watcher) {
			remove(t, filepath.Join(w.mirror.dir, "objects"))
		},
		"index without its pack": func(t *testing.T, w *Watcher) { remove(t, packsOf(t, w)[0]) },
		"pack cut short": func(t *testing.T, w *Watcher) {
			makeWritable(t, packsOf(t, w)[0])
			if err := os.Truncate(packsOf(t, w)[0], 40); err != nil {
				t.Fatal(err)
			}
		},
		"index emptied": func(t *testing.T, w *Watcher) {
			index := strings.TrimSuffix(packsOf(t, w)[0], ".pack") + ".idx"
			makeWritable(t, index)
			if err := os.Truncate(index, 0); err != nil {
				t.Fatal(err)
			}
		},
		"no HEAD": func(t *testing.T, w *Watcher) { remove(t, filepath.Join(w.mirror.dir, "HEAD")) },
		"left-overs of a crash": func(t *testing.T, w *Watcher) {
			writeFile(t, filepath.Join(w.mirror.dir, "objects", "pack", "tmp_pack_1234"), "half a pack")
			writeFile(t, w.mirror.dir+".new", "half a mirror")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("found by a look", func(t *testing.T) {
				_, r, w, b, one := served(t)
				damage(t, w)
				r.write("README", "again\n")
				two := r.push("two", "refs/heads/main")
				wantLines(t, poll(t, w, b), fmt.Sprintf("refs/heads/main %.7s..%.7s", one, two))
				checkFile(t, w, two, "README", "again\n")
				checkFile(t, w, one, "README", "hello\n")
			})
			t.Run("found by a reader", func(t *testing.T) {
				_, _, w, _, one := served(t)
				damage(t, w)
				checkFile(t, w, one, "README", "hello\n")
			})
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func makeWritable(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A Tree that is being read finds out that something is damaged; the next one is whole.
func TestDamageFoundWhileReading(t *testing.T) {
	_, _, w, _, one := served(t)
	tree := treeOf(t, w.Mirror(), one)
	remove(t, filepath.Join(w.mirror.dir, "objects"))
	if _, err := tree.ReadFile("recipes/web.yaml"); err == nil {
		t.Fatal("ReadFile without objects: no error")
	}
	checkFile(t, w, one, "recipes/web.yaml", "name: web\n")
}

// Readers go on while fetches add packs and the mirror is made anew under them.
func TestReadersAndFetches(t *testing.T) {
	_, r, w, b, one := served(t)
	tree := treeOf(t, w.Mirror(), one)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if data, err := tree.ReadFile("recipes/web.yaml"); err != nil || string(data) != "name: web\n" {
					t.Errorf("ReadFile: %q, %v", data, err)
					return
				}
				fresh, err := w.Mirror().Tree(t.Context(), one)
				if err != nil {
					t.Errorf("Tree: %v", err)
					return
				}
				if data, err := fresh.ReadFile("README"); err != nil || string(data) != "hello\n" {
					t.Errorf("ReadFile: %q, %v", data, err)
					return
				}
			}
		})
	}
	for i := range 6 {
		r.write("README", fmt.Sprint(i))
		head := r.push("more", "refs/heads/main")
		poll(t, w, b)
		checkFile(t, w, head, "README", fmt.Sprint(i))
		if i%2 == 1 {
			if err := w.mirror.renew(t.Context(), map[string]string{"refs/heads/main": head}); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestManyPacksBecomeOne(t *testing.T) {
	_, r, w, b, _ := served(t)
	for i := range maxPacks {
		r.write("README", fmt.Sprint(i))
		r.push("more", "refs/heads/main")
		if got := poll(t, w, b); len(got) != 1 {
			t.Fatalf("change %d: %q", i, got)
		}
	}
	if n := len(packsOf(t, w)); n != 1 {
		t.Errorf("%d packs after %d fetches, want 1", n, maxPacks+1)
	}
}

// A commit that no head reaches any more is fetched by its name, as long as the
// server has it.
func TestTreeFetchesWhatIsMissing(t *testing.T) {
	server, r, w, b, one := served(t)
	r.git("reset", "-q", "--hard", one)
	r.write("README", "side\n")
	side := r.push("side", "refs/pull/3/head")
	checkFile(t, w, side, "README", "side\n")
	remove(t, w.mirror.dir)
	checkFile(t, w, one, "README", "hello\n")
	if _, err := w.Mirror().Tree(t.Context(), strings.Repeat("5", 40)); err == nil || !strings.Contains(err.Error(), "the server says") {
		t.Errorf("Tree of a commit that nobody has: %v, want the server's words", err)
	}
	wantLines(t, b.take())
	server.Close()
	checkFile(t, w, one, "README", "hello\n") // what is here needs no server
}

func TestFetchFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mangle func(w http.ResponseWriter, r *http.Request) bool
		limit  int64
		want   string
	}{
		{name: "too large", limit: 100, want: "larger than allowed"},
		{name: "cut off", want: "unexpected EOF", mangle: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", resultType)
			_, _ = w.Write([]byte(stream("packfile\n", "\x01PACK\x00\x00\x00\x02\x00\x00\x00\x09")))
			return true
		}},
		{name: "not a pack", want: "fetching", mangle: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", resultType)
			_, _ = w.Write([]byte(stream("packfile\n", "\x01"+strings.Repeat("nonsense", 100), flushPkt)))
			return true
		}},
		{name: "no pack", want: "no pack", mangle: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", resultType)
			_, _ = w.Write([]byte(stream("packfile\n", flushPkt)))
			return true
		}},
		{name: "a web page", want: `answers with "text/html"`, mangle: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>"))
			return true
		}},
		{name: "broken connection", want: "EOF", mangle: func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := newGitServer(t, true)
			server.token = "secret"
			r := newRepo(t, server.root, "images.git")
			r.write("README", strings.Repeat("hello, world. ", 100))
			one := r.push("one", "refs/heads/main")
			b := &book{}
			c := httpsConfig(t, server, b)
			c.MaxFetch = tt.limit
			w := mustNew(t, c)
			posts := 0
			if tt.mangle != nil {
				server.setMangle(func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPost {
						return false
					}
					posts++
					return posts > 1 && tt.mangle(w, r) // the first one asks for refs
				})
			}
			_, err := w.Poll(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("Poll: %v, want an error with %q", err, tt.want)
			}
			wantLines(t, b.take())
			server.setMangle(nil)
			c.MaxFetch = 0
			wantLines(t, poll(t, mustNew(t, c), b), "refs/heads/main .."+one[:7])
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
		wait   time.Duration
	}{
		{"token refused", status(401), "has it expired", 0},
		{"forbidden", status(403), "may not read", 0},
		{"not there", status(404), "does not exist, or the token may not see it", 0},
		{"busy", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "120")
			status(503)(w, r)
		}, "503", 2 * time.Minute},
		{"login page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>"))
		}, "login page", 0},
		{"redirected in circles", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
		}, "redirects", 0},
		{"redirected without TLS", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+r.URL.String(), http.StatusFound)
		}, "without TLS", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := newGitServer(t, true)
			server.setMangle(func(w http.ResponseWriter, r *http.Request) bool { tt.answer(w, r); return true })
			_, err := mustNew(t, httpsConfig(t, server, &book{})).Poll(t.Context())
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.RetryAfter != tt.wait || strings.Contains(err.Error(), "secret") {
				t.Fatalf("Poll: %v, want an error with %q and %v", err, tt.want, tt.wait)
			}
		})
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
}

// A repository that was moved on its server is followed; one that was moved to
// another server is not, because the token is not for that one.
func TestRedirects(t *testing.T) {
	server, r, w, b, one := served(t)
	rename(t, r.dir, filepath.Join(server.root, "moved.git"))
	server.setMangle(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/images.git/") {
			return false
		}
		http.Redirect(w, r, strings.Replace(r.URL.String(), "images.git", "moved.git", 1), http.StatusMovedPermanently)
		return true
	})
	r.git("remote", "set-url", "origin", filepath.Join(server.root, "moved.git"))
	two := r.push("two", "refs/heads/main")
	wantLines(t, poll(t, w, b), fmt.Sprintf("refs/heads/main %.7s..%.7s", one, two))
	server.takeAsked()
	poll(t, w, b)
	wantLines(t, server.takeAsked(), "POST /moved.git/git-upload-pack")

	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server was asked %s, with credentials %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	server.setMangle(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL+r.URL.String(), http.StatusFound)
		return true
	})
	if _, err := w.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "must not see the credentials") {
		t.Fatalf("Poll: %v, want it not to follow", err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	server, r, w, b, _ := served(t)
	r.push("two", "refs/heads/main")
	ctx, cancel := context.WithCancel(t.Context())
	posts, release := 0, make(chan struct{})
	server.setMangle(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		if posts++; posts == 1 {
			return false
		}
		cancel()
		<-release
		return true
	})
	defer close(release)
	if _, err := w.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Poll: %v, want context.Canceled", err)
	}
	wantLines(t, b.take())
}
