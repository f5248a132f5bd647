package watcher

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/sirupsen/logrus"
)

// Mirror is a bare copy of one repository on disk: the whole history of the
// watched branch and of the open pull requests. The copy is a cache. When it is
// missing or cannot be read, it is fetched anew.
//
// The repository of a file path has no copy: it is read where it is.
//
// A Mirror may be used from several goroutines, and Trees stay readable while a
// fetch runs. Two processes must not share one.
type Mirror struct {
	remote remote
	dir    string // empty: read where it is
	open   func() (billy.Filesystem, error)
	log    logrus.FieldLogger

	fetching chan struct{} // holds one token while a fetch runs
	suspect  atomic.Bool   // something in it could not be read

	swap sync.RWMutex // held for writing while dir is replaced

	mu      sync.Mutex
	objects weak.Pointer[objects] // shared by all Trees that are in use
}

// CommitInfo is what a commit says about itself. Its texts come from strangers.
type CommitInfo struct {
	Hash    string
	Title   string // first line of the message, capped
	Author  string // the name without the address
	Time    time.Time
	Parents []string
}

func newMirror(r remote, dir string, log logrus.FieldLogger) *Mirror {
	m := &Mirror{remote: r, dir: dir, log: log, fetching: make(chan struct{}, 1)}
	m.open = func() (billy.Filesystem, error) { return osfs.New(m.dir), nil }
	if local, ok := r.(*localRemote); ok {
		m.dir = ""
		m.open = func() (billy.Filesystem, error) {
			store, err := openLocal(local.path)
			if err != nil {
				return nil, err
			}
			return store.Filesystem(), nil
		}
	}
	return m
}

// Tree returns the files of a commit, given by its full name. A commit that the
// mirror does not have is fetched, if the server still has it.
func (m *Mirror) Tree(ctx context.Context, hash string) (*Tree, error) {
	c, err := m.commit(ctx, hash)
	if err != nil {
		return nil, err
	}
	return &Tree{root: c.tree, time: c.committed, source: mirrorSource{m, m.reader()}}, nil
}

// Commit describes a commit, given by its full name.
func (m *Mirror) Commit(ctx context.Context, hash string) (CommitInfo, error) {
	c, err := m.commit(ctx, hash)
	if err != nil {
		return CommitInfo{}, err
	}
	info := CommitInfo{Hash: hash, Title: c.title, Author: c.author, Time: c.authored}
	for _, p := range c.parents {
		info.Parents = append(info.Parents, p.String())
	}
	return info, nil
}

// IsAncestor reports whether ancestor can be reached from descendant; every commit
// is its own ancestor. An ancestor that the repository does not have is none.
func (m *Mirror) IsAncestor(ctx context.Context, ancestor, descendant string) (bool, error) {
	if _, err := m.commit(ctx, descendant); err != nil {
		return false, err
	}
	found := false
	err := m.walk(ctx, descendant, func(hash plumbing.Hash) bool {
		found = hash.String() == ancestor
		return !found
	})
	return found, err
}

// walk visits the commits that from reaches, newest first as far as their dates
// are right, until visit returns false.
func (m *Mirror) walk(ctx context.Context, from string, visit func(plumbing.Hash) bool) error {
	objs := m.reader()
	start := plumbing.NewHash(from)
	seen := map[plumbing.Hash]bool{start: true}
	queue := &commitQueue{}
	add := func(hash plumbing.Hash) error {
		c, err := objs.commit(hash)
		if err != nil {
			return m.missing(err)
		}
		heap.Push(queue, queuedCommit{hash, c})
		return nil
	}
	if err := add(start); err != nil {
		return err
	}
	for queue.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := heap.Pop(queue).(queuedCommit)
		if !visit(next.hash) {
			return nil
		}
		for _, p := range next.commit.parents {
			if seen[p] {
				continue
			}
			seen[p] = true
			if err := add(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit reads a commit and fetches it first where necessary.
func (m *Mirror) commit(ctx context.Context, hash string) (commit, error) {
	if !isHash(hash) {
		return commit{}, fmt.Errorf("%q is not the full name of a commit", hash)
	}
	c, err := m.reader().commit(plumbing.NewHash(hash))
	if err == nil {
		return c, nil
	}
	if errors.Is(err, errTooLarge) {
		return commit{}, err
	}
	_ = m.noted(err) // missing or damaged: fetching mends both
	if err := m.fetch(ctx, map[string]string{"": hash}); err != nil {
		return commit{}, err
	}
	c, err = m.reader().commit(plumbing.NewHash(hash))
	return c, m.noted(err)
}

// reader returns what reads the mirror's objects. All users share one, which is
// forgotten with the last of them: with a thousand repositories, only those that
// are at work take memory.
func (m *Mirror) reader() *objects {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.objects.Value(); o != nil {
		return o
	}
	o := &objects{open: m.open, swap: &m.swap}
	m.objects = weak.Make(o)
	return o
}

// noted remembers that the mirror cannot be trusted when that is what err means.
func (m *Mirror) noted(err error) error {
	var d *damaged
	if errors.As(err, &d) {
		m.suspect.Store(true)
	}
	return err
}

// missing notes that an object is not there which a commit of ours refers to.
func (m *Mirror) missing(err error) error {
	if errors.Is(err, errNoObject) {
		err = &damaged{err}
	}
	return m.noted(err)
}

// mirrorSource is a mirror as a Tree reads it. It keeps the reader alive.
type mirrorSource struct {
	mirror  *Mirror
	objects *objects
}

func (s mirrorSource) tree(hash plumbing.Hash) ([]entry, error) {
	entries, err := s.objects.tree(hash)
	return entries, s.mirror.missing(err)
}

func (s mirrorSource) blob(hash plumbing.Hash, limit int64) ([]byte, error) {
	data, err := s.objects.blob(hash, limit)
	return data, s.mirror.missing(err)
}

func (s mirrorSource) size(hash plumbing.Hash) (int64, error) {
	n, err := s.objects.size(hash)
	return n, s.mirror.missing(err)
}

// commitQueue is a heap of commits, newest first.
type commitQueue []queuedCommit

type queuedCommit struct {
	hash   plumbing.Hash
	commit commit
}

func (q commitQueue) Len() int           { return len(q) }
func (q commitQueue) Less(i, j int) bool { return q[i].commit.committed.After(q[j].commit.committed) }
func (q commitQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *commitQueue) Push(x any)        { *q = append(*q, x.(queuedCommit)) }
func (q *commitQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
