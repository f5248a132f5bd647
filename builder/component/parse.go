package component

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const (
	defaultTimeout = 7200 // seconds
	maxTimeout     = 1 << 31
	maxAttempts    = 1000 // ours: the original has no limit
)

var (
	documentKeys = []string{"name", "description", "schemaVersion", "parameters", "constants", "phases"}
	phaseKeys    = []string{"name", "steps"}
	stepKeys     = []string{"name", "action", "timeoutSeconds", "onFailure", "maxAttempts", "inputs", "loop", "if"}
	legalName    = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)
)

// Parse reads one document. path only serves messages. All problems are returned
// at once; beside them stands what could be read, so that Check can add what it
// finds, or nil when the text is no YAML document at all.
func Parse(path string, text []byte) (*Document, yamldoc.Problems) {
	doc, problems := yamldoc.Parse(path, text, yamldoc.MaxBytes(MaxDocumentSize))
	if doc == nil {
		return nil, problems
	}
	src := &source{yaml: doc, actions: theRegistry(), problems: problems}
	d := &Document{Path: path, text: bytes.Clone(text), source: src}
	src.document(d, flatten(doc.Root))
	if len(src.problems) == 0 {
		src.lint(d)
	}
	d.Warnings = src.warnings
	src.problems.Sort()
	return d, src.problems
}

func (s *source) document(d *Document, root *yaml.Node) {
	present := map[string]bool{}
	for _, f := range s.fields(root, "the document") {
		present[f.key.Value] = true
		switch f.key.Value {
		case "name":
			d.Name = s.text(f.value, "name")
		case "description":
			d.Description = s.text(f.value, "description")
		case "schemaVersion":
			d.SchemaVersion = s.schemaVersion(f.value)
		case "parameters":
			d.Parameters = s.parameters(f.value)
		case "constants":
			d.Constants = s.constants(f.value)
		case "phases":
			d.Phases = s.phases(f.value)
		default:
			s.warn(f.key, didYouMean(f.key.Value, documentKeys), "unknown key %q is ignored", f.key.Value)
		}
	}
	for _, key := range []string{"schemaVersion", "phases"} {
		if !present[key] {
			s.fail(root, "", "the document has no %s", key)
		}
	}
	s.uniqueVariables(d)
}

// schemaVersion accepts 1.0 as the float, the integer and the text that real documents use.
func (s *source) schemaVersion(n *yaml.Node) string {
	v := s.text(n, "schemaVersion")
	if v != "1.0" && v != "1" && n.Kind == yaml.ScalarNode {
		s.fail(n, "1.0", "schemaVersion %q is unknown", v)
	}
	return v
}

// named unpacks a list of mappings with one key each.
func (s *source) named(n *yaml.Node, what string, each func(name field)) {
	if n.Tag == "!!null" {
		return
	}
	for _, item := range s.items(n, what+"s") {
		fields := s.fields(item, "an entry of "+what+"s")
		if len(fields) != 1 && item.Kind == yaml.MappingNode {
			s.fail(item, fmt.Sprintf("one %s in each entry: its name, and its fields indented below", what), "an entry of %ss has %d keys", what, len(fields))
			continue
		}
		for _, f := range fields {
			s.variableName(f.key, what)
			each(f)
		}
	}
}

func (s *source) variableName(n *yaml.Node, what string) {
	switch {
	case n.Tag != "!!str":
		s.fail(n, fmt.Sprintf("quotes around the name: %q", n.Value), "the name of a %s is not text: %s", what, n.Value)
	case len(n.Value) < minNameLength || len(n.Value) > maxNameLength:
		s.fail(n, fmt.Sprintf("%d to %d characters", minNameLength, maxNameLength), "the name of a %s has %d characters", what, len(n.Value))
	case !legalName.MatchString(n.Value):
		s.fail(n, "letters, digits, - and _", "illegal character in the name of the %s %q", what, n.Value)
	}
}

