package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// fileEntry is an entry of files as it is written.
type fileEntry struct {
	Source      text `yaml:"source,required" example:"./site"`
	Destination text `yaml:"destination,required" example:"/var/www/html"`
	Owner       text `yaml:"owner"`
	Group       text `yaml:"group"`
	Permissions text `yaml:"permissions"`
}

func (r *reading) files(list yamldoc.At[[]fileEntry]) {
	if len(list.Value) > maxListed {
		r.bad(list.Key, fmt.Sprintf("a recipe has at most %d", maxListed), "%d entries of files", len(list.Value))
		return
	}
	c := collecting{reading: r}
	for _, entry := range list.Value {
		if entry.Source.Node == nil || entry.Destination.Node == nil {
			continue
		}
		files, ok := r.filesEntry(entry)
		if !ok {
			continue
		}
		c.files, c.at = &files, entry.Source.Node
		c.collect(files.Source, files.Destination)
		slices.SortFunc(files.Entries, func(a, b File) int { return strings.Compare(a.Target, b.Target) })
		for _, f := range files.Entries {
			r.noteRead("file", f.Path, f.Target, f.Mode.String(), f.Link, f.Digest)
		}
		r.recipe.Files = append(r.recipe.Files, files)
	}
}

var (
	account = regexp.MustCompile(`^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})$`)
	octal   = regexp.MustCompile(`^[0-7]{3,4}$`)
	windows = regexp.MustCompile(`^[A-Za-z]:[\\/]`)
)

func absolute(at, platform string) bool {
	if platform == "Windows" {
		return windows.MatchString(at)
	}
	return strings.HasPrefix(at, "/")
}

func (r *reading) filesEntry(entry fileEntry) (Files, bool) {
	files := Files{Owner: entry.Owner.Value, Group: entry.Group.Value, Permissions: entry.Permissions.Value}
	before := len(r.document.problems)
	destination := entry.Destination.Value
	switch {
	case !absolute(destination, r.recipe.Platform) || strings.ContainsFunc(destination, isControl):
		r.bad(entry.Destination.Node, "expected an absolute path on the instance", "the destination %q is not absolute", shorten(destination))
	case slices.Contains(strings.FieldsFunc(destination, func(c rune) bool { return c == '/' || c == '\\' }), ".."):
		r.bad(entry.Destination.Node, `expected a path without ".."`, "the destination %q has \"..\" in it", shorten(destination))
	}
	r.access(entry)
	to, problem := r.find(entry.Source.Value)
	if problem != nil {
		r.bad(entry.Source.Node, problem.expected, "files: %s", problem.message)
	}
	if len(r.document.problems) > before || problem != nil {
		return Files{}, false
	}
	files.Source = to.path
	if r.recipe.Platform == "Windows" {
		destination = strings.ReplaceAll(destination, `\`, "/")
	}
	files.Destination = path.Clean(destination)
	if !to.info.IsDir() && strings.HasSuffix(destination, "/") {
		files.Destination = path.Join(destination, path.Base(entry.Source.Value))
	}
	return files, true
}

// access checks who gets which access to files.
func (r *reading) access(entry fileEntry) {
	for key, value := range map[string]text{"owner": entry.Owner, "group": entry.Group, "permissions": entry.Permissions} {
		switch {
		case value.Node == nil:
		case r.recipe.Platform == "Windows":
			r.bad(value.Node, "what is put into a folder there gets the folder's access rights", "files have no %s on Windows", key)
		case key == "permissions" && !octal.MatchString(value.Value):
			r.bad(value.Node, "expected an octal mode such as 0644", "%q are not permissions", shorten(value.Value))
		case key != "permissions" && !account.MatchString(value.Value):
			r.bad(value.Node, "expected a name such as www-data, or a number", "%q is not an %s", shorten(value.Value), key)
		}
	}
}

// collecting lists everything below the sources of a recipe, within limits.
type collecting struct {
	*reading
	files *Files
	at    *yaml.Node // to blame
	count int
	bytes int64
	full  bool // a limit was exceeded, and said so
}

func (c *collecting) collect(source, destination string) {
	if info, err := c.tree.Lstat(source); err == nil && info.IsDir() {
		c.document.roots = append(c.document.roots, source)
	}
	if c.reuse(source, destination) {
		return
	}
	err := fs.WalkDir(c.tree, source, func(at string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = c.ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := c.tree.Lstat(at)
		if err != nil {
			return err
		}
		if c.limit(info); c.full {
			return fs.SkipAll
		}
		return c.add(at, path.Join(destination, strings.TrimPrefix(at, source)), info)
	})
	if err != nil {
		c.fault(err)
	}
}

// reuse takes what was collected from a source that has not changed since. What
// exceeds a limit together with the rest is walked through, to say so as always.
func (c *collecting) reuse(source, destination string) bool {
	entries, ok := c.before.files(c.document.path, source, destination)
	if !ok {
		return false
	}
	count, bytes := c.count+len(entries), c.bytes
	for _, f := range entries {
		bytes += f.Size + int64(len(f.Link))
	}
	if c.full || count > MaxFiles || bytes > MaxFileBytes {
		return false
	}
	c.count, c.bytes = count, bytes
	c.files.Entries = slices.Clone(entries)
	return true
}

func (c *collecting) limit(info fs.FileInfo) {
	c.count++
	c.bytes += info.Size()
	switch {
	case c.full:
	case c.count > MaxFiles:
		c.full = true
		c.bad(c.at, "", "files: more than %d files and folders", MaxFiles)
	case info.Size() > MaxFileSize:
		c.full = true
		c.bad(c.at, "large files belong behind a WebDownload step with a checksum", "files: %s has %d bytes, more than %d", info.Name(), info.Size(), int64(MaxFileSize))
	case c.bytes > MaxFileBytes:
		c.full = true
		c.bad(c.at, "", "files: more than %d bytes", int64(MaxFileBytes))
	}
}

func (c *collecting) add(at, destination string, info fs.FileInfo) error {
	f := File{Path: at, Target: destination, Mode: info.Mode() & (fs.ModeType | fs.ModePerm), Size: info.Size()}
	switch {
	case info.IsDir():
		f.Size = 0
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := c.tree.ReadLink(at)
		if err != nil {
			return err
		}
		f.Link, f.Size = link, 0
		if to := path.Join(path.Dir(at), link); path.IsAbs(link) || !within(to, c.files.Source) {
			c.bad(c.at, "expected a link to a file of the same folder", "files: the symbolic link %s leads out of %s (to %s)", at, c.files.Source, shorten(link))
		}
	case info.Mode().IsRegular():
		digest, err := c.digests.file(c.tree, at)
		if err != nil {
			return err
		}
		f.Digest = digest
	default:
		c.bad(c.at, "expected files, folders and symbolic links", "files: %s is something else", at)
	}
	c.files.Entries = append(c.files.Entries, f)
	return nil
}

// digests remembers the sha256 of contents by the tree's own hash for them, so
// that large files are read once and not at every change of their recipe.
type digests struct {
	mu    sync.Mutex
	known map[string]string
}

func newDigests() *digests { return &digests{known: map[string]string{}} }

func (d *digests) file(tree Tree, at string) (string, error) {
	name, err := tree.Hash(at)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	digest, ok := d.known[name]
	d.mu.Unlock()
	if ok {
		return digest, nil
	}
	file, err := tree.Open(at)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	d.mu.Lock()
	d.known[name] = digest
	d.mu.Unlock()
	return digest, nil
}
