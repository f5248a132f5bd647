package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// partSuffix marks a file that is not complete yet.
const partSuffix = ".ingot-part"

// write puts a chunk in its place. Writing one twice does no harm. The file
// appears under its name with its last chunk.
func (c *chunk) write() (err error) {
	if c == nil || !filepath.IsAbs(c.Path) {
		return errors.New("put: expected an absolute path")
	}
	if c.Offset < 0 {
		return fmt.Errorf("put %s: negative offset", c.Path)
	}
	if c.Offset == 0 {
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
			return err
		}
	}
	part := c.Path + partSuffix
	if _, err := os.Stat(part); c.Last && c.Offset > 0 && errors.Is(err, fs.ErrNotExist) {
		return c.placedBefore()
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(c.Data, c.Offset); err == nil {
		// What an earlier try left behind this chunk does not belong to the file.
		err = f.Truncate(c.Offset + int64(len(c.Data)))
	}
	if err == nil && c.Last {
		err = c.complete(f)
	}
	if err := errors.Join(err, f.Close()); err != nil || !c.Last {
		return err
	}
	return os.Rename(part, c.Path)
}

// placedBefore accepts a last chunk whose answer was lost.
func (c *chunk) placedBefore() error {
	info, err := os.Stat(c.Path)
	if err == nil && info.Size() == c.Offset+int64(len(c.Data)) {
		return nil
	}
	return fmt.Errorf("put %s: its beginning is not there", c.Path)
}

func (c *chunk) complete(f *os.File) error {
	if c.Owner != "" || c.Group != "" {
		uid, gid, err := c.ids()
		if err != nil {
			return err
		}
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	return f.Chmod(fs.FileMode(c.Mode) & fs.ModePerm)
}

// ids resolves owner and group, names or numbers; -1 leaves what is.
func (c *chunk) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if c.Owner != "" {
		if uid, err = strconv.Atoi(c.Owner); err != nil {
			u, err := user.Lookup(c.Owner)
			if err != nil {
				return 0, 0, err
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return 0, 0, err
			}
		}
	}
	if c.Group != "" {
		if gid, err = strconv.Atoi(c.Group); err != nil {
			g, err := user.LookupGroup(c.Group)
			if err != nil {
				return 0, 0, err
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return 0, 0, err
			}
		}
	}
	return uid, gid, nil
}
