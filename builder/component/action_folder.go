package component

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// createFolder makes an empty folder. As the language has it, one that exists is
// emptied, and with overwrite: false an error; there is no third way.
func createFolder(_ context.Context, c *call) (map[string]string, error) {
	path := filepath.Clean(c.path("path"))
	mode, err := c.mode()
	if err != nil {
		return nil, err
	}
	if err := c.replaceable(path); err != nil {
		return nil, err
	}
	if _, _, err := c.owner(); err != nil {
		return nil, err // before anything is deleted
	}
	if err := makeEmpty(path, mode); err != nil {
		return nil, err
	}
	return nil, c.own(path, mode)
}

func makeEmpty(path string, mode fs.FileMode) error {
	if isSystemFolder(path) {
		return fmt.Errorf("%s would be emptied: CreateFolder deletes what a folder holds", path)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		return os.Mkdir(path, mode)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s exists and is no folder", path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode&^umask())
}

// isSystemFolder names the folders without which the machine is gone. Nobody
// means to empty them.
func isSystemFolder(path string) bool {
	return filepath.Dir(path) == path || slices.ContainsFunc(systemFolders(), func(folder string) bool { return sameFile(folder, path) })
}

// sameFile compares the names of two files.
func sameFile(a, b string) bool { return a == b || onWindows && strings.EqualFold(a, b) }
