package local

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Put implements builder.Instance. A file replaces what is at its place, also a
// symbolic link; a folder that exists stays as it is.
func (i *instance) Put(ctx context.Context, tree recipe.Tree, files []recipe.Files) error {
	if err := i.mounted(ctx); err != nil {
		return err
	}
	root, err := os.OpenRoot(i.mount.Root())
	if err != nil {
		return atStage(builder.StageFiles, "the image could not be opened", err)
	}
	defer root.Close()
	for _, f := range files {
		if err := putFiles(ctx, root, tree, f); err != nil {
			return err
		}
	}
	return nil
}

// putter writes the entries of one files section.
type putter struct {
	root     *os.Root
	tree     recipe.Tree
	uid, gid int
	mode     *fs.FileMode // of files; nil: as in the repository
}

func putFiles(ctx context.Context, root *os.Root, tree recipe.Tree, f recipe.Files) error {
	p, err := newPutter(root, tree, f)
	if err != nil {
		return filesError(f.Source, f.Destination, err)
	}
	for _, e := range f.Entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := p.put(e); err != nil {
			return filesError(e.Path, e.Target, err)
		}
	}
	return nil
}

// filesError is the author's to act on: the destination does not fit the image.
func filesError(source, target string, err error) error {
	return &builder.Error{
		Fault: builder.Author, Stage: builder.StageFiles, Name: source, Err: err,
		Reason: fmt.Sprintf("%s could not be put at %s: %v", source, target, err),
		Hint:   "check destination, owner, group and permissions against what is in the parent image",
	}
}

func newPutter(root *os.Root, tree recipe.Tree, f recipe.Files) (*putter, error) {
	p := &putter{root: root, tree: tree}
	var err error
	if p.uid, err = lookUp(root, "/etc/passwd", "user", f.Owner); err != nil {
		return nil, err
	}
	if p.gid, err = lookUp(root, "/etc/group", "group", f.Group); err != nil {
		return nil, err
	}
	if f.Permissions != "" {
		bits, err := strconv.ParseUint(f.Permissions, 8, 12)
		if err != nil {
			return nil, fmt.Errorf("permissions %q are no octal number up to 7777", f.Permissions)
		}
		mode := fileMode(uint32(bits))
		p.mode = &mode
	}
	return p, nil
}

// fileMode turns the bits of chmod into Go's.
func fileMode(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// lookUp finds the number of a user or group in the image's own tables.
func lookUp(root *os.Root, table, what, name string) (int, error) {
	if name == "" || name == "root" {
		return 0, nil
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	at, err := inRoot(root, table)
	if err != nil {
		return 0, err
	}
	f, err := root.Open(at)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 4<<20))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) > 2 && fields[0] == name {
			id, err := strconv.ParseUint(fields[2], 10, 31)
			return int(id), err
		}
	}
	return 0, errors.Join(fmt.Errorf("the image has no %s %q", what, name), lines.Err())
}

func (p *putter) put(e recipe.File) error {
	target, err := inRoot(p.root, e.Target)
	if err != nil {
		return err
	}
	if err := p.root.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	switch {
	case e.Mode.IsDir():
		return p.folder(target, e)
	case e.Mode&fs.ModeSymlink != 0:
		return p.link(target, e)
	case e.Mode.IsRegular():
		return p.file(target, e)
	}
	return fmt.Errorf("%s is neither a file, a folder nor a symbolic link", e.Path)
}

func (p *putter) folder(target string, e recipe.File) error {
	if info, err := p.root.Stat(target); err == nil && info.IsDir() {
		return nil
	}
	if err := p.root.Mkdir(target, 0o755); err != nil {
		return err
	}
	return errors.Join(p.root.Chown(target, p.uid, p.gid), p.root.Chmod(target, e.Mode.Perm()))
}

func (p *putter) link(target string, e recipe.File) error {
	if err := p.clear(target); err != nil {
		return err
	}
	if err := p.root.Symlink(e.Link, target); err != nil {
		return err
	}
	return p.root.Lchown(target, p.uid, p.gid)
}

func (p *putter) file(target string, e recipe.File) error {
	in, err := p.tree.Open(e.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := p.clear(target); err != nil {
		return err
	}
	out, err := p.root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(p.fill(out, in, e), out.Close())
}

// fill writes content, owner and mode, in this order: a change of owner takes
// set-user-id away.
func (p *putter) fill(out *os.File, in io.Reader, e recipe.File) error {
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, sum), in); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); e.Digest != "" && strings.TrimPrefix(e.Digest, "sha256:") != got {
		return fmt.Errorf("%s is not what the recipe was read with", e.Path)
	}
	mode := e.Mode.Perm()
	if p.mode != nil {
		mode = *p.mode
	}
	return errors.Join(out.Chown(p.uid, p.gid), out.Chmod(mode))
}

// clear removes a file or link that is in the way; a folder is not removed.
func (p *putter) clear(target string) error {
	info, err := p.root.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("/%s is a folder in the image", target)
	}
	return p.root.Remove(target)
}
