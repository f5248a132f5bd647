package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

// record is how an image is stored.
type record struct {
	Layer string        `json:"layer"` // the key of the layer that is its disk
	Image builder.Image `json:"image"` // Ref is filled when it is read
}

// NewImage is what the store can't know by itself of an image.
type NewImage struct {
	Key       string // the build key
	Build     string
	Driver    string
	Revision  string // of the parent it was made from
	Inventory builder.Inventory
}

// PublishImage makes the overlay, which nobody writes any more, the disk of an
// image. When the image exists already, it is returned and the overlay is removed.
//
// The image's digest names this very making of it, not its bytes: reading
// them all would take longer than most builds, and the same key made again, after
// the image was removed, may hold newer packages. What is built on the image must
// then be built again.
func (s *Store) PublishImage(ctx context.Context, overlay string, below Below, n NewImage) (builder.Image, error) {
	claim, err := s.Claim(ctx, "image-"+n.Key)
	if err != nil {
		return builder.Image{}, err
	}
	img, err := s.publishImage(ctx, overlay, below, n)
	return img, errors.Join(err, claim.Release())
}

func (s *Store) publishImage(ctx context.Context, overlay string, below Below, n NewImage) (builder.Image, error) {
	existing, err := s.Image(n.Key)
	if err == nil {
		return existing, os.Remove(overlay)
	}
	if !errors.Is(err, ErrNotFound) {
		return builder.Image{}, err
	}
	making := rand.Text()
	layer, err := s.Publish(ctx, overlay, "image-"+n.Key+"-"+making, below, n.Build)
	if err != nil {
		return builder.Image{}, err
	}
	sum := sha256.Sum256([]byte(n.Key + "\n" + making))
	img := builder.Image{
		ID:        "img-" + imageID(n.Key),
		Key:       n.Key,
		Driver:    n.Driver,
		Digest:    "sha256:" + hex.EncodeToString(sum[:]),
		Size:      layer.Chain,
		Virtual:   layer.Virtual,
		Revision:  n.Revision,
		Inventory: n.Inventory,
		Created:   layer.Created,
	}
	if err := WriteJSON(s.imageFile(n.Key), record{Layer: layer.Key, Image: img}); err != nil {
		return builder.Image{}, err
	}
	return s.Image(n.Key)
}

// imageID is the beginning of the build key where that is a hash, else of its hash.
func imageID(key string) string {
	const digits = 12
	plain := strings.TrimPrefix(key, "sha256:")
	if len(plain) >= digits {
		if _, err := hex.DecodeString(plain[:digits]); err == nil {
			return strings.ToLower(plain[:digits])
		}
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:digits]
}

func (s *Store) imageFile(key string) string {
	return filepath.Join(s.dir, "images", key+".json")
}

// Image looks an image up by its build key. The error is ErrNotFound when there is
// none, also when its disk is gone.
func (s *Store) Image(key string) (builder.Image, error) {
	var r record
	if err := s.read(s.imageFile(key), key, &r); err != nil {
		return builder.Image{}, err
	}
	if _, err := s.Layer(r.Layer); err != nil {
		return builder.Image{}, err
	}
	r.Image.Ref = s.Disk(r.Layer)
	return r.Image, nil
}

// Images lists every image.
func (s *Store) Images() ([]builder.Image, error) {
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	images := make([]builder.Image, 0, len(records))
	for _, r := range records {
		r.Image.Ref = s.Disk(r.Layer)
		images = append(images, r.Image)
	}
	return images, nil
}

// RemoveImage forgets an image; Prune removes its disk once nothing is built on it.
func (s *Store) RemoveImage(key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := os.Remove(s.imageFile(key))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return errors.Join(err, syncPath(filepath.Join(s.dir, "images")))
}

func (s *Store) records() ([]record, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(key, ".") {
			continue // a write that never ended
		}
		var r record
		if err := s.read(s.imageFile(key), key, &r); err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		} else if err == nil {
			records = append(records, r)
		}
	}
	return records, nil
}
