package yamldoc

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxProblems is how many problems of one document are worth reading.
const maxProblems = 50

// NodeDecoder is a value that decodes itself, where the shape of a document
// decides about its meaning.
type NodeDecoder interface {
	DecodeNode(d *Document, n *yaml.Node) Problems
}

// At is a value with its place in the document, for rules that are checked after
// decoding. Node is nil when the document does not give the value. It is also nil
// for a single value of another type: Decode has reported it, and there is nothing
// left to check.
type At[T any] struct {
	Value T
	Node  *yaml.Node
	Key   *yaml.Node // under which the value stands; nil for an entry of a list
}

func (a *At[T]) decodeAt(c *decoding, n *yaml.Node, path string) {
	before, value := len(c.problems), reflect.ValueOf(&a.Value).Elem()
	c.value(n, value, path)
	switch value.Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct, reflect.Pointer:
		a.Node = n
	default:
		if len(c.problems) == before {
			a.Node = n
		}
	}
}

func (a *At[T]) setKey(n *yaml.Node) { a.Key = n }

// placed is what At is to the decoder: the path to the value must not get lost.
type placed interface {
	decodeAt(c *decoding, n *yaml.Node, path string)
	setKey(n *yaml.Node)
}

// setKey tells a value that keeps its place the key under which it stands.
func setKey(value reflect.Value, key *yaml.Node) {
	if p, ok := value.Addr().Interface().(placed); ok {
		p.setKey(key)
	}
}

// Decode fills the value that into points to from a node, usually d.Root, and
// returns all that does not fit. What fits is filled in nevertheless.
//
// A struct's fields carry the tag `yaml:"key"` or `yaml:"key,required"`; a tag
// `example:"…"` beside it is shown when a required key is missing. Fields without
// tag are left alone, except embedded structs, whose keys count as the outer
// struct's. Strings keep their source text; numbers and booleans are strict;
// time.Duration is written as 1h30m. A key without value counts as not given.
// yaml.Node, *yaml.Node, At and NodeDecoder keep positions.
func (d *Document) Decode(n *yaml.Node, into any) Problems {
	c := &decoding{document: d}
	c.value(n, reflect.ValueOf(into).Elem(), "")
	c.problems.Sort()
	if c.more > 0 {
		c.problems = append(c.problems, d.Problem(nil, fmt.Sprintf("%d more problems are not shown", c.more), ""))
	}
	return c.problems
}

// decoding is one run of Decode.
type decoding struct {
	document *Document
	problems Problems
	more     int // problems beyond those that are worth reading
}

func (c *decoding) problem(n *yaml.Node, path, message, expected string) {
	if len(c.problems) >= maxProblems {
		c.more++
		return
	}
	if path != "" {
		message = path + ": " + message
	}
	c.problems = append(c.problems, c.document.Problem(n, message, expected))
}

func (c *decoding) mismatch(n *yaml.Node, path string, want reflect.Type) {
	expected := "expected " + describe(want)
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && want.Kind() == reflect.String {
		expected += `, such as "{{ Name }}" in quotes`
	}
	c.problem(n, path, "found "+found(n), expected)
}

var (
	nodeType     = reflect.TypeFor[yaml.Node]()
	durationType = reflect.TypeFor[time.Duration]()
)

func (c *decoding) value(n *yaml.Node, out reflect.Value, path string) {
	n = resolve(n)
	if out.Type() == nodeType {
		out.Set(reflect.ValueOf(*n))
		return
	}
	if out.Kind() == reflect.Pointer {
		c.pointer(n, out, path)
		return
	}
	switch self := out.Addr().Interface().(type) {
	case placed:
		self.decodeAt(c, n, path)
		return
	case NodeDecoder:
		c.problems = append(c.problems, self.DecodeNode(c.document, n)...)
		return
	}
	switch out.Kind() {
	case reflect.Struct:
		c.structure(n, out, path)
	case reflect.Map:
		c.mapping(n, out, path)
	case reflect.Slice:
		c.list(n, out, path)
	default:
		c.scalar(n, out, path)
	}
}

func (c *decoding) pointer(n *yaml.Node, out reflect.Value, path string) {
	if out.Type().Elem() == nodeType {
		out.Set(reflect.ValueOf(n))
		return
	}
	fresh := reflect.New(out.Type().Elem())
	c.value(n, fresh.Elem(), path)
	out.Set(fresh)
}

// field is one key that a struct knows.
type field struct {
	name     string
	index    []int
	required bool
	example  string
}

