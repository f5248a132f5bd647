package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DirTree is a folder of the host as a Tree, for builds by hand. It shows what is
// there at the moment, without .git, and never anything outside of the folder:
// not even through a symbolic link.
type DirTree struct {
	root *os.Root
	path string

	mu     sync.Mutex
	hashes map[string]fileHash
}

// fileHash is the hash of a file as long as its time and size stay the same.
type fileHash struct {
	modified time.Time
	size     int64
	hash     string
}

// OpenDir opens a folder. Close gives it back.
func OpenDir(folder string) (*DirTree, error) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(absolute)
	if err != nil {
		return nil, err
	}
	return &DirTree{root: root, path: absolute, hashes: map[string]fileHash{}}, nil
}

// Close gives the folder back; the tree cannot be read afterwards.
func (t *DirTree) Close() error { return t.root.Close() }

// Root is the absolute path of the folder.
func (t *DirTree) Root() string { return t.path }

// hidden answers for .git, which is no part of the tree, and for paths that are none.
func hidden(op, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == ".git" || strings.HasPrefix(name, ".git/") {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// absent makes "a folder on the way is a file" what it is for a tree: not there.
func absent(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return errors.Join(fs.ErrNotExist, err)
	}
	return err
}

// Open opens a file or folder. It follows links inside of the tree.
func (t *DirTree) Open(name string) (fs.File, error) {
	if err := hidden("open", name); err != nil {
		return nil, err
	}
	file, err := t.root.FS().Open(name)
	return file, absent(err)
}

// ReadDir lists a folder, sorted by name.
func (t *DirTree) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := hidden("readdir", name); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(t.root.FS(), name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ".git" })
	}
	return entries, absent(err)
}

// ReadFile reads a whole file.
func (t *DirTree) ReadFile(name string) ([]byte, error) {
	if err := hidden("read", name); err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(t.root.FS(), name)
	return data, absent(err)
}

// Lstat describes a file or link without following it.
func (t *DirTree) Lstat(name string) (fs.FileInfo, error) {
	if err := hidden("lstat", name); err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(filepath.FromSlash(name))
	return info, absent(err)
}

// ReadLink returns the target of a symbolic link as it is written.
func (t *DirTree) ReadLink(name string) (string, error) {
	if err := hidden("readlink", name); err != nil {
		return "", err
	}
	target, err := t.root.Readlink(filepath.FromSlash(name))
	return filepath.ToSlash(target), absent(err)
}

// Hash names the content of a file, link or folder.
func (t *DirTree) Hash(name string) (string, error) {
	info, err := t.Lstat(name)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return t.hashDir(name)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := t.ReadLink(name)
		return hash("link", target), err
	default:
		return t.hashFile(name, info)
	}
}

func (t *DirTree) hashDir(name string) (string, error) {
	entries, err := t.ReadDir(name)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, entry := range entries {
		content, err := t.Hash(path.Join(name, entry.Name()))
		if err != nil {
			return "", err
		}
		info, err := entry.Info()
		if err != nil {
			return "", err
		}
		parts = append(parts, entry.Name(), info.Mode().String(), content)
	}
	return hash("folder", parts...), nil
}

func (t *DirTree) hashFile(name string, info fs.FileInfo) (string, error) {
	t.mu.Lock()
	known, ok := t.hashes[name]
	t.mu.Unlock()
	if ok && known.size == info.Size() && known.modified.Equal(info.ModTime()) {
		return known.hash, nil
	}
	file, err := t.Open(name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	known = fileHash{info.ModTime(), info.Size(), hex.EncodeToString(sum.Sum(nil))}
	t.mu.Lock()
	t.hashes[name] = known
	t.mu.Unlock()
	return known.hash, nil
}
