package component

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// source is one document's YAML with the problems that were found in it.
type source struct {
	yaml     *yamldoc.Document
	actions  *registry
	problems yamldoc.Problems
	warnings yamldoc.Problems
}

// at makes a problem at a node; a nil node stands for the whole file. expected
// completes "expected …", or is a suggestion of didYouMean, or nothing.
func (s *source) at(n *yaml.Node, expected, format string, args ...any) yamldoc.Problem {
	if expected != "" && !strings.HasPrefix(expected, "did you mean") {
		expected = "expected " + expected
	}
	return s.yaml.Problem(n, fmt.Sprintf(format, args...), expected)
}

func (s *source) fail(n *yaml.Node, expected, format string, args ...any) {
	s.problems = append(s.problems, s.at(n, expected, format, args...))
}

func (s *source) warn(n *yaml.Node, expected, format string, args ...any) {
	s.warnings = append(s.warnings, s.at(n, expected, format, args...))
}

// field is one key of a mapping with its value.
type field struct {
	key   *yaml.Node
	value *yaml.Node
}

// fields returns the keys of a mapping in order. It reports what is no mapping;
// keys that are given twice or are no text were reported with the YAML itself.
func (s *source) fields(n *yaml.Node, what string) []field {
	if n.Kind != yaml.MappingNode {
		s.fail(n, "a mapping of keys to values", "%s is %s", what, describe(n))
		return nil
	}
	var out []field
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || seen[key.Value] {
			continue
		}
		seen[key.Value] = true
		out = append(out, field{key, value})
	}
	return out
}

// flatten writes out aliases and merged mappings, so that nobody after it meets
// one. How large that can get was bounded when the YAML was read.
func flatten(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode {
		return n
	}
	out := *n
	out.Content = make([]*yaml.Node, 0, len(n.Content))
	var merged []*yaml.Node
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Tag == "!!merge" {
			continue
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 && child.Tag == "!!merge" {
			merged = append(merged, mergedFrom(flatten(n.Content[i+1]))...)
			continue
		}
		out.Content = append(out.Content, flatten(child))
	}
	out.Content = append(out.Content, merged...) // after the mapping's own keys, which win
	return &out
}

func mergedFrom(n *yaml.Node) []*yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		return n.Content
	case yaml.SequenceNode:
		var out []*yaml.Node
		for _, item := range n.Content {
			if item.Kind == yaml.MappingNode {
				out = append(out, item.Content...)
			}
		}
		return out
	}
	return nil
}

// text returns a scalar's source text.
func (s *source) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode {
		s.fail(n, "a single value; text with {{ }} at its start needs quotes", "%s is %s", what, describe(n))
		return ""
	}
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// required is text that may not be empty.
func (s *source) required(n *yaml.Node, what string) string {
	v := s.text(n, what)
	if v == "" && n.Kind == yaml.ScalarNode {
		s.fail(n, "a value", "%s is empty", what)
	}
	return v
}

// items returns the entries of a list.
func (s *source) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		s.fail(n, "a list: each entry begins with a dash", "%s is %s", what, describe(n))
		return nil
	}
	return n.Content
}

// describe names what a node is, for a sentence that says what was found.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "empty"
	}
	value := n.Value
	if len(value) > 40 {
		value = value[:40] + "…"
	}
	return fmt.Sprintf("the value %q", strings.ToValidUTF8(value, "?"))
}

// didYouMean suggests the nearest of the known words, or lists them.
func didYouMean(word string, known []string) string {
	if near := yamldoc.Suggest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return ""
	}
	return "one of " + strings.Join(known, ", ")
}
