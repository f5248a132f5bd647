// Package sanitize removes from a system what must not be in an image of it: host
// keys and authorised keys, the machine's identity, logs, histories, instance data
// and temporary files.
//
// It works from outside, on a mounted disk, or from inside on "/" (then with
// Options.WorkingDir as components saw it). The system may be hostile: nothing of
// it is run, and no symbolic link is followed, neither out of the root nor to
// another place in it. Where a link stands in the way of a clean-up, Clean fails
// rather than leave something behind.
//
// It does not decide whether to clean up; the marker file perform_cleanup of EC2
// Image Builder is therefore only removed, not asked for.
package sanitize

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Options adjusts Clean.
type Options struct {
	// WorkingDir is the recipe's working directory, where components leave files
	// named skip_cleanup_… to keep something; empty: /tmp.
	WorkingDir string
	// Extra are files and folders to be removed as well: what a driver put there.
	Extra []string
	// KeepPackageLists keeps the package manager's lists. They are removed
	// otherwise: they are large, and out of date when the image is used.
	KeepPackageLists bool
}

// Clean removes what must not be in an image, and returns the paths that it
// removed or emptied, sorted (the first 10,000). Secrets are overwritten first. It goes on after an
// error, and returns all of them: an image made after an error may hold secrets.
func Clean(root *os.Root, opts Options) (removed []string, err error) {
	working := path.Join("/", opts.WorkingDir)[1:]
	if working == "" {
		working = "tmp"
	}
	c := &cleaner{root: root}
	for _, section := range sections(working, opts) {
		if section.skip != "" && c.exists(path.Join(working, section.skip)) {
			continue
		}
		for _, r := range section.rules {
			c.apply(r)
		}
	}
	c.apply(rule{path: "etc/machine-id", how: empty})
	slices.Sort(c.removed)
	return slices.Compact(c.removed), errors.Join(c.errs...)
}

// how says what happens to what a rule's path matches.
type how int

const (
	remove  how = iota // a file, or a folder with all that is in it
	shred              // the same, with every file overwritten before
	content            // all that is in a folder, but not the folder
	empty              // a file without content is there
	logs               // every file below a folder stays, without content; rotated ones go
)

// rule names paths below the root; each part may be a pattern of path.Match.
type rule struct {
	path string
	how  how
	when string // only where this path exists
}

// section is a group of rules that one file in the working directory switches off.
type section struct {
	skip  string
	rules []rule
}

type cleaner struct {
	root    *os.Root
	removed []string
	errs    []error
}

func (c *cleaner) exists(name string) bool {
	_, err := c.root.Lstat(name)
	return err == nil
}

func (c *cleaner) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.errs = append(c.errs, err)
	}
}

func (c *cleaner) apply(r rule) {
	if r.when != "" && !c.exists(r.when) {
		return
	}
	c.match(c.root, ".", strings.Split(r.path, "/"), r.how)
}

// match goes down the parts of a pattern, folder by folder, so that each folder
// is seen to be one before it is entered.
func (c *cleaner) match(dir *os.Root, at string, parts []string, h how) {
	names := parts[:1]
	if strings.ContainsAny(parts[0], "*?[") {
		all, err := readNames(dir)
		c.note(named(at, err))
		names = slices.DeleteFunc(all, func(name string) bool {
			ok, err := path.Match(parts[0], name)
			return !ok || err != nil
		})
	}
	for _, name := range names {
		if len(parts) == 1 {
			c.note(c.treat(dir, name, path.Join(at, name), h))
			continue
		}
		sub, err := enter(dir, name, path.Join(at, name))
		if errors.Is(err, errNotFolder) {
			continue // nothing can be below it
		}
		if err != nil {
			c.note(err)
			continue
		}
		c.match(sub, path.Join(at, name), parts[1:], h)
		c.note(sub.Close())
	}
}

var errNotFolder = errors.New("not a folder")

