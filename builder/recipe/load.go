package recipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"weak"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Limits of what a recipe may use. They are wider than the quotas of Image
// Builder, and there to keep a mistake or a hostile document cheap.
const (
	MaxComponents = 100       // components, and as many tests
	MaxFiles      = 10_000    // files, folders and links that a recipe puts on the instance
	MaxFileSize   = 128 << 20 // bytes of one of them
	MaxFileBytes  = 2 << 30   // of all these files together
	maxListed     = 100       // exports, distributions, account ids
	headBytes     = 64 << 10  // of an oversized file, to see whether it is meant for us
)

// Gallery holds components that every recipe can use by name.
type Gallery interface {
	// Component returns the newest component of a reference, name or name@1.x.x. Its
	// error is shown to the author of the reference as it is.
	Component(ref string) (name, version string, text []byte, err error)
	// Names lists what there is, for suggestions.
	Names() []string
}

// Options says what recipes may refer to beside their own tree.
type Options struct {
	Paths      []string           // folders in which documents are looked for; default: everywhere
	Gallery    Gallery            // nil: none
	Aliases    map[string][]Alias // parent images by name, of each driver: a name is not the same everywhere
	Recipes    []string           // names of recipes in other repositories that may be parents
	HostFiles  bool               // disk files anywhere on the host may be parents: for builds by hand
	ParentDirs []string           // absolute folders of the host whose disk files may be parents
	Regions    []string           // in which images can be published; empty: not known, any

	// Infrastructures are those of the operator, by name. Where Regions are not known,
	// neither are they.
	Infrastructures []string
}

// Alias is a parent image that a driver knows by a name of its own.
type Alias struct {
	Name     string
	Platform string // of its system; empty: not checked
	Notice   string // a warning to those who use it, such as that its vendor has withdrawn it
}

// Set is all recipes of one tree. Nobody writes to it.
type Set struct {
	Recipes map[string]*Recipe // the valid ones, by name
	Invalid map[string]Invalid // the others, by the path of their document

	options   Options
	documents map[string]*document // by path
	digests   *digests
	readers   *readers
	plain     bool                // all of the tree, and no problem that needs more than one document
	children  map[string][]string // names of the recipes that stand on a recipe
	base      weak.Pointer[Set]   // a Set from which only the recipes in fresh may differ
	fresh     []string
}

// Invalid is a document from which no recipe can be built.
type Invalid struct {
	Path     string
	Name     string // of the recipe; empty when it could not be read
	Problems yamldoc.Problems

	fingerprint string // of all that was read, and of the problems
}

// Problems returns what is wrong in all documents, sorted by place.
func (s *Set) Problems() yamldoc.Problems {
	var all yamldoc.Problems
	for _, at := range slices.Sorted(maps.Keys(s.Invalid)) {
		all = append(all, s.Invalid[at].Problems...)
	}
	return all
}

// Within returns the part of the Set whose documents lie at or below a path. What
// they say about recipes elsewhere stays checked against the whole tree.
func (s *Set) Within(at string) *Set {
	at = path.Clean(at)
	part := *s
	part.Recipes, part.Invalid = map[string]*Recipe{}, map[string]Invalid{}
	part.plain, part.base, part.fresh = false, weak.Pointer[Set]{}, nil
	for name, r := range s.Recipes {
		if within(r.Path, at) {
			part.Recipes[name] = r
		}
	}
	for written, invalid := range s.Invalid {
		if within(written, at) {
			part.Invalid[written] = invalid
		}
	}
	return &part
}

// document is one recipe document with all that was found out about it alone;
// what depends on other recipes is found by link.
type document struct {
	path     string
	name     string  // empty when it could not be read
	recipe   *Recipe // nil when problems is not empty
	problems yamldoc.Problems
	watched  map[string]bool // paths that were looked at, with the folders above them
	roots    []string        // folders of which everything was read
	digest   string          // of the text and of everything that was read for it

	nameAt, parentAt yamldoc.Problem // places, to be filled with a message
	parent           Parent          // also of a document with problems
}

// Load reads all recipes of a tree. A mistake in a document is in the Set; an
// error is a tree that cannot be read, or the end of ctx.
func Load(ctx context.Context, tree Tree, options Options) (*Set, error) {
	l := &loader{ctx: ctx, tree: tree, options: options, digests: newDigests(), components: map[string]*parsedComponent{}}
	documents := map[string]*document{}
	for _, folder := range watchedFolders(options) {
		if err := l.folder(folder, documents); err != nil {
			return nil, err
		}
	}
	return l.set(documents, newReaders(documents)), nil
}

