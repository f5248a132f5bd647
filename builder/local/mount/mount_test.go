package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// run runs a host program and fails with the package that holds it.
func run(t testing.TB, pkg, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: install the Debian package %s", err, pkg)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// newDisk makes a partitioned qcow2 disk whose root filesystem holds etc/name.
func newDisk(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	tree, raw, disk := filepath.Join(dir, "tree"), filepath.Join(dir, "raw"), filepath.Join(dir, "disk,1.qcow2")
	if err := os.MkdirAll(filepath.Join(tree, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/name"), []byte("base\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 256<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "gdisk", "sgdisk", "-n1:2048:4095", "-t1:ef02", "-n2:4096:0", "-t2:8300", raw)
	run(t, "e2fsprogs", "mkfs.ext4", "-q", "-F", "-b", "4096", "-d", tree, "-E", fmt.Sprintf("offset=%d", 4096*sectorSize), raw, "200M")
	run(t, "qemu-utils", "qemu-img", "convert", "-O", "qcow2", raw, disk)
	return disk
}

func overlay(t testing.TB, backing string, size ...string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "overlay.qcow2")
	run(t, "qemu-utils", "qemu-img", append([]string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-F", "qcow2", "-b", backing, disk}, size...)...)
	return disk
}

func attach(t testing.TB, spec Spec) *Mount {
	t.Helper()
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	m, err := Attach(t.Context(), spec)
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Detach(context.Background()); err != nil {
			t.Errorf("detach: %v", err)
		}
	})
	return m
}

func detach(t testing.TB, m *Mount) {
	t.Helper()
	if err := m.Detach(t.Context()); err != nil {
		t.Fatalf("detach: %v", err)
	}
}

func TestWhatIsWrittenStaysInTheOverlay(t *testing.T) {
	base := newDisk(t)
	top := overlay(t, base)
	m := attach(t, Spec{Disk: top})
	if err := os.WriteFile(filepath.Join(m.Root(), "etc/made"), []byte("made\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	detach(t, m)

	m = attach(t, Spec{Disk: top, ReadOnly: true})
	for name, want := range map[string]string{"etc/name": "base\n", "etc/made": "made\n"} {
		if got, err := os.ReadFile(filepath.Join(m.Root(), name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(m.Root(), "x"), nil, 0o644); err == nil {
		t.Error("a read-only mount can be written")
	}
	detach(t, m)
	if m = attach(t, Spec{Disk: base, ReadOnly: true}); exists(filepath.Join(m.Root(), "etc/made")) {
		t.Error("the base was written")
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func BenchmarkAttach(b *testing.B) {
	top := overlay(b, newDisk(b))
	dir := b.TempDir()
	for b.Loop() {
		m, err := Attach(b.Context(), Spec{Disk: top, Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Detach(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDeletedFilesAreForgotten deletes one file in the layer that made it and another
// in the layer above, and looks for both in the disk that a machine would see.
func TestDeletedFilesAreForgotten(t *testing.T) {
	const early, late = "a secret that was deleted at once", "a secret that was deleted by the next"
	below := overlay(t, newDisk(t))
	m := attach(t, Spec{Disk: below})
	for name, secret := range map[string]string{"early": early, "late": late} {
		writeSynced(t, filepath.Join(m.Root(), name), bytes.Repeat([]byte(secret), 10_000))
	}
	if err := os.Remove(filepath.Join(m.Root(), "early")); err != nil {
		t.Fatal(err)
	}
	detach(t, m)
	top := overlay(t, below)
	if !strings.Contains(flat(t, top), late) {
		t.Fatal("the secret is not in the disk to begin with")
	}
	m = attach(t, Spec{Disk: top})
	if err := os.Remove(filepath.Join(m.Root(), "late")); err != nil {
		t.Fatal(err)
	}
	detach(t, m)
	text := flat(t, top)
	for _, secret := range []string{early, late} {
		if strings.Contains(text, secret) {
			t.Errorf("the disk still holds %q", secret)
		}
	}
}

// writeSynced has the file's content on the disk before it returns.
func writeSynced(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTrimForgetsWhatOthersDeleted deletes a file without telling the disk, as a
// guest does.
func TestTrimForgetsWhatOthersDeleted(t *testing.T) {
	const secret = "a secret that was deleted in a guest"
	disk := overlay(t, newDisk(t))
	m := attach(t, Spec{Disk: disk})
	name := filepath.Join(m.Root(), "secret")
	writeSynced(t, name, bytes.Repeat([]byte(secret), 10_000))
	if err := unix.Mount("", m.Root(), "", unix.MS_REMOUNT, "nodiscard"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	detach(t, m)
	if !strings.Contains(flat(t, disk), secret) {
		t.Fatal("the secret is gone before the trim")
	}
	m = attach(t, Spec{Disk: disk})
	if err := m.Trim(); err != nil {
		t.Fatal(err)
	}
	detach(t, m)
	if strings.Contains(flat(t, disk), secret) {
		t.Error("the disk still holds the secret")
	}
}

// flat is the whole disk as a machine sees it.
func flat(t *testing.T, disk string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	run(t, "qemu-utils", "qemu-img", "convert", "-O", "raw", disk, raw)
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGrowFillsTheDisk(t *testing.T) {
	top := overlay(t, newDisk(t), "1G")
	m := attach(t, Spec{Disk: top, Grow: true})
	if got := capacity(t, m.Root()); got < 900<<20 {
		t.Errorf("the filesystem has %d bytes on a disk of 1 GiB", got)
	}
	if got, err := os.ReadFile(filepath.Join(m.Root(), "etc/name")); err != nil || string(got) != "base\n" {
		t.Errorf("etc/name: %q, %v", got, err)
	}
	detach(t, m)

	raw := filepath.Join(t.TempDir(), "raw")
	run(t, "qemu-utils", "qemu-img", "convert", "-O", "raw", top, raw)
	out, err := exec.Command("sgdisk", "-v", raw).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("the table is damaged: %v\n%s", err, out)
	}
	run(t, "e2fsprogs", "e2fsck", "-fn", raw+"?offset="+fmt.Sprint(4096*sectorSize))
	m = attach(t, Spec{Disk: top, Grow: true}) // nothing is left to grow
	detach(t, m)
}

func capacity(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize
}

// bareDisk is a filesystem without a partition table, changed by debugfs.
func bareDisk(t *testing.T, changes ...string) string {
	t.Helper()
	dir := t.TempDir()
	raw, disk := filepath.Join(dir, "raw"), filepath.Join(dir, "disk.qcow2")
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsprogs", "mkfs.ext4", "-q", "-F", raw)
	for _, c := range changes {
		run(t, "e2fsprogs", "debugfs", "-w", "-R", c, raw)
	}
	run(t, "qemu-utils", "qemu-img", "convert", "-O", "qcow2", raw, disk)
	return disk
}

func TestFilesystemWithoutTable(t *testing.T) {
	m := attach(t, Spec{Disk: overlay(t, bareDisk(t), "128M"), Grow: true})
	if got := capacity(t, m.Root()); got < 100<<20 {
		t.Errorf("the filesystem has %d bytes on a disk of 128 MiB", got)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(t.Context(), Spec{Disk: bareDisk(t), Dir: dir}); err != nil {
		t.Errorf("a whole filesystem: %v", err)
	}
	wantNothing(t, dir)
	for _, spec := range []Spec{{}, {Check: true}} {
		spec.Disk, spec.Dir = bareDisk(t, "clri <2>"), dir
		var err error
		if spec.Check {
			_, err = Attach(t.Context(), spec)
		} else {
			err = Check(t.Context(), spec)
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged filesystem: %v", err)
		}
		wantNothing(t, dir)
	}
}

func TestAttachSaysWhatIsWrongAndLeavesNothing(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.qcow2")
	run(t, "qemu-utils", "qemu-img", "create", "-q", "-f", "qcow2", empty, "16M")
	text := filepath.Join(t.TempDir(), "text.qcow2")
	if err := os.WriteFile(text, []byte("no disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name, disk, want string
		ctx              context.Context
	}{
		{"nothing on it", empty, ErrNoRoot.Error(), t.Context()},
		{"no disk", text, "qcow2", t.Context()},
		{"no file", "/nonexistent.qcow2", "No such file", t.Context()},
		{"cancelled", empty, "canceled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Attach(c.ctx, Spec{Disk: c.disk, Dir: dir})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			wantNothing(t, dir)
		})
	}
}

// wantNothing fails if anything is still attached beneath the folder, or in it.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	if left, err := Beneath(dir); err != nil || len(left) > 0 {
		t.Errorf("still mounted: %v, %v", left, err)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil && strings.HasPrefix(string(file), dir) {
			t.Errorf("%s still has %s", l, file)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("still there: %v, %v", files, err)
	}
}

func TestDetachAfterTheDaemonDied(t *testing.T) {
	dir := t.TempDir()
	m, err := Attach(t.Context(), Spec{Disk: overlay(t, newDisk(t)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.disk.kill(); err != nil {
		t.Fatal(err)
	}
	if err := m.Detach(t.Context()); err == nil {
		t.Error("a disk whose daemon was killed counts as whole")
	}
	if err := m.Detach(t.Context()); err == nil {
		t.Error("the second detach forgot the first one's failure")
	}
	if _, err := UnmountBeneath(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if left, err := Beneath(dir); err != nil || len(left) > 0 {
		t.Errorf("still mounted: %v, %v", left, err)
	}
}

// TestDetachNeedsNoSignal detaches a disk whose daemon no signal reaches: one that is
// sent at a bad moment may as well be lost.
func TestDetachNeedsNoSignal(t *testing.T) {
	const program = "qemu-storage-daemon"
	daemon, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	deaf := "#!/bin/sh\ntrap '' TERM INT HUP QUIT\n" + daemon + ` "$@" <&0` + "\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, program), []byte(deaf), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	at := t.TempDir()
	m, err := Attach(t.Context(), Spec{Disk: overlay(t, newDisk(t)), Dir: at})
	if err != nil {
		t.Fatal(err)
	}
	detach(t, m)
	wantNothing(t, at)
}

func TestDetachWhileBusy(t *testing.T) {
	dir := t.TempDir()
	m, err := Attach(t.Context(), Spec{Disk: overlay(t, newDisk(t)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- m.Detach(t.Context()) }()
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantNothing(t, dir)
}

func TestAttachManyAtOnce(t *testing.T) {
	base := newDisk(t)
	var wg sync.WaitGroup
	for range 12 { // more than the loop devices that a host usually has ready
		top, dir := overlay(t, base), t.TempDir()
		wg.Go(func() {
			m, err := Attach(t.Context(), Spec{Disk: top, Dir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			if err := m.Detach(t.Context()); err != nil {
				t.Error(err)
			}
			wantNothing(t, dir)
		})
	}
	wg.Wait()
}
