package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder"
)

// Limits of what CopyOut takes out of an instance, which may be hostile.
const (
	maxCopied     = 1000
	maxCopiedSize = 1 << 30 // bytes of all files together
)

// CopyOut copies the regular files in and below a folder of the instance into a folder
// of the host, where none of them may exist. A booted instance is powered off for it.
// Nothing outside of that folder is read, whatever the instance's links say.
func (i *instance) CopyOut(ctx context.Context, from, to string) error {
	if err := i.mounted(ctx); err != nil {
		return err
	}
	return atStage(builder.StageBuild, from+" could not be copied out of the instance", i.copyOut(ctx, from, to))
}

func (i *instance) copyOut(ctx context.Context, from, to string) (err error) {
	root, err := os.OpenRoot(i.mount.Root())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	name, err := inRoot(root, from)
	if err != nil {
		return err
	}
	folder, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	out := copying{from: folder, to: to, left: maxCopiedSize}
	return fs.WalkDir(folder.FS(), ".", func(at string, entry fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil || !entry.Type().IsRegular() {
			return errors.Join(err, context.Cause(ctx))
		}
		return out.file(at)
	})
}

// copying is one CopyOut on its way.
type copying struct {
	from  *os.Root
	to    string
	files int
	left  int64 // bytes
}

func (c *copying) file(at string) (err error) {
	if c.files++; c.files > maxCopied {
		return fmt.Errorf("there are more than %d files", maxCopied)
	}
	in, err := c.from.Open(at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	target := filepath.Join(c.to, filepath.FromSlash(at))
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n, err := io.Copy(out, io.LimitReader(in, c.left+1))
	if c.left -= n; c.left < 0 {
		return fmt.Errorf("the files have more than %d bytes together", int64(maxCopiedSize))
	}
	return err
}
