package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links a path may go through.
const maxLinks = 40

// inRoot turns an absolute path of an image into one that os.Root takes: it follows
// symbolic links in all but the last part as a system booted from the image would, absolute
// ones from the image's own root. Parts that don't exist yet stay as they are.
//
// The path says where to look, and no more: os.Root makes sure that nothing
// outside is touched, whatever the image's links say.
func inRoot(root *os.Root, name string) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	resolved := "."
	for links := 0; len(rest) > 1; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			resolved = path.Dir(resolved)
			continue
		}
		at := path.Join(resolved, part)
		target, err := root.Readlink(at)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || !isLink(root, at) {
				resolved = at
				continue
			}
			return "", err
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("/%s: too many symbolic links", strings.Trim(name, "/"))
		}
		if path.IsAbs(target) {
			resolved = "."
		}
		rest = append(strings.FieldsFunc(target, func(r rune) bool { return r == '/' }), rest...)
	}
	return path.Join(resolved, rest[0]), nil
}

func isLink(root *os.Root, name string) bool {
	info, err := root.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}