func (s *source) parameters(n *yaml.Node) []Parameter {
	var out []Parameter
	s.named(n, "parameter", func(f field) {
		p := Parameter{Name: f.key.Value, Required: true, node: f.key}
		what := "parameter " + p.Name
		var typed bool
		for _, f := range s.fields(f.value, what) {
			switch f.key.Value {
			case "type":
				typed = true
				s.onlyString(f.value, what)
			case "default":
				p.Default, p.Required = s.text(f.value, "the default of "+what), false
				s.valueLength(f.value, p.Default, what)
			case "description":
				p.Description = s.text(f.value, "the description of "+what)
			case "allowedValues":
				for _, v := range s.items(f.value, "allowedValues of "+what) {
					p.AllowedValues = append(p.AllowedValues, s.text(v, "an allowed value of "+what))
				}
			default:
				s.warn(f.key, didYouMean(f.key.Value, []string{"type", "default", "description", "allowedValues"}), "unknown key %q of %s is ignored", f.key.Value, what)
			}
		}
		if !typed && f.value.Kind == yaml.MappingNode {
			s.fail(f.key, "type: string", "%s has no type", what)
		}
		out = append(out, p)
	})
	if len(out) > MaxParameters {
		s.fail(n, fmt.Sprintf("at most %d", MaxParameters), "the document has %d parameters", len(out))
	}
	return out
}

func (s *source) constants(n *yaml.Node) []Constant {
	var out []Constant
	s.named(n, "constant", func(f field) {
		c := Constant{Name: f.key.Value, node: f.key}
		what := "constant " + c.Name
		present := map[string]bool{}
		for _, f := range s.fields(f.value, what) {
			present[f.key.Value] = true
			switch f.key.Value {
			case "type":
				s.onlyString(f.value, what)
			case "value":
				c.Value = s.text(f.value, "the value of "+what)
			case "description":
				s.text(f.value, "the description of "+what)
			default:
				s.warn(f.key, didYouMean(f.key.Value, []string{"type", "value"}), "unknown key %q of %s is ignored", f.key.Value, what)
			}
		}
		for _, key := range []string{"type", "value"} {
			if !present[key] && f.value.Kind == yaml.MappingNode {
				s.fail(f.key, "", "%s has no %s", what, key)
			}
		}
		out = append(out, c)
	})
	return out
}

func (s *source) onlyString(n *yaml.Node, what string) {
	if v := s.text(n, "the type of "+what); v != "string" && n.Kind == yaml.ScalarNode {
		s.fail(n, "string, the only type there is", "%s has the type %q", what, v)
	}
}

func (s *source) valueLength(n *yaml.Node, value, what string) {
	if c := utf8.RuneCountInString(value); c > MaxParameterLength {
		s.fail(n, fmt.Sprintf("at most %d", MaxParameterLength), "the value of %s has %d characters", what, c)
	}
}

// uniqueVariables reports names used for two parameters or constants.
func (s *source) uniqueVariables(d *Document) {
	seen := map[string]bool{}
	for _, p := range d.Parameters {
		if seen[p.Name] {
			s.fail(p.node, "a name of its own", "parameter %s is declared twice", p.Name)
		}
		seen[p.Name] = true
	}
	for _, c := range d.Constants {
		if seen[c.Name] {
			s.fail(c.node, "a name of its own", "constant %s has the name of another constant or parameter", c.Name)
		}
		seen[c.Name] = true
	}
}

func (s *source) phases(n *yaml.Node) []Phase {
	var out []Phase
	seen := map[string]bool{}
	known := false
	for _, item := range s.items(n, "phases") {
		p := s.phase(item)
		if seen[p.Name] && p.Name != "" {
			s.fail(item, "a name of its own", "phase %q appears twice", p.Name)
		}
		seen[p.Name] = true
		known = known || p.Name == PhaseBuild || p.Name == PhaseValidate || p.Name == PhaseTest
		out = append(out, p)
	}
	if !known && n.Kind == yaml.SequenceNode {
		s.fail(n, "at least one phase called build, validate or test", "no phase has one of the known names")
	}
	if known {
		s.nearPhases(out)
	}
	return out
}

// nearPhases warns of names that nobody runs and that look like one that is run.
func (s *source) nearPhases(phases []Phase) {
	known := []string{PhaseBuild, PhaseValidate, PhaseTest}
	for _, p := range phases {
		if near := yamldoc.Suggest(p.Name, known); near != "" && near != p.Name {
			s.warn(p.node, didYouMean(p.Name, known), "phase %q runs only where it is asked for by that name", p.Name)
		}
	}
}

func (s *source) phase(n *yaml.Node) Phase {
	p := Phase{node: n}
	present := map[string]bool{}
	for _, f := range s.fields(n, "a phase") {
		present[f.key.Value] = true
		switch f.key.Value {
		case "name":
			p.Name = s.required(f.value, "the name of a phase")
		case "steps":
			p.Steps = s.steps(f.value)
		default:
			s.warn(f.key, didYouMean(f.key.Value, phaseKeys), "unknown key %q of a phase is ignored", f.key.Value)
		}
	}
	for _, key := range phaseKeys {
		if !present[key] && n.Kind == yaml.MappingNode {
			s.fail(n, "", "a phase has no %s", key)
		}
	}
	return p
}

