package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Auth is what a repository's server wants to know about us. The zero value
// reads public repositories.
type Auth struct {
	// Token returns the password or token for https. It is asked before every
	// request, so that short-lived tokens stay fresh. Nil: none.
	Token func(ctx context.Context) (string, error)
	// User goes with Token; default x-access-token, which GitHub takes for
	// personal tokens and Apps alike.
	User string

	SSHKeyFile     string // private key, without a passphrase; needed for ssh
	KnownHostsFile string // the host keys to trust; needed for ssh, nothing else is trusted
}

// Error says what is wrong with a repository as its server sees it, and what to
// do about it. It never contains credentials.
type Error struct {
	URL        string        // without user and password
	Problem    string        // what happened
	Hint       string        // the next action of the operator; may be empty
	RetryAfter time.Duration // how long the server asks to be left alone; 0: it did not say
	Err        error         // the cause; may be nil
}

func (e *Error) Error() string {
	text := e.URL + ": " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// remote is a repository at the other end of a transport.
type remote interface {
	// heads returns what the given full ref names point at; refs that do not
	// exist are left out.
	heads(ctx context.Context, refs []string) (map[string]string, error)
	// pack calls read with a pack of everything that wants reach and haves do not.
	// Both are object names.
	pack(ctx context.Context, wants, haves []string, read func(io.Reader) error) error
}

// address is a repository's URL, taken apart.
type address struct {
	scheme string // https, http, ssh, file
	url    *url.URL
	path   string // of file: absolute path
	user   *url.Userinfo
}

// String is the address without credentials.
func (a address) String() string {
	if a.scheme == "file" {
		return a.path
	}
	return a.url.String()
}

// host is what requests are bounded by: one slow server must not slow the others.
func (a address) host() string {
	if a.scheme == "file" {
		return ""
	}
	return a.url.Host
}

// parseAddress understands https, ssh and file URLs, git@host:path, and absolute
// paths. Plain http is for servers of the same machine only.
func parseAddress(raw string) (address, error) {
	if filepath.IsAbs(raw) {
		return address{scheme: "file", path: filepath.Clean(raw)}, nil
	}
	if a, ok := parseSCP(raw); ok {
		return a, checkSSHPath(a.url.Path)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, errors.New("the repository's url cannot be read") // the cause would show a password
	}
	a := address{scheme: u.Scheme, url: u, user: u.User}
	switch u.Scheme {
	case "file":
		if !filepath.IsAbs(u.Path) || u.Host != "" {
			return address{}, fmt.Errorf("url %q: a file url needs an absolute path, as file:///srv/git/images.git", raw)
		}
		return address{scheme: "file", path: filepath.Clean(u.Path)}, nil
	case "http", "https":
		u.User = nil
		u.Path = strings.TrimSuffix(u.Path, "/")
	case "ssh":
		u.User = url.User(orDefault(u.User.Username(), "git"))
		return a, checkSSHPath(u.Path)
	default:
		return address{}, fmt.Errorf("url %q: https, ssh, a file url or an absolute path is expected", u.Redacted())
	}
	if u.Host == "" {
		return address{}, fmt.Errorf("url %q: the host is missing", u.Redacted())
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return address{}, fmt.Errorf("url %q: http is not protected and only allowed on the same machine; use https or ssh", u)
	}
	return a, nil
}

// parseSCP understands git@host:path, the way ssh users write it.
func parseSCP(raw string) (address, bool) {
	if strings.Contains(raw, "://") {
		return address{}, false
	}
	login, path, ok := strings.Cut(raw, ":")
	if !ok || path == "" || strings.ContainsAny(login, "/ ") {
		return address{}, false
	}
	user, host, ok := strings.Cut(login, "@")
	if !ok {
		user, host = "git", login
	}
	if host == "" || user == "" {
		return address{}, false
	}
	return address{scheme: "ssh", url: &url.URL{Scheme: "ssh", User: url.User(user), Host: host, Path: path}}, true
}

// checkSSHPath keeps everything out of the path that a shell at the other end
// could take for something else: ssh knows no arguments, only a command line.
func checkSSHPath(path string) error {
	for _, r := range path {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r > 0x7f
		if !letter && !strings.ContainsRune("/._-~+@=,", r) {
			return fmt.Errorf("ssh path %q: %q is not allowed in it", path, r)
		}
	}
	if strings.Trim(path, "/") == "" || strings.HasPrefix(path, "-") {
		return fmt.Errorf("ssh path %q: the path of a repository is expected", path)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// NewTransport returns an HTTP transport that suits the polling of many
// repositories: connections are kept, and one that died in silence is noticed.
// Share one between all watchers of a process.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   pollsPerHost,
		IdleConnTimeout:       5 * time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}
