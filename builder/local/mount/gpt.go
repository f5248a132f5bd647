package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// gpt is a GUID partition table: the header's sector and the array of entries.
type gpt struct {
	header    [sectorSize]byte
	entries   []byte
	entrySize int
}

const gptMark = "EFI PART"

// Offsets of header fields that are read or written.
const (
	gptHeaderSize   = 12
	gptHeaderCRC    = 16
	gptOwnLBA       = 24
	gptOtherLBA     = 32
	gptLastUsable   = 48
	gptEntriesLBA   = 72
	gptEntryCount   = 80
	gptEntrySize    = 84
	gptEntriesCRC   = 88
	maxGPTEntries   = 1 << 20 // bytes; the usual table has 16 KiB
	minGPTHeaderLen = 92
)

// Partition types, as they are stored: three little-endian numbers, then bytes.
const (
	typeLinux   = "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4" // 0FC63DAF-8483-4772-8E79-3D69D8477DE4
	typeRootX86 = "\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09" // 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
	typeRootARM = "\x45\xb0\x21\xb9\xf0\x1d\xc3\x41\xaf\x44\x4c\x6f\x28\x0d\x3f\xae" // B921B045-1DF0-41C3-AF44-4C6F280D3FAE
)

func readGPT(disk io.ReaderAt, size int64) (*gpt, error) {
	t := &gpt{}
	if _, err := disk.ReadAt(t.header[:], sectorSize); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(t.header[:], []byte(gptMark)) {
		return nil, errors.New("not a GUID partition table")
	}
	count, each := int64(t.u32(gptEntryCount)), int64(t.u32(gptEntrySize))
	start := t.u64(gptEntriesLBA)
	length := int64(t.u32(gptHeaderSize))
	if each < 128 || each > 4096 || count > maxGPTEntries/each || start > uint64(size/sectorSize) || length < minGPTHeaderLen || length > sectorSize {
		return nil, errors.New("the partition table is damaged")
	}
	t.entrySize = int(each)
	t.entries = make([]byte, count*each)
	if _, err := disk.ReadAt(t.entries, int64(start)*sectorSize); err != nil {
		return nil, fmt.Errorf("the partition table is damaged: %w", err)
	}
	return t, nil
}

func (t *gpt) u32(at int) uint32         { return binary.LittleEndian.Uint32(t.header[at:]) }
func (t *gpt) u64(at int) uint64         { return binary.LittleEndian.Uint64(t.header[at:]) }
func (t *gpt) put64(at int, v uint64)    { binary.LittleEndian.PutUint64(t.header[at:], v) }
func (t *gpt) entry(i int) []byte        { return t.entries[i*t.entrySize:][:t.entrySize] }
func (t *gpt) count() int                { return len(t.entries) / t.entrySize }
func (t *gpt) last(i int) uint64         { return binary.LittleEndian.Uint64(t.entry(i)[40:]) }
func (t *gpt) setLast(i int, lba uint64) { binary.LittleEndian.PutUint64(t.entry(i)[40:], lba) }

// partitions lists those that may hold a Linux root filesystem.
func (t *gpt) partitions(size int64) []partition {
	var parts []partition
	sectors := uint64(size / sectorSize)
	for i := range t.count() {
		e := t.entry(i)
		kind := string(e[:16])
		root := kind == typeRootX86 || kind == typeRootARM
		if !root && kind != typeLinux {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), t.last(i)
		if first == 0 || last < first || last >= sectors {
			continue
		}
		parts = append(parts, partition{
			offset: int64(first) * sectorSize,
			length: int64(last-first+1) * sectorSize,
			root:   root,
			index:  i,
		})
	}
	return parts
}

// growPartition lets the partition end where the disk ends. Only the last one can.
func growPartition(file *os.File, part partition, size int64) (partition, error) {
	if part.offset == 0 { // no table: the filesystem has the whole disk already
		return part, nil
	}
	t, err := readGPT(file, size)
	if err != nil {
		return part, fmt.Errorf("%w: only a partition of a GPT can be grown, leave the disk size out", err)
	}
	sectors := uint64(size / sectorSize)
	array := uint64(len(t.entries)+sectorSize-1) / sectorSize
	end := sectors - 1 - array - 1 // below the backup: entries, then header
	end -= (end + 1) % 2048        // keep 1 MiB alignment of the end
	for i := range t.count() {
		if t.last(i) > t.last(part.index) {
			return part, errors.New("the root partition is not the last one and can't be grown: leave the disk size out")
		}
	}
	if end <= t.last(part.index) {
		return part, nil
	}
	t.setLast(part.index, end)
	t.put64(gptLastUsable, sectors-1-array-1)
	part.length = int64(end+1)*sectorSize - part.offset
	return part, t.write(file, sectors, array)
}

// write stores the table at both ends of a disk of that many sectors.
func (t *gpt) write(file *os.File, sectors, array uint64) error {
	primary := t.u64(gptEntriesLBA)
	t.put64(gptOtherLBA, sectors-1)
	err := t.writeAt(file, 1, primary)
	t.put64(gptOtherLBA, 1)
	return errors.Join(err, t.writeAt(file, sectors-1, sectors-1-array))
}

func (t *gpt) writeAt(file *os.File, own, entries uint64) error {
	t.put64(gptOwnLBA, own)
	t.put64(gptEntriesLBA, entries)
	binary.LittleEndian.PutUint32(t.header[gptEntriesCRC:], crc32.ChecksumIEEE(t.entries))
	binary.LittleEndian.PutUint32(t.header[gptHeaderCRC:], 0)
	sum := crc32.ChecksumIEEE(t.header[:t.u32(gptHeaderSize)])
	binary.LittleEndian.PutUint32(t.header[gptHeaderCRC:], sum)
	if _, err := file.WriteAt(t.entries, int64(entries)*sectorSize); err != nil {
		return err
	}
	_, err := file.WriteAt(t.header[:], int64(own)*sectorSize)
	return err
}
