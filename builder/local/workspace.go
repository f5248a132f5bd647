package local

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder/local/store"
)

// marker is the variable in the environment of every process that works for a
// workspace; its value is the workspace's name.
const marker = "INGOT_BUILD"

// lockSuffix names the lock beside a workspace. It is taken before the folder is
// made, so that a folder without a taken lock has no owner.
const lockSuffix = ".lock"

// workspace is a folder in which one instance or guest makes everything that it
// makes: overlays, mount points, sockets. It belongs to the process that holds its
// lock, and is removed by it, or by Sweep after that process has ended.
type workspace struct {
	dir  string
	lock *store.Lock
}

// newWorkspace makes the folder. Its name begins with the build's id, for people.
func (d *Driver) newWorkspace(ctx context.Context, build string) (*workspace, error) {
	dir := filepath.Join(d.store.Work(), plain(build)+"."+strings.ToLower(rand.Text()[:8]))
	lock, err := store.Acquire(ctx, dir+lockSuffix)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(lock.Sign(), os.Mkdir(dir, 0o700)); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return &workspace{dir: dir, lock: lock}, nil
}

// env is all that a process that works for the workspace gets to see of our
// environment, which may hold secrets.
func (w *workspace) env() []string {
	return []string{marker + "=" + filepath.Base(w.dir), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
}

// folder makes a subfolder.
func (w *workspace) folder(name string) (string, error) {
	path := filepath.Join(w.dir, name)
	return path, os.MkdirAll(path, 0o700)
}

// finish removes the folder, and hands on what failed before. A folder in which
// something is still mounted is left to Sweep.
func (w *workspace) finish(failed error) error {
	return errors.Join(failed, removeTree(w.dir), w.lock.Release())
}

// plain turns a build's id into a file name.
func plain(id string) string {
	const most = 60
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, id)
	if name == "" {
		name = "build"
	}
	return name[:min(len(name), most)]
}
