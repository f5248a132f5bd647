package component

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Verdict is what a step does once its condition is known.
type Verdict string

const (
	VerdictExecute Verdict = "Execute"
	VerdictSkip    Verdict = "Skip"
	VerdictAbort   Verdict = "Abort"
)

// Condition is a comparison, or several of them joined by and, or, not.
type Condition struct {
	Then Verdict // when true; only on the outermost
	Else Verdict // when false; only on the outermost

	operator string // as in operators, in its own spelling
	parts    []*Condition
	baseline *yaml.Node // the value of the operator's key
	value    *yaml.Node // the value of "value" or "path"; nil where the operator has none
	node     *yaml.Node
}

// operators are the comparisons with the key that their second operand has.
func operators() map[string]string {
	return map[string]string{
		"stringIsEmpty": "", "stringIsWhitespace": "",
		"stringEquals": "value", "stringLessThan": "value", "stringLessThanEquals": "value",
		"stringGreaterThan": "value", "stringGreaterThanEquals": "value", "patternMatches": "value",
		"numberEquals": "value", "numberLessThan": "value", "numberLessThanEquals": "value",
		"numberGreaterThan": "value", "numberGreaterThanEquals": "value",
		"binaryExists": "", "fileExists": "", "folderExists": "",
		"fileMD5Equals": "path", "fileSHA1Equals": "path", "fileSHA256Equals": "path", "fileSHA512Equals": "path",
		"and": "", "or": "", "not": "",
	}
}

// guard reads the "if" of a step.
func (s *source) guard(n *yaml.Node) *Condition {
	c := s.condition(n, true)
	if c.Then == "" {
		c.Then = VerdictExecute
	}
	if c.Else == "" {
		c.Else = VerdictSkip
	}
	return c
}

// condition reads one operator with its operands. Names are matched whatever
// their case: examples of the original differ among themselves (inferred).
func (s *source) condition(n *yaml.Node, outermost bool) *Condition {
	c := &Condition{node: n}
	known := operators()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range known {
			if !yield(name) {
				return
			}
		}
	})
	var operand *yaml.Node
	var operandKey string
	for _, f := range s.fields(n, "a condition") {
		key := f.key.Value
		switch {
		case outermost && key == "then":
			c.Then = s.verdict(f.value)
		case outermost && key == "else":
			c.Else = s.verdict(f.value)
		case key == "value" || key == "path":
			operand, operandKey = f.value, key
		default:
			i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, key) })
			if i < 0 {
				s.fail(f.key, didYouMean(key, names), "unknown operator %q", key)
				continue
			}
			if c.operator != "" {
				s.fail(f.key, "exactly one operator; join several with and, or", "a condition has the operators %s and %s", c.operator, names[i])
				continue
			}
			c.operator = names[i]
			s.operand(c, f.value)
		}
	}
	if n.Kind != yaml.MappingNode {
		return c
	}
	if c.operator == "" {
		s.fail(n, "one operator, such as stringEquals, fileExists, and", "a condition has no operator")
		return c
	}
	want := known[c.operator]
	switch {
	case want == "" && operand != nil:
		s.fail(operand, "", "%s has no operand %q", c.operator, operandKey)
	case want != operandKey:
		s.fail(n, "", "%s has no %q to look at", c.operator, want)
	case operand != nil:
		s.text(operand, operandKey)
		c.value = operand
	}
	return c
}

func (s *source) operand(c *Condition, n *yaml.Node) {
	switch {
	case c.operator == "and" || c.operator == "or":
		for _, item := range s.items(n, c.operator) {
			c.parts = append(c.parts, s.condition(item, false))
		}
		if len(c.parts) == 0 && n.Kind == yaml.SequenceNode {
			s.fail(n, "at least one condition", "%s is empty", c.operator)
		}
	case c.operator == "not" && n.Kind == yaml.SequenceNode:
		if len(n.Content) != 1 {
			s.fail(n, "one condition", "not has %d conditions", len(n.Content))
			return
		}
		c.parts = []*Condition{s.condition(n.Content[0], false)}
	case c.operator == "not":
		c.parts = []*Condition{s.condition(n, false)}
	default:
		s.text(n, c.operator)
		c.baseline = n
	}
}

func (s *source) verdict(n *yaml.Node) Verdict {
	known := []string{string(VerdictExecute), string(VerdictSkip), string(VerdictAbort)}
	v := s.text(n, "then or else")
	if !slices.Contains(known, v) && n.Kind == yaml.ScalarNode {
		s.fail(n, didYouMean(v, known), "then or else is %q", v)
	}
	return Verdict(v)
}
