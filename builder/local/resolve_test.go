package local

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// smallDisk is a filesystem without a partition table, changed by debugfs.
func smallDisk(t *testing.T, changes ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "small.raw")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 16<<20))
	tree := t.TempDir()
	for _, dir := range []string{"etc", "usr/bin", "bin", "sbin"} {
		must(t, os.MkdirAll(filepath.Join(tree, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(tree, "etc/os-release"), []byte("ID=small\n"), 0o644))
	commands := [][]string{{"mkfs.ext4", "-q", "-F", "-d", tree, file}}
	for _, c := range changes {
		commands = append(commands, []string{"debugfs", "-w", "-R", c, file})
	}
	for _, c := range commands {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatalf("%v: install the Debian package e2fsprogs", err)
		}
		if err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	content, err := os.ReadFile(file)
	must(t, err)
	return content
}

func fromTree(content []byte, hash string) builder.ParentSource {
	return builder.ParentSource{
		Parent: recipe.Parent{Kind: recipe.ParentFile, Name: "disks/small.raw", Text: "./disks/small.raw"},
		Tree:   hashedTree{treeFS{fstest.MapFS{"disks/small.raw": {Data: content}}}, hash},
	}
}

// hashedTree says what it is asked to about its content.
type hashedTree struct {
	treeFS
	hash string
}

func (h hashedTree) Hash(string) (string, error) { return h.hash, nil }

func TestParentFromTheRepository(t *testing.T) {
	d := newDriver(t)
	first, err := d.Resolve(t.Context(), fromTree(smallDisk(t), t.TempDir()), func(line string) { t.Log(line) })
	must(t, err)
	i := launch(t, d, builder.LaunchSpec{Build: "small", Base: first}).(*instance)
	if text, err := os.ReadFile(filepath.Join(i.mount.Root(), "etc/os-release")); err != nil || string(text) != "ID=small\n" {
		t.Errorf("os-release: %q, %v", text, err)
	}
}

// TestParentFromURL fetches a disk of another hypervisor.
func TestParentFromURL(t *testing.T) {
	dir := t.TempDir()
	raw, vmdk := filepath.Join(dir, "small.raw"), filepath.Join(dir, "small.vmdk")
	must(t, os.WriteFile(raw, smallDisk(t), 0o600))
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, vmdk).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img of the Debian package qemu-utils: %v\n%s", err, out)
	}
	content, err := os.ReadFile(vmdk)
	must(t, err)
	server := httptest.NewTLSServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	d := newDriver(t)
	d.cfg.Client = server.Client()

	parent := func(checksum string) builder.ParentSource {
		url := server.URL + "/small.vmdk"
		return builder.ParentSource{Parent: recipe.Parent{Kind: recipe.ParentURL, Name: url, Text: url, Checksum: checksum}}
	}
	good := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	got, err := d.Resolve(t.Context(), parent(good), func(line string) { t.Log(line) })
	must(t, err)
	i := launch(t, d, builder.LaunchSpec{Build: "small", Base: got}).(*instance)
	if text, err := os.ReadFile(filepath.Join(i.mount.Root(), "etc/os-release")); err != nil || string(text) != "ID=small\n" {
		t.Errorf("os-release: %q, %v", text, err)
	}
	_, err = d.Resolve(t.Context(), parent(fmt.Sprintf("sha256:%x", sha256.Sum256(nil))), func(string) {})
	if builder.FaultOf(err) != builder.Author {
		t.Errorf("another checksum: %v", err)
	}
}

func TestDamagedParentIsRefused(t *testing.T) {
	d := newDriver(t)
	_, err := d.Resolve(t.Context(), fromTree(smallDisk(t, "clri <2>"), t.TempDir()), func(string) {})
	if builder.FaultOf(err) != builder.Author {
		t.Errorf("got %v", err)
	}
	if left := leftovers(d.cfg.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
