package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// openRegular opens a file that must be nothing but a file: opening a FIFO or a
// device on somebody's word could block, or read the host's own disk.
func openRegular(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, refuse("", "%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	opened, err := f.Stat()
	if err != nil || !os.SameFile(info, opened) {
		return nil, 0, errors.Join(err, f.Close(), fmt.Errorf("%s was replaced while it was opened", path))
	}
	return f, opened.Size(), nil
}

// detect tells the format of a disk file by its content. Names are the word of
// whoever made the file, and a format that is guessed by QEMU is the guest's word.
func detect(f io.ReaderAt, size int64) (Format, error) {
	head, err := readHead(f, size, 4<<10)
	if err != nil {
		return "", err
	}
	at := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	const unpack = "Unpack it, or name the unpacked file."
	switch {
	case at(0, "QFI\xfb"):
		return QCOW2, nil
	case at(0, "KDMV"):
		return VMDK, nil
	case at(0, "COWD"), at(0, "# Disk DescriptorFile"):
		return "", refuse("Export it as one file: monolithic sparse or stream-optimised.", "the VMDK file only describes a disk that is in other files")
	case at(0, "vhdxfile"):
		return VHDX, nil
	case at(0, "conectix"):
		return VHD, nil
	case at(257, "ustar"):
		return OVA, nil
	case at(0x40, "\x7f\x10\xda\xbe"):
		return "", refuse("Convert it with: qemu-img convert -O qcow2", "VDI files are not read")
	case at(0, "\x1f\x8b"), at(0, "\xfd7zXZ"), at(0, "\x28\xb5\x2f\xfd"), at(0, "PK\x03\x04"), at(0, "BZh"):
		return "", refuse(unpack, "the file is compressed")
	}
	if fixed, err := fixedVHD(f, size); err != nil || fixed {
		return VHD, err
	}
	return Raw, nil
}

func readHead(f io.ReaderAt, size int64, most int64) ([]byte, error) {
	head := make([]byte, min(most, size))
	if n, err := f.ReadAt(head, 0); err != nil && n < len(head) {
		return nil, fmt.Errorf("read the disk file: %w", err)
	}
	return head, nil
}

// checkForeign refuses what would make QEMU open another file than f, and disks
// that are too large.
func checkForeign(f io.ReaderAt, size int64, format Format) error {
	switch format {
	case QCOW2:
		h, err := readQCOW2(f, size)
		if err != nil {
			return err
		}
		return h.check()
	case VMDK:
		return checkVMDK(f, size)
	case VHD:
		return checkVHD(f, size)
	case VHDX:
		return nil // QEMU refuses one with a parent, and the format names no other file
	default:
		return checkVirtual(uint64(size))
	}
}

func checkVirtual(bytes uint64) error {
	if bytes > MaxVirtual {
		return refuse("", "the disk has %d GiB, more than the %d GiB that are accepted", bytes/gib, int64(MaxVirtual)/gib)
	}
	return nil
}

// qcow2Header is what matters here of the header of a qcow2 file.
type qcow2Header struct {
	backing   bool
	dataFile  bool
	encrypted bool
	corrupt   bool
	unknown   uint64 // incompatible features that are not known here
	virtual   int64  // bytes of the disk as a machine sees it
}

// Bits and words of the qcow2 format.
const (
	qcow2Dirty       = 1 << 0
	qcow2Corrupt     = 1 << 1
	qcow2DataFile    = 1 << 2
	qcow2Compression = 1 << 3
	qcow2ExtendedL2  = 1 << 4

	qcow2ExtDataFile = 0x44415441
)

func readQCOW2(f io.ReaderAt, size int64) (h qcow2Header, err error) {
	head, err := readHead(f, size, 64<<10)
	if err != nil {
		return h, err
	}
	broken := func(what string) error {
		return refuse("", "the qcow2 file is damaged: %s", what)
	}
	if len(head) < 72 || string(head[:4]) != "QFI\xfb" {
		return h, broken("its header is not complete")
	}
	be := binary.BigEndian
	version := be.Uint32(head[4:])
	if version != 2 && version != 3 {
		return h, refuse("", "qcow2 files of version %d are not read", version)
	}
	h.backing = be.Uint64(head[8:]) != 0 || be.Uint32(head[16:]) != 0
	h.encrypted = be.Uint32(head[32:]) != 0
	virtual := be.Uint64(head[24:])
	if err := checkVirtual(virtual); err != nil {
		return h, err
	}
	h.virtual = int64(virtual)
	next := uint64(72)
	if version == 3 {
		if len(head) < 104 {
			return h, broken("its header is not complete")
		}
		features := be.Uint64(head[72:])
		h.corrupt, h.dataFile = features&qcow2Corrupt != 0, features&qcow2DataFile != 0
		h.unknown = features &^ (qcow2Dirty | qcow2Corrupt | qcow2DataFile | qcow2Compression | qcow2ExtendedL2)
		next = uint64(be.Uint32(head[100:]))
	}
	for next+8 <= uint64(len(head)) {
		kind, length := be.Uint32(head[next:]), uint64(be.Uint32(head[next+4:]))
		if kind == 0 {
			return h, nil
		}
		h.dataFile = h.dataFile || kind == qcow2ExtDataFile
		next += 8 + (length+7)/8*8
	}
	return h, broken("its header has no end")
}

func (h qcow2Header) check() error {
	const flatten = "Write it as one file: qemu-img convert -O qcow2"
	switch {
	case h.backing:
		return refuse(flatten, "the qcow2 file is based on another file")
	case h.dataFile:
		return refuse(flatten, "the qcow2 file keeps its data in another file")
	case h.encrypted:
		return refuse("Write it without encryption.", "the qcow2 file is encrypted")
	case h.corrupt:
		return refuse("Repair it: qemu-img check -r all", "the qcow2 file is marked as damaged")
	case h.unknown != 0:
		return refuse(flatten, "the qcow2 file uses unknown features (%#x)", h.unknown)
	}
	return nil
}

// checkVMDK accepts one file with a header, a descriptor of at most 10 KiB inside
// it, and one extent, which is the file itself. With a capacity of 0, QEMU would
// take the extents from the descriptor, that is from any file it names; a parent
// is taken from the descriptor as well.
func checkVMDK(f io.ReaderAt, size int64) error {
	const descriptorAt, descriptorMost = 512, 20 * 512
	head, err := readHead(f, size, 64<<10)
	if err != nil {
		return err
	}
	if len(head) < descriptorAt || string(head[:4]) != "KDMV" {
		return refuse("", "the VMDK file is damaged: its header is not complete")
	}
	le := binary.LittleEndian
	capacity, descriptor := le.Uint64(head[12:]), le.Uint64(head[28:])
	if capacity == 0 {
		return refuse("Export it as one file: monolithic sparse or stream-optimised.", "the VMDK file only describes a disk that is in other files")
	}
	if capacity > MaxVirtual/sectorSize {
		return checkVirtual(MaxVirtual + 1)
	}
	if descriptor > uint64(len(head)-descriptorMost)/sectorSize && len(head) == 64<<10 {
		return refuse("", "the VMDK file has its descriptor in an unusual place (sector %d)", descriptor)
	}
	for line := range bytes.Lines(head[descriptorAt:]) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "parentFileNameHint"),
			strings.EqualFold(name, "parentCID") && !strings.EqualFold(strings.TrimSpace(value), "ffffffff"):
			return refuse("Export the disk without snapshots.", "the VMDK file is based on another file")
		}
	}
	if bytes.Contains(head, []byte("parentFileNameHint")) {
		return refuse("Export the disk without snapshots.", "the VMDK file is based on another file")
	}
	return nil
}

