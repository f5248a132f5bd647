package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const (
	maxLinks = 40   // symbolic links on the way to one file
	maxPath  = 1024 // of a path that an author writes, in bytes
)

// pathError is a path that an author wrote and that leads nowhere good.
type pathError struct{ message, expected string }

// target is what a path leads to, after all symbolic links.
type target struct {
	path string
	info fs.FileInfo
}

var driveLetter = regexp.MustCompile(`^[A-Za-z]:`)

// find follows a path that stands in the document, segment by segment as the
// system would, so that no combination of links and ".." leaves the tree. Every
// path that it looks at is noted: a change there can change the answer.
func (r *reading) find(ref string) (target, *pathError) {
	inside := "expected a path relative to the recipe, inside the repository"
	switch {
	case ref == "" || len(ref) > maxPath || strings.ContainsFunc(ref, isControl):
		return target{}, &pathError{fmt.Sprintf("%q is not a path", shorten(ref)), inside}
	case strings.HasPrefix(ref, "/") || driveLetter.MatchString(ref):
		return target{}, &pathError{fmt.Sprintf("the path %q is absolute", ref), inside}
	case strings.Contains(ref, `\`):
		return target{}, &pathError{fmt.Sprintf("the path %q has backslashes", ref), "expected slashes"}
	}
	w := walk{reading: r, ref: ref, todo: strings.Split(ref, "/")}
	if dir := path.Dir(r.document.path); dir != "." {
		w.done = strings.Split(dir, "/")
	}
	return w.run()
}

// walk is one path on its way through the tree.
type walk struct {
	*reading
	ref        string
	done, todo []string
	links      int
	link       string // the last symbolic link that was followed
	linkTarget string
}

func (w *walk) run() (target, *pathError) {
	for len(w.todo) > 0 {
		segment := w.todo[0]
		w.todo = w.todo[1:]
		switch segment {
		case "", ".":
			continue
		case "..":
			if len(w.done) == 0 {
				return target{}, w.outside()
			}
			w.done = w.done[:len(w.done)-1]
			continue
		}
		if problem := w.enter(segment); problem != nil {
			return target{}, problem
		}
	}
	at := path.Join(append([]string{"."}, w.done...)...)
	info, err := w.tree.Lstat(at)
	if err != nil {
		return target{}, w.missing(at, err)
	}
	return target{at, info}, nil
}

// enter goes one segment deeper, through a link if there is one.
func (w *walk) enter(segment string) *pathError {
	at := path.Join(append(slices.Clone(w.done), segment)...)
	w.watch(at)
	info, err := w.tree.Lstat(at)
	switch {
	case err != nil:
		return w.missing(at, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return w.follow(at)
	case !info.IsDir() && slices.ContainsFunc(w.todo, func(s string) bool { return s != "" && s != "." }):
		return w.missing(at, fs.ErrNotExist)
	}
	w.done = append(slices.Clone(w.done), segment)
	return nil
}

func (w *walk) follow(link string) *pathError {
	to, err := w.tree.ReadLink(link)
	if err != nil {
		w.fault(err)
		return &pathError{}
	}
	w.link, w.linkTarget = link, to
	if w.links++; w.links > maxLinks {
		return &pathError{fmt.Sprintf("the symbolic link %s (to %s) leads back to itself", link, shorten(to)), "expected a link that ends at a file"}
	}
	if strings.HasPrefix(to, "/") {
		return w.outside()
	}
	w.todo = append(strings.Split(to, "/"), w.todo...)
	return nil
}

func (w *walk) outside() *pathError {
	if w.link == "" {
		return &pathError{fmt.Sprintf("the path %q leads out of the repository", w.ref), "expected a path inside the repository"}
	}
	return &pathError{
		fmt.Sprintf("the path %q leads out of the repository, through the symbolic link %s (to %s)", w.ref, w.link, shorten(w.linkTarget)),
		"expected a link that stays inside the repository",
	}
}

func (w *walk) missing(at string, err error) *pathError {
	if !errors.Is(err, fs.ErrNotExist) {
		w.fault(err)
		return &pathError{}
	}
	w.document.roots = append(w.document.roots, at) // whatever appears below it matters
	problem := &pathError{fmt.Sprintf("%s does not exist", path.Join(at, path.Join(w.todo...))), ""}
	if len(w.todo) == 0 {
		problem.expected = w.neighbour(at)
	}
	return problem
}

// neighbour suggests a file of the same folder with a similar name.
func (r *reading) neighbour(at string) string {
	folder := path.Dir(at)
	r.document.roots = append(r.document.roots, folder)
	entries, err := r.tree.ReadDir(folder)
	if err != nil {
		r.fault(err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	if near := yamldoc.Suggest(path.Base(at), names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// watch notes that the document depends on what stands at a path, or does not.
// The folders above count too: one that turns into a link moves all below it.
func (r *reading) watch(at string) {
	for ; at != "." && !r.document.watched[at]; at = path.Dir(at) {
		r.document.watched[at] = true
	}
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// shorten makes a foreign text fit for a message.
func shorten(text string) string {
	const longest = 100
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}