// enter opens a folder that is really one.
func enter(dir *os.Root, name, full string) (*os.Root, error) {
	info, err := dir.Lstat(name)
	switch {
	case err != nil:
		return nil, named(full, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("/%s is a symbolic link; what it leads to was not cleaned up: remove the link, or clean up behind it in the recipe", full)
	case !info.IsDir():
		return nil, named(full, errNotFolder)
	}
	sub, err := dir.OpenRoot(name)
	return sub, named(full, err)
}

// treat does what a rule says to one entry of dir.
func (c *cleaner) treat(dir *os.Root, name, full string, h how) error {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && h == empty {
		return create(dir, name, full)
	}
	if err != nil {
		return named(full, err)
	}
	if target, err := dir.Readlink(name); err == nil && target == os.DevNull {
		return nil // somebody saw to it already that nothing is kept here
	}
	switch h {
	case content, logs:
		sub, err := enter(dir, name, full)
		if err != nil {
			return err
		}
		defer sub.Close() // only read
		if h == logs {
			return c.emptyLogs(sub, full)
		}
		return c.removeContent(sub, full)
	case empty:
		return c.truncate(dir, info, full)
	case shred:
		if err := overwrite(dir, name, full, info); err != nil {
			return err
		}
	}
	if err := dir.RemoveAll(name); err != nil {
		return named(full, err)
	}
	c.report(full)
	return nil
}

// maxReported bounds the list of removed paths, which is the build's to fill.
const maxReported = 10_000

func (c *cleaner) report(full string) {
	if len(c.removed) < maxReported {
		c.removed = append(c.removed, "/"+full)
	}
}

func (c *cleaner) removeContent(dir *os.Root, at string) error {
	names, err := readNames(dir)
	if err != nil {
		return named(at, err)
	}
	var errs []error
	for _, name := range names {
		full := path.Join(at, name)
		if err := dir.RemoveAll(name); err != nil {
			errs = append(errs, named(full, err))
			continue
		}
		c.report(full)
	}
	return errors.Join(errs...)
}

// emptyLogs keeps a log's file, because programs may count on its owner and mode.
func (c *cleaner) emptyLogs(dir *os.Root, at string) error {
	names, err := readNames(dir)
	if err != nil {
		return named(at, err)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, c.emptyLog(dir, name, path.Join(at, name)))
	}
	return errors.Join(errs...)
}

func (c *cleaner) emptyLog(dir *os.Root, name, full string) error {
	info, err := dir.Lstat(name)
	switch {
	case err != nil:
		return named(full, err)
	case info.IsDir():
		sub, err := enter(dir, name, full)
		if err != nil {
			return err
		}
		defer sub.Close() // only read
		return c.emptyLogs(sub, full)
	case info.Mode().IsRegular() && rotated(name):
		c.report(full)
		return named(full, dir.Remove(name))
	case info.Mode().IsRegular() && info.Size() > 0:
		return c.truncate(dir, info, full)
	}
	return nil
}

// rotated reports whether a log's name says that it is an old one.
func rotated(name string) bool {
	switch ext := path.Ext(name); ext {
	case ".gz", ".xz", ".bz2", ".zst", ".old":
		return true
	default:
		return len(ext) > 1 && strings.Trim(ext[1:], "0123456789") == ""
	}
}

func (c *cleaner) truncate(dir *os.Root, info fs.FileInfo, full string) error {
	if !info.Mode().IsRegular() {
		if err := dir.RemoveAll(info.Name()); err != nil {
			return named(full, err)
		}
		c.report(full)
		return create(dir, info.Name(), full)
	}
	f, err := dir.OpenFile(info.Name(), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return named(full, err)
	}
	if info.Size() > 0 {
		c.report(full)
	}
	return named(full, f.Close())
}

func create(dir *os.Root, name, full string) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return named(full, err)
	}
	return named(full, f.Close())
}

// overwrite replaces the content of a file, or of all files of a folder, on the
// disk. A file with a second name is somebody else's as well: only its name goes.
func overwrite(dir *os.Root, name, full string, info fs.FileInfo) error {
	if info.IsDir() {
		sub, err := enter(dir, name, full)
		if err != nil {
			return err
		}
		defer sub.Close() // only read
		return overwriteAll(sub, full)
	}
	if !info.Mode().IsRegular() || links(info) > 1 {
		return nil
	}
	f, err := dir.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return named(full, err)
	}
	_, err = io.CopyN(f, zeros{}, info.Size())
	// Without Sync, a file that is removed at once never reaches the disk again.
	return named(full, errors.Join(err, f.Sync(), f.Close()))
}

func overwriteAll(dir *os.Root, at string) error {
	names, err := readNames(dir)
	if err != nil {
		return named(at, err)
	}
	var errs []error
	for _, name := range names {
		full := path.Join(at, name)
		info, err := dir.Lstat(name)
		if err == nil {
			err = overwrite(dir, name, full, info)
		}
		errs = append(errs, named(full, err))
	}
	return errors.Join(errs...)
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func readNames(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// named says which path an error is about: inside nested roots, errors know only
// the last part.
func named(full string, err error) error {
	if err == nil || strings.Contains(err.Error(), "/"+full) {
		return err
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("clean up /%s: %w", full, err)
}
