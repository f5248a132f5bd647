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
	dir := cacheDir(t)
	path := filepath.Join(dir, alias+"-"+disk.DebianVersion+".qcow2")
	unlock := lock(t, path+".lock")
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), making)
	defer cancel()
	t.Logf("making %s, once", path)
	if err := disk.Debian(ctx, disk.DebianSpec{Suite: alias}, path, func(line string) { t.Log(line) }); err != nil {
		t.Fatalf("make the base disk %s: %v", alias, err)
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
