// Package schema writes JSON Schemas (2020-12) of the documents that users write, so
// that editors complete and check them.
//
// Of makes the schema of a document that is decoded into a Go type, Document that of
// component documents from the engine's own list of actions. A schema accepts
// everything that the parser accepts, and refuses what is wrong in shape: unknown
// keys, wrong types, missing keys, words that do not exist. What only the parser can
// see (files, references, cycles) is left to it, and so are the sentences that say
// what is wrong.
package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// node is a schema, or a part of one.
type node = map[string]any

const dialect = "https://json-schema.org/draft/2020-12/schema"

// Of makes the schema of a format. The error says which keys lack a description, or
// are described and do not exist.
func Of(f yamldoc.Format) (map[string]any, error) {
	w := &writer{format: f, used: map[string]bool{}}
	out := w.structure(yamldoc.ShapeOf(f.Type), "")
	out["$schema"], out["title"], out["description"] = dialect, f.Title, f.Doc
	for path := range f.Keys {
		if !w.used[path] {
			w.errs = append(w.errs, fmt.Errorf("%s: the key %s is described, but does not exist", f.Title, path))
		}
	}
	return out, errors.Join(w.errs...)
}

// writer is one Of on its way.
type writer struct {
	format yamldoc.Format
	used   map[string]bool // paths of Keys
	errs   []error
}

func (w *writer) key(path string) yamldoc.Key {
	k, ok := w.format.Keys[path]
	if !ok || k.Doc == "" {
		w.errs = append(w.errs, fmt.Errorf("%s: the key %s has no description", w.format.Title, path))
	}
	w.used[path] = true
	return k
}

func (w *writer) structure(s yamldoc.Shape, path string) node {
	properties, required := node{}, []string{}
	for _, k := range s.Keys {
		at := k.Name
		if path != "" {
			at = path + "." + k.Name
		}
		properties[k.Name] = w.property(k, at)
		if k.Required {
			required = append(required, k.Name)
		}
	}
	out := node{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// property is the value of a key. A key without a value counts as absent, which is
// right where the key may be absent.
func (w *writer) property(k yamldoc.ShapeKey, path string) node {
	key := w.key(path)
	out := w.value(k.Shape, key, path)
	if !k.Required {
		out = orNull(out)
	}
	out["description"] = key.Doc
	if k.Example != "" {
		out["examples"] = []any{k.Example}
	}
	if key.Default != "" {
		out["default"] = typed(k.Shape.Kind, key.Default)
	}
	return out
}

// typed is a default in the type that the key has.
func typed(kind yamldoc.ShapeKind, text string) any {
	switch kind {
	case yamldoc.ShapeBool:
		return text == "true"
	case yamldoc.ShapeNumber:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	return text
}

// durations are texts such as 1h30m, as time.ParseDuration reads them.
const durations = `^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`

func (w *writer) value(s yamldoc.Shape, k yamldoc.Key, path string) node {
	switch s.Kind {
	case yamldoc.ShapeText:
		return text(k)
	case yamldoc.ShapeBool:
		return node{"type": "boolean"}
	case yamldoc.ShapeNumber:
		out := node{"type": "integer"}
		if k.Min != 0 || k.Max != 0 {
			out["minimum"], out["maximum"] = k.Min, k.Max
		}
		return out
	case yamldoc.ShapeDuration:
		return node{"anyOf": []any{node{"type": "string", "pattern": durations}, node{"const": 0}}}
	case yamldoc.ShapeList:
		out := node{"type": "array", "items": w.value(*s.Entry, k, path)}
		if k.Most > 0 {
			out["maxItems"] = k.Most
		}
		return out
	case yamldoc.ShapeMap:
		out := node{"type": "object", "additionalProperties": w.value(*s.Entry, k, path)}
		if k.Most > 0 {
			out["maxProperties"] = k.Most
		}
		return out
	}
	out := w.structure(s, path)
	if s.OrText && len(s.Keys) > 0 {
		first := w.key(path + "." + s.Keys[0].Name)
		return node{"anyOf": []any{text(first), out}}
	}
	return out
}

// text: a number or a word such as true keeps its source text when it is read.
func text(k yamldoc.Key) node {
	if len(k.Allowed) > 0 {
		return node{"enum": list(k.Allowed)}
	}
	out := node{"type": []any{"string", "number", "boolean"}}
	if k.Word {
		out["type"] = "string"
	}
	if k.Pattern != "" {
		out["pattern"] = k.Pattern
	}
	return out
}

// orNull accepts an absent value as well.
func orNull(n node) node {
	switch {
	case n["enum"] != nil:
		n["enum"] = append(slices.Clone(n["enum"].([]any)), nil)
	case n["anyOf"] != nil:
		n["anyOf"] = append(slices.Clone(n["anyOf"].([]any)), node{"type": "null"})
	default:
		if one, ok := n["type"].(string); ok {
			n["type"] = []any{one}
		}
		n["type"] = append(slices.Clone(n["type"].([]any)), "null")
	}
	return n
}

// list makes any type a list of JSON.
func list[T any](items []T) []any {
	out := make([]any, len(items))
	for i := range items {
		out[i] = items[i]
	}
	return out
}
