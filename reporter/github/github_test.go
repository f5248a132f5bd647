package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/reporter"
)

const (
	repo   = "acme/images"
	commit = "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c"
	marker = "<!-- ingot:images -->"
)

func newFake(t *testing.T) *githubfake.Server {
	t.Helper()
	fake := githubfake.New(t)
	fake.AddRepository(repo)
	fake.OpenPull(repo, githubfake.Pull{Number: 7, Head: commit})
	return fake
}

func newClient(t *testing.T, c Config) *Client {
	t.Helper()
	if c.Token == nil && c.App == nil {
		c.Token = func() (string, error) { return githubfake.Token + "\n", nil }
	}
	if c.Pause == 0 {
		c.Pause = time.Nanosecond
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func status(state reporter.StatusState, text string) reporter.Status {
	return reporter.Status{State: state, Context: "ingot/web", Description: text, URL: "https://ingot.example/builds/7"}
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestSetStatus(t *testing.T) {
	fake := newFake(t)
	for name, url := range map[string]string{"github.com": fake.APIURL(), "enterprise": fake.EnterpriseURL(), "enterprise without slash": strings.TrimSuffix(fake.EnterpriseURL(), "/")} {
		client := newClient(t, Config{APIURL: url})
		before := len(fake.Statuses(repo, commit))
		for _, s := range []reporter.Status{status("pending", "queued"), status("pending", "queued"), status("success", "4 tests passed")} {
			if err := client.SetStatus(t.Context(), repo, commit, s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		got := fake.Statuses(repo, commit)[before:]
		if len(got) != 2 {
			t.Fatalf("%s: %d statuses, want 2: the second equals the first", name, len(got))
		}
		last := got[1]
		if last.State != "success" || last.Context != "ingot/web" || last.Description != "4 tests passed" || last.TargetURL != "https://ingot.example/builds/7" {
			t.Errorf("%s: %+v", name, last)
		}
	}
}

func TestWithoutPublicAddressAStatusHasNoLink(t *testing.T) {
	fake := newFake(t)
	s := status("pending", "queued")
	s.URL = ""
	if err := newClient(t, Config{APIURL: fake.APIURL()}).SetStatus(t.Context(), repo, commit, s); err != nil {
		t.Fatal(err)
	}
	if got := fake.Statuses(repo, commit); len(got) != 1 || got[0].TargetURL != "" {
		t.Errorf("%+v", got)
	}
}

func TestAppInstallation(t *testing.T) {
	fake := newFake(t)
	key := fake.AddApp(12, 34)
	client := newClient(t, Config{APIURL: fake.APIURL(), App: &App{ID: 12, InstallationID: 34, PrivateKey: key}})
	if err := client.SetStatus(t.Context(), repo, commit, status("pending", "queued")); err != nil {
		t.Fatal(err)
	}
	id := upsert(t, client, marker+"\none", 0)
	if again := upsert(t, client, marker+"\ntwo", 0); again != id {
		t.Errorf("the App did not recognise its own comment: %d, then %d", id, again)
	}
	if got := fake.Comments(repo, 7); len(got) != 1 || got[0].User != githubfake.AppUser || got[0].Body != marker+"\ntwo" {
		t.Errorf("%+v", got)
	}

	wrong := newClient(t, Config{APIURL: fake.APIURL(), App: &App{ID: 12, InstallationID: 99, PrivateKey: key}})
	e := asError(t, wrong.SetStatus(t.Context(), repo, commit, status("pending", "queued")))
	if e.Permanent() || !strings.Contains(e.Error(), "no such installation") {
		t.Errorf("wrong installation: %v", e)
	}
}

func TestRefusals(t *testing.T) {
	answer := func(status int, header, value, message string) githubfake.Fault {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			if header != "" {
				w.Header().Set(header, value)
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"message":%q}`, message)
			return true
		}
	}
	soon := fmt.Sprint(time.Now().Add(90 * time.Second).Unix())
	tests := []struct {
		name      string
		fault     githubfake.Fault
		limit     *githubfake.Limit
		permanent bool
		wait      bool
		says      string
	}{
		{"wrong token", answer(401, "", "", "Bad credentials"), nil, false, false, "the token is wrong or has expired"},
		{"permission named by GitHub", answer(403, "X-Accepted-GitHub-Permissions", "statuses=write", "Resource not accessible"), nil, false, false, "lacks the permission statuses=write"},
		{"permission guessed", answer(403, "", "", "Resource not accessible"), nil, false, false, "lacks the permission statuses=write"},
		{"cannot write", answer(404, "", "", "Not Found"), nil, false, false, "lacks the permission to write here"},
		{"archived", answer(403, "", "", "Repository was archived so is read-only."), nil, true, false, "archived"},
		{"refused for good", answer(422, "", "", "Validation Failed"), nil, true, false, "Validation Failed"},
		{"too quick", answer(422, "", "", "was submitted too quickly"), nil, false, true, "too quickly"},
		{"down", answer(503, "", "", "Unicorn!"), nil, false, false, "503"},
		{"down for a while", answer(503, "Retry-After", "90", "Unicorn!"), nil, false, true, "503"},
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(502)
			_, err := w.Write([]byte("<html>"))
			return err == nil
		}, nil, false, false, "502"},
		{"secondary limit", nil, &githubfake.Limit{Status: 403, RetryAfter: 90 * time.Second}, false, true, "secondary rate limit"},
		{"secondary limit as 429", nil, &githubfake.Limit{Status: 429, RetryAfter: 90 * time.Second}, false, true, "secondary rate limit"},
		{"primary limit", nil, &githubfake.Limit{Status: 403, Reset: time.Now().Add(90 * time.Second)}, false, true, "rate limit"},
		{"primary limit as 429", nil, &githubfake.Limit{Status: 429, Reset: time.Now().Add(90 * time.Second)}, false, true, "rate limit"},
		{"reset without remaining", answer(429, "X-RateLimit-Reset", soon, "slow down"), nil, false, true, "slow down"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFake(t)
			fake.SetFault(tt.fault)
			fake.SetLimit(tt.limit)
			client := newClient(t, Config{APIURL: fake.APIURL()})
			e := asError(t, client.SetStatus(t.Context(), repo, commit, status("pending", "queued")))
			if e.Permanent() != tt.permanent {
				t.Errorf("Permanent() = %v: %v", e.Permanent(), e)
			}
			if wait := e.RetryAfter(); tt.wait != (wait > 30*time.Second && wait <= 91*time.Second) {
				t.Errorf("RetryAfter() = %v: %v", wait, e)
			}
			if !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Error(), "set status ingot/web of acme/images@3f9a1c2") {
				t.Errorf("Error() = %q, want it to say %q", e, tt.says)
			}

			// What did not arrive is not taken for sent.
			fake.SetFault(nil)
			fake.SetLimit(nil)
			again := newClient(t, Config{APIURL: fake.APIURL()})
			again.sent = client.sent
			if err := again.SetStatus(t.Context(), repo, commit, status("pending", "queued")); err != nil {
				t.Fatalf("afterwards: %v", err)
			}
			if got := fake.Statuses(repo, commit); len(got) != 1 {
				t.Errorf("afterwards: %d statuses, want 1", len(got))
			}
		})
	}
}

func TestMissingThings(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	unknown := strings.Repeat("a", 40)
	tests := []struct {
		name string
		err  error
		says string
	}{
		{"commit", client.SetStatus(t.Context(), repo, unknown, status("pending", "queued")), "No commit found"},
		{"repository", client.SetStatus(t.Context(), "acme/gone", commit, status("pending", "queued")), "the repository is gone, or the token may not see it"},
		{"pull request", second(client.UpsertComment(t.Context(), repo, 8, marker, marker+"\nx", 0)), "Not Found"},
		{"short commit", client.SetStatus(t.Context(), repo, "3f9a1c2", status("pending", "queued")), "not the full name"},
		{"no owner", client.SetStatus(t.Context(), "images", commit, status("pending", "queued")), "not owner/name"},
		{"path tricks", client.SetStatus(t.Context(), "acme/..", commit, status("pending", "queued")), "not owner/name"},
		{"long description", client.SetStatus(t.Context(), repo, commit, status("pending", strings.Repeat("x", 141))), "longer than 140"},
		{"long comment", second(client.UpsertComment(t.Context(), repo, 7, marker, marker+"\n"+strings.Repeat("x", 65536), 0)), "longer than 65536"},
		{"no marker", second(client.UpsertComment(t.Context(), repo, 7, marker, "hello", 0)), "marker"},
	}
	for _, tt := range tests {
		e := asError(t, tt.err)
		if !e.Permanent() || !strings.Contains(e.Error(), tt.says) {
			t.Errorf("%s: permanent %v: %v", tt.name, e.Permanent(), e)
		}
	}
}

func second(_ int64, err error) error { return err }

func TestThousandStatuses(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	for i := range maxProgress + 100 {
		if err := client.SetStatus(t.Context(), repo, commit, status("pending", fmt.Sprint("step ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.SetStatus(t.Context(), repo, commit, status("success", "done")); err != nil {
		t.Fatal(err)
	}
	got := fake.Statuses(repo, commit)
	if len(got) != maxProgress+1 || got[maxProgress].State != "success" {
		t.Errorf("%d statuses, want %d and the outcome", len(got), maxProgress)
	}

	fake.AddStatuses(repo, commit, "ingot/web", 1000-len(got))
	e := asError(t, client.SetStatus(t.Context(), repo, commit, status("failure", "again")))
	if !e.Permanent() || !strings.Contains(e.Error(), "maximum number of statuses") {
		t.Errorf("beyond the limit: permanent %v: %v", e.Permanent(), e)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range maxRemembered + 10 {
		m.remember(statusKey{commit: fmt.Sprint(i)}, status("pending", "x"))
	}
	if len(m.last) != maxRemembered || len(m.order) != maxRemembered {
		t.Errorf("%d remembered, %d in order, want %d", len(m.last), len(m.order), maxRemembered)
	}
}

func TestAfterALimitNothingIsSent(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	fake.SetLimit(&githubfake.Limit{Status: 429, RetryAfter: time.Hour})
	asError(t, client.SetStatus(t.Context(), repo, commit, status("pending", "one")))
	asked := len(fake.Requests())
	fake.SetLimit(nil)
	e := asError(t, client.SetStatus(t.Context(), repo, commit, status("pending", "two")))
	if e.RetryAfter() < 50*time.Minute || e.Permanent() || len(fake.Requests()) != asked {
		t.Errorf("after %v, %d more requests: %v", e.RetryAfter(), len(fake.Requests())-asked, e)
	}
}

func TestGatePausesBetweenWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(time.Second)
		start := time.Now()
		var mu sync.Mutex
		var ends []time.Duration
		busy := 0
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				err := g.do(t.Context(), "write", func() error {
					mu.Lock()
					busy++
					if busy > 1 {
						t.Error("two writes at a time")
					}
					mu.Unlock()
					time.Sleep(500 * time.Millisecond)
					mu.Lock()
					busy--
					ends = append(ends, time.Since(start))
					mu.Unlock()
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want := []time.Duration{500 * time.Millisecond, 2 * time.Second, 3500 * time.Millisecond}
		if fmt.Sprint(ends) != fmt.Sprint(want) {
			t.Errorf("writes ended after %v, want %v", ends, want)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := g.do(ctx, "write", func() error { t.Error("written after the end of ctx"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of ctx", err)
		}
	})
}

func TestCredentialsStayOnTheHost(t *testing.T) {
	other := githubfake.New(t)
	fake := newFake(t)
	fake.SetFault(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.APIURL()+"repos/evil/images", http.StatusTemporaryRedirect)
		return true
	})
	client := newClient(t, Config{APIURL: fake.APIURL()})
	if err := client.SetStatus(t.Context(), repo, commit, status("pending", "queued")); err == nil {
		t.Error("a redirect to another host was followed")
	}
	if got := other.Requests(); len(got) != 0 {
		t.Errorf("the other host saw %+v", got)
	}
}

func TestNewRefuses(t *testing.T) {
	token := func() (string, error) { return "x", nil }
	for name, c := range map[string]Config{
		"nothing":     {},
		"both":        {Token: token, App: &App{}},
		"bad address": {APIURL: "github.example", Token: token},
		"bad key":     {App: &App{ID: 1, InstallationID: 2, PrivateKey: []byte("no key")}},
	} {
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "github: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenThatCannotBeRead(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL(), Token: func() (string, error) { return "", errors.New("open token: no such file") }})
	e := asError(t, client.SetStatus(t.Context(), repo, commit, status("pending", "queued")))
	if e.Permanent() || !strings.Contains(e.Error(), "open token: no such file") || len(fake.Requests()) != 0 {
		t.Errorf("%v", e)
	}
}
