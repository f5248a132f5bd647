package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Fields of a qcow2 file's header; its numbers are big-endian.
const (
	mark              = "QFI\xfb"
	atVersion         = 4  // 32 bits
	atBacking         = 8  // 64 bits: where the name of the file below is
	atBackingLength   = 16 // 32 bits
	atSize            = 24 // 64 bits
	atEncryption      = 32 // 32 bits: 0 is none
	atIncompatible    = 72 // 64 bits, from version 3 on
	headerLength      = 80
	headerLengthOfTwo = 72
)

// The features that a reader who does not know them must refuse.
const (
	featureDirty    = 1 << 0 // reference counts are out of date, which a reader does not mind
	featureZstd     = 1 << 3 // how clusters would be compressed; there are none, or the map tells
	featureExtended = 1 << 4 // clusters in parts: qemu-img's map tells what is where
	knownFeatures   = featureDirty | featureZstd | featureExtended
)

const (
	maxDepth   = 1000
	maxBacking = 1023     // bytes of a name, as the format has it
	maxSize    = 64 << 40 // what a snapshot can hold
)

type header struct {
	size    int64
	backing string
}

func readHeader(f io.ReaderAt) (header, error) {
	raw := make([]byte, headerLength)
	if n, err := f.ReadAt(raw, 0); n < headerLengthOfTwo {
		return header{}, fmt.Errorf("not a qcow2 file: %w", unexpected(err))
	}
	if string(raw[:len(mark)]) != mark {
		return header{}, errors.New("not a qcow2 file")
	}
	be := binary.BigEndian
	version := be.Uint32(raw[atVersion:])
	switch {
	case version != 2 && version != 3:
		return header{}, fmt.Errorf("version %d of qcow2 is not known", version)
	case version == 3 && be.Uint64(raw[atIncompatible:])&^knownFeatures != 0:
		return header{}, fmt.Errorf("it is damaged, or uses features of qcow2 that are not known: %#x", be.Uint64(raw[atIncompatible:]))
	case be.Uint32(raw[atEncryption:]) != 0:
		return header{}, errors.New("it is encrypted")
	}
	size := be.Uint64(raw[atSize:])
	if size == 0 || size > maxSize {
		return header{}, fmt.Errorf("a disk of %d bytes can't be published", size)
	}
	h := header{size: int64(size)}
	at, length := be.Uint64(raw[atBacking:]), be.Uint32(raw[atBackingLength:])
	if at == 0 {
		return h, nil
	}
	if length == 0 || length > maxBacking || at > maxSize {
		return header{}, errors.New("what it is based on has no proper name")
	}
	name := make([]byte, length)
	if _, err := f.ReadAt(name, int64(at)); err != nil {
		return header{}, fmt.Errorf("what it is based on: %w", unexpected(err))
	}
	h.backing = string(name)
	return h, nil
}

// backingPath is the file below the one at path, or empty.
func (h header) backingPath(path string) (string, error) {
	if h.backing == "" {
		return "", nil
	}
	name := strings.TrimPrefix(h.backing, "file:")
	if strings.HasPrefix(name, "json:") || strings.Contains(name, "://") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%s: it is based on %q, which is not the name of a file", path, h.backing)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	return name, nil
}
