// Package disktest lends tests the base disks that local builds start from. Making
// one takes half a minute, so each is made once and shared by the tests of all
// packages, also at the same time, in the folder that INGOT_TEST_CACHE names
// (default: ingot-test in the user's cache folder).
//
// A test must not write to a base: it makes an overlay, or a copy.
package disktest

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/local/disk"
)

// Debian12 returns the path of a read-only qcow2 disk with Debian 12.
func Debian12(t testing.TB) string { return base(t, "debian-12") }

// Debian13 returns the path of a read-only qcow2 disk with Debian 13.
func Debian13(t testing.TB) string { return base(t, "debian-13") }

const making = 15 * time.Minute

func base(t testing.TB, alias string) string {
	t.Helper()
	return Once(t, alias+"-"+disk.DebianVersion, func(ctx context.Context, path string) error {
		return disk.Debian(ctx, disk.DebianSpec{Suite: alias}, path, func(line string) { t.Log(line) })
	})
}

// Once returns the path of a read-only qcow2 disk that is made once and kept beside the
// bases under a name, which says all that it is made of. Of a disk that could not be
// made nothing may be left at the path.
func Once(t testing.TB, name string, made func(ctx context.Context, path string) error) string {
	t.Helper()
	path := filepath.Join(cacheDir(t), name+".qcow2")
	unlock := lock(t, path+".lock")
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), making)
	defer cancel()
	t.Logf("making %s, once", path)
	if err := made(ctx, path); err != nil {
		t.Fatalf("make the disk %s: %v", name, err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	return path
}

func cacheDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("INGOT_TEST_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("no folder for the base disks: %v; set INGOT_TEST_CACHE", err)
		}
		dir = filepath.Join(user, "ingot-test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lock waits until no other process makes the same disk.
func lock(t testing.TB, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return func() { f.Close() } // which also unlocks
}
