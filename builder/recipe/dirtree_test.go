package recipe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// openDir writes a tree into a folder and opens it.
func openDir(t testing.TB, folder string, tree memory) *DirTree {
	t.Helper()
	for at, content := range tree {
		at = filepath.Join(folder, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(to, at)
		} else {
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	opened, err := OpenDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return opened
}

func TestDirTreeIsAFileSystem(t *testing.T) {
	tree := openDir(t, t.TempDir(), memory{"a/b.txt": "b", "c.txt": "c", "a/link": "-> b.txt"})
	if err := fstest.TestFS(tree, "a/b.txt", "c.txt", "a/link"); err != nil {
		t.Error(err)
	}
}

func TestDirTreeHidesGitAndTheOutside(t *testing.T) {
	tree := openDir(t, t.TempDir(), memory{".git/config": "secret", "a.txt": "a", "out": "-> /etc/hostname", "up": "-> ../x"})
	entries, err := tree.ReadDir(".")
	if err != nil || len(entries) != 3 {
		t.Errorf("entries %v, %v", entries, err)
	}
	for _, at := range []string{".git", ".git/config", "a.txt/b"} {
		if _, err := tree.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it does not exist", at, err)
		}
	}
	for _, at := range []string{"out", "up", "../x", "/etc/hostname", ".git/config"} {
		if _, err := tree.ReadFile(at); err == nil {
			t.Errorf("%s could be read", at)
		}
	}
}

func TestDirTreeHash(t *testing.T) {
	folder := t.TempDir()
	tree := openDir(t, folder, memory{"a/one": "1", "a/two": "2", "b/one": "1", "b/two": "2", "l": "-> a"})
	sum := func(at string) string {
		t.Helper()
		h, err := tree.Hash(at)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if sum("a") != sum("b") || sum("a/one") != sum("b/one") || sum("a/one") == sum("a/two") || sum("l") == sum("a") {
		t.Error("equal content must have equal hashes, and different content different ones")
	}
	before := sum("a")
	if err := os.WriteFile(filepath.Join(folder, "a/one"), []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(folder, "a/one"), later, later); err != nil {
		t.Fatal(err)
	}
	if sum("a") == before {
		t.Error("a changed file kept its folder's hash")
	}
}
