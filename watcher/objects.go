package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	objectCache     = 4 * cache.MiByte
	largeObject     = 1 << 20  // beyond it, go-git streams instead of holding
	maxTreeObject   = 64 << 20 // one folder: a million entries
	maxCommitObject = 1 << 20
)

// errNoObject is an object that a repository does not have.
var errNoObject = errors.New("not in the repository")

// damaged is an object that is there, or should be, and cannot be read.
type damaged struct{ err error }

func (d *damaged) Error() string { return "the mirror is damaged: " + d.err.Error() }
func (d *damaged) Unwrap() error { return d.err }

// objects reads a repository's objects by name. It may be used from several
// goroutines; packs that arrive later, or a repository that is replaced as a
// whole, are noticed when an object is not found.
type objects struct {
	open func() (billy.Filesystem, error)
	swap *sync.RWMutex // held for writing while the repository is replaced

	mu    sync.Mutex
	store *filesystem.Storage
}

// storageOptions keep what go-git holds in memory small: large objects are
// streamed and nothing is kept open.
func storageOptions() filesystem.Options {
	return filesystem.Options{LargeObjectThreshold: largeObject}
}

// read returns the content of an object of that type, when it is not larger than limit.
func (o *objects) read(want plumbing.ObjectType, hash plumbing.Hash, limit int64) ([]byte, error) {
	o.swap.RLock()
	defer o.swap.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	data, err := o.readOnce(want, hash, limit)
	if err == nil || errors.Is(err, errTooLarge) {
		return data, err
	}
	o.store = nil // what we know of its packs may be out of date
	return o.readOnce(want, hash, limit)
}

// blob returns the content of a file or the target of a link.
func (o *objects) blob(hash plumbing.Hash, limit int64) ([]byte, error) {
	return o.read(plumbing.BlobObject, hash, limit)
}

// size returns the size of a blob in bytes.
func (o *objects) size(hash plumbing.Hash) (int64, error) {
	o.swap.RLock()
	defer o.swap.RUnlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.sizeOnce(hash)
	if err == nil {
		return n, nil
	}
	o.store = nil
	return o.sizeOnce(hash)
}

func (o *objects) sizeOnce(hash plumbing.Hash) (int64, error) {
	store, err := o.storage()
	if err != nil {
		return 0, err
	}
	// Not EncodedObjectSize: that forgets what it has read, and whoever asks for the
	// size of a small file often reads it next.
	obj, err := store.EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return 0, objectError(hash, err)
	}
	return obj.Size(), nil
}

func (o *objects) readOnce(want plumbing.ObjectType, hash plumbing.Hash, limit int64) ([]byte, error) {
	store, err := o.storage()
	if err != nil {
		return nil, err
	}
	obj, err := store.EncodedObject(want, hash) // of what is large, only the head is read yet
	if err != nil {
		return nil, objectError(hash, err)
	}
	n := obj.Size()
	if n > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read: %w", want, n, limit, errTooLarge)
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, objectError(hash, err)
	}
	defer r.Close() //nolint:errcheck // read only
	buf := bytes.NewBuffer(make([]byte, 0, n+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, objectError(hash, err)
	}
	if int64(buf.Len()) != n {
		return nil, &damaged{fmt.Errorf("%s: %d bytes instead of %d", hash, buf.Len(), n)}
	}
	return buf.Bytes(), nil
}

func (o *objects) storage() (*filesystem.Storage, error) {
	if o.store != nil {
		return o.store, nil
	}
	dir, err := o.open()
	if err != nil {
		return nil, err
	}
	o.store = filesystem.NewStorageWithOptions(dir, cache.NewObjectLRU(objectCache), storageOptions())
	return o.store, nil
}

// objectError tells an object that is missing from one that cannot be read.
func objectError(hash plumbing.Hash, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return fmt.Errorf("%s: %w", hash, errNoObject)
	default:
		return &damaged{fmt.Errorf("%s: %w", hash, err)}
	}
}

// commit is what we need of a commit object.
type commit struct {
	tree      plumbing.Hash
	parents   []plumbing.Hash
	author    string
	authored  time.Time
	committed time.Time
	title     string
}

