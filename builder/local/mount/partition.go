package mount

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
)

const sectorSize = 512

// partition is where a filesystem lies on a disk, in bytes.
type partition struct {
	offset, length int64
	root           bool // its type says that it is a root filesystem
	index          int  // of its entry in the table
}

// ErrNoRoot says that a disk has nothing on it that could be mounted as a root.
var ErrNoRoot = errors.New("no partition holds a filesystem that can be mounted here (ext2, ext3 or ext4)")

var errNoTable = errors.New("no partition table")

// rootPartition finds the root filesystem of the raw disk image, and makes its
// partition as large as the disk allows if asked to.
func rootPartition(image string, grow bool) (partition, error) {
	mode := os.O_RDONLY
	if grow {
		mode = os.O_RDWR
	}
	file, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return partition{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return partition{}, err
	}
	part, err := findRoot(file, info.Size())
	if err != nil || !grow {
		return part, err
	}
	part, err = growPartition(file, part, info.Size())
	if err != nil {
		return partition{}, err
	}
	return part, file.Close()
}

// findRoot picks the partition whose type says root, or else the largest one with
// a filesystem. A disk without a table is one filesystem as a whole.
func findRoot(disk io.ReaderAt, size int64) (partition, error) {
	parts, err := readTable(disk, size)
	switch {
	case errors.Is(err, errNoTable):
		parts = []partition{{length: size}}
	case err != nil:
		return partition{}, err
	}
	var found []partition
	for _, p := range parts {
		if isExt(io.NewSectionReader(disk, p.offset, p.length)) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return partition{}, ErrNoRoot
	}
	return slices.MinFunc(found, func(a, b partition) int {
		if a.root != b.root {
			if a.root {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.length, a.length)
	}), nil
}

// readTable reads a GPT or the primary partitions of an MBR.
func readTable(disk io.ReaderAt, size int64) ([]partition, error) {
	var head [2 * sectorSize]byte
	if _, err := disk.ReadAt(head[:], 0); err != nil {
		return nil, errNoTable // smaller than any table
	}
	if bytes.HasPrefix(head[sectorSize:], []byte(gptMark)) {
		t, err := readGPT(disk, size)
		if err != nil {
			return nil, err
		}
		return t.partitions(size), nil
	}
	if head[510] != 0x55 || head[511] != 0xaa {
		return nil, errNoTable
	}
	parts := readMBR(head[446:510], size)
	if len(parts) == 0 {
		return nil, errNoTable // the mark alone is also in a boot sector of a filesystem
	}
	return parts, nil
}

func readMBR(entries []byte, size int64) []partition {
	const linux = 0x83
	var parts []partition
	for i := range 4 {
		e := entries[16*i:]
		start, count := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		p := partition{offset: start * sectorSize, length: count * sectorSize, index: i}
		if e[4] == linux && p.within(size) {
			parts = append(parts, p)
		}
	}
	return parts
}

// within reports whether the partition lies on a disk of that size.
func (p partition) within(size int64) bool {
	return p.offset > 0 && p.length > 0 && p.offset < size && p.length <= size-p.offset
}

// isExt looks for the mark of an ext filesystem, the only kind that is mounted. Other
// kinds take two layers of one disk for one filesystem.
func isExt(part io.ReaderAt) bool {
	var mark [2]byte
	_, err := part.ReadAt(mark[:], 1024+56)
	return err == nil && binary.LittleEndian.Uint16(mark[:]) == 0xef53
}
