package disk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q (Debian package qemu-utils): %v: %s", args, err, out)
	}
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestImport takes the same disk in every format, under names that say nothing.
func TestImport(t *testing.T) {
	raw := smallDisk(t)
	dir := t.TempDir()
	files := map[string]string{"raw": raw}
	for name, options := range map[string][]string{
		"qcow2":                 {"-O", "qcow2"},
		"qcow2 compressed":      {"-c", "-O", "qcow2"},
		"qcow2 of version 2":    {"-O", "qcow2", "-o", "compat=0.10"},
		"VMDK monolithic":       {"-O", "vmdk"},
		"VMDK stream-optimised": {"-O", "vmdk", "-o", "subformat=streamOptimized"},
		"VHDX":                  {"-O", "vhdx"},
		"VHD dynamic":           {"-O", "vpc", "-o", "force_size=on"},
		"VHD fixed":             {"-O", "vpc", "-o", "subformat=fixed,force_size=on"},
	} {
		files[name] = filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		qemuImg(t, append(append([]string{"convert"}, options...), "-f", "raw", raw, files[name])...)
	}
	vmdk := read(t, files["VMDK stream-optimised"])
	files["OVA"] = write(t, filepath.Join(dir, "ova"), ova(t, member{"m.ovf", ovf("disk.vmdk", "")}, member{"disk.vmdk", vmdk}))
	files["OVA with gzip"] = write(t, filepath.Join(dir, "ova-gz"), ova(t, member{"../../m.ovf", ovf("d.gz", "gzip")}, member{"d.gz", zipped(t, vmdk)}))

	for name, source := range files {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.qcow2")
			if err := Import(t.Context(), ImportSpec{Source: source}, out, func(line string) { t.Log(line) }); err != nil {
				t.Fatal(err)
			}
			qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw, out)
			onlyFile(t, out)
		})
	}
}

// onlyFile fails when a temporary file was left beside path.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("beside %s: %v, %v", path, entries, err)
	}
}

