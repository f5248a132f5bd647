package yamldoc

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// resolve follows an alias to the value it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// extent is how large a value is once its aliases are written out.
type extent struct {
	nodes, depth int
	open         bool // being measured: met again, it contains itself
}

// checkSize measures what a document grows to when its aliases are followed,
// without following them one by one: a few lines can stand for billions of values.
func (d *Document) checkSize(root *yaml.Node) *Problem {
	known := map[*yaml.Node]*extent{}
	var problem *Problem
	var measure func(n *yaml.Node, literal int) extent
	measure = func(n *yaml.Node, literal int) extent {
		if problem != nil {
			return extent{}
		}
		if e := known[n]; e != nil {
			if e.open {
				problem = new(d.Problem(n, "an alias refers to a value that contains it", ""))
			}
			return *e
		}
		if literal > maxDepth {
			problem = new(d.tooDeep(n))
			return extent{}
		}
		e := &extent{nodes: 1, depth: 1, open: true}
		known[n] = e
		children := n.Content
		if n.Kind == yaml.AliasNode {
			children = []*yaml.Node{n.Alias}
		}
		for _, child := range children {
			c := measure(child, literal+1)
			e.nodes += c.nodes
			e.depth = max(e.depth, c.depth+1)
			if e.nodes > maxNodes && problem == nil {
				problem = new(d.Problem(n, fmt.Sprintf("the document has more than %d values, aliases counted as often as they are used", maxNodes), "expected a smaller document"))
			}
			if e.depth > maxDepth && problem == nil {
				problem = new(d.tooDeep(n))
			}
		}
		e.open = false
		return *e
	}
	measure(root, 0)
	return problem
}

func (d *Document) tooDeep(n *yaml.Node) Problem {
	return d.Problem(n, fmt.Sprintf("lists and maps are nested more than %d deep", maxDepth), "")
}

// checkNodes finds duplicate keys, keys that are no text and tags that mean
// nothing here, in the text as written: an aliased value is looked at once.
func (d *Document) checkNodes(n *yaml.Node) Problems {
	var problems Problems
	if n.Style&yaml.TaggedStyle != 0 && !isStandardTag(n.Tag) {
		problems = append(problems, d.Problem(n, fmt.Sprintf("unknown tag %s", printable(n.Tag)), "quote a text that begins with !"))
	}
	if n.Kind == yaml.MappingNode {
		problems = append(problems, d.checkKeys(n)...)
	}
	for _, child := range n.Content {
		problems = append(problems, d.checkNodes(child)...)
		if len(problems) > maxProblems {
			return problems[:maxProblems]
		}
	}
	return problems
}

func isStandardTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!bool", "!!float", "!!null", "!!map", "!!seq", "!!merge":
		return true
	default:
		return false
	}
}

func (d *Document) checkKeys(n *yaml.Node) Problems {
	var problems Problems
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := resolve(n.Content[i])
		if key.Kind != yaml.ScalarNode {
			problems = append(problems, d.Problem(n.Content[i], "a "+kindName(key)+" is used as a key", `quote a text that begins with a brace: "{{ Name }}"`))
			continue
		}
		if line, ok := first[key.Value]; ok {
			problems = append(problems, d.Problem(n.Content[i], fmt.Sprintf("the key %q is given twice", printable(key.Value)), fmt.Sprintf("it stands on line %d already", line)))
			continue
		}
		first[key.Value] = n.Content[i].Line
	}
	return problems
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "map"
	case yaml.SequenceNode:
		return "list"
	default:
		return "text"
	}
}

// pair is one key of a map with its value.
type pair struct{ key, value *yaml.Node }

// pairs lists the keys of a map in order, with the maps that it merges (<<) at
// the end: what a map says itself goes before what it merges.
func pairs(n *yaml.Node) []pair {
	var own, merged []pair
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			continue // checkNodes has said so
		}
		if key.Tag == "!!merge" {
			merged = append(merged, mergedPairs(value)...)
			continue
		}
		if !seen[key.Value] {
			seen[key.Value] = true
			own = append(own, pair{n.Content[i], value})
		}
	}
	for _, p := range merged {
		if name := resolve(p.key).Value; !seen[name] {
			seen[name] = true
			own = append(own, p)
		}
	}
	return own
}

func mergedPairs(n *yaml.Node) []pair {
	switch n.Kind {
	case yaml.MappingNode:
		return pairs(n)
	case yaml.SequenceNode:
		var all []pair
		for _, item := range n.Content {
			if item = resolve(item); item.Kind == yaml.MappingNode {
				all = append(all, pairs(item)...)
			}
		}
		return all
	default:
		return nil
	}
}
