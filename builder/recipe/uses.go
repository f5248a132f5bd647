package recipe

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// use is an entry of components or tests as it is written.
type use struct {
	Component  text                        `yaml:"component,required" example:"./nginx.yaml"`
	Parameters yamldoc.At[map[string]text] `yaml:"parameters"`
}

// parsedComponent is a component document, shared by all recipes that use it.
type parsedComponent struct {
	text     []byte
	digest   string
	document *component.Document
	problems yamldoc.Problems
}

func (r *reading) uses(list yamldoc.At[[]use], key string) []Use {
	if len(list.Value) > MaxComponents {
		r.bad(list.Key, fmt.Sprintf("a recipe has at most %d", MaxComponents), "%d %s", len(list.Value), key)
		return nil
	}
	var uses []Use
	for _, entry := range list.Value {
		if entry.Component.Node == nil {
			continue // decoding has said so
		}
		u, parsed, ok := r.component(entry.Component)
		if !ok {
			continue
		}
		u.Parameters = map[string]string{}
		for name, value := range entry.Parameters.Value {
			u.Parameters[name] = value.Value
		}
		r.check(entry, u, parsed, key)
		uses = append(uses, u)
	}
	return uses
}

var galleryRef = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_-]*)(?:@(.*))?$`)

// component reads what a reference stands for.
func (r *reading) component(ref text) (Use, *parsedComponent, bool) {
	switch {
	case strings.HasPrefix(ref.Value, "arn:"):
		r.bad(ref.Node, "expected a path such as ./nginx.yaml, or the name of a gallery component", "a component cannot be an ARN")
		return Use{}, nil, false
	case galleryRef.MatchString(ref.Value) && !isYAML(ref.Value):
		return r.galleryComponent(ref)
	default:
		return r.fileComponent(ref)
	}
}

func (r *reading) galleryComponent(ref text) (Use, *parsedComponent, bool) {
	match := galleryRef.FindStringSubmatch(ref.Value)
	if match[2] != "" || strings.HasSuffix(ref.Value, "@") {
		if _, err := ParsePattern(match[2]); err != nil {
			r.bad(ref.Node, "", "component %s: %v", match[1], err)
			return Use{}, nil, false
		}
	}
	var names []string
	if r.options.Gallery != nil {
		names = r.options.Gallery.Names()
	}
	if !slices.Contains(names, match[1]) {
		r.bad(ref.Node, r.insteadOf(match[1], names), "the gallery has no component %q", shorten(match[1]))
		return Use{}, nil, false
	}
	name, version, text, err := r.options.Gallery.Component(ref.Value)
	if err != nil {
		r.bad(ref.Node, "", "%v", err)
		return Use{}, nil, false
	}
	at := "gallery:" + name + "@" + version
	parsed := r.parseComponent(at, text)
	return Use{Ref: ref.Value, Name: name, Path: at, Text: parsed.text, Digest: parsed.digest, Document: parsed.document}, parsed, true
}

// insteadOf suggests a gallery component, or the path that was probably meant.
func (r *reading) insteadOf(name string, names []string) string {
	if near := yamldoc.Suggest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for _, extension := range []string{".yaml", ".yml"} {
		beside := path.Join(path.Dir(r.document.path), name+extension)
		r.watch(beside)
		if _, err := r.tree.Lstat(beside); err == nil {
			return fmt.Sprintf("did you mean \"./%s%s\"?", name, extension)
		}
	}
	return "a component of this repository is written as a path, such as ./" + shorten(name) + ".yaml"
}

func (r *reading) fileComponent(ref text) (Use, *parsedComponent, bool) {
	to, problem := r.find(ref.Value)
	switch {
	case problem != nil:
		r.bad(ref.Node, problem.expected, "component: %s", problem.message)
		return Use{}, nil, false
	case !to.info.Mode().IsRegular():
		r.bad(ref.Node, "expected a component document", "component: %s is a folder", to.path)
		return Use{}, nil, false
	}
	parsed := r.components[to.path]
	if parsed == nil {
		parsed = r.readComponent(to)
	}
	name := strings.TrimSuffix(path.Base(to.path), path.Ext(to.path))
	return Use{Ref: ref.Value, Name: name, Path: to.path, Text: parsed.text, Digest: parsed.digest, Document: parsed.document}, parsed, true
}

func (r *reading) readComponent(to target) *parsedComponent {
	parsed := r.before.component(r.document.path, to.path, nil)
	if parsed != nil {
		r.components[to.path] = parsed
		return parsed
	}
	if size := to.info.Size(); size > component.MaxDocumentSize {
		parsed = &parsedComponent{problems: yamldoc.Problems{yamldoc.TooLarge(to.path, size, component.MaxDocumentSize)}}
	} else {
		text, err := r.tree.ReadFile(to.path)
		if err != nil {
			r.fault(err)
			return &parsedComponent{}
		}
		parsed = r.parseComponent(to.path, text)
	}
	r.components[to.path] = parsed
	return parsed
}

func (r *reading) parseComponent(at string, text []byte) *parsedComponent {
	if parsed := r.components[at]; parsed != nil {
		return parsed
	}
	parsed := r.before.component(r.document.path, at, text)
	if parsed == nil {
		document, problems := component.Parse(at, text)
		parsed = &parsedComponent{text: text, digest: sha256Hex(text), document: document, problems: problems}
	}
	r.components[at] = parsed
	return parsed
}

// check holds a component against what the recipe wants from it.
func (r *reading) check(entry use, u Use, parsed *parsedComponent, key string) {
	r.noteRead("component", parsed.digest, u.Path)
	problems := slices.Clone(parsed.problems)
	if parsed.document != nil {
		given := r.parameters(entry, u)
		problems = append(problems, parsed.document.Check(r.recipe.Platform, given)...)
		if key == "tests" && len(parsed.problems) == 0 && !parsed.document.HasPhase(component.PhaseTest) {
			r.bad(entry.Component.Node, "expected a component with a phase named test", "test %s has no test phase", u.Name)
		}
	}
	for _, p := range problems {
		p.Message += " (used by " + r.owner() + ")"
		if !slices.Contains(r.document.problems, p) { // a component may be used twice
			r.document.problems = append(r.document.problems, p)
		}
	}
}

// parameters checks the values that a recipe gives, where it gives them. What it
// returns satisfies the document, so that no mistake is reported a second time.
func (r *reading) parameters(entry use, u Use) map[string]string {
	accepted := map[string]string{}
	known := make([]string, len(u.Document.Parameters))
	for i, p := range u.Document.Parameters {
		known[i] = p.Name
		value, given := entry.Parameters.Value[p.Name]
		switch {
		case given:
			accepted[p.Name] = value.Value
			if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, value.Value) {
				r.bad(value.Node, choice(value.Value, p.AllowedValues), "component %s does not allow %q for parameter %s", u.Name, shorten(value.Value), p.Name)
				accepted[p.Name] = p.AllowedValues[0]
			}
			if utf8.RuneCountInString(value.Value) > component.MaxParameterLength {
				r.bad(value.Node, fmt.Sprintf("at most %d characters", component.MaxParameterLength), "the value of parameter %s is too long", p.Name)
				accepted[p.Name] = ""
			}
		case p.Required:
			r.bad(entry.Component.Node, fmt.Sprintf("for example parameters: {%s: …}", p.Name), "component %s needs the parameter %q", u.Name, p.Name)
			accepted[p.Name] = firstOf(p.AllowedValues)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entry.Parameters.Value)) {
		if !slices.Contains(known, name) {
			r.unknownParameter(entry.Parameters.Value[name].Key, u.Name, name, known)
		}
	}
	return accepted
}

func (r *reading) unknownParameter(at *yaml.Node, use, name string, known []string) {
	expected := "it has no parameters"
	if len(known) > 0 {
		expected = choice(name, known)
	}
	r.bad(at, expected, "component %s has no parameter %q", use, shorten(name))
}

func firstOf(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// alternatives writes a list of words as a sentence does.
func alternatives(words []string) string {
	const shown = 12
	switch n := len(words); {
	case n == 0:
		return "nothing"
	case n == 1:
		return words[0]
	case n > shown:
		return strings.Join(words[:shown], ", ") + ", …"
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}
