package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/seed-6db18919/ingot/reporter"
)

// get asks a handler and returns status and body.
func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

func testHandler(c Config) http.Handler {
	if c.Now == nil {
		c.Now = func() time.Time { return at(41) }
	}
	return Handler(c)
}

func TestPages(t *testing.T) {
	h := testHandler(Config{Source: sampleSource(), Version: "1.2.3", Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeText(w, 200, "ingot_builds 4\n") })})
	tests := []struct {
		path   string
		status int
		says   []string
		not    []string
	}{
		{"/", 200, []string{"golden-images", ">12 s ago</time>", "2 open pull requests", `href="https://github.com/acme/golden-images"`, "The last poll failed: git.example: connection refused", "ingot 1.2.3"}, nil},
		{"/builds", 200, []string{"bastion", "web-server", "database", "recipes/cache/recipe.yaml", `href="/builds?state=failed"`}, []string{"Older builds"}},
		{"/builds?state=failed", 200, []string{"database"}, []string{"web-server"}},
		{"/builds?recipe=bastion&repository=golden-images", 200, []string{"bastion", "recipe <b>bastion</b>", `href="/builds?repository=golden-images"`}, []string{"database"}},
		{"/builds?recipe=none", 200, []string{"There are no such builds."}, nil},
		{"/builds/41", 200, []string{"1.3.0 → ", "img-3f9a1c2b4d5e", "published as</small> <code>ami-0123456789abcdef0", "2 passed", "&#43;3.1 MB", "Why it was built", "components/nginx.yaml changed", `href="https://github.com/acme/golden-images/commit/3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c"`, `href="https://github.com/acme/golden-images/pull/7"`, "2 updated, 1 added, 0 removed", `id="L12"`, "Setting up nginx-light"}, []string{"http-equiv", "data-live", "\x1b"}},
		{"/builds/42", 200, []string{`<noscript><meta http-equiv="refresh" content="5">`, `data-live="/builds/42/events?after=3.0.2"`, `data-since="`}, nil},
		{"/builds/42?line=2", 200, []string{`id="L2"`}, []string{"data-live"}},
		{"/builds/40", 200, []string{"Failed in Build postgres", "Step Install failed: exit status 100.", "postgresql-15 is there", "E: Unable to locate package", "ingot build --commit 3f9a1c2 recipes/db/recipe.yaml", "The instance is kept until", "ingot exec 40 -- COMMAND"}, []string{"operator of the daemon"}},
		{"/builds/39", 200, []string{"recipes/cache/recipe.yaml:4:1", "unknown key parentImge", "expected parentImage", "parentImge: debian-12", `href="https://github.com/acme/golden-images/blob/abababababababababababababababababababab/recipes/cache/recipe.yaml#L4"`}, []string{"No step", "Raw log"}},
		{"/images", 200, []string{`href="/images/img-3f9a1c2b4d5e"`, "612 MB", "candidate", "ami-0123456789abcdef0"}, nil},
		{"/images/img-3f9a1c2b4d5e", 200, []string{"4 packages", "ami-0123456789abcdef0", "libnginx-mod-http-echo", "Debian GNU/Linux 12"}, nil},
		{"/builds/41/log", 200, []string{"\x1b[32mSetting up"}, nil},
		{"/healthz", 200, []string{"ok"}, nil},
		{"/readyz", 200, []string{"ready"}, nil},
		{"/metrics", 200, []string{"ingot_builds 4"}, nil},
		{"/static/style.css", 200, []string{"--gold"}, nil},
		{"/static/../pages.go", 307, nil, nil},
		{"/static/none.css", 404, nil, nil},
		{"/nothing", 404, []string{"There is nothing here"}, nil},
		{"/builds/99", 404, []string{"There is nothing here"}, nil},
		{"/builds/0", 404, nil, nil},
		{"/builds/x", 404, nil, nil},
		{"/builds/99/log", 404, nil, nil},
		{"/builds/99/events", 404, nil, nil},
		{"/builds/42/events?after=x", 400, nil, nil},
		{"/images/none", 404, nil, nil},
		{"/images/" + strings.Repeat("x", 300), 404, nil, nil},
		{"/builds?state=odd", 400, []string{"There is no state"}, nil},
		{"/builds?before=-1", 400, nil, nil},
		{"/builds?before=x", 400, nil, nil},
		{"/builds?recipe=" + strings.Repeat("x", 300), 400, []string{"too long"}, nil},
		{"/builds/41?line=x", 400, nil, nil},
	}
	for _, tt := range tests {
		status, body := get(t, h, tt.path)
		if status != tt.status {
			t.Errorf("%.60s: status %d, want %d", tt.path, status, tt.status)
		}
		for _, want := range tt.says {
			if !strings.Contains(body, want) {
				t.Errorf("%.60s does not say %q:\n%s", tt.path, want, body)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(body, not) {
				t.Errorf("%.60s says %q", tt.path, not)
			}
		}
	}
}

