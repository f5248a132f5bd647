package relay

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// put unpacks an archive onto the machine. A file replaces what is at its place,
// also a symbolic link; a folder that exists stays as it is.
func (a *Agent) put(ctx context.Context, source Source, dir string) (err error) {
	file, err := os.OpenFile(filepath.Join(dir, "archive"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	empty := func() (io.Writer, error) {
		_, err := file.Seek(0, io.SeekStart)
		return file, errors.Join(err, file.Truncate(0))
	}
	if err := a.Client.fetch(ctx, source, empty); err != nil {
		return fmt.Errorf("fetch the files: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	archive := tar.NewReader(file)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := a.place(h, archive); err != nil {
			return &mistake{fmt.Errorf("%s: %w", h.Name, err)}
		}
	}
}

// place puts one entry in its place.
func (a *Agent) place(h *tar.Header, content io.Reader) error {
	path := target(runtime.GOOS, a.root(), h.Name)
	uid, gid, err := owners(h.Uname, h.Gname)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return nil
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := clear(path); err != nil {
			return err
		}
		return errors.Join(os.Symlink(h.Linkname, path), lchown(path, uid, gid))
	case tar.TypeReg:
		if err := clear(path); err != nil {
			return err
		}
		if err := write(path, content); err != nil {
			return err
		}
	default:
		return fmt.Errorf("entries of type %q are not expected", h.Typeflag)
	}
	// In this order: a change of owner takes special bits away.
	return errors.Join(lchown(path, uid, gid), os.Chmod(path, h.FileInfo().Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)))
}

// volume is what absolute names of Windows begin with.
var volume = regexp.MustCompile(`^[A-Za-z]:`)

// target is where an entry belongs on a system. Windows has no root above its
// volumes: a name that begins with one is whole.
func target(system, root, name string) string {
	if at := volume.FindString(name); system == "windows" && at != "" {
		below := strings.TrimLeft(name[len(at):], `/\`)
		return at + `\` + strings.ReplaceAll(below, "/", `\`)
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

func (a *Agent) root() string {
	if a.Root == "" {
		return string(filepath.Separator)
	}
	return a.Root
}

// clear removes what a file is to replace, but no folder with all that is in it.
func clear(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func write(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// owners resolves names, or numbers; empty is root.
func owners(owner, group string) (uid, gid int, err error) {
	uid, err = number(owner, func() (string, error) {
		u, err := user.Lookup(owner)
		if err != nil {
			return "", fmt.Errorf("there is no user %s", owner)
		}
		return u.Uid, nil
	})
	if err != nil {
		return 0, 0, err
	}
	gid, err = number(group, func() (string, error) {
		g, err := user.LookupGroup(group)
		if err != nil {
			return "", fmt.Errorf("there is no group %s", group)
		}
		return g.Gid, nil
	})
	return uid, gid, err
}

func number(name string, look func() (string, error)) (int, error) {
	if name == "" || name == "root" {
		return 0, nil
	}
	if n, err := strconv.Atoi(name); err == nil && !strings.HasPrefix(name, "-") {
		return n, nil
	}
	found, err := look()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(found)
}
