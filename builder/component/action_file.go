package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// within makes a relative path one below dir. Windows has two more kinds, which
// are relative to a drive: \name begins at the top of dir's, and C:name at
// wherever that drive is now.
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) || filepath.VolumeName(path) != "" || dir == "" {
		return path
	}
	if os.IsPathSeparator(path[0]) {
		return filepath.VolumeName(dir) + path
	}
	joined := filepath.Join(dir, path)
	if isFolder(path) {
		joined += string(filepath.Separator)
	}
	return joined
}

// path is an input that names a place; relative ones begin at the working folder.
func (c *call) path(name string) string { return within(c.job.WorkingDir, c.text(name)) }

// isFolder reports whether a path is written as a folder's.
func isFolder(path string) bool {
	return path != "" && os.IsPathSeparator(path[len(path)-1])
}

// matches are the paths that a pattern stands for. Only * means anything, and
// only in the last element. Without it, the path itself is the one match.
func matches(pattern string) (paths []string, wild bool, err error) {
	trimmed := pattern
	for isFolder(trimmed) {
		trimmed = trimmed[:len(trimmed)-1]
	}
	dir, name := filepath.Split(trimmed)
	if strings.Contains(dir, "*") {
		return nil, false, fmt.Errorf("%s: a * can stand only in the last element of a path", pattern)
	}
	if !strings.Contains(name, "*") {
		return []string{pattern}, false, nil
	}
	entries, err := os.ReadDir(orHere(dir))
	if err != nil {
		return nil, true, err
	}
	for _, e := range entries {
		if fitsName(name, e.Name()) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, true, nil
}

func orHere(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// fitsName is wildcard for names of files, which Windows knows in any case of
// letters.
func fitsName(pattern, name string) bool {
	if onWindows {
		pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	}
	return wildcard(pattern, name)
}

// wildcard reports whether a name fits a pattern in which * stands for any text.
func wildcard(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// createFile writes a file; its mode is subject to the umask, which the
// permissions of the Set actions are not.
func createFile(_ context.Context, c *call) (map[string]string, error) {
	path := c.path("path")
	mode, err := c.mode()
	if err != nil {
		return nil, err
	}
	content, err := encode(c.text("content"), c.text("encoding"))
	if err != nil {
		return nil, err
	}
	if err := c.replaceable(path); err != nil {
		return nil, err
	}
	if _, _, err := c.owner(); err != nil {
		return nil, err // before anything is made
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	if err := writeFile(path, content, mode, c.given("permissions")); err != nil {
		return nil, err
	}
	return nil, c.own(path, mode)
}

// own gives what was made to the owner and group of the inputs, then sets those
// bits of its mode that making it does not set, or that a change of owner takes away.
func (c *call) own(path string, mode fs.FileMode) error {
	if err := c.chown(path); err != nil {
		return err
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) == 0 {
		return nil
	}
	return os.Chmod(path, mode&^umask())
}

// replaceable fails where overwrite is false and something is there.
func (c *call) replaceable(path string) error {
	if c.bool("overwrite") {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists, and overwrite is false", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFile writes through a link, and keeps the mode of a file that exists
// unless one was asked for.
func writeFile(path string, content []byte, mode fs.FileMode, chmod bool) (err error) {
	_, statErr := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if chmod && statErr == nil {
		return f.Chmod(mode &^ umask())
	}
	return nil
}

// mode reads permissions: octal digits, whatever YAML takes them for. The
// special bits have places of their own in an fs.FileMode.
func (c *call) mode() (fs.FileMode, error) {
	bits, err := strconv.ParseUint(c.text("permissions"), 8, 12)
	if err != nil {
		return 0, fmt.Errorf("permissions %q: expected three or four octal digits", c.text("permissions"))
	}
	mode := fs.FileMode(bits & 0o777)
	for bit, special := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= special
		}
	}
	return mode, nil
}

// chown gives path to the owner and group of the inputs, each if it was given.
func (c *call) chown(path string) error {
	if c.text("owner") == "" && c.text("group") == "" {
		return nil
	}
	uid, gid, err := c.owner()
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// owner resolves names or numbers; -1 leaves what is. Without a group it is the
// owner's own.
func (c *call) owner() (uid, gid int, err error) {
	uid, gid = -1, -1
	if name := c.text("owner"); name != "" {
		u, err := findUser(name)
		if err != nil {
			return 0, 0, err
		}
		uid, gid = u.uid, u.gid
	}
	if name := c.text("group"); name != "" {
		if gid, err = findGroup(name); err != nil {
			return 0, 0, err
		}
	}
	return uid, gid, nil
}

type account struct{ uid, gid int }

func findUser(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if id, numeric := strconv.Atoi(name); numeric == nil {
			if u, err = user.LookupId(name); err != nil {
				return account{uid: id, gid: -1}, nil
			}
		} else {
			return account{}, fmt.Errorf("owner %s: %w", name, err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("owner %s has the id %s: %w", name, u.Uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	return account{uid, gid}, err
}

func findGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if id, numeric := strconv.Atoi(name); numeric == nil {
		return id, nil
	}
	return 0, fmt.Errorf("group %s: %w", name, err)
}

// deleteFile deletes one file, or all that a pattern matches. One that is not
// there is an error; a pattern that matches nothing is none (inferred). A folder is left
// alone: a document that names one means something else.
func deleteFile(_ context.Context, c *call) (map[string]string, error) {
	paths, wild, err := matches(c.path("path"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			if wild {
				continue
			}
			return nil, fmt.Errorf("%s is a folder; use DeleteFolder", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// copyFile copies one file, or all that a pattern matches into a folder.
func copyFile(ctx context.Context, c *call) (map[string]string, error) {
	return nil, c.eachTarget(false, func(source, target string) error {
		if err := copyContent(ctx, source, target); err != nil {
			return err
		}
		return copied(source, target)
	})
}

// eachTarget pairs every source with the path that it goes to, and sees to the
// rules that copying and moving have in common.
func (c *call) eachTarget(folders bool, do func(source, target string) error) error {
	destination := c.path("destination")
	sources, wild, err := matches(c.path("source"))
	if err != nil {
		return err
	}
	kept := sources[:0]
	for _, source := range sources {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if info.IsDir() == folders {
			kept = append(kept, source)
		} else if !wild {
			return fmt.Errorf("%s is %s", source, map[bool]string{true: "a folder, not a file", false: "a file, not a folder"}[info.IsDir()])
		}
	}
	switch {
	case len(kept) == 0: // as for a source that is not there (inferred)
		return fmt.Errorf("%s matches nothing", c.path("source"))
	case len(kept) > 1 && !isFolder(destination):
		return fmt.Errorf("%s matches %d, so destination has to end in a separator", c.path("source"), len(kept))
	}
	for _, source := range kept {
		target := destination
		if isFolder(destination) {
			target = filepath.Join(destination, filepath.Base(source))
		}
		if err := c.replaceable(target); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
			return err
		}
		if err := do(source, target); err != nil {
			return err
		}
	}
	return nil
}

// copyContent copies bytes, and makes the file readable for no more than the source is.
func copyContent(ctx context.Context, source, target string) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(target); err == nil && os.SameFile(info, there) {
		return fmt.Errorf("%s and %s are the same file", source, target)
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, &interruptible{ctx, in}); err != nil {
		return err
	}
	return out.Chmod(info.Mode().Perm())
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
