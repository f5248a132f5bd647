package component

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// setFileOwner follows a link to the file that it means.
func setFileOwner(_ context.Context, c *call) (map[string]string, error) {
	path := c.path("path")
	if err := mustBe(path, false); err != nil {
		return nil, err
	}
	return nil, c.chown(path)
}

// setFilePermissions sets the mode as it is written, whatever the umask.
func setFilePermissions(_ context.Context, c *call) (map[string]string, error) {
	path := c.path("path")
	mode, err := c.mode()
	if err != nil {
		return nil, err
	}
	if err := mustBe(path, false); err != nil {
		return nil, err
	}
	return nil, os.Chmod(path, mode)
}

// setFolderOwner changes links below the folder themselves: what they mean may
// lie elsewhere.
func setFolderOwner(ctx context.Context, c *call) (map[string]string, error) {
	uid, gid, err := c.owner()
	if err != nil {
		return nil, err
	}
	return nil, c.eachBelow(ctx, func(path string, _ fs.DirEntry) error { return os.Lchown(path, uid, gid) })
}

// setFolderPermissions gives files and folders the same mode; links have none.
func setFolderPermissions(ctx context.Context, c *call) (map[string]string, error) {
	mode, err := c.mode()
	if err != nil {
		return nil, err
	}
	return nil, c.eachBelow(ctx, func(path string, e fs.DirEntry) error {
		if e.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		return os.Chmod(path, mode)
	})
}

// eachBelow visits a folder, and all that is in it unless recursive is false.
// What a folder holds is read before its own mode may forbid that.
func (c *call) eachBelow(ctx context.Context, do func(string, fs.DirEntry) error) error {
	root := c.path("path")
	if err := mustBe(root, true); err != nil {
		return err
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	type found struct {
		path  string
		entry fs.DirEntry
	}
	var all []found
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		all = append(all, found{path, e})
		if path == root && !c.bool("recursive") {
			return fs.SkipAll
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if err := do(all[i].path, all[i].entry); err != nil {
			return err
		}
	}
	return nil
}

// mustBe fails unless path is a folder, or is none, as is asked for.
func mustBe(path string, folder bool) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case folder && !info.IsDir():
		return fmt.Errorf("%s is no folder", path)
	case !folder && info.IsDir():
		return fmt.Errorf("%s is a folder", path)
	}
	return nil
}
