package main

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/seed-6db18919/ingot/config"
	"github.com/seed-6db18919/ingot/reporter"
	reportgithub "github.com/seed-6db18919/ingot/reporter/github"
	"github.com/seed-6db18919/ingot/watcher"
	watchgithub "github.com/seed-6db18919/ingot/watcher/github"
)

// hosts are the two ways to the code host: one asks, the other writes.
type hosts struct {
	read   *watchgithub.Client // nil without credentials
	write  codeHost
	webURL string // where its pages are, for links
}

func newHosts(cfg config.Config) (hosts, error) {
	h := hosts{write: nowhere{}, webURL: webURL(cfg.GitHub.APIURL)}
	read := watchgithub.Config{APIURL: cfg.GitHub.APIURL}
	write := reportgithub.Config{APIURL: cfg.GitHub.APIURL}
	switch app := cfg.GitHub.App; {
	case app.ID != 0:
		key := []byte(app.PrivateKey.Reveal())
		read.App = &watchgithub.App{ID: app.ID, InstallationID: app.InstallationID, PrivateKey: key}
		write.App = &reportgithub.App{ID: app.ID, InstallationID: app.InstallationID, PrivateKey: key}
	case cfg.GitHub.Token != "":
		token := cfg.GitHub.Token.Reveal()
		read.Token = func(context.Context) (string, error) { return token, nil }
		write.Token = func() (string, error) { return token, nil }
	default:
		return h, nil
	}
	var err error
	if h.read, err = watchgithub.New(read); err != nil {
		return h, err
	}
	h.write, err = reportgithub.New(write)
	return h, err
}

// auth is how a repository is fetched: with its own credentials, or over https
// from the code host with those that the API takes.
func (h hosts) auth(r config.Repository) watcher.Auth {
	a := watcher.Auth{SSHKeyFile: r.Auth.SSHKeyFile, KnownHostsFile: r.Auth.KnownHostsFile}
	switch {
	case r.Auth.Token != "":
		token := r.Auth.Token.Reveal()
		a.Token = func(context.Context) (string, error) { return token, nil }
	case h.read != nil && r.GitHub != "" && strings.HasPrefix(r.URL, "https:"):
		a.Token = h.read.Token
	}
	return a
}

// webURL is where the pages of a code host are, given its API.
func webURL(api string) string {
	u, err := url.Parse(api)
	if err != nil {
		return ""
	}
	u.Host = strings.TrimPrefix(u.Host, "api.")
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v3")
	return strings.TrimSuffix(u.String(), "/")
}

// nowhere is the code host of a daemon without credentials for one. Its
// repositories have no code host either, unless somebody took the credentials away.
type nowhere struct{}

var errNowhere = errors.New("no credentials for the code host are configured: set github.tokenFile or github.app")

func (nowhere) SetStatus(context.Context, string, string, reporter.Status) error { return errNowhere }

func (nowhere) UpsertComment(context.Context, string, int, string, string, int64) (int64, error) {
	return 0, errNowhere
}
