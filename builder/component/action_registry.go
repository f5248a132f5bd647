package component

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// setRegistry sets one value of the registry.
func setRegistry(_ context.Context, c *call) (map[string]string, error) {
	key, err := parseRegistryKey(c.text("path"))
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	name, err := registryName(c.text("name"))
	if err != nil {
		return nil, err
	}
	v := c.values["value"]
	value, err := newRegistryValue(c.text("type"), v.text, v.list, v.isList)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	if err := c.env.registry.set(key, name, value); err != nil {
		return nil, fmt.Errorf("set %s of %s: %w", name, key, err)
	}
	return nil, nil
}

func registryName(name string) (string, error) {
	if strings.ContainsRune(name, 0) || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxRegistryName {
		return "", fmt.Errorf("name %.50q: expected text of up to %d characters", name, maxRegistryName)
	}
	return name, nil
}

// checkSetRegistry looks at paths and values, as far as they are known.
func checkSetRegistry(s *source, st *Step) {
	for i, n := range st.inputs {
		path, kind, value := mappingValue(st.inputs, i, "path"), mappingValue(st.inputs, i, "type"), mappingValue(st.inputs, i, "value")
		if literal(path) {
			if _, err := parseRegistryKey(path.Value); err != nil {
				s.fail(path, "", "path of SetRegistry: %v", err)
			}
		}
		switch {
		case value == nil:
			s.fail(n, "value", "inputs of SetRegistry lack value")
		case literal(kind) && literal(value):
			s.checkRegistryValue(kind, value)
		}
	}
}

func (s *source) checkRegistryValue(kind, value *yaml.Node) {
	if !containsFold(registryTypes(), kind.Value) {
		return // of which the type of the input has told
	}
	var texts []string
	for _, item := range value.Content {
		texts = append(texts, scalar(item))
	}
	if _, err := newRegistryValue(kind.Value, scalar(value), texts, value.Kind == yaml.SequenceNode); err != nil {
		s.fail(value, "", "value of SetRegistry: %v", err)
	}
}

// literal reports whether what a node comes to is known before anything runs.
func literal(n *yaml.Node) bool {
	if n == nil || n.Kind == yaml.MappingNode {
		return false
	}
	known := true
	walkScalars(n, func(text *yaml.Node) { known = known && !strings.Contains(text.Value, "{{") })
	return known
}

func registryTypes() []string {
	return []string{registryBinary, registryDWord, registryQWord, registryText, registryExpandable, registryTexts}
}
