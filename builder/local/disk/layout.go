package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/seed-6db18919/ingot/builder"
)

// Root is where the root file system of a Linux disk is.
type Root struct {
	Offset, Size int64  // bytes, from the beginning of the disk as a machine sees it
	Filesystem   string // ext4 (also for ext2 and ext3), xfs or btrfs
}

// Layout finds the root file system on a disk of ours: raw, or qcow2 with all that
// it is based on. A GPT partition of the type "Linux root (x86-64)" is preferred,
// then the largest partition with a file system that Linux has its root on, in a
// GPT or an MBR; a disk without partitions may be such a file system itself.
//
// The error is the author's when the disk has no such file system.
func Layout(ctx context.Context, path string) (Root, error) {
	disk, size, closeDisk, err := openDisk(ctx, path)
	if err != nil {
		return Root{}, err
	}
	root, err := findRoot(disk, size)
	if err := errors.Join(err, closeDisk()); err != nil {
		return Root{}, noRoot(err)
	}
	return root, nil
}

func noRoot(err error) error {
	if errors.Is(err, errNoRoot) {
		return refuse("Use a disk whose root file system is ext4, xfs or btrfs on a plain partition.", "the parent image cannot be used: %w", err)
	}
	return err
}

var errNoRoot = errors.New("no Linux root file system was found")

// extent is a piece of a disk, in bytes.
type extent struct {
	offset, size int64
	root         bool // its partition type says that it is a root file system
}

// findRoot reads the partition table of a disk, which is foreign input.
func findRoot(disk io.ReaderAt, size int64) (Root, error) {
	parts, err := partitions(disk, size)
	if err != nil {
		return Root{}, err
	}
	if len(parts) == 0 {
		parts = []extent{{size: size}}
	}
	var best Root
	var bestIsRoot bool
	var obstacles []error
	for _, p := range parts {
		kind, err := filesystem(disk, p)
		if err != nil {
			obstacles = append(obstacles, err)
			continue
		}
		better := best.Size == 0 || p.root && !bestIsRoot || p.root == bestIsRoot && p.size > best.Size
		if kind != "" && better {
			best, bestIsRoot = Root{Offset: p.offset, Size: p.size, Filesystem: kind}, p.root
		}
	}
	if best.Size == 0 {
		return Root{}, errors.Join(append([]error{errNoRoot}, obstacles...)...)
	}
	return best, nil
}

// filesystem names the file system that begins at p, empty when it is none that
// can be a root. The error says what is there instead, where that helps.
func filesystem(disk io.ReaderAt, p extent) (string, error) {
	const btrfsMagic = 64<<10 + 64
	head := make([]byte, 64<<10+128)
	n, err := disk.ReadAt(head[:min(int64(len(head)), p.size)], p.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the partition at %d: %w", p.offset, err)
	}
	head = head[:n]
	at := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	switch {
	case at(1024+56, "\x53\xef"):
		return "ext4", nil
	case at(0, "XFSB"):
		return "xfs", nil
	case at(btrfsMagic, "_BHRfS_M"):
		return "btrfs", nil
	case at(0, "LUKS\xba\xbe"):
		return "", fmt.Errorf("the partition at %d is encrypted (LUKS)", p.offset)
	case at(sectorSize, "LABELONE"):
		return "", fmt.Errorf("the partition at %d belongs to LVM", p.offset)
	}
	return "", nil
}

// partitions lists the partitions of a GPT or MBR that lie inside the disk; none
// when there is no partition table.
func partitions(disk io.ReaderAt, size int64) ([]extent, error) {
	var head [2 * sectorSize]byte
	if size < int64(len(head)) {
		return nil, nil
	}
	if _, err := disk.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("read the partition table: %w", err)
	}
	if bytes.HasPrefix(head[sectorSize:], []byte("EFI PART")) {
		return gptPartitions(disk, size, head[sectorSize:])
	}
	if head[510] == 0x55 && head[511] == 0xaa {
		return mbrPartitions(disk, size, head[:sectorSize])
	}
	return nil, nil
}

// Bounds for what a partition table may claim.
const (
	maxPartitions = 1024
	maxLogical    = 128
	maxEntrySize  = 4096
)

