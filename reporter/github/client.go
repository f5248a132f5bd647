// Package github brings reports to GitHub and GitHub Enterprise: commit statuses,
// and one comment per pull request that is updated in place.
//
// A Client writes one thing at a time and leaves a pause between two writes, as
// GitHub asks of everybody; use one Client per host. It never retries by itself:
// an *Error says whether and when trying again makes sense. Every call may be
// repeated: an equal status is not sent twice, and a comment whose creation was
// not confirmed is found again instead of being made a second time.
//
// The package renders nothing and keeps nothing that has to survive a restart.
package github

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	gh "github.com/google/go-github/v60/github"
)

// DefaultAPIURL is where GitHub itself answers.
const DefaultAPIURL = "https://api.github.com/"

// maxAnswer is the most that is read of one answer, in bytes; a full page of
// the longest comments stays below it.
const maxAnswer = 32 << 20

// Config is what a Client needs. Exactly one of Token and App must be set.
type Config struct {
	APIURL    string                 // default DefaultAPIURL; for GitHub Enterprise https://HOST/api/v3/
	Token     func() (string, error) // asked before each request, so that a token can be replaced
	App       *App
	Transport http.RoundTripper // under the authentication; default http.DefaultTransport
	Pause     time.Duration     // between the end of a write and the next; default 1 s
	Timeout   time.Duration     // of one request; default 30 s
}

// App is an installed GitHub App.
type App struct {
	ID             int64
	InstallationID int64
	PrivateKey     []byte // PEM
}

// Client writes to one GitHub host. It may be used from several goroutines.
type Client struct {
	api   *gh.Client
	app   *gh.Client // as the App itself; nil with a token
	gate  *gate
	sent  *memory
	whoAm identity
}

// New makes a Client; it asks the host nothing yet.
func New(c Config) (*Client, error) {
	base, err := baseURL(cmp.Or(c.APIURL, DefaultAPIURL))
	if err != nil {
		return nil, err
	}
	under := c.Transport
	if under == nil {
		under = http.DefaultTransport
	}
	under = limited{under}
	client := &Client{gate: newGate(cmp.Or(c.Pause, time.Second)), sent: newMemory()}
	timeout := cmp.Or(c.Timeout, 30*time.Second)
	switch {
	case (c.Token != nil) == (c.App != nil):
		return nil, errors.New("github: give either a token or an App")
	case c.Token != nil:
		client.api = apiClient(base, tokenTransport{under, c.Token}, timeout)
	default:
		asApp, err := ghinstallation.NewAppsTransport(under, c.App.ID, c.App.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("github: private key of App %d: %w", c.App.ID, err)
		}
		asApp.BaseURL = strings.TrimSuffix(base.String(), "/")
		client.app = apiClient(base, asApp, timeout)
		client.api = apiClient(base, ghinstallation.NewFromAppsTransport(asApp, c.App.InstallationID), timeout)
	}
	return client, nil
}

func baseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("github: apiURL %q is not a web address such as %s", text, DefaultAPIURL)
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

func apiClient(base *url.URL, transport http.RoundTripper, timeout time.Duration) *gh.Client {
	api := gh.NewClient(&http.Client{
		Transport: transport,
		Timeout:   timeout,
		// A renamed repository redirects within the host. Elsewhere our
		// credentials must not go.
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != base.Host || r.URL.Scheme != base.Scheme || len(via) > 3 {
				return fmt.Errorf("redirected to %s", r.URL.Host)
			}
			return nil
		},
	})
	api.BaseURL = base
	api.UserAgent = "ingot"
	return api
}

// tokenTransport signs requests with a token.
type tokenTransport struct {
	under http.RoundTripper
	token func() (string, error)
}

func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.token()
	if err != nil {
		if r.Body != nil {
			err = errors.Join(err, r.Body.Close())
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	return t.under.RoundTrip(r)
}

// limited ends answers that are longer than anything GitHub sends.
type limited struct{ under http.RoundTripper }

func (t limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.under.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// split cuts owner/name.
func split(ownerRepo string) (owner, name string, err error) {
	owner, name, ok := strings.Cut(ownerRepo, "/")
	if !ok || owner == "" || name == "" || strings.ContainsAny(ownerRepo, "?#% \\") || strings.Contains(name, "/") || strings.Trim(name, ".") == "" {
		return "", "", fmt.Errorf("%q is not owner/name", ownerRepo)
	}
	return owner, name, nil
}
