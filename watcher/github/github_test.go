package github

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/watcher"
)

const images = "acme/images"

func commit(n int) string { return fmt.Sprintf("%040x", n) }

// start is a fake GitHub with one repository, and the repository as we see it.
func start(t *testing.T) (*githubfake.Server, *Repository) {
	t.Helper()
	gh := githubfake.New(t)
	gh.AddRepository(images)
	return gh, connect(t, gh, Config{APIURL: gh.APIURL(), Token: fixedToken(githubfake.Token)})
}

func fixedToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

func connect(t *testing.T, gh *githubfake.Server, c Config) *Repository {
	t.Helper()
	transport := watcher.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c.Transport = transport
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Repository(images, "main")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, r *Repository) []watcher.PullRequest {
	t.Helper()
	pulls, err := r.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pulls
}

func TestOpen(t *testing.T) {
	gh, r := start(t)
	if got := open(t, r); len(got) != 0 {
		t.Fatalf("Open of nothing: %v", got)
	}
	gh.OpenPull(images, githubfake.Pull{Number: 9, Head: commit(9), Author: "mallory", HeadRepo: "mallory/images", Title: "Add <b>", Draft: true})
	gh.OpenPull(images, githubfake.Pull{Number: 7, Head: commit(7), HeadRef: "fix"})
	gh.OpenPull(images, githubfake.Pull{Number: 8, Head: commit(8), HeadRepo: "-"})
	gh.OpenPull(images, githubfake.Pull{Number: 5, Head: commit(5), Base: "old"})
	got := open(t, r)
	if len(got) != 3 || got[0].Number != 7 || got[1].Number != 8 || got[2].Number != 9 {
		t.Fatalf("Open: %+v, want 7, 8 and 9", got)
	}
	want := watcher.PullRequest{
		Number: 9, Head: commit(9), HeadRef: "topic", HeadRepo: "mallory/images", Fork: true, Base: "main",
		Author: "mallory", Title: "Add <b>", Draft: true, URL: "https://github.example/acme/images/pull/9",
	}
	if got[2] != want {
		t.Errorf("Open: %+v, want %+v", got[2], want)
	}
	if got[0].Fork || !got[1].Fork {
		t.Errorf("Fork of a branch here: %v, of a repository that is gone: %v; want false and true", got[0].Fork, got[1].Fork)
	}
	gh.ClosePull(images, 8)
	if got := open(t, r); len(got) != 2 {
		t.Errorf("Open after one was closed: %+v", got)
	}
}

func TestUnchangedPollCostsNothing(t *testing.T) {
	gh, r := start(t)
	for n := 1; n <= 250; n++ {
		gh.OpenPull(images, githubfake.Pull{Number: n, Head: commit(n)})
	}
	if got := open(t, r); len(got) != 250 {
		t.Fatalf("Open: %d pull requests, want 250", len(got))
	}
	used, asked := gh.Used(), len(gh.Requests())
	for range 5 {
		if got := open(t, r); len(got) != 250 || got[249].Head != commit(250) {
			t.Fatalf("Open again: %d pull requests", len(got))
		}
	}
	if n := gh.Used() - used; n != 0 {
		t.Errorf("five looks without news cost %d requests of the rate limit, want 0", n)
	}
	if n := len(gh.Requests()) - asked; n != 15 {
		t.Errorf("five looks made %d requests, want 15: nothing may be answered without asking", n)
	}
	gh.OpenPull(images, githubfake.Pull{Number: 250, Head: commit(999)})
	if got := open(t, r); got[249].Head != commit(999) {
		t.Errorf("Open does not see the new head: %+v", got[249])
	}
	if n := gh.Used() - used; n != 1 {
		t.Errorf("a look with one new head cost %d requests, want 1", n)
	}
}

func TestEnterprise(t *testing.T) {
	gh := githubfake.New(t)
	gh.AddRepository(images)
	gh.OpenPull(images, githubfake.Pull{Number: 1, Head: commit(1)})
	r := connect(t, gh, Config{APIURL: gh.EnterpriseURL(), Token: fixedToken(githubfake.Token)})
	if got := open(t, r); len(got) != 1 {
		t.Fatalf("Open: %v", got)
	}
}

func TestApp(t *testing.T) {
	gh := githubfake.New(t)
	gh.AddRepository(images)
	gh.RevokeToken(githubfake.Token)
	gh.OpenPull(images, githubfake.Pull{Number: 1, Head: commit(1)})
	r := connect(t, gh, Config{APIURL: gh.APIURL(), App: &App{ID: 12, InstallationID: 34, PrivateKey: gh.AddApp(12, 34)}})
	for range 2 {
		if got := open(t, r); len(got) != 1 {
			t.Fatalf("Open: %v", got)
		}
	}
	token, err := r.client.Token(t.Context())
	if err != nil || !strings.HasPrefix(token, "ghs_") {
		t.Errorf("Token: %q, %v; want the installation's", token, err)
	}
}

