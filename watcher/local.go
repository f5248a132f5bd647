package watcher

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"syscall"

	"github.com/go-git/go-billy/v5/util"
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

// wholeRefs are the refs of a repository, but for what is not a ref yet. git puts a ref
// in its place as a whole; programs that use go-git or libraries like it empty its file
// before they write it, and a machine that loses its power may leave it so. That is
// neither a branch that somebody has deleted nor one that is where `git gc` once saw it,
// which is what go-git reads then.
type wholeRefs struct{ *filesystem.Storage }

var (
	hashOfRef = regexp.MustCompile(`^(?:[0-9a-f]{40}|ref: .+)\s*$`)

	// errHalfWritten goes away by itself when somebody is writing.
	errHalfWritten = errors.New("its file is empty, damaged, or being written; if that lasts, `git fsck` tells what is broken")
)

// Reference returns plumbing.ErrReferenceNotFound only of a ref that nobody has.
func (w wholeRefs) Reference(name plumbing.ReferenceName) (*plumbing.Reference, error) {
	if err := name.Validate(); err != nil {
		return nil, err
	}
	text, err := util.ReadFile(w.Filesystem(), string(name))
	switch {
	case err == nil && !hashOfRef.Match(text):
		return nil, errHalfWritten
	case err == nil:
		return plumbing.NewReferenceFromStrings(string(name), strings.TrimSpace(string(text))), nil
	case isNoFile(err):
		return w.Storage.Reference(name) // packed, or not there
	}
	return nil, err
}

// isNoFile says that there is no file of that name: of release/1 for instance when
// there is a branch release, or of release when there is a branch release/1.
func isNoFile(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
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
