package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxPacks is how many fetches may each leave a pack before the mirror is
	// fetched anew as one. That also drops what rewritten branches and closed
	// pull requests left behind.
	maxPacks = 64
	// moreHaves is how many ancestors of each of our heads a server is told about,
	// so that a rewritten branch still finds common ground.
	moreHaves = 32
	// maxHaves bounds a request: with hundreds of pull requests, the newest suffice.
	maxHaves = 512
)

// fetch brings the commits that heads point at, with all that they reach, into the
// mirror, unless they are there. heads are all heads of the repository that are
// watched, by ref; the ref "" stands for a commit that is wanted by itself.
func (m *Mirror) fetch(ctx context.Context, heads map[string]string) error {
	select {
	case m.fetching <- struct{}{}:
		defer func() { <-m.fetching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.dir == "" {
		return m.check(ctx, heads)
	}
	if !m.suspect.Load() && m.exists() {
		err := m.update(ctx, heads)
		var d *damaged
		if !errors.As(err, &d) {
			return err
		}
		m.log.WithError(err).Warn("the mirror is fetched anew")
	}
	return m.renew(ctx, heads)
}

// check sees that a repository that is read in place has what is wanted.
func (m *Mirror) check(ctx context.Context, heads map[string]string) error {
	if wants := m.absent(m.reader(), heads); len(wants) > 0 {
		return m.remote.pack(ctx, wants, nil, nil)
	}
	return nil
}

func (m *Mirror) exists() bool {
	_, err := os.Stat(filepath.Join(m.dir, "HEAD"))
	return err == nil
}

// absent returns the commits of heads that cannot be read, each once, in a stable order.
func (m *Mirror) absent(objs *objects, heads map[string]string) []string {
	var out []string
	for _, ref := range slices.Sorted(maps.Keys(heads)) {
		hash := heads[ref]
		if !slices.Contains(out, hash) && m.complete(objs, hash) != nil {
			out = append(out, hash)
		}
	}
	return out
}

// complete reads a commit and its root folder.
func (m *Mirror) complete(objs *objects, hash string) error {
	c, err := objs.commit(plumbing.NewHash(hash))
	if err != nil {
		return err
	}
	if _, err := objs.tree(c.tree); err != nil {
		return m.missing(err)
	}
	return nil
}

// update adds to the mirror what is absent.
func (m *Mirror) update(ctx context.Context, heads map[string]string) error {
	m.sweep()
	objs := m.reader()
	store := openStore(m.dir)
	haves, err := m.haves(ctx, objs, store)
	if err != nil {
		return err
	}
	if wants := m.absent(objs, heads); len(wants) > 0 {
		if err := m.receive(ctx, store, wants, haves); err != nil {
			return err
		}
		for _, hash := range wants {
			if err := m.complete(objs, hash); err != nil {
				return &damaged{err}
			}
		}
	}
	if err := keepRefs(store, heads); err != nil {
		return &damaged{err}
	}
	return m.tidy(ctx, heads)
}

// receive fetches into store.
func (m *Mirror) receive(ctx context.Context, store *filesystem.Storage, wants, haves []string) error {
	return m.remote.pack(ctx, wants, haves, func(pack io.Reader) error {
		err := packfile.WritePackfileToObjectStorage(store, pack)
		if errors.Is(err, packfile.ErrEmptyPackfile) {
			return errors.New("the server sent no pack")
		}
		return err
	})
}

// haves lists what the server need not send again: our heads and some of their
// ancestors. A head of ours that cannot be read means damage.
func (m *Mirror) haves(ctx context.Context, objs *objects, store *filesystem.Storage) ([]string, error) {
	refs, err := watchedRefs(store)
	if err != nil {
		return nil, &damaged{err}
	}
	var tips, more []string
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if err := m.complete(objs, refs[ref]); err != nil {
			return nil, &damaged{fmt.Errorf("%s: %w", ref, err)}
		}
		tips = append(tips, refs[ref])
		left := moreHaves
		err := m.walk(ctx, refs[ref], func(hash plumbing.Hash) bool {
			more = append(more, hash.String())
			left--
			return left > 0
		})
		if err != nil {
			return nil, err
		}
	}
	haves := unique(append(tips, more...))
	return haves[:min(len(haves), maxHaves)], nil
}

func unique(in []string) []string {
	seen := make(map[string]bool, len(in))
	return slices.DeleteFunc(in, func(s string) bool {
		had := seen[s]
		seen[s] = true
		return had
	})
}

// renew fetches everything into a new directory and puts it in the old one's
// place. Trees that are in use find the new one by themselves.
func (m *Mirror) renew(ctx context.Context, heads map[string]string) error {
	fresh := m.dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if _, err := git.PlainInit(fresh, true); err != nil {
		return err
	}
	store := openStore(fresh)
	wants := unique(slices.Sorted(maps.Values(heads)))
	if err := m.receive(ctx, store, wants, nil); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	objs := &objects{open: func() (billy.Filesystem, error) { return osfs.New(fresh), nil }, swap: new(sync.RWMutex)}
	for _, hash := range wants {
		if err := m.complete(objs, hash); err != nil {
			return fmt.Errorf("the server sent a pack without what was asked for: %w", err)
		}
	}
	if err := keepRefs(store, heads); err != nil {
		return err
	}
	return m.replace(fresh)
}

// replace puts a new directory in the place of the mirror's, between two reads.
func (m *Mirror) replace(fresh string) error {
	m.swap.Lock()
	defer m.swap.Unlock()
	if err := os.RemoveAll(m.dir); err != nil {
		return err
	}
	if err := os.Rename(fresh, m.dir); err != nil {
		return err
	}
	m.suspect.Store(false)
	return nil
}

// tidy fetches the mirror anew when many fetches have left their packs. What was
// wanted is there already, so a failure can wait until next time.
func (m *Mirror) tidy(ctx context.Context, heads map[string]string) error {
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= maxPacks {
		return err
	}
	if _, alone := heads[""]; alone {
		return nil // not the time: the other heads are not known here
	}
	if err := m.renew(ctx, heads); err != nil {
		m.log.WithError(err).WithField("packs", len(packs)).Warn("the mirror could not be tidied; it works on, and the next change tries again")
	}
	return nil
}

// sweep removes what fetches have left behind that did not come to an end.
func (m *Mirror) sweep() {
	left, _ := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "tmp_pack_*")) // the pattern is well-formed
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			m.log.WithError(err).Warn("a left-over of a fetch could not be removed")
		}
	}
}

func openStore(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(dir), cache.NewObjectLRU(objectCache), storageOptions())
}

// watchedRefs returns the mirror's refs.
func watchedRefs(store *filesystem.Storage) (map[string]string, error) {
	iter, err := store.IterReferences()
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	err = iter.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference {
			refs[ref.Name().String()] = ref.Hash().String()
		}
		return nil
	})
	return refs, err
}

// keepRefs makes heads the refs of the mirror, for the next fetch to build upon.
// A commit that was wanted by itself changes none.
func keepRefs(store *filesystem.Storage, heads map[string]string) error {
	if _, alone := heads[""]; alone {
		return nil
	}
	had, err := watchedRefs(store)
	if err != nil {
		return err
	}
	for ref := range had {
		if _, ok := heads[ref]; !ok {
			if err := store.RemoveReference(plumbing.ReferenceName(ref)); err != nil {
				return err
			}
		}
	}
	for ref, hash := range heads {
		if had[ref] == hash {
			continue
		}
		if err := store.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(ref), plumbing.NewHash(hash))); err != nil {
			return err
		}
	}
	return nil
}
