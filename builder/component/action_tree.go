package component

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// moveFile moves one file, or all that a pattern matches into a folder.
func moveFile(ctx context.Context, c *call) (map[string]string, error) {
	return nil, c.eachTarget(false, func(source, target string) error {
		if err := os.Rename(source, target); err == nil {
			return nil
		}
		// Another file system, most likely; if it is something else, copying says so.
		info, err := os.Lstat(source)
		if err != nil {
			return err
		}
		if err := copyEntry(ctx, source, target, fs.FileInfoToDirEntry(info), moved); err != nil {
			return err
		}
		return os.Remove(source)
	})
}

// copyFolder copies what folders hold. A target that exists keeps what the
// source does not have: the reference says "overwritten" and not what becomes of
// the rest, and a copy should not delete.
func copyFolder(ctx context.Context, c *call) (map[string]string, error) {
	return nil, c.eachTarget(true, func(source, target string) error { return copyTree(ctx, source, target, copied) })
}

// moveFolder moves folders; into one that exists, file by file.
func moveFolder(ctx context.Context, c *call) (map[string]string, error) {
	return nil, c.eachTarget(true, func(source, target string) error {
		if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) && os.Rename(source, target) == nil {
			return nil
		}
		if err := copyTree(ctx, source, target, moved); err != nil {
			return err
		}
		return os.RemoveAll(source)
	})
}

// likeness gives a new file, folder or link what it has of the source beside its content.
type likeness func(source, target string) error

// copyTree copies files, folders and links.
func copyTree(ctx context.Context, source, target string, alike likeness) error {
	source, target = filepath.Clean(source), filepath.Clean(target)
	if target == source || strings.HasPrefix(target, source+string(filepath.Separator)) {
		return fmt.Errorf("%s lies in %s, which would be copied into itself", target, source)
	}
	return filepath.WalkDir(source, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		below, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		return copyEntry(ctx, path, filepath.Join(target, below), e, alike)
	})
}

func copyEntry(ctx context.Context, source, target string, e fs.DirEntry, alike likeness) error {
	switch {
	case e.IsDir():
		if err := os.MkdirAll(target, 0o777); err != nil {
			return err
		}
	case e.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(source)
		if err != nil {
			return err
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(link, target); err != nil {
			return err
		}
	case e.Type().IsRegular():
		if err := copyContent(ctx, source, target); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a link", source)
	}
	return alike(source, target)
}

// deleteFolder deletes a folder; one that holds something only with force.
func deleteFolder(_ context.Context, c *call) (map[string]string, error) {
	path := filepath.Clean(c.path("path"))
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no folder", path)
	case isSystemFolder(path):
		return nil, fmt.Errorf("%s is part of the system and is not deleted", path)
	case c.bool("force"):
		return nil, os.RemoveAll(path)
	}
	return nil, os.Remove(path)
}

// listFiles lists files, not folders, sorted and joined by commas.
func listFiles(ctx context.Context, c *call) (map[string]string, error) {
	root := c.path("path")
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder", root)
	}
	var files []string
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if filepath.Clean(path) != filepath.Clean(root) && !c.bool("recursive") {
				return fs.SkipDir
			}
			return ctx.Err()
		}
		if pattern := c.text("fileNamePattern"); pattern == "" || fitsName(pattern, e.Name()) {
			files = append(files, path)
		}
		return nil
	})
	return map[string]string{"files": strings.Join(files, ",")}, err
}

// createSymlink makes a link to something that exists. force replaces a link and
// nothing else.
func createSymlink(_ context.Context, c *call) (map[string]string, error) {
	path, err := filepath.Abs(c.path("path"))
	if err != nil {
		return nil, err
	}
	target := c.text("target")
	if _, err := os.Stat(within(filepath.Dir(path), target)); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink == 0:
		return nil, fmt.Errorf("%s exists and is no symbolic link", path)
	case !c.bool("force"):
		return nil, fmt.Errorf("%s exists, and force is not set", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	return nil, os.Symlink(target, path)
}