func fields(t reflect.Type) []field {
	var all []field
	for _, f := range reflect.VisibleFields(t) {
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		all = append(all, field{name, f.Index, rest == "required", f.Tag.Get("example")})
	}
	return all
}

func (c *decoding) structure(n *yaml.Node, out reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		c.mismatch(n, path, out.Type())
		return
	}
	known := fields(out.Type())
	given := map[string]bool{}
	for _, p := range pairs(n) {
		key := resolve(p.key).Value
		i := slices.IndexFunc(known, func(f field) bool { return f.name == key })
		if i < 0 {
			c.unknownKey(p.key, path, key, known)
			continue
		}
		if isNull(p.value) {
			continue
		}
		given[key] = true
		target := out.FieldByIndex(known[i].index)
		c.value(p.value, target, join(path, key))
		setKey(target, p.key)
	}
	for _, f := range known {
		if f.required && !given[f.name] {
			c.missing(n, path, f)
		}
	}
}

func (c *decoding) unknownKey(n *yaml.Node, path, key string, known []field) {
	if len(c.problems) >= maxProblems {
		c.more++ // without looking for a suggestion that nobody reads
		return
	}
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	expected := "known keys: " + strings.Join(names, ", ")
	if near := Suggest(key, names); near != "" {
		expected = fmt.Sprintf("did you mean %q?", near)
	}
	c.problem(n, path, fmt.Sprintf("unknown key %q", clip(key)), expected)
}

func (c *decoding) missing(n *yaml.Node, path string, f field) {
	expected := ""
	if f.example != "" {
		expected = fmt.Sprintf("for example %s: %s", f.name, f.example)
	}
	c.problem(n, path, fmt.Sprintf("the key %q is missing", f.name), expected)
}

func (c *decoding) mapping(n *yaml.Node, out reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		c.mismatch(n, path, out.Type())
		return
	}
	out.Set(reflect.MakeMap(out.Type()))
	for _, p := range pairs(n) {
		key := resolve(p.key).Value
		value := reflect.New(out.Type().Elem()).Elem()
		c.value(p.value, value, join(path, clip(key)))
		setKey(value, p.key)
		out.SetMapIndex(reflect.ValueOf(key).Convert(out.Type().Key()), value)
	}
}

func (c *decoding) list(n *yaml.Node, out reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		c.mismatch(n, path, out.Type())
		return
	}
	items := reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		c.value(item, items.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	out.Set(items)
}

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func (c *decoding) scalar(n *yaml.Node, out reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		c.mismatch(n, path, out.Type())
		return
	}
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case out.Type() == durationType:
		length, err := time.ParseDuration(n.Value)
		if err != nil {
			c.mismatch(n, path, out.Type())
			return
		}
		out.SetInt(int64(length))
	case out.Kind() == reflect.String:
		out.SetString(n.Value)
	case out.Kind() == reflect.Bool && plain && (n.Value == "true" || n.Value == "false"):
		out.SetBool(n.Value == "true")
	case out.CanInt() && plain && wholeNumber.MatchString(n.Value):
		number, err := strconv.ParseInt(n.Value, 10, out.Type().Bits())
		if err != nil {
			c.problem(n, path, "the number "+clip(n.Value)+" is too large", "")
			return
		}
		out.SetInt(number)
	default:
		c.mismatch(n, path, out.Type())
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// found says in an author's words what a node is.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	default:
		return strconv.Quote(clip(n.Value))
	}
}

// clip shortens a foreign text to what fits into a message.
func clip(text string) string {
	const longest = 60
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return printable(text)
}

// describe says in an author's words what a type stands for.
func describe(t reflect.Type) string {
	if one, _ := words(t); one != "" {
		return one
	}
	return "another type"
}

// words names a type, and many values of it.
func words(t reflect.Type) (one, many string) {
	switch {
	case t == durationType:
		return "a duration such as 30s or 1h30m", "durations"
	case t.Kind() == reflect.Pointer:
		return words(t.Elem())
	case t.Implements(reflect.TypeFor[placed]()), reflect.PointerTo(t).Implements(reflect.TypeFor[placed]()):
		return words(t.Field(0).Type)
	case t.Kind() == reflect.String:
		return "text", "texts"
	case t.Kind() == reflect.Bool:
		return "true or false", "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return "a whole number", "whole numbers"
	case t.Kind() == reflect.Slice:
		if _, many := words(t.Elem()); many != "" {
			return "a list of " + many, "lists"
		}
		return "a list", "lists"
	case t.Kind() == reflect.Map:
		return "a map", "maps"
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[NodeDecoder]()):
		return "a map", "maps"
	default:
		return "", ""
	}
}