func (s *source) steps(n *yaml.Node) []Step {
	var out []Step
	names, loops := map[string]bool{}, map[string]bool{}
	for _, item := range s.items(n, "steps") {
		st := s.step(item)
		if names[st.Name] && st.Name != "" {
			s.fail(item, "a name of its own within the phase", "step %q appears twice", st.Name)
		}
		names[st.Name] = true
		if st.Loop != nil && st.Loop.Name != "" {
			if loops[st.Loop.Name] {
				s.fail(item, "a name of its own within the phase", "loop %q appears twice", st.Loop.Name)
			}
			loops[st.Loop.Name] = true
		}
		out = append(out, st)
	}
	return out
}

func (s *source) step(n *yaml.Node) Step {
	st := Step{Timeout: defaultTimeout * time.Second, MaxAttempts: 1, OnFailure: Abort, node: n}
	fields := s.fields(n, "a step")
	present := map[string]bool{}
	for _, f := range fields {
		present[f.key.Value] = true
		if f.key.Value == "name" {
			st.Name = s.required(f.value, "the name of a step")
		}
	}
	for _, f := range fields {
		s.stepField(&st, f)
	}
	for _, key := range []string{"name", "action"} {
		if !present[key] && n.Kind == yaml.MappingNode {
			s.fail(n, "", "a step has no %s", key)
		}
	}
	return st
}

func (s *source) stepField(st *Step, f field) {
	switch f.key.Value {
	case "name":
	case "action":
		st.Action, st.actionNode = s.required(f.value, "the action of step "+st.Name), f.value
	case "timeoutSeconds":
		st.timeoutSet = true
		st.Timeout = s.timeout(f.value)
	case "maxAttempts":
		st.MaxAttempts = int(s.integer(f.value, "maxAttempts", 1, maxAttempts, fmt.Sprintf("a whole number from 1 to %d", maxAttempts)))
	case "onFailure":
		st.OnFailure = s.onFailure(f.value)
	case "inputs":
		st.inputs, st.inputsNode = s.inputs(f.value, st.Name), f.value
	case "loop":
		st.Loop = s.loop(f.value)
	case "if":
		st.If = s.guard(f.value)
	default:
		s.warn(f.key, didYouMean(f.key.Value, stepKeys), "unknown key %q of step %s is ignored", f.key.Value, st.Name)
	}
}

// timeout reads timeoutSeconds: -1 is none; 0 and other negative numbers are invalid.
func (s *source) timeout(n *yaml.Node) time.Duration {
	const expected = "a whole number of seconds above 0, or -1 for no limit"
	if n.Kind == yaml.ScalarNode && n.Value == "-1" {
		return 0
	}
	return time.Duration(s.integer(n, "timeoutSeconds", 1, maxTimeout, expected)) * time.Second
}

// integer reads a whole number within bounds; where it is none, it reports that and returns the lower bound.
func (s *source) integer(n *yaml.Node, what string, low, high int64, expected string) int64 {
	v, err := strconv.ParseInt(s.text(n, what), 10, 64)
	if n.Kind != yaml.ScalarNode {
		return low
	}
	if err != nil || v < low || v > high {
		s.fail(n, expected, "%s is %s", what, describe(n))
		return low
	}
	return v
}

func (s *source) onFailure(n *yaml.Node) OnFailure {
	known := []string{string(Abort), string(Continue), string(Ignore)}
	v := s.text(n, "onFailure")
	for _, k := range known {
		if v == k {
			return OnFailure(v)
		}
	}
	if n.Kind == yaml.ScalarNode {
		s.fail(n, didYouMean(v, known), "onFailure is %q", v)
	}
	return Abort
}

// inputs makes a list of mappings of what may be written as one mapping.
func (s *source) inputs(n *yaml.Node, step string) []*yaml.Node {
	switch {
	case n.Kind == yaml.MappingNode:
		s.fields(n, "inputs of step "+step)
		return []*yaml.Node{n}
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil
	case n.Kind != yaml.SequenceNode:
		s.fail(n, "a mapping, or a list of mappings", "inputs of step %s is %s", step, describe(n))
		return nil
	}
	for _, item := range n.Content {
		s.fields(item, "an entry of inputs of step "+step)
	}
	return n.Content
}
