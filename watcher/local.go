package watcher

import (
	"context"
	"errors"
	"io"

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
		ref, err := storer.ResolveReference(store, plumbing.ReferenceName(name))
		switch {
		case err == nil:
			heads[name] = ref.Hash().String()
		case !errors.Is(err, plumbing.ErrReferenceNotFound):
			return nil, &Error{URL: l.path, Problem: "reading " + name, Err: err}
		}
	}
	return heads, nil
}

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
