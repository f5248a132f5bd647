// Package watcher notices when recipes move in Git.
//
// A Watcher looks at one repository: it asks for the watched branch and the open
// pull requests, compares the answer with what was accepted before, fetches what
// is new, and hands each difference to one callback, one at a time. A head is
// remembered only after the callback returned nil, so that what was not recorded
// is found again. A Group looks at many repositories, forever.
//
//	group := watcher.NewGroup(watcher.GroupConfig{Watchers: watchers, Log: log})
//	err := group.Run(ctx)
//
// A Mirror gives the files of a commit as a Tree. Sub-package github asks GitHub
// about pull requests, calendar knows when a schedule is due.
//
// The package never builds or reports, and it keeps no record of its own: the
// mirrors are a cache, and what was accepted is told to it by Config.Known.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// PullRequest is an open pull request. Its texts come from strangers.
type PullRequest struct {
	Number   int
	Head     string // commit
	HeadRef  string // branch that it comes from
	HeadRepo string // owner/name that it comes from; empty: deleted since
	Fork     bool   // HeadRepo is another repository, or gone
	Base     string // branch that it is for
	Author   string // login
	Title    string
	Draft    bool
	URL      string // for people
}

// Ref is where Git servers keep the head of a pull request.
func (p PullRequest) Ref() string { return "refs/pull/" + strconv.Itoa(p.Number) + "/head" }

// PullRequests lists the open pull requests against the watched branch.
type PullRequests interface {
	Open(ctx context.Context) ([]PullRequest, error)
}

// Change is a head that moved.
type Change struct {
	Repository  string
	Ref         string // refs/heads/main, refs/pull/7/head
	Old         string // commit that was accepted before; empty: none
	New         string // commit that it points at now; empty when Deleted
	Forced      bool   // New does not descend from Old: history was rewritten
	Deleted     bool   // the branch is gone, or the pull request no longer open
	PullRequest *PullRequest
}

// Config is what a Watcher needs to know about its repository.
type Config struct {
	Name      string        // names the repository, its log lines and its mirror
	URL       string        // https, ssh, file URL or absolute path
	Branch    string        // short name; default main
	Interval  time.Duration // between two looks of a Group; default 30 s, at least 1 s
	Auth      Auth
	MirrorDir string // holds Name.git

	PullRequests PullRequests // nil: none are watched

	// Known returns the heads that were accepted before, by ref. It is asked once,
	// and again for as long as it fails.
	Known func(ctx context.Context) (map[string]string, error)
	// Accept takes a change and records it durably. It is called for one change of
	// the repository at a time, the branch first, then pull requests by number. After an
	// error the same change comes again with the next look, or a newer one in its place.
	Accept func(ctx context.Context, c Change) error

	Transport http.RoundTripper // of https; default NewTransport(); share it between watchers
	MaxFetch  int64             // bytes of one fetch; default 1 GiB
	Log       logrus.FieldLogger
}

// Watcher looks at one repository. Its methods may be used from several goroutines.
type Watcher struct {
	config  Config
	ref     string
	address address
	remote  remote
	mirror  *Mirror

	mu    sync.Mutex        // one look at a time
	heads map[string]string // accepted; nil: not known yet
}

// Polled is what a look has come to.
type Polled struct {
	Heads    int // that are watched now
	Accepted int // changes
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	pullPattern = regexp.MustCompile(`^refs/pull/[1-9][0-9]*/head$`)
)

// New checks the configuration and makes a Watcher. Nothing is asked yet.
func New(c Config) (*Watcher, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("repository %q: %w", c.Name, err)
	}
	a, err := parseAddress(c.URL)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", c.Name, err)
	}
	c.Branch = orDefault(c.Branch, "main")
	if c.Interval == 0 {
		c.Interval = 30 * time.Second
	}
	if c.MaxFetch == 0 {
		c.MaxFetch = 1 << 30
	}
	if c.Transport == nil {
		c.Transport = NewTransport()
	}
	w := &Watcher{config: c, ref: "refs/heads/" + c.Branch, address: a}
	switch a.scheme {
	case "file":
		w.remote = &localRemote{path: a.path}
	case "ssh":
		if w.remote, err = newSSHRemote(a, c.Auth, c.MaxFetch); err != nil {
			return nil, fmt.Errorf("repository %q: %w", c.Name, err)
		}
	default:
		w.remote = newHTTPRemote(a, c.Auth, c.Transport, c.MaxFetch)
	}
	w.mirror = newMirror(w.remote, filepath.Join(c.MirrorDir, c.Name+".git"), c.Log)
	return w, nil
}

func (c Config) check() error {
	var errs []error
	if !namePattern.MatchString(c.Name) {
		errs = append(errs, errors.New("name: letters, digits, '.', '_' and '-' are allowed, at most 100, and a letter or digit first"))
	}
	if strings.HasPrefix(c.Branch, "refs/") || strings.ContainsAny(c.Branch, " \n~^:?*[\\") {
		errs = append(errs, fmt.Errorf("branch: %q is not the short name of a branch", c.Branch))
	}
	if c.Interval != 0 && c.Interval < time.Second {
		errs = append(errs, fmt.Errorf("pollInterval: %v is below the minimum of 1s", c.Interval))
	}
	if c.MirrorDir == "" || c.Known == nil || c.Accept == nil || c.Log == nil {
		errs = append(errs, errors.New("MirrorDir, Known, Accept and Log are needed"))
	}
	return errors.Join(errs...)
}

