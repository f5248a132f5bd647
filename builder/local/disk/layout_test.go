package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

// image is a small disk in memory that tests put structures into.
type image []byte

func newImage() image { return make(image, 4*mib) }

func (m image) ext4(offset int64) image {
	copy(m[offset+1024+56:], "\x53\xef")
	return m
}

func (m image) put(offset int64, text string) image {
	copy(m[offset:], text)
	return m
}

type gptEntry struct {
	kind        []byte
	first, last uint64
}

var linuxData = bytes.Repeat([]byte{7}, 16)

func (m image) gpt(entries ...gptEntry) image {
	le := binary.LittleEndian
	header := m[sectorSize:]
	copy(header, "EFI PART")
	le.PutUint64(header[72:], 2)
	le.PutUint32(header[80:], 128)
	le.PutUint32(header[84:], 128)
	for i, e := range entries {
		at := m[2*sectorSize+128*i:]
		copy(at, e.kind)
		le.PutUint64(at[32:], e.first)
		le.PutUint64(at[40:], e.last)
	}
	return m
}

type mbrEntry struct {
	kind         byte
	first, count uint32
}

func (m image) mbr(offset int64, entries ...mbrEntry) image {
	table := m[offset:]
	table[510], table[511] = 0x55, 0xaa
	for i, e := range entries {
		at := table[446+16*i:]
		at[4] = e.kind
		binary.LittleEndian.PutUint32(at[8:], e.first)
		binary.LittleEndian.PutUint32(at[12:], e.count)
	}
	return m
}

func layoutCases() map[string]struct {
	disk image
	want Root
} {
	return map[string]struct {
		disk image
		want Root
	}{
		"the root type wins over a larger partition": {
			newImage().gpt(gptEntry{linuxData, 2048, 6000}, gptEntry{linuxRootX86, 6144, 7000}).ext4(2048 * 512).ext4(6144 * 512),
			Root{6144 * 512, 857 * 512, "ext4"},
		},
		"otherwise the largest file system": {
			newImage().gpt(gptEntry{linuxData, 2048, 2999}, gptEntry{linuxData, 4096, 7000}).ext4(2048*512).put(4096*512, "XFSB"),
			Root{4096 * 512, 2905 * 512, "xfs"},
		},
		"a root type without a file system does not count": {
			newImage().gpt(gptEntry{linuxRootX86, 2048, 2999}, gptEntry{linuxData, 4096, 4999}).ext4(4096 * 512),
			Root{4096 * 512, 904 * 512, "ext4"},
		},
		"partitions outside the disk are left out": {
			newImage().gpt(gptEntry{linuxRootX86, 2048, 1 << 40}, gptEntry{linuxData, 4096, 4999}).ext4(2048 * 512).ext4(4096 * 512),
			Root{4096 * 512, 904 * 512, "ext4"},
		},
		"btrfs": {
			newImage().gpt(gptEntry{linuxData, 2048, 7000}).put(2048*512+(64<<10)+64, "_BHRfS_M"),
			Root{2048 * 512, 4953 * 512, "btrfs"},
		},
		"MBR": {
			newImage().mbr(0, mbrEntry{0x0c, 64, 512}, mbrEntry{0x83, 2048, 2048}).ext4(2048 * 512),
			Root{2048 * 512, 2048 * 512, "ext4"},
		},
		"MBR with a logical partition": {
			newImage().mbr(0, mbrEntry{0x05, 2048, 6144}).mbr(2048*512, mbrEntry{0x83, 63, 100}, mbrEntry{0x05, 1024, 2048}).
				mbr(3072*512, mbrEntry{0x83, 63, 900}).ext4((3072 + 63) * 512),
			Root{(3072 + 63) * 512, 900 * 512, "ext4"},
		},
		"an MBR chain that bites its tail": {
			newImage().mbr(0, mbrEntry{0x05, 2048, 6144}).mbr(2048*512, mbrEntry{0x83, 63, 100}, mbrEntry{0x05, 0, 2048}),
			Root{},
		},
		"a bare file system":    {newImage().ext4(0), Root{0, 4 * mib, "ext4"}},
		"encrypted":             {newImage().gpt(gptEntry{linuxData, 2048, 7000}).put(2048*512, "LUKS\xba\xbe"), Root{}},
		"nothing":               {newImage(), Root{}},
		"shorter than a sector": {newImage()[:100], Root{}},
	}
}

func TestFindRoot(t *testing.T) {
	for name, c := range layoutCases() {
		t.Run(name, func(t *testing.T) {
			got, err := findRoot(bytes.NewReader(c.disk), int64(len(c.disk)))
			if c.want == (Root{}) {
				if !errors.Is(err, errNoRoot) {
					t.Fatalf("got %+v, %v; want errNoRoot", got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func FuzzFindRoot(f *testing.F) {
	for _, c := range layoutCases() {
		f.Add([]byte(c.disk[:min(len(c.disk), 8<<10)]))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		disk := append(slices.Clone(head), make([]byte, 64<<10)...)
		root, err := findRoot(bytes.NewReader(disk), int64(len(disk)))
		if err == nil && (root.Offset < 0 || root.Size <= 0 || root.Offset+root.Size > int64(len(disk))) {
			t.Fatalf("%+v lies outside a disk of %d bytes", root, len(disk))
		}
	})
}

// TestLayoutOfRealDisk reads a disk that sgdisk and mkfs.ext4 made, raw and as qcow2.
func TestLayoutOfRealDisk(t *testing.T) {
	raw := smallDisk(t)
	dir := filepath.Join(t.TempDir(), "a, b") // a comma and a blank mean something to QEMU
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	qcow2 := filepath.Join(dir, "disk.qcow2")
	if err := Convert(t.Context(), raw, Raw, qcow2, QCOW2); err != nil {
		t.Fatal(err)
	}
	want := Root{RootOffset, smallVirtual - RootOffset - backupGPT, "ext4"}
	for _, path := range []string{raw, qcow2} {
		if got, err := Layout(t.Context(), path); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
		}
	}
}

const smallVirtual = 80 * mib

// smallDisk makes a bootable disk with next to nothing on it.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/motd"), []byte("a file on the disk\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "disk.raw")
	if err := assemble(t.Context(), root, raw, smallVirtual, func(line string) { t.Log(line) }); err != nil {
		t.Fatal(err)
	}
	return raw
}

func wantFault(t *testing.T, err error, fault builder.Fault, message string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", message)
	}
	if !bytes.Contains([]byte(err.Error()), []byte(message)) || builder.FaultOf(err) != fault {
		t.Fatalf("got the error %v (fault of %v); want %q (fault of %v)", err, builder.FaultOf(err), message, fault)
	}
}