func TestImportRefuses(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	create := func(args ...string) { qemuImg(t, append([]string{"create", "-q"}, args...)...) }

	create("-f", "qcow2", in("plain"), "1M")
	create("-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", in("backing"), "1M")
	create("-f", "qcow2", "-o", "data_file="+in("data"), in("data-file"), "1M")
	create("-f", "qcow2", in("huge"), "3T")
	create("-f", "vmdk", in("sparse"), "1M")
	create("-f", "vpc", in("vhd"), "1M")

	sparse := read(t, in("sparse"))
	write(t, in("vmdk-parent"), bytes.Replace(sparse, []byte("CID="), []byte("parentFileNameHint=\"/etc/shadow\"\nCID="), 1))
	extents := bytes.Clone(sparse)
	binary.LittleEndian.PutUint64(extents[12:], 0)
	write(t, in("vmdk-extents"), extents)
	write(t, in("vmdk-text"), []byte("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n"))
	vhd := read(t, in("vhd"))
	for _, footer := range []int{0, len(vhd) - vhdFooter} {
		binary.BigEndian.PutUint32(vhd[footer+60:], 4)
	}
	write(t, in("vhd-differencing"), vhd)
	extension := read(t, in("plain"))
	binary.BigEndian.PutUint32(extension[binary.BigEndian.Uint32(extension[100:]):], qcow2ExtDataFile)
	write(t, in("data-extension"), extension)
	write(t, in("text"), []byte("root:*:19000:0:99999:7:::\n"))
	write(t, in("gzip"), zipped(t, []byte("a disk")))
	write(t, in("short"), []byte("QFI\xfb\x00\x00\x00\x03"))
	write(t, in("ova-backing"), ova(t, member{"m.ovf", ovf("d", "")}, member{"d", read(t, in("backing"))}))
	write(t, in("ova-absent"), ova(t, member{"m.ovf", ovf("../../../../etc/shadow", "")}))
	write(t, in("ova-manifest"), ova(t, member{"m.mf", []byte("SHA256(d)= 00\n")}, member{"m.ovf", ovf("d", "")}, member{"d", []byte("x")}))

	for name, message := range map[string]string{
		"plain":            "no Linux root file system",
		"backing":          "based on another file",
		"data-file":        "keeps its data in another file",
		"data-extension":   "keeps its data in another file",
		"huge":             "3072 GiB",
		"vmdk-parent":      "based on another file",
		"vmdk-extents":     "in other files",
		"vmdk-text":        "in other files",
		"vhd-differencing": "based on another file",
		"text":             "no Linux root file system",
		"gzip":             "compressed",
		"short":            "header is not complete",
		"ova-backing":      "based on another file",
		"ova-absent":       "does not hold it",
		"ova-manifest":     "does not match the OVA's manifest",
		".":                "is not a file",
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.qcow2")
			err := Import(t.Context(), ImportSpec{Source: in(name)}, out, func(string) {})
			wantFault(t, err, builder.Author, message)
			if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestCancelKillsToolAndItsChildren(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := fmt.Errorf("nobody waits any more")
	err := tool(ctx, func(line string) {
		if line == "started" {
			cancel(cause)
		}
	}, "sh", "-c", "sleep 600 & echo started; wait")
	if err == nil || !strings.Contains(err.Error(), cause.Error()) {
		t.Fatalf("got %v, want %v", err, cause)
	}
}

func FuzzCheckForeign(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03" + strings.Repeat("\x00", 200)))
	f.Add([]byte("KDMV" + strings.Repeat("\x01", 600) + "parentFileNameHint=x"))
	f.Add([]byte(strings.Repeat("\x00", 512) + "conectix" + strings.Repeat("\x00", 504)))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		format, err := detect(r, r.Size())
		if err != nil || format == OVA {
			return
		}
		err = checkForeign(r, r.Size(), format)
		if format == VMDK && err == nil && bytes.Contains(data[:min(len(data), 10<<10)], []byte("parentFileNameHint")) {
			t.Fatal("a VMDK with a parent was accepted")
		}
	})
}

func FuzzParseOVF(f *testing.F) {
	f.Add(ovf("disk.vmdk", "gzip"))
	f.Add([]byte("<Envelope/>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if disk, err := parseOVF(text); err != nil && disk != (ovfDisk{}) {
			t.Fatalf("%+v with %v", disk, err)
		}
	})
}

func TestParseOVF(t *testing.T) {
	disk, err := parseOVF(ovf("a.vmdk", "gzip"))
	if want := (ovfDisk{href: "a.vmdk", gzipped: true}); err != nil || disk != want {
		t.Errorf("got %+v, %v; want %+v", disk, err, want)
	}
	for text, message := range map[string]string{
		"no xml":                  "not valid",
		"<Envelope/>":             "describes no disk",
		string(ovf("a", "bzip2")): `compresses its disk with "bzip2"`,
		strings.Replace(string(ovf("a", "")), `<Disk `, `<Disk ovf:parentRef="x" `, 1): "based on another disk",
		strings.Replace(string(ovf("a", "")), `<File `, `<File ovf:chunkSize="9" `, 1): "cut into pieces",
	} {
		_, err := parseOVF([]byte(text))
		wantFault(t, err, builder.Author, message)
	}
}

type member struct {
	name string
	data []byte
}

func ova(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		header := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.data)), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func ovf(href, compression string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="%s" ovf:compression="%s"/></References>
  <DiskSection><Info>disks</Info><Disk ovf:diskId="d" ovf:fileRef="file1" ovf:capacity="1"/></DiskSection>
</Envelope>`, href, compression)
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSweep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b]") // a pattern in a name is only a name
	if err := os.MkdirAll(filepath.Join(dir, ".new-a.qcow2-1", "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	keep := write(t, filepath.Join(dir, "a.qcow2"), nil)
	removed, err := Sweep(dir)
	if err != nil || len(removed) != 1 {
		t.Fatalf("got %q, %v", removed, err)
	}
	onlyFile(t, keep)
}