func TestOlderBuilds(t *testing.T) {
	source := newMemorySource()
	for id := range int64(listLength + 10) {
		b := webBuild()
		b.ID = id + 1
		source.builds[b.ID] = b
	}
	h := testHandler(Config{Source: source})
	if _, body := get(t, h, "/builds?recipe=web-server"); !strings.Contains(body, `href="/builds?before=11&amp;recipe=web-server">Older builds`) {
		t.Errorf("no link to older builds:\n%s", body)
	}
	if _, body := get(t, h, "/builds?before=11"); strings.Contains(body, "Older builds") || !strings.Contains(body, "/builds/10") {
		t.Errorf("the last page:\n%s", body)
	}
}

func TestBasePath(t *testing.T) {
	h := testHandler(Config{Source: sampleSource(), PublicURL: "https://example.com/ingot/", CodeHostURL: "https://ghe.example/"})
	_, body := get(t, h, "/builds/42")
	for _, want := range []string{`href="/ingot/builds"`, `href="/ingot/static/style.css?v=`, `data-live="/ingot/builds/42/events?`, `href="https://ghe.example/acme/golden-images/commit/`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}

func TestHeaders(t *testing.T) {
	h := testHandler(Config{Source: sampleSource()})
	for _, path := range []string{"/", "/builds/41", "/builds/41/log", "/nothing", "/static/live.js", "/healthz"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		header := rec.Header()
		policy := header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" || header.Get("Referrer-Policy") != "same-origin" || header.Get("Content-Type") == "" {
			t.Errorf("%s: %v", path, header)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/builds", nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d, want 405", rec.Code)
	}
}

func TestStaticFilesAreKeptUnderTheirVersion(t *testing.T) {
	h := testHandler(Config{Source: sampleSource()})
	_, body := get(t, h, "/")
	_, rest, _ := strings.Cut(body, `rel="stylesheet" href="`)
	address, _, _ := strings.Cut(rest, `"`)
	for path, want := range map[string]string{address: "public, max-age=31536000, immutable", "/static/style.css?v=old": "no-cache"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if got := rec.Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestNotReady(t *testing.T) {
	h := testHandler(Config{Source: sampleSource(), Ready: func(context.Context) error { return errors.New("database: connection refused") }})
	if status, body := get(t, h, "/readyz"); status != 503 || body != "not ready: database: connection refused\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(t, h, "/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

func TestBrokenSourceIsTheOperatorsBusiness(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.ErrorLevel)
	source := sampleSource()
	source.broken = errors.New("secret: disk on fire")
	h := testHandler(Config{Source: source, Log: log})
	for _, path := range []string{"/", "/builds", "/builds/41", "/images", "/images/img-3f9a1c2b4d5e", "/builds/41/log", "/builds/41/events"} {
		hook.Reset()
		status, body := get(t, h, path)
		if status != 500 || strings.Contains(body, "secret") {
			t.Errorf("%s: %d\n%s", path, status, body)
		}
		if len(hook.AllEntries()) != 1 {
			t.Errorf("%s: logged %d times, want once", path, len(hook.AllEntries()))
		}
	}
}

func TestALogThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	source := &breakingSource{memorySource: sampleSource()}
	server := httptest.NewServer(testHandler(Config{Source: source}))
	defer server.Close()
	resp, err := http.Get(server.URL + "/builds/41/log")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		err = errors.Join(err, resp.Body.Close())
	}
	if err == nil {
		t.Error("the client was not told that the log broke off")
	}
}

// breakingSource answers the first part of a log only.
type breakingSource struct{ *memorySource }

func (s *breakingSource) Log(ctx context.Context, build, after int64, _ int) ([]reporter.LogPiece, error) {
	if after > 0 {
		return nil, errors.New("gone")
	}
	return s.memorySource.Log(ctx, build, after, 1)
}

func TestPageSaysWhyNothingIsKept(t *testing.T) {
	source := sampleSource()
	b := source.builds[40]
	b.Failure.Kept, b.Failure.NotKept = nil, "The instance is not kept: it is <b>gone</b>."
	code, body := get(t, Handler(Config{Source: source}), "/builds/40")
	if code != 200 || !strings.Contains(body, "The instance is not kept: it is &lt;b&gt;gone&lt;/b&gt;.") || strings.Contains(body, "ingot exec") {
		t.Errorf("%d %s", code, body)
	}
}