func (o *objects) commit(hash plumbing.Hash) (commit, error) {
	raw, err := o.read(plumbing.CommitObject, hash, maxCommitObject)
	if err != nil {
		return commit{}, err
	}
	c, err := parseCommit(raw)
	if err != nil {
		return commit{}, &damaged{fmt.Errorf("%s: %w", hash, err)}
	}
	return c, nil
}

// parseCommit reads a commit object: header lines, an empty line, the message.
func parseCommit(raw []byte) (commit, error) {
	var c commit
	head, message, _ := strings.Cut(string(raw), "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			if !isHash(value) {
				return commit{}, errors.New("a commit whose tree cannot be read")
			}
			c.tree = plumbing.NewHash(value)
		case "parent":
			if !isHash(value) {
				return commit{}, errors.New("a commit whose parent cannot be read")
			}
			c.parents = append(c.parents, plumbing.NewHash(value))
		case "author":
			c.author, c.authored = parseSignature(value)
		case "committer":
			_, c.committed = parseSignature(value)
		}
	}
	if c.tree.IsZero() {
		return commit{}, errors.New("a commit without a tree")
	}
	title, _, _ := strings.Cut(strings.TrimLeft(message, "\n"), "\n")
	c.title = printable([]byte(title))
	return c, nil
}

// parseSignature reads "Name <address> seconds zone". What cannot be read stays
// empty: people's clocks and names are no reason to refuse a commit.
func parseSignature(s string) (name string, at time.Time) {
	name, rest, ok := strings.Cut(s, " <")
	if !ok {
		return printable([]byte(s)), time.Time{}
	}
	if i := strings.LastIndex(rest, "> "); i >= 0 {
		var seconds int64
		if _, err := fmt.Sscanf(rest[i+2:], "%d", &seconds); err == nil {
			at = time.Unix(seconds, 0).UTC()
		}
	}
	return printable([]byte(name)), at
}

// entry is one entry of a tree object.
type entry struct {
	name string
	mode fs.FileMode // type and permission bits
	link bool        // a submodule: a commit of another repository
	hash plumbing.Hash
}

func (e entry) isDir() bool { return e.mode.IsDir() }

// hasEntries tells a folder of this repository from a submodule.
func (e entry) hasEntries() bool { return e.isDir() && !e.link }

func (o *objects) tree(hash plumbing.Hash) ([]entry, error) {
	raw, err := o.read(plumbing.TreeObject, hash, maxTreeObject)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(raw)
	if err != nil {
		return nil, &damaged{fmt.Errorf("%s: %w", hash, err)}
	}
	return entries, nil
}

// parseTree reads a tree object: "mode SP name NUL hash", again and again. Names
// that could lead out of their folder are refused.
func parseTree(raw []byte) ([]entry, error) {
	entries := make([]entry, 0, len(raw)/28) // none is shorter
	for len(raw) > 0 {
		space := bytes.IndexByte(raw, ' ')
		if space < 0 {
			return nil, errors.New("a tree entry without a name")
		}
		mode, link, err := parseMode(string(raw[:space]))
		if err != nil {
			return nil, err
		}
		raw = raw[space+1:]
		end := bytes.IndexByte(raw, 0)
		if end < 0 || len(raw) < end+1+20 {
			return nil, errors.New("a tree entry that is cut off")
		}
		e := entry{name: string(raw[:end]), mode: mode, link: link}
		copy(e.hash[:], raw[end+1:])
		raw = raw[end+1+20:]
		if e.name == "" || e.name == "." || e.name == ".." || strings.Contains(e.name, "/") {
			return nil, fmt.Errorf("a tree entry of the name %q", e.name)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseMode(s string) (mode fs.FileMode, submodule bool, err error) {
	switch s {
	case "40000", "040000":
		return fs.ModeDir | 0o755, false, nil
	case "100755":
		return 0o755, false, nil
	case "100644", "100664": // the second was written by very old versions
		return 0o644, false, nil
	case "120000":
		return fs.ModeSymlink | 0o777, false, nil
	case "160000":
		return fs.ModeDir | 0o755, true, nil
	}
	return 0, false, fmt.Errorf("a tree entry of the mode %q", s)
}
