package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"unicode/utf8"

	gh "github.com/google/go-github/v60/github"

	"github.com/seed-6db18919/ingot/reporter"
)

const (
	// maxProgress is how many statuses of one commit and context may tell mere
	// progress. GitHub takes 1,000 and no more; the rest is for outcomes.
	maxProgress = 800
	// maxRemembered bounds the memory of what was sent.
	maxRemembered = 4096
)

// SetStatus sets a commit's status. A status that equals the last one sent of its
// context is not sent again; nor is a pending one of a commit that has had
// hundreds already. Errors are *Error, or ctx's.
func (c *Client) SetStatus(ctx context.Context, ownerRepo, commit string, s reporter.Status) error {
	op := fmt.Sprintf("set status %s of %s@%s", s.Context, ownerRepo, reporter.ShortCommit(commit))
	owner, name, err := split(ownerRepo)
	if err == nil {
		err = checkStatus(commit, s)
	}
	if err != nil {
		return &Error{Op: op, Message: err.Error(), Err: err, permanent: true}
	}
	key := statusKey{ownerRepo, commit, s.Context}
	if !c.sent.worthSending(key, s) {
		return nil
	}
	return c.gate.do(ctx, op, func() error {
		status := &gh.RepoStatus{State: gh.String(string(s.State)), Context: &s.Context, Description: &s.Description}
		if s.URL != "" {
			status.TargetURL = &s.URL
		}
		_, _, err := c.api.Repositories.CreateStatus(ctx, owner, name, commit, status)
		if err != nil {
			return c.explainMissing(ctx, owner, name, classify(op, "statuses=write", err))
		}
		c.sent.remember(key, s)
		return nil
	})
}

func checkStatus(commit string, s reporter.Status) error {
	switch {
	case len(commit) < 40 || !isHex(commit):
		return fmt.Errorf("%q is not the full name of a commit", commit)
	case utf8.RuneCountInString(s.Description) > reporter.MaxDescription:
		return fmt.Errorf("the description is longer than %d characters", reporter.MaxDescription)
	case utf8.RuneCountInString(s.Context) > reporter.MaxContext:
		return fmt.Errorf("the context is longer than %d characters", reporter.MaxContext)
	default:
		return nil
	}
}

func isHex(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

// explainMissing tells apart the reasons for a 404: GitHub answers it for what
// does not exist, and also to a token that must not know or must not write.
func (c *Client) explainMissing(ctx context.Context, owner, name string, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.permanent || e.Status != http.StatusNotFound {
		return err
	}
	_, _, probe := c.api.Repositories.Get(ctx, owner, name)
	if probe == nil {
		e.permanent = false
		e.Hint = "the repository can be read: the token lacks the permission to write here"
		return e
	}
	if p, ok := errors.AsType[*Error](classify(e.Op, "metadata=read", probe)); ok && p.Status != http.StatusNotFound {
		p.Err = errors.Join(probe, err)
		return p
	}
	e.Hint = "the repository is gone, or the token may not see it"
	return e
}

type statusKey struct{ ownerRepo, commit, context string }

// memory is what was sent last, for as many statuses as fit.
type memory struct {
	mu    sync.Mutex
	last  map[statusKey]sentStatus
	order []statusKey // oldest first
}

type sentStatus struct {
	status reporter.Status
	times  int
}

func newMemory() *memory { return &memory{last: map[statusKey]sentStatus{}} }

func (m *memory) worthSending(key statusKey, s reporter.Status) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.last[key]
	if !ok {
		return true
	}
	return last.status != s && (s.State != reporter.StatusPending || last.times < maxProgress)
}

func (m *memory) remember(key statusKey, s reporter.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.last[key]
	if !ok {
		m.order = append(m.order, key)
	}
	m.last[key] = sentStatus{s, last.times + 1}
	if len(m.order) > maxRemembered {
		delete(m.last, m.order[0])
		m.order = m.order[1:]
	}
}
