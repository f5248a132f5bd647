package recipe

import (
	"bytes"
	"context"
	"maps"
	"path"
	"slices"
	"sync"
)

// Update reads a tree that differs from the Set's at the changed paths only:
// files and links that were added, removed or changed, as a diff lists them. The
// result is what Load would return, for the price of the recipes concerned; it is
// the Set itself when none is.
func (s *Set) Update(ctx context.Context, tree Tree, changed []string) (*Set, error) {
	change := newChange(changed)
	l := &loader{
		ctx: ctx, tree: tree, options: s.options, digests: s.digests,
		components: map[string]*parsedComponent{}, before: &earlier{s.documents, change},
	}
	read := map[string]*document{}
	for at := range s.concerned(change) {
		doc, err := l.file(at)
		if err != nil {
			return nil, err
		}
		if doc != nil || s.documents[at] != nil {
			read[at] = doc
		}
	}
	if len(read) == 0 {
		return s, nil
	}
	documents := maps.Clone(s.documents)
	maps.Copy(documents, read)
	maps.DeleteFunc(documents, func(_ string, doc *document) bool { return doc == nil })
	after := s.relinked(documents, read)
	if after == nil {
		after = l.set(documents, s.readers)
	}
	after.readers = s.readers.with(read, s.documents, documents)
	return after, nil
}

// change is what differs between two trees.
type change struct {
	paths []string
	is    map[string]bool // the same
	above map[string]bool // with all folders that they lie in
}

func newChange(paths []string) change {
	c := change{paths: paths, is: make(map[string]bool, len(paths)), above: map[string]bool{}}
	for _, at := range paths {
		c.is[at] = true
		for dir := at; dir != "." && !c.above[dir]; dir = path.Dir(dir) {
			c.above[dir] = true
		}
	}
	return c
}

// concerned returns the documents to read again, and files that may be new ones.
func (s *Set) concerned(c change) map[string]bool {
	paths := map[string]bool{}
	for _, at := range c.paths {
		if isYAML(at) && slices.ContainsFunc(watchedFolders(s.options), func(folder string) bool { return within(at, folder) }) {
			paths[at] = true
		}
	}
	for _, at := range s.readers.near(c) {
		if doc := s.documents[at]; doc != nil && !paths[at] && doc.touchedBy(c) {
			paths[at] = true
		}
	}
	return paths
}

// touchedBy goes through the shorter of what changed and what was looked at.
func (d *document) touchedBy(c change) bool {
	if len(c.paths) <= len(d.watched) {
		if slices.ContainsFunc(c.paths, func(at string) bool { return d.watched[at] }) {
			return true
		}
	} else {
		for at := range d.watched {
			if c.is[at] {
				return true
			}
		}
	}
	return slices.ContainsFunc(d.roots, func(root string) bool { return root == "." || c.above[root] })
}

// readers knows which documents have looked at a path, so that not every document
// has to be asked whether a change touches it. A Set shares it with those that are
// updated from it, and it only grows: a document that no longer looks at a path is
// asked in vain.
type readers struct {
	mu      sync.Mutex
	watched map[string][]string // documents by what they watch
	roots   map[string][]string // documents by the folders that they read everything of
	stored  int                 // how many are in these lists
	limit   int                 // of stored: beyond it, too many are asked in vain
}

func newReaders(documents map[string]*document) *readers {
	r := &readers{watched: make(map[string][]string, 4*len(documents)), roots: map[string][]string{}}
	for at, doc := range documents {
		r.add(at, doc, &document{})
	}
	r.limit = 2*r.stored + 1000
	return r
}

// with adds documents that were read again, or are new, to what a Set's readers
// know. documents are all that there are now.
func (r *readers) with(read, before, documents map[string]*document) *readers {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, doc := range read {
		switch old := before[at]; {
		case doc == nil:
		case old == nil:
			r.add(at, doc, &document{})
		default:
			r.add(at, doc, old)
		}
	}
	if r.stored > r.limit {
		return newReaders(documents)
	}
	return r
}

// add notes what a document looks at and its predecessor of the same path did not.
func (r *readers) add(at string, doc, old *document) {
	for looked := range doc.watched {
		if !old.watched[looked] {
			r.watched[looked] = append(r.watched[looked], at)
			r.stored++
		}
	}
	for _, root := range doc.roots {
		if !slices.Contains(old.roots, root) {
			r.roots[root] = append(r.roots[root], at)
			r.stored++
		}
	}
}

// near calls for the documents that a change may touch, some of them more than once.
func (r *readers) near(c change) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	documents := slices.Clone(r.roots["."])
	for at := range c.is {
		documents = append(documents, r.watched[at]...)
	}
	for at := range c.above {
		documents = append(documents, r.roots[at]...)
	}
	return documents
}

// earlier is what was read from a tree that differs only by a change.
type earlier struct {
	documents map[string]*document
	change    change
}

// same reports whether everything at and below a path is as it was.
func (e *earlier) same(at string) bool { return at != "." && !e.change.above[at] }

// component returns a component that the document at a path has used, if its text is
// the same still; a component of the gallery comes with the text that it has now. Only
// components without a mistake are found.
func (e *earlier) component(document, at string, text []byte) *parsedComponent {
	if e == nil {
		return nil
	}
	doc := e.documents[document]
	if doc == nil || doc.recipe == nil {
		return nil
	}
	for _, uses := range [][]Use{doc.recipe.Components, doc.recipe.Tests} {
		for _, u := range uses {
			if u.Path == at && (text == nil && e.same(at) || text != nil && bytes.Equal(u.Text, text)) {
				return &parsedComponent{text: u.Text, digest: u.Digest, document: u.Document}
			}
		}
	}
	return nil
}

// files returns what the document at a path has put at a destination from a source,
// if the source is the same still.
func (e *earlier) files(document, source, destination string) ([]File, bool) {
	if e == nil || !e.same(source) {
		return nil, false
	}
	doc := e.documents[document]
	if doc == nil || doc.recipe == nil {
		return nil, false
	}
	i := slices.IndexFunc(doc.recipe.Files, func(f Files) bool { return f.Source == source && f.Destination == destination })
	if i < 0 {
		return nil, false
	}
	return doc.recipe.Files[i].Entries, true
}