func TestNewRefuses(t *testing.T) {
	token := fixedToken("x")
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{}, "a token or an App is needed"},
		{Config{Token: token, App: &App{}}, "not both"},
		{Config{App: &App{PrivateKey: []byte("no key")}}, "private key cannot be read"},
		{Config{Token: token, APIURL: "http://github.example/"}, "https is needed"},
		{Config{Token: token, APIURL: "github.example"}, "is not a url"},
	} {
		if _, err := New(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v): %v, want an error with %q", tt.config, err, tt.want)
		}
	}
}

func TestRefusedToken(t *testing.T) {
	gh, r := start(t)
	gh.RevokeToken(githubfake.Token)
	_, err := r.Open(t.Context())
	var e *watcher.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "has it expired") {
		t.Fatalf("Open: %v, want a hint at the token", err)
	}
	if strings.Contains(err.Error(), githubfake.Token) {
		t.Errorf("the error shows the token: %v", err)
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name     string
		limit    githubfake.Limit
		min, max time.Duration
	}{
		{"secondary", githubfake.Limit{Status: 403, RetryAfter: 90 * time.Second}, 80 * time.Second, 90 * time.Second},
		{"429", githubfake.Limit{Status: 429, RetryAfter: 30 * time.Second}, 20 * time.Second, 30 * time.Second},
		{"429 without a time", githubfake.Limit{Status: 429}, 50 * time.Second, time.Minute},
		{"primary", githubfake.Limit{Status: 403, Reset: time.Now().Add(10 * time.Minute)}, 9 * time.Minute, 10 * time.Minute},
		{"absurd", githubfake.Limit{Status: 403, RetryAfter: 1000 * time.Hour}, 59 * time.Minute, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gh, r := start(t)
			gh.SetLimit(&tt.limit)
			_, err := r.Open(t.Context())
			var e *watcher.Error
			if !errors.As(err, &e) || e.RetryAfter < tt.min || e.RetryAfter > tt.max {
				t.Fatalf("Open: %v, want to be told to wait %v to %v", err, tt.min, tt.max)
			}
			asked := len(gh.Requests())
			gh.SetLimit(nil)
			if _, err := r.Open(t.Context()); err == nil || len(gh.Requests()) != asked {
				t.Errorf("Open while limited: %v after %d requests, want an error without one", err, len(gh.Requests())-asked)
			}
		})
	}
}

// A 403 that is not about limits is about permission, and does not stop us.
func TestForbiddenIsNotALimit(t *testing.T) {
	gh, r := start(t)
	gh.SetLimit(&githubfake.Limit{Status: 403})
	_, err := r.Open(t.Context())
	var e *watcher.Error
	if !errors.As(err, &e) || e.RetryAfter != 0 || !strings.Contains(e.Hint, "read access") {
		t.Fatalf("Open: %v, want a hint at the permission", err)
	}
	gh.SetLimit(nil)
	open(t, r)
}

