package watcher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// MaxFile is the size in bytes up to which Tree.ReadFile reads a file.
	MaxFile = 8 << 20
	// MaxOpen is the size in bytes up to which Tree.Open opens one. It is held in
	// memory while it is open; code hosts refuse files not much larger.
	MaxOpen = 128 << 20
	maxLink = 4096
	// keptEntries bounds the folders that a Tree remembers.
	keptEntries = 50_000
)

// Tree is the files of one commit, read from the mirror as they are asked for.
// It follows no symbolic links: a link is something to Lstat and ReadLink, and
// submodules are empty folders. A Tree may be used from several goroutines and
// needs no closing. Errors of its methods are
// *fs.PathError.
type Tree struct {
	root   plumbing.Hash
	time   time.Time
	source treeSource

	mu   sync.Mutex
	kept map[plumbing.Hash][]entry
	sum  int // of the entries in kept
}

var (
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

// treeSource is where a Tree finds its objects.
type treeSource interface {
	tree(plumbing.Hash) ([]entry, error)
	blob(hash plumbing.Hash, limit int64) ([]byte, error)
	size(plumbing.Hash) (int64, error)
}

// Hash is the object name of a file's content, a link's target or a folder. "."
// is the root.
func (t *Tree) Hash(name string) (string, error) {
	e, err := t.find("hash", name)
	if err != nil {
		return "", err
	}
	return e.hash.String(), nil
}

// ReadFile returns the content of a regular file of at most MaxFile bytes.
func (t *Tree) ReadFile(name string) ([]byte, error) { return t.read(name, MaxFile) }

func (t *Tree) read(name string, limit int64) ([]byte, error) {
	e, err := t.find("read", name)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: notRegular(e)}
	}
	data, err := t.source.blob(e.hash, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// ReadDir returns a folder's entries, sorted by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !e.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fmt.Errorf("%w: not a folder", fs.ErrInvalid)}
	}
	entries, err := t.folder(e)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		out[i] = dirEntry{tree: t, entry: e}
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// ReadLink returns the target of a symbolic link.
func (t *Tree) ReadLink(name string) (string, error) {
	e, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	if e.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fmt.Errorf("%w: not a symbolic link", fs.ErrInvalid)}
	}
	data, err := t.source.blob(e.hash, maxLink)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(data), nil
}

// Lstat describes a file, link or folder. Its time is the commit's.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	e, err := t.find("lstat", name)
	if err != nil {
		return nil, err
	}
	info, err := t.info(e)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return info, nil
}

// Open opens a regular file of at most MaxOpen bytes, or a folder.
func (t *Tree) Open(name string) (fs.File, error) {
	info, err := t.Lstat(name)
	if err != nil {
		return nil, err
	}
	f := &file{info: info}
	if info.IsDir() {
		f.entries, err = t.ReadDir(name)
		return f, err
	}
	data, err := t.read(name, MaxOpen)
	if err != nil {
		return nil, err
	}
	f.Reader = bytes.NewReader(data)
	return f, nil
}

