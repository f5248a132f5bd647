package watcher

import (
	"context"
	"errors"
	"io"
	"io/fs"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// localRemote is a repository on this machine. Its objects are read where they
// are, so nothing is ever fetched.
type localRemote struct{ path string }

func (l *localRemote) heads(ctx context.Context, refs []string) (map[string]string, error) {
	store, err := openLocal(l.path)
	if err != nil {
		return nil, err
	}
	heads := map[string]string{}
	for _, name := range refs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ref, err := storer.ResolveReference(wholeRefs{store}, plumbing.ReferenceName(name))
		switch {
		case err == nil:
			heads[name] = ref.Hash().String()
		case !errors.Is(err, plumbing.ErrReferenceNotFound):
			return nil, &Error{URL: l.path, Problem: "reading " + name, Err: err}
		}
	}
	return heads, nil
}

// wholeRefs tells a ref that is not there from one whose file is empty. git puts a
// ref in its place as a whole, but programs that use go-git or libraries like it
// empty the file before they write it, and a machine that loses its power may leave
// it so. That is not a branch that somebody has deleted.
type wholeRefs struct{ *filesystem.Storage }

// Reference returns plumbing.ErrReferenceNotFound only of a ref that has no file.
func (w wholeRefs) Reference(name plumbing.ReferenceName) (*plumbing.Reference, error) {
	ref, err := w.Storage.Reference(name)
	if !errors.Is(err, plumbing.ErrReferenceNotFound) {
		return ref, err
	}
	switch file, statErr := w.Filesystem().Stat(string(name)); {
	case errors.Is(statErr, fs.ErrNotExist):
		return nil, err
	case statErr != nil:
		return nil, statErr
	case file.IsDir(): // of branches whose names begin so
		return nil, err
	}
	return nil, errHalfWritten
}

// errHalfWritten goes away by itself when somebody is writing.
var errHalfWritten = errors.New("its file is empty or is being written; if that lasts, `git fsck` tells what is broken")

func (l *localRemote) pack(_ context.Context, wants, _ []string, _ func(io.Reader) error) error {
	return &Error{URL: l.path, Problem: "it does not have " + wants[0], Hint: "was its history rewritten?"}
}

// openLocal opens a bare repository, a working copy, or a linked worktree.
func openLocal(path string) (*filesystem.Storage, error) {
	repo, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		e := &Error{URL: path, Problem: "opening it", Err: err}
		if errors.Is(err, git.ErrRepositoryNotExists) {
			e.Problem, e.Err = "there is no Git repository", nil
		}
		return nil, e
	}
	store, ok := repo.Storer.(*filesystem.Storage)
	if !ok {
		return nil, &Error{URL: path, Problem: "its storage is not a directory"}
	}
	return store, nil
}