func TestApproved(t *testing.T) {
	mine, other := commit(0xabc), commit(0xdef)
	review := func(user, state, commit string) func(*githubfake.Server) {
		return func(gh *githubfake.Server) {
			gh.AddReview(images, 7, githubfake.Review{User: user, State: state, Commit: commit})
		}
	}
	comment := func(user, body string) func(*githubfake.Server) {
		return func(gh *githubfake.Server) { gh.AddComment(images, 7, user, body) }
	}
	for _, tt := range []struct {
		name string
		does []func(*githubfake.Server)
		by   string // empty: not approved
	}{
		{"nobody", nil, ""},
		{"a writer's review", do(review("wanda", "APPROVED", mine)), "wanda"},
		{"a maintainer's", do(review("mia", "APPROVED", mine)), "mia"},
		{"an admin's", do(review("ada", "APPROVED", mine)), "ada"},
		{"of another commit", do(review("wanda", "APPROVED", other)), ""},
		{"by someone who reads", do(review("rita", "APPROVED", mine)), ""},
		{"by someone who triages", do(review("tim", "APPROVED", mine)), ""},
		{"by a stranger", do(review("mallory", "APPROVED", mine)), ""},
		{"a comment in a review", do(review("wanda", "COMMENTED", mine)), ""},
		{"taken back", do(review("wanda", "APPROVED", mine), review("wanda", "CHANGES_REQUESTED", mine)), ""},
		{"dismissed", do(review("wanda", "APPROVED", mine), review("wanda", "DISMISSED", mine)), ""},
		{"given again", do(review("wanda", "CHANGES_REQUESTED", mine), review("wanda", "APPROVED", mine)), "wanda"},
		{"another objects", do(review("wanda", "APPROVED", mine), review("mallory", "CHANGES_REQUESTED", mine)), "wanda"},
		{"the stranger came first", do(review("mallory", "APPROVED", mine), review("wanda", "APPROVED", mine)), "wanda"},
		{"a writer's command", do(comment("wanda", "/ingot build "+mine)), "wanda"},
		{"a command among words", do(comment("wanda", "Looks good.\r\n\r\n/ingot build "+mine+"\r\nThanks!")), "wanda"},
		{"a stranger's command", do(comment("mallory", "/ingot build "+mine)), ""},
		{"a command for another commit", do(comment("wanda", "/ingot build "+other)), ""},
		{"a command with a short name", do(comment("wanda", "/ingot build "+mine[:20])), ""},
		{"a command without a name", do(comment("wanda", "/ingot build")), ""},
		{"a quoted command", do(comment("wanda", "> /ingot build "+mine)), ""},
		{"a command in a sentence", do(comment("wanda", "Do not /ingot build "+mine+" yet")), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gh, r := start(t)
			gh.OpenPull(images, githubfake.Pull{Number: 7, Head: mine, Author: "mallory", HeadRepo: "mallory/images"})
			for user, permission := range map[string]string{"wanda": "write", "mia": "maintain", "ada": "admin", "rita": "read", "tim": "triage"} {
				gh.SetPermission(images, user, permission)
			}
			for _, f := range tt.does {
				f(gh)
			}
			by, ok, err := r.Approved(t.Context(), 7, mine)
			if err != nil || by != tt.by || ok != (tt.by != "") {
				t.Fatalf("Approved = %q, %v, %v; want %q", by, ok, err, tt.by)
			}
			used := gh.Used()
			if _, again, err := r.Approved(t.Context(), 7, mine); err != nil || again != ok || gh.Used() != used {
				t.Errorf("Approved again = %v, %v at the cost of %d requests; want the same at none", again, err, gh.Used()-used)
			}
		})
	}
}

func do(f ...func(*githubfake.Server)) []func(*githubfake.Server) { return f }

func TestApprovedFailsClosed(t *testing.T) {
	mine := commit(0xabc)
	for _, at := range []string{"/pulls/7/reviews", "/issues/7/comments", "/collaborators/"} {
		t.Run(at, func(t *testing.T) {
			gh, r := start(t)
			gh.OpenPull(images, githubfake.Pull{Number: 7, Head: mine})
			gh.SetPermission(images, "wanda", "write")
			gh.AddReview(images, 7, githubfake.Review{User: "wanda", State: "APPROVED", Commit: mine})
			gh.SetFault(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, at) {
					http.Error(w, "out of order", http.StatusBadGateway)
					return true
				}
				return false
			})
			if by, ok, err := r.Approved(t.Context(), 7, mine); ok || err == nil {
				t.Fatalf("Approved = %q, %v, %v; want an error", by, ok, err)
			}
		})
	}
	_, r := start(t)
	if _, ok, err := r.Approved(t.Context(), 7, "main"); ok || err == nil {
		t.Error("Approved of a branch: no error")
	}
}

// A permission that is taken away counts at once, whatever was answered before.
func TestApprovalEndsWithThePermission(t *testing.T) {
	mine := commit(0xabc)
	gh, r := start(t)
	gh.OpenPull(images, githubfake.Pull{Number: 7, Head: mine})
	gh.SetPermission(images, "wanda", "write")
	gh.AddReview(images, 7, githubfake.Review{User: "wanda", State: "APPROVED", Commit: mine})
	for _, tt := range []struct {
		permission string
		want       bool
	}{{"write", true}, {"read", false}, {"write", true}} {
		gh.SetPermission(images, "wanda", tt.permission)
		if _, ok, err := r.Approved(t.Context(), 7, mine); ok != tt.want || err != nil {
			t.Fatalf("Approved with permission %s: %v, %v", tt.permission, ok, err)
		}
	}
}