// find walks down from the root. A link on the way is not followed.
func (t *Tree) find(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	e := entry{name: ".", mode: fs.ModeDir | 0o755, hash: t.root}
	if name == "." {
		return e, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !e.isDir() {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		entries, err := t.folder(e)
		if err != nil {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
		}
		i := slices.IndexFunc(entries, func(e entry) bool { return e.name == part })
		if i < 0 {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		e = entries[i]
	}
	return e, nil
}

// folder returns the entries of a folder and remembers them for the next path
// that leads through it.
func (t *Tree) folder(e entry) ([]entry, error) {
	if !e.hasEntries() {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if entries, ok := t.kept[e.hash]; ok {
		return entries, nil
	}
	entries, err := t.source.tree(e.hash)
	if err != nil {
		return nil, err
	}
	if t.sum += len(entries) + 1; t.kept == nil || t.sum > keptEntries {
		t.kept, t.sum = map[plumbing.Hash][]entry{}, len(entries)+1
	}
	t.kept[e.hash] = entries
	return entries, nil
}

func (t *Tree) info(e entry) (fs.FileInfo, error) {
	info := fileInfo{name: path.Base(e.name), mode: e.mode, time: t.time}
	if e.isDir() {
		return info, nil
	}
	var err error
	info.size, err = t.source.size(e.hash)
	return info, err
}

func notRegular(e entry) error {
	if e.isDir() {
		return fmt.Errorf("%w: it is a folder", fs.ErrInvalid)
	}
	return fmt.Errorf("%w: it is a symbolic link", fs.ErrInvalid)
}

// dirEntry is an entry of a folder; its size is only looked up when asked for.
type dirEntry struct {
	tree  *Tree
	entry entry
}

func (d dirEntry) Name() string               { return d.entry.name }
func (d dirEntry) IsDir() bool                { return d.entry.isDir() }
func (d dirEntry) Type() fs.FileMode          { return d.entry.mode.Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.tree.info(d.entry) }
func (d dirEntry) String() string             { return fs.FormatDirEntry(d) }

type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.time }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) String() string     { return fs.FormatFileInfo(i) }

// file is an open file or folder.
type file struct {
	*bytes.Reader // of a file
	info          fs.FileInfo
	entries       []fs.DirEntry // of a folder
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

func (f *file) Read(p []byte) (int, error) {
	if f.Reader == nil {
		return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: fmt.Errorf("%w: it is a folder", fs.ErrInvalid)}
	}
	return f.Reader.Read(p)
}

func (f *file) ReadDir(n int) ([]fs.DirEntry, error) {
	if f.Reader != nil {
		return nil, &fs.PathError{Op: "readdir", Path: f.info.Name(), Err: fmt.Errorf("%w: not a folder", fs.ErrInvalid)}
	}
	if n <= 0 {
		n = len(f.entries)
	} else if len(f.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.entries))
	out := f.entries[:n]
	f.entries = f.entries[n:]
	return slices.Clone(out), nil
}

// maxChanged bounds what Changed returns: beyond it, somebody is playing with
// trees that contain themselves many times over.
const maxChanged = 500_000

// Changed returns the paths of the files and links that differ between two trees,
// sorted. Folders of the same hash are not looked into. A nil tree is empty.
func Changed(ctx context.Context, before, after *Tree) ([]string, error) {
	c := comparison{ctx: ctx, before: before, after: after}
	var a, b entry
	if before != nil {
		a = entry{mode: fs.ModeDir, hash: before.root}
	}
	if after != nil {
		b = entry{mode: fs.ModeDir, hash: after.root}
	}
	if err := c.compare("", a, b); err != nil {
		return nil, err
	}
	slices.Sort(c.changed)
	return c.changed, nil
}

type comparison struct {
	ctx           context.Context
	before, after *Tree
	changed       []string
}

// compare records what differs between two entries of the same path; the zero
// entry stands for nothing.
func (c *comparison) compare(at string, a, b entry) error {
	switch {
	case a.hash == b.hash && a.mode == b.mode:
		return nil
	case a.hasEntries() || b.hasEntries(): // and then the other is a folder too, or nothing
		return c.folders(at, a, b)
	case len(c.changed) == maxChanged:
		return fmt.Errorf("more than %d files differ", maxChanged)
	}
	c.changed = append(c.changed, at)
	return nil
}

func (c *comparison) folders(at string, a, b entry) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	before, err := c.read(c.before, a)
	if err != nil {
		return err
	}
	after, err := c.read(c.after, b)
	if err != nil {
		return err
	}
	for len(before) > 0 || len(after) > 0 {
		var x, y entry
		switch order := compareEntries(before, after); {
		case order < 0:
			x, before = before[0], before[1:]
		case order > 0:
			y, after = after[0], after[1:]
		default:
			x, before = before[0], before[1:]
			y, after = after[0], after[1:]
		}
		if err := c.compare(path.Join(at, orDefault(x.name, y.name)), x, y); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) read(t *Tree, e entry) ([]entry, error) {
	if t == nil {
		return nil, nil
	}
	return t.folder(e)
}

// compareEntries orders the first entries of two folders as Git does, where a
// folder's name ends in a slash; a file, or a submodule, and a folder of one name
// are two things.
func compareEntries(a, b []entry) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(sortName(a[0]), sortName(b[0]))
}

func sortName(e entry) string {
	if e.hasEntries() {
		return e.name + "/"
	}
	return e.name
}