func watchedFolders(options Options) []string {
	if len(options.Paths) == 0 {
		return []string{"."}
	}
	folders := make([]string, len(options.Paths))
	for i, folder := range options.Paths {
		folders[i] = path.Clean(folder)
	}
	return folders
}

func within(at, folder string) bool {
	return folder == "." || at == folder || strings.HasPrefix(at, folder+"/")
}

func isYAML(at string) bool {
	return strings.HasSuffix(at, ".yaml") || strings.HasSuffix(at, ".yml")
}

// loader reads documents of one tree.
type loader struct {
	ctx        context.Context
	tree       Tree
	options    Options
	digests    *digests
	components map[string]*parsedComponent // by path
	before     *earlier                    // nil: nothing is known
	err        error                       // the first time that the tree could not be read
}

// fault notes an error that is not the author's.
func (l *loader) fault(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) folder(folder string, into map[string]*document) error {
	return fs.WalkDir(l.tree, folder, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case at == folder && errors.Is(err, fs.ErrNotExist):
			return nil // a watched folder that does not exist yet
		case err != nil:
			return err
		case entry.IsDir() || !isYAML(at) || into[at] != nil:
			return nil
		}
		doc, err := l.file(at)
		if doc != nil {
			into[at] = doc
		}
		return err
	})
}

// file reads a document, or nothing where there is none: no file, a symbolic
// link, or YAML that is not meant for us.
func (l *loader) file(at string) (*document, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	info, err := l.tree.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil
	}
	doc, err := l.open(at, info.Size())
	return doc, errors.Join(err, l.err)
}

func (l *loader) open(at string, size int64) (*document, error) {
	if size > yamldoc.DefaultMaxBytes {
		var head []byte
		if size <= MaxFileSize { // what is larger is known by its name alone
			var err error
			if head, err = l.head(at); err != nil {
				return nil, err
			}
		}
		if !claims(at, head) {
			return nil, nil
		}
		return unreadable(at, head, yamldoc.Problems{yamldoc.TooLarge(at, size, yamldoc.DefaultMaxBytes)}), nil
	}
	text, err := l.tree.ReadFile(at)
	if err != nil || !isRecipeFile(at) && !mentions(text) {
		return nil, err
	}
	d, problems := yamldoc.Parse(at, text)
	switch {
	case d == nil && claims(at, text):
		return unreadable(at, text, problems), nil
	case d == nil || !meantForUs(d.Root):
		return nil, nil
	}
	return l.read(at, text, d, problems), nil
}

func (l *loader) head(at string) ([]byte, error) {
	file, err := l.tree.Open(at)
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(file, headBytes))
	return head, errors.Join(err, file.Close())
}

func unreadable(at string, text []byte, problems yamldoc.Problems) *document {
	return &document{path: at, problems: problems, watched: map[string]bool{at: true}, digest: hash("text", string(text))}
}

// mentions is a cheap look at a text, so that thousands of YAML files of other
// programs are not parsed. Zero bytes are left out: the text may be UTF-16.
func mentions(text []byte) bool {
	text = bytes.ReplaceAll(text, []byte{0}, nil)
	return bytes.Contains(text, []byte("ingot/")) || bytes.Contains(text, []byte(kindImageRecipe))
}

var apiVersionLine = regexp.MustCompile(`(?m)^[ \t{]*["']?apiVersion["']?\s*:\s*["']?ingot/`)

// claims reports whether a file that cannot be parsed was meant for us.
func claims(at string, text []byte) bool {
	return isRecipeFile(at) || apiVersionLine.Match(bytes.ReplaceAll(text, []byte{0}, nil))
}

func isRecipeFile(at string) bool {
	name, _, _ := strings.Cut(path.Base(at), ".y")
	return name == "recipe" || strings.HasSuffix(name, ".recipe")
}

// meantForUs looks at apiVersion, and at kind where an author forgot the former.
func meantForUs(root *yaml.Node) bool {
	var api, kind string
	if root.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(root.Content); i += 2 {
			switch root.Content[i].Value {
			case "apiVersion":
				api = root.Content[i+1].Value
			case "kind":
				kind = root.Content[i+1].Value
			}
		}
	}
	return strings.HasPrefix(api, "ingot/") || api == "" && kind == kindImageRecipe
}
