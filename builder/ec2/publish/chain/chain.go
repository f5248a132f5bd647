// Package chain reads a chain of qcow2 files as the one disk that a machine sees,
// and knows where on it there is data.
//
// It asks qemu-img once where the data lies in which file, and then reads these
// files itself: no daemon, no mount, no copy. That holds for files of our own
// making alone, which nobody writes any more: uncompressed, unencrypted, each
// backed by another qcow2 file or by none. Everything else is refused.
package chain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sort"
	"syscall"
)

// Disk is an open chain. Any number of goroutines may read it.
type Disk struct {
	size int64
	layout
	files   []*os.File // by depth; the first is the topmost
	origins []string   // by depth
}

// Open opens the disk whose topmost file is at path. It is open until Close.
func Open(ctx context.Context, path string) (_ *Disk, err error) {
	d := &Disk{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for next := path; next != ""; {
		if len(d.files) == maxDepth {
			return nil, fmt.Errorf("%s: more than %d files are based on each other", path, maxDepth)
		}
		f, err := os.Open(next)
		if err != nil {
			return nil, err
		}
		d.files = append(d.files, f)
		h, err := readHeader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", next, err)
		}
		if len(d.files) == 1 {
			d.size = h.size
		}
		if next, err = h.backingPath(next); err != nil {
			return nil, err
		}
	}
	if d.layout, err = mapped(ctx, path, d.size, len(d.files)); err != nil {
		return nil, fmt.Errorf("where %s holds data: %w", path, err)
	}
	d.origins, err = identify(d.files)
	return d, err
}

// identify names for each file the disk that it makes with those below, by which files
// they are and when they were last changed.
func identify(files []*os.File) ([]string, error) {
	names := make([]string, len(files))
	below := ""
	for depth, f := range slices.Backward(files) {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, fmt.Errorf("%s: the system does not say which file it is", f.Name())
		}
		name := sha256.Sum256(fmt.Appendln(nil, stat.Dev, stat.Ino, stat.Size, stat.Mtim.Nano(), stat.Ctim.Nano(), below))
		below = hex.EncodeToString(name[:16])
		names[depth] = below
	}
	return names, nil
}

// Close may be called more than once.
func (d *Disk) Close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	d.files = nil
	return errors.Join(errs...)
}

// Size is that of the disk, in bytes.
func (d *Disk) Size() int64 { return d.size }

// Data yields start and end of every range that may hold anything but zeros, in order.
func (d *Disk) Data() iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		for _, e := range d.extents {
			if !yield(e.start, e.end()) {
				return
			}
		}
	}
}

// Origin names what decides the content of the disk from start to end: wherever it is
// the same, disks hold the same there. It is empty where there are zeros alone, and
// where that is not known.
func (d *Disk) Origin(start, end int64) string {
	if end > d.size {
		return "" // what a larger disk holds behind this one's end is another matter
	}
	at := sort.Search(len(d.claims), func(i int) bool { return d.claims[i].end > start })
	depth := len(d.files)
	for ; at < len(d.claims) && d.claims[at].start < end; at++ {
		depth = min(depth, d.claims[at].depth)
	}
	if depth == len(d.files) {
		return ""
	}
	return d.origins[depth]
}

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	if rest := d.size - off; int64(len(p)) > rest {
		p, err = p[:rest], io.EOF
	}
	at := sort.Search(len(d.extents), func(i int) bool { return d.extents[i].end() > off })
	for n < len(p) {
		pos := off + int64(n)
		hole := int64(len(p) - n)
		if at < len(d.extents) {
			hole = min(hole, max(0, d.extents[at].start-pos))
		}
		clear(p[n : n+int(hole)])
		if n += int(hole); n == len(p) {
			break
		}
		e := d.extents[at]
		within := off + int64(n) - e.start
		length := min(e.length-within, int64(len(p)-n))
		if got, err := d.files[e.depth].ReadAt(p[n:n+int(length)], e.offset+within); err != nil {
			return n + got, fmt.Errorf("%s: %w", d.files[e.depth].Name(), unexpected(err))
		}
		n += int(length)
		at++
	}
	return n, err
}

// unexpected is for a file that ends before its data does: that is no end of the disk.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
