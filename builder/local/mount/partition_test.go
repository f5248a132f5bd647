package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// superblock is enough of an ext4 filesystem to be recognised.
func superblock() []byte {
	fs := make([]byte, 4096)
	binary.LittleEndian.PutUint16(fs[1024+56:], 0xef53)
	return fs
}

// entryOf is one partition of gptDisk, in sectors.
type entryOf struct {
	kind        string
	first, last uint64
}

// gptDisk makes a disk with a table. Every partition has a filesystem.
func gptDisk(entries ...entryOf) []byte {
	disk := make([]byte, 4<<20)
	header := disk[sectorSize:]
	copy(header, gptMark)
	binary.LittleEndian.PutUint32(header[gptHeaderSize:], minGPTHeaderLen)
	binary.LittleEndian.PutUint64(header[gptEntriesLBA:], 2)
	binary.LittleEndian.PutUint32(header[gptEntryCount:], 128)
	binary.LittleEndian.PutUint32(header[gptEntrySize:], 128)
	for i, e := range entries {
		at := disk[2*sectorSize+128*i:]
		copy(at, e.kind)
		binary.LittleEndian.PutUint64(at[32:], e.first)
		binary.LittleEndian.PutUint64(at[40:], e.last)
		if at := int(e.first) * sectorSize; at > 0 && at < len(disk)-4096 {
			copy(disk[at:], superblock())
		}
	}
	return disk
}

func TestFindRoot(t *testing.T) {
	const other = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"
	mbr := make([]byte, 1<<20)
	mbr[510], mbr[511] = 0x55, 0xaa
	mbr[446+4] = 0x83
	binary.LittleEndian.PutUint32(mbr[446+8:], 64)
	binary.LittleEndian.PutUint32(mbr[446+12:], 512)
	copy(mbr[64*sectorSize:], superblock())
	bare := append(superblock(), make([]byte, 8192)...)

	for _, c := range []struct {
		name   string
		disk   []byte
		sector int64
		err    string
	}{
		{"the type says root", gptDisk(entryOf{typeLinux, 2048, 5000}, entryOf{typeRootX86, 5001, 6000}), 5001, ""},
		{"the largest", gptDisk(entryOf{typeLinux, 2048, 2100}, entryOf{typeLinux, 3000, 6000}), 3000, ""},
		{"other types don't count", gptDisk(entryOf{other, 2048, 7000}, entryOf{typeLinux, 7001, 7100}), 7001, ""},
		{"a master boot record", mbr, 64, ""},
		{"no table", bare, 0, ""},
		{"beyond the end", gptDisk(entryOf{typeLinux, 2048, 1 << 40}), 0, ErrNoRoot.Error()},
		{"backwards", gptDisk(entryOf{typeLinux, 3000, 2048}), 0, ErrNoRoot.Error()},
		{"nothing", make([]byte, 1<<20), 0, ErrNoRoot.Error()},
		{"too small", []byte("x"), 0, ErrNoRoot.Error()},
		{"a huge table", damaged(gptEntryCount, 0xffffffff), 0, "damaged"},
		{"tiny entries", damaged(gptEntrySize, 1), 0, "damaged"},
		{"entries elsewhere", damaged(gptEntriesLBA, 0xffffffff), 0, "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := findRoot(bytes.NewReader(c.disk), int64(len(c.disk)))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %+v, %v; want error %q", got, err, c.err)
				}
				return
			}
			if err != nil || got.offset != c.sector*sectorSize {
				t.Errorf("got %+v, %v; want sector %d", got, err, c.sector)
			}
		})
	}
}

func damaged(field int, value uint32) []byte {
	disk := gptDisk(entryOf{typeLinux, 2048, 4000})
	binary.LittleEndian.PutUint32(disk[sectorSize+field:], value)
	return disk
}

func FuzzFindRoot(f *testing.F) {
	f.Add(gptDisk(entryOf{typeLinux, 2048, 4000})[:64<<10])
	f.Add(damaged(gptHeaderSize, 0)[:4096])
	f.Add(superblock())
	f.Fuzz(func(t *testing.T, disk []byte) {
		got, err := findRoot(bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			return
		}
		if got.offset < 0 || got.length <= 0 || got.offset+got.length > int64(len(disk)) {
			t.Errorf("found %+v on a disk of %d bytes", got, len(disk))
		}
	})
}

func TestMountPoints(t *testing.T) {
	const table = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 22 0:5 / /mnt/a\\040b\\134c rw - tmpfs none rw\n"
	got, err := mountPoints(strings.NewReader(table))
	if err != nil || len(got) != 2 || got[0] != "/" || got[1] != `/mnt/a b\c` {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := mountPoints(strings.NewReader("odd\n")); err == nil {
		t.Error("an odd table is accepted")
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	passing := errors.New("passing")
	tries := 0
	err := retry(t.Context(), func() error {
		if tries++; tries < 3 {
			return passing
		}
		return nil
	}, passing)
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
}
