package disk

import (
	"context"
	"io"
	"os"
)

// windowSize is how much one call of qemu-img reads, in bytes: a partition table,
// or the beginning of a file system, in one piece.
const windowSize = 128 << 10

// window reads a qcow2 disk through qemu-img, a piece at a time. That takes tens
// of milliseconds for each piece: it is for looking, not for copying.
type window struct {
	ctx   context.Context // of the one call that the reader serves
	path  string
	size  int64 // of the disk, in bytes
	temp  string
	index int64 // of the piece in data
	data  []byte
}

func (w *window) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if err := w.load((off + int64(n)) / windowSize); err != nil {
			return n, err
		}
		at := (off + int64(n)) % windowSize
		if at >= int64(len(w.data)) {
			return n, io.EOF
		}
		n += copy(p[n:], w.data[at:])
	}
	return n, nil
}

func (w *window) load(index int64) error {
	if w.data != nil && w.index == index {
		return nil
	}
	if w.temp == "" {
		f, err := os.CreateTemp("", "ingot-window-")
		if err != nil {
			return err
		}
		w.temp = f.Name()
		if err := f.Close(); err != nil {
			return err
		}
	}
	offset := index * windowSize
	if offset >= w.size {
		return io.EOF
	}
	// qemu-img dd would do, but its versions do not agree on what count means.
	piece := map[string]any{"driver": "raw", "offset": offset, "size": min(windowSize, w.size-offset), "file": node(w.path, QCOW2, true)}
	if err := tool(w.ctx, nil, "qemu-img", "convert", "-O", "raw", nodeName(piece), w.temp); err != nil {
		return err
	}
	data, err := os.ReadFile(w.temp)
	if err != nil {
		return err
	}
	w.data, w.index = data, index
	return nil
}

func (w *window) close() error {
	if w.temp == "" {
		return nil
	}
	return os.Remove(w.temp)
}
