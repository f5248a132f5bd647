package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/store"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// cached is one parent in the cache: <name>.json says which <name>-<digest>.qcow2
// is the newest. Older files stay, because layers are built on them.
type cached struct {
	dir, name string
	log       func(string)
}

// source says how a parent is made.
type source struct {
	revision func(ctx context.Context) (string, error)
	refresh  bool // ask for the revision even when the parent is there
	make     func(ctx context.Context, out string) (digest string, err error)
}

// entry is what <name>.json holds.
type entry struct {
	File     string `json:"file"` // in the same folder
	Digest   string `json:"digest"`
	Revision string `json:"revision"`
}

func known(revision string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return revision, nil }
}

// get returns the parent, made now if need be. One process makes it, others wait.
func (c cached) get(ctx context.Context, r source) (builder.Base, error) {
	if !r.refresh {
		if e, err := c.read(); err == nil {
			return c.base(e), nil
		}
	}
	lock, err := c.lock(ctx)
	if err != nil {
		return builder.Base{}, err
	}
	base, err := c.getLocked(ctx, r)
	return base, errors.Join(err, lock.Release())
}

func (c cached) lock(ctx context.Context) (*store.Lock, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(c.dir, c.name+lockSuffix)
	lock, free, err := store.TryAcquire(path)
	if err != nil || free {
		return lock, err
	}
	c.log("waiting for another build that makes the same parent image")
	return store.Acquire(ctx, path)
}

func (c cached) getLocked(ctx context.Context, r source) (builder.Base, error) {
	have, err := c.read()
	if err == nil && !r.refresh {
		return c.base(have), nil
	}
	revision, asked := r.revision(ctx)
	if asked != nil {
		return builder.Base{}, asked
	}
	if err == nil && have.Revision == revision {
		return c.base(have), nil
	}
	made, err := c.make(ctx, r, revision)
	if err != nil {
		return builder.Base{}, err
	}
	return c.base(made), nil
}

// read returns the entry if its file is there.
func (c cached) read() (entry, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, c.name+".json"))
	if err != nil {
		return entry{}, err
	}
	var e entry
	if err := json.Unmarshal(text, &e); err != nil {
		return entry{}, err
	}
	_, err = os.Stat(filepath.Join(c.dir, e.File))
	return e, err
}

func (c cached) make(ctx context.Context, r source, revision string) (entry, error) {
	temp := filepath.Join(c.dir, c.name+".new.qcow2")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return entry{}, err // one that a killed process left
	}
	digest, err := r.make(ctx, temp)
	if err != nil {
		return entry{}, errors.Join(err, removeIfThere(temp))
	}
	e := entry{File: c.name + "-" + shortHash(digest) + ".qcow2", Digest: digest, Revision: revision}
	if err := os.Chmod(temp, 0o400); err != nil {
		return entry{}, err
	}
	if err := store.Place(temp, filepath.Join(c.dir, e.File)); err != nil {
		return entry{}, err
	}
	return e, store.WriteJSON(filepath.Join(c.dir, c.name+".json"), e)
}

func (c cached) base(e entry) builder.Base {
	return builder.Base{Ref: filepath.Join(c.dir, e.File), Digest: e.Digest, Revision: e.Revision}
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hashFile names a file's content.
func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, readerOf(ctx, f)); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// copyFromTree writes a file of the repository to the host and names its content.
func copyFromTree(ctx context.Context, tree recipe.Tree, name, out string) (string, error) {
	in, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), readerOf(ctx, in))
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), errors.Join(err, f.Close())
}

// shortHash makes a file name of any text.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// readerOf lets a long read end with its context.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, fmt.Errorf("read: %w", context.Cause(c.ctx))
	}
	return c.r.Read(p)
}
