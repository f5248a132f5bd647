package component

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// anotherFileSystem is a folder on another one than dir.
func anotherFileSystem(t *testing.T, dir string) string {
	t.Helper()
	other, err := os.MkdirTemp("/dev/shm", "likeness")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(other) })
	if device(t, other) == device(t, dir) {
		t.Skip("the folder for temporary files is on the file system of /dev/shm")
	}
	return other
}

func device(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Dev
}

// identity is what a file is beside its content.
func identity(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d:%d", info.Mode(), owner.Uid, owner.Gid)
}

// others gives what prepared made to somebody else, with special bits.
func others(t *testing.T, b *bench) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	if err := os.Symlink("in.log", filepath.Join(b.dir, "folder/link")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{
		"a.log": 0o755 | fs.ModeSetuid | fs.ModeSetgid, "folder": 0o775 | fs.ModeSetgid, "folder/in.log": 0o750 | fs.ModeSetuid,
		"folder/link": fs.ModeSymlink, "folder/sub": 0o777 | fs.ModeSticky, "folder/sub/deep.log": 0o640,
	} {
		path = filepath.Join(b.dir, path)
		if err := os.Lchown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
		if mode != fs.ModeSymlink {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMovesToAnotherFileSystemKeepOwnerAndMode(t *testing.T) {
	b := prepared(t, "")
	other := anotherFileSystem(t, b.dir)
	b = prepared(t, act("MoveFile", "{source: a.log, destination: "+other+"/a}, {source: folder/link, destination: "+other+"/link}")+
		"- {name: Folder, action: MoveFolder, inputs: [{source: folder, destination: "+other+"/folder}]}\n")
	others(t, b)
	b.ok()
	for path, want := range map[string]string{
		"a": "ugrwxr-xr-x 1234:2345", "link": "Lrwxrwxrwx 1234:2345", "folder": "dgrwxrwxr-x 1234:2345", "folder/in.log": "urwxr-x--- 1234:2345",
		"folder/sub": "dtrwxrwxrwx 1234:2345", "folder/sub/deep.log": "-rw-r----- 1234:2345",
	} {
		if got := identity(t, filepath.Join(other, path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if link, err := os.Readlink(filepath.Join(other, "link")); link != "in.log" {
		t.Errorf("the link means %q, %v", link, err)
	}
	if !b.missing("a.log") || !b.missing("folder") {
		t.Error("what was moved is still there")
	}
}

// A copy belongs to whoever makes it: the rights of its owner go to nobody else.
func TestCopiesKeepModesButNoForeignRights(t *testing.T) {
	b := prepared(t, act("CopyFolder", "{source: folder, destination: foreign}, {source: own, destination: copy}")+
		"- {name: File, action: CopyFile, inputs: [{source: a.log, destination: a}, {source: own/in.log, destination: b}]}\n")
	b.put("own/in.log", "own")
	others(t, b)
	if err := os.Chmod(filepath.Join(b.dir, "own/in.log"), 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	b.ok()
	for path, want := range map[string]string{
		"a": "-rwxr-xr-x 0:0", "b": "ugrwxr-xr-x 0:0", "copy/in.log": "ugrwxr-xr-x 0:0", "foreign": "drwxrwxr-x 0:0",
		"foreign/in.log": "-rwxr-x--- 0:0", "foreign/sub": "dtrwxrwxrwx 0:0", "foreign/sub/deep.log": "-rw-r----- 0:0",
	} {
		if got := identity(t, filepath.Join(b.dir, path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
