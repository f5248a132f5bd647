package component

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is what one input came to, its references replaced.
type value struct {
	input  Input
	given  bool
	text   string
	list   []string
	isList bool       // a list was given, which may be empty
	node   *yaml.Node // for the types that are neither text nor list
	shown  any        // what node comes to, as the result file has it
}

// values are the inputs of one entry, by name.
type values map[string]value

// resolve replaces the references in the inputs and holds what comes out against
// the declared types once more.
func (s *stepRun) resolve() ([]values, error) {
	if len(s.step.inputs) == 0 {
		entry, err := s.entry(nil)
		return []values{entry}, err
	}
	out := make([]values, len(s.step.inputs))
	for i := range s.step.inputs {
		entry, err := s.entry(s.step.inputs[i])
		if err != nil {
			return nil, err
		}
		out[i] = entry
	}
	return out, nil
}

func (s *stepRun) entry(n *yaml.Node) (values, error) {
	out := values{}
	for _, in := range s.action.Inputs {
		v := value{input: in, text: in.Default}
		if written := written(n, in); written != nil {
			v.given = true
			if err := s.fill(&v, written); err != nil {
				return nil, fmt.Errorf("%s: %w", in.Name, err)
			}
		}
		out[in.Name] = v
	}
	return out, nil
}

// written finds the node of an input; a condition is the whole mapping.
func written(n *yaml.Node, in Input) *yaml.Node {
	if n == nil || in.Type == Comparison {
		return n
	}
	return mappingValue([]*yaml.Node{n}, 0, in.Name)
}

func (s *stepRun) fill(v *value, n *yaml.Node) error {
	switch {
	case v.input.Type == Comparison || v.input.Type == Pairs || v.input.Type == TextMap:
		v.node, v.shown = n, s.scope.shown(n)
		return nil
	case n.Kind == yaml.SequenceNode:
		v.isList = true
		for _, item := range n.Content {
			texts, err := s.scope.expandList(item.Value)
			if err != nil {
				return err
			}
			v.list = append(v.list, texts...)
		}
		return nil
	case v.input.Type == TextList:
		texts, err := s.scope.expandList(scalar(n))
		v.list = texts
		return err
	}
	text, err := s.scope.expand(scalar(n))
	if err != nil {
		return err
	}
	if v.input.Required && text == "" {
		return fmt.Errorf("%s is empty", n.Value)
	}
	if expected := v.input.wrong(text); expected != "" {
		return fmt.Errorf("%.100q is not %s", text, expected)
	}
	if text != "" || v.input.Default == "" {
		v.text = text
	}
	return nil
}

// scalar is the source text of a node; an empty value in YAML is an empty text.
func scalar(n *yaml.Node) string {
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// chainable are the inputs as later steps can refer to them.
func chainable(entries []values) []map[string]string {
	out := make([]map[string]string, len(entries))
	for i, entry := range entries {
		out[i] = map[string]string{}
		for name, v := range entry {
			out[i][name] = v.text
			if v.list != nil {
				out[i][name] = strings.Join(v.list, "\n")
			}
		}
	}
	return out
}

// shown are the inputs as the result file has them: optional ones that are
// missing with their zero value or default. A condition is the whole entry.
func shown(entries []values, m *masker) string {
	out := make([]any, len(entries))
	for i, entry := range entries {
		named := map[string]any{}
		for name, v := range entry {
			named[name] = v.json()
		}
		out[i] = m.any(named)
		for _, v := range entry {
			if v.input.Type == Comparison {
				out[i] = m.any(v.shown)
			}
		}
	}
	return string(compact(out))
}

func (v value) json() any {
	switch v.input.Type {
	case TextList, Pairs, TextMap, Comparison, TextOrList:
		if v.node != nil {
			return v.shown
		}
		if v.list == nil && v.text != "" {
			return v.text
		}
		return v.list
	case Bool:
		return strings.EqualFold(v.text, "true")
	case Number:
		if n, err := strconv.Atoi(v.text); err == nil {
			return n
		}
	}
	return v.text
}

// shown makes what JSON can hold of a node. It is for the eye alone: a reference
// that cannot be resolved stays, since the part of a condition that it stands in
// may never be looked at; nor is a parameter store asked for its sake.
func (s *scope) shown(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = s.shown(n.Content[i+1])
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			out[i] = s.shown(item)
		}
		return out
	}
	// This lookup never fails, so neither does expand.
	text, _ := expand(scalar(n), func(inner string) (string, bool, error) {
		if s.documents[s.document].parseReference(inner).kind == parameterStore {
			return "", false, nil
		}
		value, ok, err := s.lookup(inner)
		return value, ok && err == nil, nil
	})
	return text
}
