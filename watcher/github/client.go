// Package github asks GitHub about pull requests: which are open, who may have
// them built, and who has approved a commit of a stranger.
//
// Every question is conditional: GitHub answers "not modified" to what has not
// changed since it was last asked, and such an answer costs nothing of the rate
// limit. When GitHub wants to be left alone, questions fail at once, without being
// asked, until it may be asked again.
//
// Trust is asked for, never read from a payload: see Repository.Approved. Webhooks
// (Handler) are only a reason to look now; what they say is not believed.
//
// Statuses and comments are written by the reporter, not here.
package github

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"

	"github.com/seed-6db18919/ingot/watcher"
)

// Config says which GitHub, and as whom. Either Token or App is needed.
type Config struct {
	// APIURL is https://api.github.com/ by default; of a GitHub Enterprise
	// installation it ends in /api/v3/.
	APIURL string
	// Token returns a personal or fine-grained token. It is asked before every request.
	Token func(ctx context.Context) (string, error)
	App   *App

	Transport http.RoundTripper // default watcher.NewTransport()
}

// App is an installation of a GitHub App.
type App struct {
	ID             int64
	InstallationID int64
	PrivateKey     []byte // PEM
}

// Client asks one GitHub, for any number of repositories. It may be used from
// several goroutines.
type Client struct {
	api   *github.Client
	token func(ctx context.Context) (string, error)
}

// New makes a Client. Nothing is asked yet.
func New(c Config) (*Client, error) {
	base, err := apiURL(c.APIURL)
	if err != nil {
		return nil, err
	}
	transport := c.Transport
	if transport == nil {
		transport = watcher.NewTransport()
	}
	limits := &limiter{next: transport}
	var authorized http.RoundTripper
	token := c.Token
	switch {
	case c.App != nil && c.Token != nil:
		return nil, errors.New("github: either a token or an App, not both")
	case c.App != nil:
		app, err := ghinstallation.New(limits, c.App.ID, c.App.InstallationID, c.App.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("github.app: the private key cannot be read: %w", err)
		}
		app.BaseURL = strings.TrimSuffix(base.String(), "/")
		authorized, token = app, app.Token
	case c.Token != nil:
		authorized = &tokenTransport{next: limits, token: c.Token}
	default:
		return nil, errors.New("github: a token or an App is needed")
	}
	api := github.NewClient(&http.Client{Transport: newConditional(authorized, maxCached)})
	api.BaseURL = base
	api.UserAgent = "ingot"
	return &Client{api: api, token: token}, nil
}

// Token is what Git over https takes as the password: the token itself, or the
// App's short-lived one.
func (c *Client) Token(ctx context.Context) (string, error) { return c.token(ctx) }

// Repository is owner/name, with the branch that its pull requests are for.
func (c *Client) Repository(name, branch string) (*Repository, error) {
	owner, repo, ok := strings.Cut(name, "/")
	if !ok || owner == "" || repo == "" || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("github: %q is not owner/name", name)
	}
	return &Repository{client: c, owner: owner, name: repo, branch: branch}, nil
}

func apiURL(raw string) (*url.URL, error) {
	if raw == "" {
		raw = "https://api.github.com/"
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("github.apiURL: %q is not a url", raw)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("github.apiURL: %q: https is needed, a token is sent there", raw)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	return u, nil
}

// tokenTransport authorizes requests with a token.
type tokenTransport struct {
	next  http.RoundTripper
	token func(ctx context.Context) (string, error)
}

func (t *tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.token(req.Context())
	if err != nil {
		return nil, fmt.Errorf("getting the token for GitHub: %w", err)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return t.next.RoundTrip(req)
}

// problem makes an error of the operator's kind from what go-github returns.
func (r *Repository) problem(doing string, resp *github.Response, err error) error {
	e := &watcher.Error{URL: r.owner + "/" + r.name, Problem: doing, Err: err}
	if limit := limited(err); limit != nil {
		e.RetryAfter, e.Err = limit.wait(), limit
		return e
	}
	if resp == nil || resp.Response == nil {
		return e
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		e.Hint = "GitHub refuses the token: has it expired?"
	case http.StatusForbidden, http.StatusNotFound:
		e.Hint = "the token needs read access to this repository's contents, pull requests and metadata"
	}
	return e
}

// limited finds out whether an error is about rate limits: our own, or go-github's,
// which foresees that the next question would be one too many.
func limited(err error) *LimitError {
	var limit *LimitError
	var foreseen *github.RateLimitError
	switch {
	case errors.As(err, &limit):
		return limit
	case errors.As(err, &foreseen):
		return &LimitError{Until: foreseen.Rate.Reset.Time}
	}
	return nil
}
