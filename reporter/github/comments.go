package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	gh "github.com/google/go-github/v60/github"

	"github.com/seed-6db18919/ingot/reporter"
)

// maxPages is how far a pull request's comments are searched, 100 a page. Ours is
// among the first: it is made when the pull request is first seen.
const maxPages = 50

// UpsertComment makes the one comment on a pull request say body, whose first line
// must be marker. knownID is what an earlier call returned, or 0. The comment
// is looked for under that id, then among the comments by its marker and by its
// author being us; only where there is none is it created. Errors are *Error, or ctx's.
func (c *Client) UpsertComment(ctx context.Context, ownerRepo string, pr int, marker, body string, knownID int64) (id int64, err error) {
	t := target{client: c, pr: pr, marker: marker, op: fmt.Sprintf("comment on %s#%d", ownerRepo, pr)}
	t.owner, t.name, err = split(ownerRepo)
	if err == nil {
		err = checkComment(marker, body)
	}
	if err != nil {
		return 0, &Error{Op: t.op, Message: err.Error(), Err: err, permanent: true}
	}
	// Looking and creating are one turn, so that two calls never both find nothing.
	err = c.gate.do(ctx, t.op, func() error {
		id, err = t.upsert(ctx, body, knownID)
		return err
	})
	return id, err
}

func checkComment(marker, body string) error {
	first, _, _ := strings.Cut(body, "\n")
	switch {
	case marker == "" || first != marker:
		return errors.New("the comment's first line is not its marker")
	case utf8.RuneCountInString(body) > reporter.MaxComment:
		return fmt.Errorf("the comment is longer than %d characters", reporter.MaxComment)
	default:
		return nil
	}
}

// target is the place of a comment.
type target struct {
	client      *Client
	owner, name string
	pr          int
	marker      string
	op          string
}

func (t target) upsert(ctx context.Context, body string, knownID int64) (int64, error) {
	if knownID != 0 {
		err := t.edit(ctx, knownID, body)
		if !isLost(err) {
			return knownID, err
		}
		// Somebody deleted it, or we have another identity than we had then.
	}
	found, err := t.find(ctx)
	switch {
	case err != nil:
		return 0, err
	case found != nil && found.GetBody() == body:
		return found.GetID(), nil
	case found != nil:
		return found.GetID(), t.edit(ctx, found.GetID(), body)
	default:
		return t.create(ctx, body)
	}
}

// isLost reports whether a comment is there for us no more.
func isLost(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && !e.limited && (e.Status == http.StatusNotFound || e.Status == http.StatusGone || e.Status == http.StatusForbidden)
}

func (t target) edit(ctx context.Context, id int64, body string) error {
	_, _, err := t.client.api.Issues.EditComment(ctx, t.owner, t.name, id, &gh.IssueComment{Body: &body})
	return classify(t.op, "issues=write or pull_requests=write", err)
}

// create makes the comment. When the answer is lost, it looks whether the comment
// is there.
func (t target) create(ctx context.Context, body string) (int64, error) {
	made, _, err := t.client.api.Issues.CreateComment(ctx, t.owner, t.name, t.pr, &gh.IssueComment{Body: &body})
	if err == nil {
		return made.GetID(), nil
	}
	err = classify(t.op, "issues=write or pull_requests=write", err)
	if e, ok := errors.AsType[*Error](err); !ok || !e.ambiguous() {
		return 0, t.client.explainMissing(ctx, t.owner, t.name, err)
	}
	found, lookErr := t.find(ctx)
	if lookErr != nil || found == nil {
		return 0, err
	}
	return found.GetID(), nil
}

// find returns our oldest comment with the marker; nil: there is none. Anybody can
// write the marker into a comment, so the author counts as well.
func (t target) find(ctx context.Context) (*gh.IssueComment, error) {
	us, err := t.client.login(ctx, t.op)
	if err != nil {
		return nil, err
	}
	opts := &gh.IssueListCommentsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for range maxPages {
		comments, resp, err := t.client.api.Issues.ListComments(ctx, t.owner, t.name, t.pr, opts)
		if err != nil {
			return nil, classify(t.op, "issues=read or pull_requests=read", err)
		}
		for _, comment := range comments {
			first, _, _ := strings.Cut(comment.GetBody(), "\n")
			if strings.TrimSpace(first) == t.marker && strings.EqualFold(comment.GetUser().GetLogin(), us) {
				return comment, nil
			}
		}
		if resp.NextPage == 0 {
			return nil, nil
		}
		opts.Page = resp.NextPage
	}
	return nil, nil
}

// identity is our login, once the host has told.
type identity struct {
	mu    sync.Mutex
	login string
}

// login is the name under which our comments appear.
func (c *Client) login(ctx context.Context, op string) (string, error) {
	c.whoAm.mu.Lock()
	defer c.whoAm.mu.Unlock()
	if c.whoAm.login != "" {
		return c.whoAm.login, nil
	}
	login, err := c.askLogin(ctx)
	if err != nil {
		return "", classify(op+": who are we", "metadata=read", err)
	}
	c.whoAm.login = login
	return login, nil
}

func (c *Client) askLogin(ctx context.Context) (string, error) {
	if c.app != nil {
		app, _, err := c.app.Apps.Get(ctx, "")
		return app.GetSlug() + "[bot]", err
	}
	user, _, err := c.api.Users.Get(ctx, "")
	return user.GetLogin(), err
}