// Name is the repository's.
func (w *Watcher) Name() string { return w.config.Name }

// Mirror gives the files of the repository's commits.
func (w *Watcher) Mirror() *Mirror { return w.mirror }

// Poll looks once. Heads that could be read are handed on even when others could
// not; the errors are joined.
func (w *Watcher) Poll(ctx context.Context) (Polled, error) {
	seen := w.look(ctx, true)
	t := w.take(ctx, seen)
	return t.Polled, errors.Join(seen.err, seen.pullsErr, t.err, t.pullsErr)
}

// sighting is what one look has seen.
type sighting struct {
	heads    map[string]string // of the branch; empty: it does not exist
	pulls    []PullRequest     // ordered by number
	err      error             // of heads, or of learning what was accepted
	pullsErr error             // of pulls
	noPulls  bool              // pull requests were not looked at
}

func (s sighting) polled() Polled { return Polled{Heads: len(s.heads) + len(s.pulls)} }

// taken is what has become of a sighting's changes. What goes wrong with pull
// requests is kept apart: strangers open them, and the branch must not suffer.
type taken struct {
	Polled
	err      error // of the branch
	pullsErr error
}

// look asks the server, without fetching anything.
func (w *Watcher) look(ctx context.Context, withPulls bool) sighting {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heads == nil {
		known, err := w.config.Known(ctx)
		if err != nil {
			return sighting{err: fmt.Errorf("learning which heads were accepted: %w", err), noPulls: true}
		}
		w.heads = map[string]string{}
		maps.Copy(w.heads, known)
	}
	var s sighting
	s.heads, s.err = w.remote.heads(ctx, []string{w.ref})
	s.noPulls = !withPulls
	if withPulls && w.config.PullRequests != nil {
		s.pulls, s.pullsErr = w.config.PullRequests.Open(ctx)
		slices.SortFunc(s.pulls, func(a, b PullRequest) int { return a.Number - b.Number })
	}
	return s
}

// take hands on what is new in a sighting.
func (w *Watcher) take(ctx context.Context, s sighting) taken {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := taken{Polled: s.polled()}
	changes := w.changes(s)
	if len(changes) == 0 {
		return t
	}
	// What the fetch has opened serves those who accept the changes.
	defer runtime.KeepAlive(w.mirror.reader())
	fetched := w.fetch(ctx, changes)
	for _, c := range changes {
		err := fetched[c.Ref]
		if err == nil {
			err = w.accept(ctx, c)
		}
		switch {
		case err == nil:
			t.Accepted++
		case c.Ref == w.ref:
			t.err = fmt.Errorf("%s: %w", c.Ref, err)
		default:
			t.pullsErr = errors.Join(t.pullsErr, fmt.Errorf("%s: %w", c.Ref, err))
		}
	}
	return t
}

// news reports whether there is anything to take in a sighting.
func (w *Watcher) news(s sighting) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changes(s)) > 0
}

// changes compares a sighting with what was accepted. What could not be seen is unchanged.
func (w *Watcher) changes(s sighting) []Change {
	var out []Change
	if s.err == nil {
		out = append(out, diff(w.config.Name, w.heads[w.ref], Change{Ref: w.ref, New: s.heads[w.ref]})...)
	}
	if s.pullsErr != nil || s.noPulls {
		return out
	}
	open := map[string]bool{}
	for i := range s.pulls {
		p := &s.pulls[i]
		open[p.Ref()] = true
		out = append(out, diff(w.config.Name, w.heads[p.Ref()], Change{Ref: p.Ref(), New: p.Head, PullRequest: p})...)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(w.heads), byNumber) {
		if pullPattern.MatchString(ref) && !open[ref] {
			out = append(out, diff(w.config.Name, w.heads[ref], Change{Ref: ref})...)
		}
	}
	return out
}

// diff completes a change, or returns none when the head did not move.
func diff(repository, before string, c Change) []Change {
	if before == c.New {
		return nil
	}
	c.Repository, c.Old, c.Deleted = repository, before, c.New == ""
	return []Change{c}
}

// byNumber orders the refs of pull requests by their numbers.
func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// fetch brings the new commits here: all of them at once, and when that does not
// work, each by itself, so that one bad head does not hold up the others. It
// returns the errors by ref.
func (w *Watcher) fetch(ctx context.Context, changes []Change) map[string]error {
	heads := map[string]string{}
	for ref, hash := range w.heads {
		if ref == w.ref || pullPattern.MatchString(ref) {
			heads[ref] = hash
		}
	}
	moved := false
	for _, c := range changes {
		if c.Deleted {
			delete(heads, c.Ref)
			continue
		}
		moved = true
		heads[c.Ref] = c.New
	}
	if !moved || w.mirror.fetch(ctx, heads) == nil {
		return nil
	}
	errs := map[string]error{}
	for _, c := range changes {
		if !c.Deleted {
			errs[c.Ref] = w.mirror.fetch(ctx, map[string]string{"": c.New})
		}
	}
	return errs
}

// accept hands one change on and remembers it.
func (w *Watcher) accept(ctx context.Context, c Change) error {
	if c.Old != "" && c.New != "" {
		straight, err := w.mirror.IsAncestor(ctx, c.Old, c.New)
		if err != nil {
			return err
		}
		c.Forced = !straight
	}
	if err := w.config.Accept(ctx, c); err != nil {
		return err
	}
	if c.Deleted {
		delete(w.heads, c.Ref)
	} else {
		w.heads[c.Ref] = c.New
	}
	return nil
}
