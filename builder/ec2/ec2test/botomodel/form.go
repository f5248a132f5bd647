package botomodel

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// node is a form's parameters as the tree that their names spell.
type node struct {
	value    *string
	children map[string]*node
}

// Form checks a request of the protocol ec2: the fields of its body.
func (m *Model) Form(form url.Values) error {
	name := form.Get("Action")
	input, err := m.input(name)
	if err != nil {
		return err
	}
	r := &report{model: m}
	if version := form.Get("Version"); version != m.Metadata.APIVersion {
		r.add("Version", "%q, the model's is %q", version, m.Metadata.APIVersion)
	}
	root := &node{}
	for key, values := range form {
		if key == "Action" || key == "Version" {
			continue
		}
		if len(values) != 1 {
			r.add(key, "given %d times", len(values))
		}
		root.put(strings.Split(key, "."), values[0])
	}
	if input == nil {
		input = &shape{Type: "structure"}
	}
	r.formStructure("", input, root)
	return r.err(name)
}

func (n *node) put(path []string, value string) {
	for _, name := range path {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		child := n.children[name]
		if child == nil {
			child = &node{}
			n.children[name] = child
		}
		n = child
	}
	n.value = &value
}

// formName is how a member is called in a form.
func formName(name string, m member) string {
	if m.QueryName != "" {
		return m.QueryName
	}
	name = cmp.Or(m.LocationName, name)
	return strings.ToUpper(name[:1]) + name[1:]
}

func (r *report) form(path string, s *shape, n *node) {
	switch s.Type {
	case "structure":
		r.formStructure(path, s, n)
	case "list":
		r.formList(path, s, n)
	default:
		if n.value == nil || len(n.children) > 0 {
			r.add(path, "must be one value, a %s", s.Type)
			return
		}
		r.text(path, s, *n.value)
	}
}

func (r *report) formStructure(path string, s *shape, n *node) {
	if n.value != nil {
		r.add(path, "a value where a structure belongs")
	}
	members := map[string]member{}
	for name, m := range s.Members {
		members[formName(name, m)] = m
	}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		if m, known := members[name]; known {
			r.form(at(path, name), r.model.Shapes[m.Shape], n.children[name])
		} else {
			r.add(at(path, name), "there is no such parameter")
		}
	}
	r.required(path, s, func(name string) bool { return n.children[formName(name, s.Members[name])] != nil })
}

// formList checks a list, whose members are numbered from 1 without a gap.
func (r *report) formList(path string, s *shape, n *node) {
	if n.value != nil {
		r.add(path, "a value where a list belongs")
	}
	r.bounds(path, s, "members", float64(len(n.children)))
	for i := range len(n.children) {
		child := n.children[strconv.Itoa(i+1)]
		if child == nil {
			r.add(path, "its members are not numbered from 1 to %d", len(n.children))
			return
		}
		r.form(item(path, i+1), r.model.Shapes[s.Member.Shape], child)
	}
}
