package config

import (
	"io/fs"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
)

// Poll intervals: a path on this machine may be looked at more often.
const (
	defaultPoll  = 30 * time.Second
	leastPoll    = 5 * time.Second
	leastPollFor = time.Second // of a path, and of this machine's own servers
	mostPoll     = 24 * time.Hour
)

// remote is a repository's URL, taken apart.
type remote struct {
	scheme string // https, http, ssh or file
	host   string // without port; empty for a file
	path   string
	local  bool // on this machine
}

var scpLike = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+):([^/].*|/.*)$`)

// parseRemote accepts https, ssh, the scp-like form, file URLs and absolute
// paths; plain http only to this machine.
func parseRemote(text string) (remote, bool) {
	if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }) || strings.HasPrefix(text, "-") {
		return remote{}, false
	}
	if path.IsAbs(text) {
		return remote{scheme: "file", path: path.Clean(text), local: true}, true
	}
	if !strings.Contains(text, "://") {
		match := scpLike.FindStringSubmatch(text)
		if match == nil {
			return remote{}, false
		}
		return remote{scheme: "ssh", host: match[1], path: match[2]}, true
	}
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return remote{}, false
	}
	to := remote{scheme: u.Scheme, host: u.Hostname(), path: u.Path, local: u.Scheme == "file" || isLoopback(u.Hostname())}
	switch u.Scheme {
	case "https", "http":
		return to, u.Host != "" && u.User == nil && isSafe(u) && len(u.Path) > 1
	case "ssh":
		_, password := u.User.Password()
		return to, u.Host != "" && !password && len(u.Path) > 1 && !strings.HasPrefix(u.Hostname(), "-")
	case "file":
		return to, u.Host == "" && path.IsAbs(u.Path)
	default:
		return remote{}, false
	}
}

// isSafe accepts https, and http that does not leave this machine.
func isSafe(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *reading) repositories(files []repositoryFile, apiURL string) []Repository {
	names, places := map[string]int{}, map[string]string{}
	var all []Repository
	for _, f := range files {
		if f.URL.Node == nil {
			continue // decoding has said so
		}
		repository := r.repository(&f, apiURL)
		at := f.Name.Node
		if at == nil {
			at = f.URL.Node
		}
		if line, taken := names[repository.Name]; taken && repository.Name != "" {
			r.bad(at, "expected names that differ", "repositories: the name %q is taken by line %d", repository.Name, line)
		}
		names[repository.Name] = at.Line
		place := repository.URL + " " + repository.Branch
		if other, taken := places[place]; taken {
			r.bad(f.URL.Node, "expected another url or branch", "repositories: branch %s of this url is watched as %q already", repository.Branch, other)
		}
		places[place] = repository.Name
		all = append(all, repository)
	}
	return all
}

var (
	legalName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	ownerName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,99}/[A-Za-z0-9._-]{1,100}$`)
	badInRef   = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(/|$)|/\.|\.$|^[-./]|/$`)
	notInShell = regexp.MustCompile(`[^A-Z0-9]`)
)

func (r *reading) repository(f *repositoryFile, apiURL string) Repository {
	to, ok := parseRemote(f.URL.Value)
	if !ok {
		r.bad(f.URL.Node, "expected https://…, ssh://…, user@host:path or an absolute path, without password", "repositories: the url cannot be used")
		r.hideLine()
	}
	repository := Repository{
		Name: f.Name.Value, URL: f.URL.Value, Branch: "main",
		GitHub: codeHost(f.GitHub, to, apiURL),
	}
	if f.Name.Node == nil && ok {
		repository.Name = strings.TrimSuffix(path.Base(to.path), ".git")
	}
	if !legalName.MatchString(repository.Name) && ok {
		at := f.Name.Node
		if at == nil {
			at = f.URL.Node
		}
		r.bad(at, "expected a name of letters, digits and ._-", "repositories: %q is not a name", repository.Name)
	}
	if f.GitHub.Value != "" && !ownerName.MatchString(f.GitHub.Value) {
		r.bad(f.GitHub.Node, `expected owner/name, or "" for none`, "repositories: %q is not a repository at the code host", f.GitHub.Value)
	}
	if f.Branch.Node != nil {
		repository.Branch = f.Branch.Value
		if repository.Branch == "" || badInRef.MatchString(repository.Branch) {
			r.bad(f.Branch.Node, "expected a name such as main", "repositories: %q is not a branch", f.Branch.Value)
		}
	}
	repository.PollInterval = r.pollInterval(f, to)
	repository.Paths = r.paths(f.Paths)
	repository.PullRequests = r.pullRequests(&f.PullRequests, repository.GitHub)
	repository.Auth = r.auth(&f.Auth, to, repository.Name)
	return repository
}

// codeHost returns owner/name: as given, or from a URL at the code host.
func codeHost(given text, to remote, apiURL string) string {
	if given.Node != nil {
		return given.Value
	}
	api, err := url.Parse(apiURL)
	if err != nil || to.host == "" || to.scheme == "file" {
		return ""
	}
	if to.host != strings.TrimPrefix(api.Hostname(), "api.") {
		return ""
	}
	name := strings.TrimSuffix(strings.Trim(to.path, "/"), ".git")
	if !ownerName.MatchString(name) {
		return ""
	}
	return name
}

func (r *reading) pollInterval(f *repositoryFile, to remote) time.Duration {
	least := leastPoll
	if to.local {
		least = leastPollFor
	}
	value := f.PollInterval
	if value.Node == nil {
		return defaultPoll
	}
	if value.Value < least || value.Value > mostPoll {
		r.bad(value.Node, "expected "+least.String()+" to 24h", "repositories: a pollInterval of %v is out of bounds", value.Value)
	}
	return value.Value
}

func (r *reading) paths(given []text) []string {
	if len(given) == 0 {
		return []string{"."}
	}
	var paths []string
	for _, p := range given {
		clean := path.Clean(p.Value)
		if p.Node != nil && (p.Value == "" || !fs.ValidPath(clean)) {
			r.bad(p.Node, "expected a folder inside the repository, such as recipes", "repositories: %q is not a path in a repository", p.Value)
		}
		paths = append(paths, clean)
	}
	return paths
}

func (r *reading) pullRequests(f *pullRequestsFile, github string) PullRequests {
	p := PullRequests{Enabled: github != "", Forks: r.oneOf(f.Forks, "pullRequests.forks", forkRules()...)}
	if f.Enabled.Node != nil {
		p.Enabled = f.Enabled.Value
		if p.Enabled && github == "" {
			r.bad(f.Enabled.Node, "expected the key github: owner/name beside it", "pullRequests.enabled: the repository has no code host")
		}
	}
	return p
}

func (r *reading) auth(f *authFile, to remote, name string) Auth {
	variable := "INGOT_REPOSITORY_TOKEN_" + notInShell.ReplaceAllString(strings.ToUpper(name), "_")
	a := Auth{
		Token:          r.secret(f.TokenFile, "auth.tokenFile", variable),
		SSHKeyFile:     r.existing(f.SSHKeyFile, "auth.sshKeyFile"),
		KnownHostsFile: r.existing(f.KnownHostsFile, "auth.knownHostsFile"),
	}
	if to.scheme == "" {
		return a
	}
	if f.TokenFile.Node != nil && to.scheme != "https" && to.scheme != "http" {
		r.bad(f.TokenFile.Node, "expected sshKeyFile, or an https url", "auth.tokenFile: the url is not https")
	}
	for key, value := range map[string]text{"sshKeyFile": f.SSHKeyFile, "knownHostsFile": f.KnownHostsFile} {
		if value.Node != nil && to.scheme != "ssh" {
			r.bad(value.Node, "expected tokenFile, or an ssh url", "auth.%s: the url is not ssh", key)
		}
	}
	return a
}