// linuxRootX86 is the GPT type 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 as it is stored.
var linuxRootX86 = []byte{0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09}

func gptPartitions(disk io.ReaderAt, size int64, header []byte) ([]extent, error) {
	le := binary.LittleEndian
	start, count, entry := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if count > maxPartitions || entry < 128 || entry > maxEntrySize || start > uint64(size/sectorSize) {
		return nil, fmt.Errorf("%w: the GPT claims %d entries of %d bytes at sector %d", errNoRoot, count, entry, start)
	}
	table := make([]byte, count*entry)
	if n, err := disk.ReadAt(table, int64(start)*sectorSize); n < len(table) {
		return nil, fmt.Errorf("%w: read the GPT entries: %w", errNoRoot, err)
	}
	var parts []extent
	for e := table; len(e) > 0; e = e[entry:] {
		kind, first, last := e[:16], le.Uint64(e[32:]), le.Uint64(e[40:])
		if bytes.Equal(kind, make([]byte, 16)) || first == 0 || last < first || last >= uint64(size/sectorSize) {
			continue
		}
		parts = append(parts, extent{
			offset: int64(first) * sectorSize,
			size:   int64(last-first+1) * sectorSize,
			root:   bytes.Equal(kind, linuxRootX86),
		})
	}
	return parts, nil
}

// mbrPartitions reads the four entries of an MBR and the chain of logical
// partitions, whose links count from the extended partition's first sector.
func mbrPartitions(disk io.ReaderAt, size int64, mbr []byte) ([]extent, error) {
	parts, extended := mbrEntries(mbr, 0, size)
	if extended == 0 {
		return parts, nil
	}
	for link, n := extended, 0; link != 0 && n < maxLogical; n++ {
		table := make([]byte, sectorSize)
		if _, err := disk.ReadAt(table, link); err != nil {
			return nil, fmt.Errorf("%w: read a logical partition: %w", errNoRoot, err)
		}
		if table[510] != 0x55 || table[511] != 0xaa {
			break
		}
		logical, _ := mbrEntries(table, link, size)
		parts = append(parts, logical...)
		link = nextLogical(table, extended, size)
	}
	return parts, nil
}

// mbrEntries lists the Linux partitions of one table; extended is where an
// extended partition begins, or 0.
func mbrEntries(table []byte, base, size int64) (parts []extent, extended int64) {
	for i := range 4 {
		e := table[446+16*i:]
		offset := base + int64(binary.LittleEndian.Uint32(e[8:]))*sectorSize
		length := int64(binary.LittleEndian.Uint32(e[12:])) * sectorSize
		if length == 0 || offset == base || offset+length > size {
			continue
		}
		switch e[4] {
		case 0x05, 0x0f, 0x85:
			extended = offset
		case 0x83:
			parts = append(parts, extent{offset: offset, size: length})
		}
	}
	return parts, extended
}

func nextLogical(table []byte, extended, size int64) int64 {
	for i := range 4 {
		e := table[446+16*i:]
		switch e[4] {
		case 0x05, 0x0f, 0x85:
			next := extended + int64(binary.LittleEndian.Uint32(e[8:]))*sectorSize
			if next > extended && next+sectorSize <= size {
				return next
			}
		}
	}
	return 0
}

// openDisk opens a disk of ours for reading as a machine would see it.
func openDisk(ctx context.Context, path string) (disk io.ReaderAt, size int64, closeDisk func() error, err error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, 0, nil, err
	}
	format, err := detect(f, size)
	if err != nil {
		return nil, 0, nil, errors.Join(err, f.Close())
	}
	switch format {
	case Raw:
		return f, size, f.Close, nil
	case QCOW2:
		header, err := readQCOW2(f, size)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, 0, nil, err
		}
		w := &window{ctx: ctx, path: path, size: header.virtual}
		return w, header.virtual, w.close, nil
	default:
		return nil, 0, nil, errors.Join(f.Close(), fail(builder.Internal, builder.StageResolve, nil, "Import it first.", "%s is a %s file and not a disk of ours", path, format))
	}
}