// Many strangers cannot make us ask for each of them, nor hide a writer.
func TestApprovedAsksForFewPeople(t *testing.T) {
	mine := commit(0xabc)
	gh, r := start(t)
	gh.OpenPull(images, githubfake.Pull{Number: 7, Head: mine})
	gh.SetPermission(images, "wanda", "write")
	for n := range 300 {
		gh.AddReview(images, 7, githubfake.Review{User: fmt.Sprintf("stranger%d", n), State: "APPROVED", Commit: mine})
	}
	if _, ok, err := r.Approved(t.Context(), 7, mine); ok || err != nil {
		t.Fatalf("Approved by strangers: %v, %v", ok, err)
	}
	asked := 0
	for _, q := range gh.Requests() {
		if strings.Contains(q.Path, "/collaborators/") {
			asked++
		}
	}
	if asked != maxCandidates {
		t.Errorf("the permission was asked for %d times, want %d", asked, maxCandidates)
	}
	gh.AddComment(images, 7, "wanda", "/ingot build "+mine)
	if by, ok, err := r.Approved(t.Context(), 7, mine); !ok || by != "wanda" || err != nil {
		t.Fatalf("Approved: %q, %v, %v; want wanda", by, ok, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const most = 1000
	body := strings.Repeat("x", most/4)
	asked := 0
	c := newConditional(roundTrip(func(r *http.Request) *http.Response {
		asked++
		rec := httptest.NewRecorder()
		rec.Header().Set("ETag", `"`+r.URL.Path+`"`)
		if r.Header.Get("If-None-Match") != "" {
			rec.WriteHeader(http.StatusNotModified)
		} else {
			_, _ = rec.WriteString(body)
		}
		return rec.Result()
	}), most)
	for i := range 20 {
		req := httptest.NewRequest(http.MethodGet, fmt.Sprintf("http://x/%d", i), nil)
		for range 2 {
			resp, err := c.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := got.ReadFrom(resp.Body); err != nil || resp.StatusCode != 200 || got.String() != body {
				t.Fatalf("%s: %d with %d bytes", req.URL, resp.StatusCode, got.Len())
			}
		}
	}
	if asked != 40 || c.size > most || len(c.kept) != 4 || c.recent.Len() != 4 {
		t.Errorf("asked %d times, %d bytes and %d answers kept; want 40, at most %d and 4", asked, c.size, len(c.kept), most)
	}
}

type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func sign(body, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestHandler(t *testing.T) {
	secret := []byte("hush")
	if _, err := Handler(nil, func(string) {}); err == nil {
		t.Fatal("Handler without a secret: no error")
	}
	body := `{"ref":"refs/heads/main","repository":{"full_name":"acme/images"}}`
	for _, tt := range []struct {
		name, method, event, body, signature string
		status                               int
		nudged                               string
	}{
		{"push", "POST", "push", body, sign([]byte(body), secret), 202, "acme/images"},
		{"pull request", "POST", "pull_request", body, sign([]byte(body), secret), 202, "acme/images"},
		{"approval", "POST", "pull_request_review", body, sign([]byte(body), secret), 202, "acme/images"},
		{"comment", "POST", "issue_comment", body, sign([]byte(body), secret), 202, "acme/images"},
		{"ping", "POST", "ping", `{"zen":"x"}`, sign([]byte(`{"zen":"x"}`), secret), 204, ""},
		{"something else", "POST", "star", body, sign([]byte(body), secret), 204, ""},
		{"unsigned", "POST", "push", body, "", 401, ""},
		{"another secret", "POST", "push", body, sign([]byte(body), []byte("loud")), 401, ""},
		{"another body", "POST", "push", body + " ", sign([]byte(body), secret), 401, ""},
		{"no signature at all", "POST", "push", body, "hello", 401, ""},
		{"not JSON", "POST", "push", "payload=x", sign([]byte("payload=x"), secret), 400, ""},
		{"no repository", "POST", "push", "{}", sign([]byte("{}"), secret), 400, ""},
		{"a look", "GET", "push", "", "", 405, ""},
		{"too large", "POST", "push", strings.Repeat(" ", maxHook+1), "sha256=00", 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nudged := ""
			h, err := Handler(secret, func(repo string) { nudged = repo })
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequest(tt.method, "/webhooks/github", strings.NewReader(tt.body))
			req.Header.Set("X-GitHub-Event", tt.event)
			req.Header.Set("Content-Type", "application/json")
			if tt.signature != "" {
				req.Header.Set("X-Hub-Signature-256", tt.signature)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != tt.status || nudged != tt.nudged {
				t.Errorf("status %d and nudged %q, want %d and %q", rec.Code, nudged, tt.status, tt.nudged)
			}
		})
	}
}

// Whatever comes, signed or not: no panic, and a nudge only for what is signed.
func FuzzHandler(f *testing.F) {
	secret := []byte("hush")
	f.Add("push", []byte(`{"repository":{"full_name":"acme/images"}}`), "", true)
	f.Add("push", []byte(`{"repository":[]}`), "sha1=00", false)
	f.Add("issue_comment", []byte(`nul`), "sha256=zz", false)
	f.Fuzz(func(t *testing.T, event string, body []byte, signature string, signed bool) {
		right := sign(body, secret)
		if signed {
			signature = right
		}
		nudged := false
		h, err := Handler(secret, func(string) { nudged = true })
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		req.Header.Set("X-GitHub-Event", event)
		req.Header.Set("X-Hub-Signature-256", signature)
		h.ServeHTTP(httptest.NewRecorder(), req)
		if nudged && !signed && !strings.HasPrefix(signature, "sha") {
			t.Fatalf("nudged by %q, signed %q", body, signature)
		}
	})
}
