package publish

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/store"
)

// forgetAfter is how long checksums are kept that no upload asks for.
const forgetAfter = 60 * 24 * time.Hour

// sums remembers the checksums of blocks that were read, by the origin of what they
// hold. An image shares most of its blocks with its parent and with the version
// before: those are neither read nor hashed again to find out that they are the same.
//
// It is a cache: what is missing or cannot be read is computed.
type sums struct {
	dir string

	mu      sync.Mutex
	origins map[string]*origin
}

// origin is what is known of the blocks of one origin.
type origin struct {
	blocks map[int32]sum
	grown  bool
}

func newSums(dir string) *sums {
	return &sums{dir: filepath.Join(dir, "sums"), origins: map[string]*origin{}}
}

func (s *sums) path(name string) string { return filepath.Join(s.dir, name+".json") }

// of returns the origin of that name; s is locked.
func (s *sums) of(name string) *origin {
	if o := s.origins[name]; o != nil {
		return o
	}
	o := &origin{}
	if store.ReadJSON(s.path(name), &o.blocks) != nil || o.blocks == nil {
		o.blocks = map[int32]sum{}
	}
	s.origins[name] = o
	return o
}

func (s *sums) get(origin string, index int32) (sum, bool) {
	if origin == "" {
		return sum{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.of(origin).blocks[index]
	return known, ok
}

func (s *sums) add(origin string, index int32, is sum) {
	if origin == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(origin)
	o.blocks[index], o.grown = is, true
}

// save keeps what was learned, and forgets what nobody has asked for in a long time.
func (s *sums) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	for name, o := range s.origins {
		err := o.save(s.path(name), now)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	all, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range all {
		info, err := entry.Info()
		if err == nil && now.Sub(info.ModTime()) > forgetAfter {
			err = os.Remove(filepath.Join(s.dir, entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// save writes nothing to stable storage: what a crash of the machine leaves half
// written cannot be read, and is computed again.
func (o *origin) save(path string, now time.Time) error {
	switch {
	case len(o.blocks) == 0:
		return nil
	case !o.grown:
		return os.Chtimes(path, now, now)
	}
	text, err := json.Marshal(o.blocks)
	if err != nil {
		return err
	}
	temp := path + rand.Text()
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	o.grown = false
	return os.Rename(temp, path)
}

// block returns the checksum of a disk's block. Where none is remembered, the block is
// read into the buffer.
func (s *sums) block(disk Disk, index int32, into *buffer) (is sum, read bool, err error) {
	origin := originOf(disk, index)
	if is, known := s.get(origin, index); known {
		return is, false, nil
	}
	data := into.bytes()
	if err := readBlock(disk, index, data); err != nil {
		return sum{}, false, err
	}
	is = checksum(data)
	s.add(origin, index, is)
	return is, true, nil
}

// learn computes the checksums of a disk that are not remembered, on one processor: a
// build goes on beside it. It keeps those that it has when ctx ends.
func (s *sums) learn(ctx context.Context, disk Disk) error {
	var into buffer
	var err error
	for _, index := range candidates(disk, nil) {
		if ctx.Err() != nil {
			break
		}
		if _, _, err = s.block(disk, index, &into); err != nil {
			break
		}
	}
	return errors.Join(err, s.save())
}

// forget drops what is known of an origin, because it turned out to be wrong.
func (s *sums) forget(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.origins[name] = &origin{blocks: map[int32]sum{}}
	if err := os.Remove(s.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
