// Package store keeps what builds made: layers and images, as chains of qcow2
// overlays in one data folder.
//
//	bases/<name>          a link to a parent's disk
//	layers/<key>.qcow2    a layer's disk, backed by the layer below or by a base
//	layers/<key>.json     the layer; there is none without it
//	images/<key>.json     an image: which layer is its disk, and what is in it
//	locks/<name>          rights that somebody has at the moment
//	work/<workspace>/     of the caller; overlays are made here, and may be held
//
// A layer is there once its metadata is, and that is written last, after the disk
// is on stable storage. Layers name what they are backed by relative to themselves,
// without going through each other's folders, so that the data folder may be moved
// and a chain may be long.
//
// The package does not mount, run or decide what goes into a layer. It trusts its
// folder: nobody but the daemon's user may write to it.
package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotFound says that there is no such layer or image.
var ErrNotFound = errors.New("not in the store")

// Store is a data folder. Any number of goroutines and processes may use it.
type Store struct {
	dir string
}

// Open makes the folders that are missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(dir) // as the kernel's mount table spells it
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	for _, name := range []string{"bases", "layers", "images", "locks", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Work is the folder of workspaces. Overlays may be made in its direct subfolders.
func (s *Store) Work() string { return filepath.Join(s.dir, "work") }

// Below is what an overlay is backed by: a layer or a base.
type Below struct {
	Layer string `json:"layer,omitempty"` // its key
	Base  string `json:"base,omitempty"`  // its name under bases
}

// diskSuffix and metaSuffix end the names of a layer's two files.
const (
	diskSuffix = ".qcow2"
	metaSuffix = ".json"
)

// file is the disk as a layer names it.
func (b Below) file() string {
	if b.Layer != "" {
		return b.Layer + diskSuffix
	}
	return "../bases/" + b.Base
}

// Layer describes one layer.
type Layer struct {
	Key     string    `json:"key"`
	Below   Below     `json:"below"`
	Size    int64     `json:"size"`    // bytes that it occupies itself
	Chain   int64     `json:"chain"`   // bytes that it occupies with everything below
	Virtual int64     `json:"virtual"` // bytes of the disk that a machine sees
	Build   string    `json:"build"`   // the build that made it
	Created time.Time `json:"created"`
}

func (s *Store) layers() string { return filepath.Join(s.dir, "layers") }

// Disk is the layer's qcow2 file. It must only be read, and backs overlays.
func (s *Store) Disk(key string) string { return filepath.Join(s.layers(), key+diskSuffix) }

// Layer looks a layer up. The error is ErrNotFound when nobody made it yet.
func (s *Store) Layer(key string) (Layer, error) {
	var l Layer
	err := s.read(s.layerFile(key), key, &l)
	return l, err
}

func (s *Store) layerFile(key string) string {
	return filepath.Join(s.layers(), key+metaSuffix)
}

// AddBase makes a disk file known under a name, which must change whenever the
// file's content does. It is linked, not copied: it must stay where it is.
func (s *Store) AddBase(name, file string) (Below, error) {
	if err := checkKey(name); err != nil {
		return Below{}, err
	}
	if key, ok := s.LayerOf(file); ok {
		return Below{Layer: key}, nil
	}
	link := filepath.Join(s.dir, "bases", name)
	target, err := filepath.Rel(filepath.Dir(link), file)
	if err != nil {
		return Below{}, err
	}
	if old, err := os.Readlink(link); err == nil && old == target {
		return Below{Base: name}, nil
	}
	// Another process may do the same at the same time: each renames its own link.
	temp := fmt.Sprintf("%s.%d.%d", link, os.Getpid(), time.Now().UnixNano())
	if err := os.Symlink(target, temp); err != nil {
		return Below{}, err
	}
	return Below{Base: name}, os.Rename(temp, link)
}

// LayerOf tells which layer a disk file is, if it is one of this store.
func (s *Store) LayerOf(file string) (key string, ok bool) {
	key, ok = strings.CutSuffix(filepath.Base(file), diskSuffix)
	return key, ok && filepath.Dir(file) == s.layers() && checkKey(key) == nil
}

// NewOverlay says which overlay is wanted.
type NewOverlay struct {
	Path  string
	Below Below
	Size  int64    // bytes of the disk; 0: as large as what is below
	Env   []string // of the program that makes it
}

// clusterSize is that of overlays: a block of most filesystems. A small change then
// makes a small layer, and a deleted file can be taken out of it as a whole.
const clusterSize = "4096"

// Overlay makes a new file that is an empty overlay.
func (s *Store) Overlay(ctx context.Context, n NewOverlay) error {
	args := []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=" + clusterSize, "-F", "qcow2", "-b", filepath.Join(s.layers(), n.Below.file()), n.Path}
	if n.Size > 0 {
		args = append(args, strconv.FormatInt(n.Size, 10))
	}
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Env = n.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: install the package qemu-utils", err)
	case err != nil:
		return fmt.Errorf("make an overlay of %s: %w: %s", n.Below.file(), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Publish makes the overlay, which nobody writes any more, the layer of that key.
// When the layer exists already, it is returned and the overlay is removed. The overlay must
// be on the same file system as the store.
func (s *Store) Publish(ctx context.Context, overlay, key string, below Below, build string) (Layer, error) {
	if err := checkKey(key); err != nil {
		return Layer{}, err
	}
	layer, err := s.describe(overlay, key, below, build)
	if err != nil {
		return Layer{}, err
	}
	// Outside of the lock, because it may take long.
	if err := errors.Join(setBacking(overlay, below.file()), os.Chmod(overlay, 0o400), syncPath(overlay)); err != nil {
		return Layer{}, err
	}
	lock, err := s.changeLayers(ctx)
	if err != nil {
		return Layer{}, err
	}
	layer, err = s.publish(overlay, layer)
	return layer, errors.Join(err, lock.Release())
}

// changeLayers is the right to make layers appear and vanish.
func (s *Store) changeLayers(ctx context.Context) (*Lock, error) {
	return Acquire(ctx, filepath.Join(s.dir, "locks", ".layers"))
}

func (s *Store) publish(overlay string, layer Layer) (Layer, error) {
	existing, err := s.Layer(layer.Key)
	if err == nil {
		return existing, os.Remove(overlay)
	}
	if !errors.Is(err, ErrNotFound) {
		return Layer{}, err
	}
	// A disk without metadata, left by a crash, is replaced: nobody can use it.
	if err := Place(overlay, s.Disk(layer.Key)); err != nil {
		return Layer{}, err
	}
	return layer, WriteJSON(s.layerFile(layer.Key), layer)
}

func (s *Store) describe(overlay, key string, below Below, build string) (Layer, error) {
	l := Layer{Key: key, Below: below, Build: build, Created: time.Now().UTC()}
	var err error
	if l.Size, err = occupied(overlay); err != nil {
		return Layer{}, err
	}
	if l.Virtual, err = VirtualSize(overlay); err != nil {
		return Layer{}, err
	}
	l.Chain = l.Size
	if below.Layer != "" {
		under, err := s.Layer(below.Layer)
		if err != nil {
			return Layer{}, fmt.Errorf("layer %s: %w", below.Layer, err)
		}
		l.Chain += under.Chain
		return l, nil
	}
	base, err := occupied(filepath.Join(s.layers(), below.file()))
	l.Chain += base
	return l, err
}

// occupied is what a file takes on its disk, which is less than its length when it
// has holes.
func occupied(path string) (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Blocks * 512, nil
}

// read decodes one of the store's own JSON files.
func (s *Store) read(path, key string, into any) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := ReadJSON(path, into)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// ReadJSON reads what WriteJSON has written. The error is fs.ErrNotExist when there
// is no such file.
func ReadJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// WriteJSON writes or replaces a file in one step and has it on stable storage when
// it returns.
func WriteJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), ".new-"+rand.Text())
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return Place(temp, path)
}

// Place gives a complete file its name, and has both on stable storage when it
// returns.
func Place(temp, path string) error {
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// syncPath brings a file or a folder to stable storage.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$`)

// checkKey lets only plain file names through.
func checkKey(key string) error {
	if !keyPattern.MatchString(key) {
		return fmt.Errorf("%q can't be a key: only letters, digits, dot, colon, dash and underscore are allowed, at most 200", key)
	}
	return nil
}
