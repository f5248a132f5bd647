package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Keep says which of the layers that no image is made of stay.
type Keep struct {
	Age   time.Duration // since their last use; 0: for ever
	Bytes int64         // that they may occupy together; 0: any number
}

// Prune removes layers that are not worth their space, least recently used first,
// and returns their keys. What an image is made of, what another layer is backed by
// and what is leased by a build or held by a workspace stays.
func (s *Store) Prune(ctx context.Context, keep Keep) (removed []string, err error) {
	if err := s.removeHalves(ctx); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		spare, err := s.spareLayers()
		if err != nil {
			return removed, err
		}
		key, err := s.pruneOne(ctx, spare, keep, time.Now())
		if err != nil || key == "" {
			return removed, err
		}
		removed = append(removed, key)
	}
	return removed, context.Cause(ctx)
}

// spare is a layer that no image needs.
type spare struct {
	Layer
	used time.Time
	leaf bool // no layer is backed by it
}

// spareLayers lists them, least recently used first.
func (s *Store) spareLayers() ([]spare, error) {
	layers, err := s.allLayers()
	if err != nil {
		return nil, err
	}
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	tops, err := s.holds()
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		tops[r.Layer] = true
	}
	needed := map[string]bool{}
	for top := range tops {
		for key := top; key != "" && !needed[key]; key = layers[key].Below.Layer {
			needed[key] = true
		}
	}
	backs := map[string]bool{}
	for _, l := range layers {
		backs[l.Below.Layer] = true
	}
	var out []spare
	for key, l := range layers {
		if !needed[key] {
			l.leaf = !backs[key]
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b spare) int { return a.used.Compare(b.used) })
	return out, nil
}

func (s *Store) allLayers() (map[string]spare, error) {
	entries, err := os.ReadDir(s.layers())
	if err != nil {
		return nil, err
	}
	layers := make(map[string]spare, len(entries))
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), metaSuffix)
		if !ok || checkKey(key) != nil {
			continue
		}
		l, err := s.Layer(key)
		if errors.Is(err, ErrNotFound) {
			continue // pruned by somebody else since
		}
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(s.layerFile(key))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		layers[l.Key] = spare{Layer: l, used: info.ModTime()}
	}
	return layers, nil
}

// pruneOne removes the first layer that has to go and can.
func (s *Store) pruneOne(ctx context.Context, layers []spare, keep Keep, now time.Time) (string, error) {
	var total int64
	for _, l := range layers {
		total += l.Size
	}
	for _, l := range layers {
		tooOld := keep.Age > 0 && now.Sub(l.used) > keep.Age
		tooMuch := keep.Bytes > 0 && total > keep.Bytes
		if !l.leaf || !tooOld && !tooMuch {
			continue
		}
		if gone, err := s.removeLayer(ctx, l.Key); err != nil || gone {
			return l.Key, err
		}
	}
	return "", nil
}

// removeLayer removes a layer unless it is leased, or was built on since we looked.
func (s *Store) removeLayer(ctx context.Context, key string) (bool, error) {
	lock, err := s.changeLayers(ctx)
	if err != nil {
		return false, err
	}
	gone, err := s.removeUnused(key)
	return gone, errors.Join(err, lock.Release())
}

func (s *Store) removeUnused(key string) (bool, error) {
	f, err := os.Open(s.layerFile(key))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if free, err := flock(f, syscall.LOCK_EX); err != nil || !free {
		return false, err
	}
	// Whoever holds it had it leased before, so that no hold can be missed here.
	if held, err := s.holds(); err != nil || held[key] {
		return false, err
	}
	layers, err := s.allLayers()
	if err != nil {
		return false, err
	}
	for _, l := range layers {
		if l.Below.Layer == key {
			return false, nil
		}
	}
	// The metadata goes first: without it nobody uses the disk.
	if err := os.Remove(f.Name()); err != nil {
		return false, err
	}
	return true, os.Remove(s.Disk(key))
}

// removeHalves removes disks without metadata and unfinished writes, which killed
// processes left.
func (s *Store) removeHalves(ctx context.Context) (err error) {
	lock, err := s.changeLayers(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	entries, err := os.ReadDir(s.layers())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		key, isDisk := strings.CutSuffix(e.Name(), diskSuffix)
		half := strings.HasPrefix(e.Name(), ".")
		if isDisk && !half {
			_, err := os.Stat(s.layerFile(key))
			half = errors.Is(err, os.ErrNotExist)
		}
		if half {
			errs = append(errs, os.Remove(filepath.Join(s.layers(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
