package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"weak"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// set checks what documents say about each other and sorts the valid recipes
// from the others.
func (l *loader) set(documents map[string]*document, r *readers) *Set {
	k := newLinker(l.options, documents)
	k.duplicates()
	k.parents()
	s := &Set{
		Recipes: make(map[string]*Recipe, len(documents)), Invalid: map[string]Invalid{},
		options: l.options, documents: documents, digests: l.digests, readers: r,
		plain: len(k.found) == 0, children: map[string][]string{},
	}
	for _, doc := range documents {
		s.sort(doc, k.found[doc])
		if doc.name != "" && doc.parent.Kind == ParentRecipe {
			s.children[doc.parent.Name] = append(s.children[doc.parent.Name], doc.name)
		}
	}
	return s
}

// sort puts a document where it belongs, given what others say about it.
func (s *Set) sort(doc *document, linked yamldoc.Problems) {
	if doc.recipe == nil || len(linked) > 0 {
		s.Invalid[doc.path] = newInvalid(doc, linked)
	} else {
		s.Recipes[doc.name] = doc.recipe
	}
}

// relinked is set for documents of which some were read again, where that changed
// nothing of what documents say about each other: the same names stand on the same
// parents, and there was nothing wrong with that. Otherwise it is nil.
func (s *Set) relinked(documents, read map[string]*document) *Set {
	if !s.plain {
		return nil
	}
	for at, doc := range read {
		old := s.documents[at]
		if old == nil || doc == nil || old.name != doc.name || old.parent.Kind != doc.parent.Kind || old.parent.Name != doc.parent.Name {
			return nil
		}
	}
	after := *s
	after.documents = documents
	after.Recipes, after.Invalid = maps.Clone(s.Recipes), maps.Clone(s.Invalid)
	after.base, after.fresh = weak.Make(s), nil
	for at, doc := range read {
		delete(after.Recipes, doc.name)
		delete(after.Invalid, at)
		after.sort(doc, nil)
		after.fresh = append(after.fresh, doc.name)
	}
	return &after
}

func newInvalid(doc *document, linked yamldoc.Problems) Invalid {
	problems := slices.Concat(doc.problems, linked)
	problems.Sort()
	return Invalid{
		Path: doc.path, Name: doc.name, Problems: problems,
		fingerprint: hash("invalid", doc.digest, problems.Error()),
	}
}

// linker finds problems that need more than one document.
type linker struct {
	options   Options
	documents map[string]*document
	byName    map[string]*document   // any one of that name
	shared    map[string][]*document // all of a name that several have
	found     map[*document]yamldoc.Problems
}

func newLinker(options Options, documents map[string]*document) *linker {
	k := &linker{
		options: options, documents: documents,
		byName: make(map[string]*document, len(documents)),
		shared: map[string][]*document{},
		found:  map[*document]yamldoc.Problems{},
	}
	for _, doc := range documents {
		switch first := k.byName[doc.name]; {
		case doc.name == "":
		case first == nil:
			k.byName[doc.name] = doc
		case k.shared[doc.name] == nil:
			k.shared[doc.name] = []*document{first, doc}
		default:
			k.shared[doc.name] = append(k.shared[doc.name], doc)
		}
	}
	return k
}

func (k *linker) add(doc *document, at yamldoc.Problem, message, expected string) {
	at.Message, at.Expected = message, expected
	k.found[doc] = append(k.found[doc], at)
}

func (k *linker) duplicates() {
	for name, same := range k.shared {
		slices.SortFunc(same, func(a, b *document) int { return strings.Compare(a.path, b.path) })
		for _, doc := range same {
			other := same[0]
			if doc == other {
				other = same[1]
			}
			k.add(doc, doc.nameAt, fmt.Sprintf("the recipe %s is defined twice", name), fmt.Sprintf("it is also in %s:%d", other.path, other.nameAt.Line))
		}
	}
}

func (k *linker) parents() {
	done := make(map[*document]bool, len(k.documents))
	for _, doc := range k.documents {
		if doc.parent.Kind != ParentRecipe {
			continue
		}
		if k.byName[doc.parent.Name] == nil && !slices.Contains(k.options.Recipes, doc.parent.Name) {
			k.dangling(doc)
		}
		k.follow(doc, done)
	}
}

func (k *linker) dangling(doc *document) {
	names := append(slices.Sorted(maps.Keys(k.byName)), k.options.Recipes...)
	expected := "expected the name of a recipe"
	if near := yamldoc.Suggest(doc.parent.Name, names); near != "" {
		expected = fmt.Sprintf("did you mean %q?", near+"/"+doc.parent.Version)
	}
	k.add(doc, doc.parentAt, fmt.Sprintf("there is no recipe %q to be the parent image", doc.parent.Name), expected)
}

// follow goes from recipe to parent until the chain ends, or meets a recipe that
// was looked at before, or itself: then that part of it is a cycle.
func (k *linker) follow(doc *document, done map[*document]bool) {
	var chain []*document
	for at := doc; at != nil && !done[at]; at = k.above(at) {
		done[at] = true
		chain = append(chain, at)
		if next := k.above(at); next != nil && done[next] {
			if start := slices.Index(chain, next); start >= 0 {
				k.cycle(chain[start:])
			}
		}
	}
}

// cycle tells every recipe of a cycle, each as seen from itself.
func (k *linker) cycle(members []*document) {
	const shown = 20
	for i, doc := range members {
		var names []string
		for j := range min(len(members), shown) {
			names = append(names, members[(i+j)%len(members)].name)
		}
		if len(members) > shown {
			names = append(names, "…")
		}
		path := strings.Join(append(names, doc.name), " → ")
		k.add(doc, doc.parentAt, "the recipe stands on itself: "+path, "expected a parent image that ends the chain")
	}
}

// above returns the document of a recipe's parent, or nothing.
func (k *linker) above(doc *document) *document {
	if doc.parent.Kind != ParentRecipe || k.shared[doc.parent.Name] != nil {
		return nil
	}
	return k.byName[doc.parent.Name]
}
