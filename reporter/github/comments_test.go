package github

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/internal/githubfake"
)

func upsert(t *testing.T, client *Client, body string, known int64) int64 {
	t.Helper()
	id, err := client.UpsertComment(t.Context(), repo, 7, marker, body, known)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCommentIsUpdatedInPlace(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	id := upsert(t, client, marker+"\none", 0)
	for i, known := range []int64{id, 0, id + 1000} {
		if got := upsert(t, client, fmt.Sprintf("%s\nround %d", marker, i), known); got != id {
			t.Errorf("known as %d: id %d, want %d", known, got, id)
		}
	}
	if got := fake.Comments(repo, 7); len(got) != 1 || got[0].Body != marker+"\nround 2" {
		t.Errorf("%+v", got)
	}
}

func TestDeletedCommentIsMadeAgain(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	id := upsert(t, client, marker+"\none", 0)
	fake.DeleteComment(repo, id)
	if again := upsert(t, client, marker+"\ntwo", id); again == id {
		t.Error("the deleted comment was taken for there")
	}
	if got := fake.Comments(repo, 7); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCommentOfAnEarlierIdentity(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	old := fake.AddComment(repo, 7, "old-bot", marker+"\nfrom before the token was replaced")
	fake.SetFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	id := upsert(t, client, marker+"\nnew", old)
	if got := fake.Comments(repo, 7); id == old || len(got) != 2 || got[1].User != githubfake.User {
		t.Errorf("id %d of %+v", id, got)
	}

	fake.SetFault(nil)
	fake.SetLimit(&githubfake.Limit{Status: 403, RetryAfter: time.Minute})
	_, err := client.UpsertComment(t.Context(), repo, 7, marker, marker+"\nnewer", id)
	if e := asError(t, err); e.RetryAfter() == 0 || len(fake.Comments(repo, 7)) != 2 {
		t.Errorf("a limit was taken for a lost comment: %v", e)
	}
}

func TestForeignCommentsAreLeftAlone(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	fake.AddComment(repo, 7, "mallory", marker+"\nmine")
	fake.AddComment(repo, 7, githubfake.User, "look: "+marker)
	fake.AddComment(repo, 7, githubfake.User, "<!-- ingot:other -->\nof another repository")
	for range 250 {
		fake.AddComment(repo, 7, "octocat", "chatter")
	}
	old := fake.AddComment(repo, 7, strings.ToUpper(githubfake.User), marker+"\nours, from before the restart")
	fake.DeleteComment(repo, old)
	ours := fake.AddComment(repo, 7, githubfake.User, marker+"\r\nours, from before the restart")
	if got := upsert(t, client, marker+"\nnew", 0); got != ours {
		t.Errorf("id %d, want ours %d", got, ours)
	}
	comments := fake.Comments(repo, 7)
	if comments[0].Body != marker+"\nmine" || comments[len(comments)-1].Body != marker+"\nnew" || len(comments) != 254 {
		t.Errorf("first %q, last %q of %d", comments[0].Body, comments[len(comments)-1].Body, len(comments))
	}
}

// lossy breaks the connection after the host has done what a request asked for.
type lossy struct {
	mu   sync.Mutex
	lose func(*http.Request) bool
}

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.lose(r) {
		return nil, errors.Join(errors.New("connection reset"), resp.Body.Close())
	}
	return resp, err
}

func TestLostAnswerMakesNoDuplicate(t *testing.T) {
	isPost := func(r *http.Request) bool { return r.Method == http.MethodPost }
	t.Run("found at once", func(t *testing.T) {
		fake := newFake(t)
		client := newClient(t, Config{APIURL: fake.APIURL(), Transport: &lossy{lose: isPost}})
		id := upsert(t, client, marker+"\none", 0)
		if got := fake.Comments(repo, 7); len(got) != 1 || got[0].ID != id {
			t.Errorf("id %d of %+v", id, got)
		}
	})
	t.Run("found by the next attempt", func(t *testing.T) {
		fake := newFake(t)
		posted := false
		wire := &lossy{lose: func(r *http.Request) bool { posted = posted || isPost(r); return posted }}
		client := newClient(t, Config{APIURL: fake.APIURL(), Transport: wire})
		_, err := client.UpsertComment(t.Context(), repo, 7, marker, marker+"\none", 0)
		if e := asError(t, err); e.Permanent() {
			t.Errorf("a lost answer is not permanent: %v", e)
		}
		restarted := newClient(t, Config{APIURL: fake.APIURL()})
		upsert(t, restarted, marker+"\ntwo", 0)
		if got := fake.Comments(repo, 7); len(got) != 1 || got[0].Body != marker+"\ntwo" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("answered with 502 after the fact", func(t *testing.T) {
		fake := newFake(t)
		client := newClient(t, Config{APIURL: fake.APIURL(), Transport: badGateway{}})
		upsert(t, client, marker+"\none", 0)
		if got := fake.Comments(repo, 7); len(got) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// badGateway is a proxy that loses the answers to what it forwards with POST.
type badGateway struct{}

func (badGateway) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.Method == http.MethodPost {
		resp.StatusCode = http.StatusBadGateway
	}
	return resp, err
}

func TestConcurrentUpsertsMakeOneComment(t *testing.T) {
	fake := newFake(t)
	client := newClient(t, Config{APIURL: fake.APIURL()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := client.UpsertComment(t.Context(), repo, 7, marker, fmt.Sprintf("%s\n%d", marker, i), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := fake.Comments(repo, 7); len(got) != 1 {
		t.Errorf("%d comments, want 1", len(got))
	}
}