const vhdFooter = 512

// fixedVHD reports whether the file ends like a VHD of a fixed size, which is a
// raw disk with a footer.
func fixedVHD(f io.ReaderAt, size int64) (bool, error) {
	if size < 2*vhdFooter {
		return false, nil
	}
	magic := make([]byte, 8)
	if _, err := f.ReadAt(magic, size-vhdFooter); err != nil {
		return false, fmt.Errorf("read the end of the disk file: %w", err)
	}
	return string(magic) == "conectix", nil
}

func checkVHD(f io.ReaderAt, size int64) error {
	footer := make([]byte, vhdFooter)
	if size < vhdFooter {
		return refuse("", "the VHD file is damaged: it has no footer")
	}
	if _, err := f.ReadAt(footer, size-vhdFooter); err != nil {
		return fmt.Errorf("read the end of the disk file: %w", err)
	}
	if string(footer[:8]) != "conectix" { // a dynamic one has a copy at its beginning
		if _, err := f.ReadAt(footer, 0); err != nil {
			return fmt.Errorf("read the beginning of the disk file: %w", err)
		}
	}
	const differencing = 4
	if kind := binary.BigEndian.Uint32(footer[60:]); kind == differencing {
		return refuse("Merge it with its parent first.", "the VHD file is based on another file")
	}
	return checkVirtual(binary.BigEndian.Uint64(footer[48:]))
}
