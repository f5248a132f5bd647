package chain

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// qemu runs one of QEMU's programs.
func qemu(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v (Debian package qemu-utils): %v: %s", program, args, err, out)
	}
}

// write has qemu-io put bytes of one value onto a disk.
func write(t *testing.T, path string, commands ...string) {
	t.Helper()
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	qemu(t, "qemu-io", append(args, path)...)
}

// threeFiles makes a chain in which each file changes, zeroes or leaves alone what
// is below; the topmost makes the disk larger.
func threeFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	base, middle, top := filepath.Join(dir, "base,1.qcow2"), filepath.Join(dir, "middle.qcow2"), filepath.Join(dir, "top:x.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", base, "6M")
	write(t, base, "write -P 1 0 2M", "write -P 2 4M 64k")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "-F", "qcow2", "-b", base, middle)
	write(t, middle, "write -P 3 1M 12k", "write -z 1540k 128k", "write -P 4 5M 4k")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "-F", "qcow2", "-b", "middle.qcow2", "file:"+top, "8M")
	qemu(t, "qemu-io", "-c", "write -P 5 1028k 4k", "-c", "write -P 6 7M 100k", "--image-opts", "driver=qcow2,file.driver=file,file.filename="+top)
	return top
}

func TestReadsWhatQEMUReads(t *testing.T) {
	path := threeFiles(t)
	raw := filepath.Join(t.TempDir(), "raw")
	qemu(t, "qemu-img", "convert", "-O", "raw", "file:"+path, raw)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}

	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != int64(len(want)) {
		t.Fatalf("the disk has %d bytes, want %d", d.Size(), len(want))
	}
	got, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the whole disk read in one piece differs (%v)", err)
	}
	for _, length := range []int{1, 511, 4096, 5000, 512 << 10} {
		piece := make([]byte, length)
		for off := 0; off < len(want); off += length {
			n, err := d.ReadAt(piece, int64(off))
			if whole := off+length <= len(want); whole && err != nil || !whole && !errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes at %d: %v", length, off, err)
			}
			if !bytes.Equal(piece[:n], want[off:min(off+length, len(want))]) {
				t.Fatalf("%d bytes at %d differ", length, off)
			}
			if length == 1 {
				off += 4093 // one byte of each page or so will do
			}
		}
	}
	var data, last int64
	for start, end := range d.Data() {
		if start < last || end <= start {
			t.Fatalf("the range from %d to %d is out of order", start, end)
		}
		if slices.ContainsFunc(want[last:start], func(b byte) bool { return b != 0 }) {
			t.Fatalf("there is data between %d and %d, which are told to be empty", last, start)
		}
		data, last = data+end-start, end
	}
	if data > 3<<20 {
		t.Errorf("%d bytes are told to be data: more than were ever written", data)
	}
}

func TestRefusesWhatIsNotPlain(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "raw")
	if err := os.WriteFile(source, bytes.Repeat([]byte("text"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	compressed := filepath.Join(dir, "compressed")
	qemu(t, "qemu-img", "convert", "-c", "-O", "qcow2", source, compressed)
	outside := filepath.Join(dir, "outside")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data")+",data_file_raw=on", outside, "1M")
	onRaw := filepath.Join(dir, "on-raw")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", source, onRaw)

	for path, says := range map[string]string{
		compressed:                    "compressed",
		outside:                       "features of qcow2",
		onRaw:                         "not a qcow2 file",
		source:                        "not a qcow2 file",
		filepath.Join(dir, "nothing"): "no such file",
	} {
		d, err := Open(t.Context(), path)
		if err == nil {
			t.Errorf("%s was opened: %v", path, d.Close())
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", path, err, says)
		}
	}
}

func TestAMapThatLiesIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"gap":           `[{"start":0,"length":512,"depth":0,"zero":true,"data":false},{"start":1024,"length":512,"depth":0,"zero":true,"data":false}]`,
		"too long":      `[{"start":0,"length":2048,"depth":0,"zero":true,"data":false}]`,
		"too short":     `[{"start":0,"length":512,"depth":0,"zero":true,"data":false}]`,
		"overflow":      `[{"start":0,"length":9223372036854775807,"depth":0,"zero":true,"data":false}]`,
		"unknown file":  `[{"start":0,"length":1024,"depth":2,"zero":false,"data":true,"offset":0}]`,
		"behind zero":   `[{"start":0,"length":1024,"depth":0,"zero":false,"data":true,"offset":-1}]`,
		"no place":      `[{"start":0,"length":1024,"depth":0,"zero":false,"data":true}]`,
		"nothing known": `[{"start":0,"length":1024,"depth":0,"zero":false,"data":false}]`,
		"no end":        `[{"start":0,"length":1024,"depth":0,"zero":true,"data":false}`,
		"no list":       `{}`,
		"nothing":       ``,
	} {
		if got, err := parseMap(strings.NewReader(text), 1024, 2); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func FuzzMap(f *testing.F) {
	f.Add(`[{ "start": 0, "length": 1024, "depth": 1, "present": true, "zero": false, "data": true, "offset": 524288}]`, int64(1024))
	f.Add(`[{"start":0,"length":512,"depth":0,"present":false,"zero":true,"data":false},{"start":512,"length":512,"depth":0,"zero":false,"data":true,"offset":0}]`, int64(1024))
	f.Fuzz(func(t *testing.T, text string, size int64) {
		if size <= 0 || size > maxSize {
			return
		}
		l, err := parseMap(strings.NewReader(text), size, 2)
		if err != nil {
			return
		}
		var claimed int64
		for _, c := range l.claims {
			if c.start < claimed || c.end <= c.start || c.end > size || c.depth < 0 || c.depth > 1 {
				t.Fatalf("%+v of a disk of %d bytes, after %d", c, size, claimed)
			}
			claimed = c.end
		}
		var end int64
		for _, e := range l.extents {
			if e.start < end || e.length <= 0 || e.end() > size || e.depth < 0 || e.depth > 1 || e.offset < 0 {
				t.Fatalf("%+v of a disk of %d bytes, after %d", e, size, end)
			}
			end = e.end()
		}
	})
}

func FuzzHeader(f *testing.F) {
	plain := make([]byte, 512)
	copy(plain, mark)
	plain[atVersion+3], plain[atSize+5] = 3, 1
	f.Add(plain)
	backed := slices.Clone(plain)
	backed[atBacking+7], backed[atBackingLength+3] = 200, 4
	copy(backed[200:], "base")
	f.Add(backed)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHeader(bytes.NewReader(data))
		if err != nil {
			return
		}
		if h.size <= 0 || h.size > maxSize || len(h.backing) > maxBacking {
			t.Fatalf("%+v was accepted", h)
		}
		if _, err := h.backingPath("/x/y"); err != nil && h.backing == "" {
			t.Fatal(err)
		}
	})
}

// Where two disks have the same origin they hold the same, and where a file says
// anything of its own they have not, be it only that there is nothing.
func TestOrigin(t *testing.T) {
	const block = 512 << 10
	top := threeFiles(t)
	dir := t.TempDir()
	beside := filepath.Join(dir, "beside.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", filepath.Join(filepath.Dir(top), "middle.qcow2"), beside)
	write(t, beside, "write -P 7 64k 64k", "write -z 4M 64k")
	smaller := filepath.Join(dir, "smaller.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", filepath.Join(filepath.Dir(top), "base,1.qcow2"), smaller, "4128k")
	larger := filepath.Join(dir, "larger.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", smaller, larger, "6M")

	disks := map[string]*Disk{}
	for _, path := range []string{top, filepath.Join(filepath.Dir(top), "middle.qcow2"), filepath.Join(filepath.Dir(top), "base,1.qcow2"), beside, smaller, larger} {
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		disks[filepath.Base(path)] = d
	}
	content := func(d *Disk, index int64) string {
		data := make([]byte, block)
		n, err := d.ReadAt(data, index*block)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return string(data[:n])
	}
	same := map[string]int{}
	for a, one := range disks {
		for b, other := range disks {
			for index := range int64(16) {
				origin := one.Origin(index*block, (index+1)*block)
				if origin == "" || origin != other.Origin(index*block, (index+1)*block) {
					continue
				}
				same[a+" "+b]++
				if content(one, index) != content(other, index) {
					t.Errorf("block %d of %s and %s have the same origin and differ", index, a, b)
				}
			}
		}
	}
	// By blocks: the base has data in 0 to 3 and 8, the middle in 2, 3 and 10, the top in 2 and 14.
	for pair, want := range map[string]int{
		"base,1.qcow2 base,1.qcow2": 5, "base,1.qcow2 middle.qcow2": 3, "middle.qcow2 top:x.qcow2": 5, "base,1.qcow2 top:x.qcow2": 3,
		"middle.qcow2 beside.qcow2": 4, "base,1.qcow2 beside.qcow2": 1, "base,1.qcow2 smaller.qcow2": 4, "base,1.qcow2 larger.qcow2": 4,
	} {
		if same[pair] != want {
			t.Errorf("%s have %d blocks of the same origin, want %d", pair, same[pair], want)
		}
	}
	base := filepath.Join(filepath.Dir(top), "base,1.qcow2")
	before := disks["base,1.qcow2"].Origin(0, block)
	write(t, base, "write -P 9 0 64k")
	after, err := Open(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if after.Origin(0, block) == before {
		t.Error("a file was written to, and is taken for what it was")
	}
	if after.Origin(2*block, 3*block) == disks["top:x.qcow2"].Origin(2*block, 3*block) {
		t.Error("a file below was written to, and what is above is taken for what it was")
	}
}
