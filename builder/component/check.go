package component

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

var octal = regexp.MustCompile(`^[0-7]{3,4}$`)

// Check finds, before anything runs, what would go wrong on a platform with
// these values of the parameters: actions that are unknown or not available
// there, inputs that are missing or of a wrong type, references that lead
// nowhere, parameters without a value or with one that is not allowed. Values
// for parameters that the document does not have are no problem of the document.
func (d *Document) Check(platform string, given map[string]string) yamldoc.Problems {
	s := &source{yaml: d.source.yaml, actions: d.source.actions}
	s.given(d, given)
	for pi := range d.Phases {
		for si := range d.Phases[pi].Steps {
			s.checkStep(d, pi, si, platform)
		}
	}
	s.problems.Sort()
	return s.problems
}

func (s *source) given(d *Document, given map[string]string) {
	for _, p := range d.Parameters {
		value, ok := given[p.Name]
		if !ok {
			value = p.Default
		}
		switch {
		case !ok && p.Required:
			s.fail(p.node, "a value from whoever uses the document", "parameter %s has no default and was given no value", p.Name)
		case len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, value):
			// Documents have such a list, and nothing describes it: that it binds is inferred.
			s.fail(p.node, "one of "+strings.Join(p.AllowedValues, ", "), "the value %q of parameter %s is not allowed", value, p.Name)
		case ok:
			s.valueLength(p.node, value, "parameter "+p.Name)
		}
	}
}

func (s *source) checkStep(d *Document, pi, si int, platform string) {
	st := &d.Phases[pi].Steps[si]
	s.checkReferences(d, pi, si)
	if st.Action == "" {
		return
	}
	a, ok := s.actions.find(st.Action)
	if !ok {
		s.fail(st.actionNode, didYouMean(st.Action, s.actions.names()), "unknown action %q", st.Action)
		return
	}
	if !a.On(platform) {
		s.fail(st.actionNode, "an action for "+platform, "%s is not available on %s, only on %s", a.Name, platform, strings.Join(a.Platforms, " and "))
		return
	}
	s.checkInputs(a, st, platform)
	if a.check != nil {
		a.check(s, st)
	}
}

// checkInputs holds the inputs against what the action declares.
func (s *source) checkInputs(a *Action, st *Step, platform string) {
	switch {
	case len(st.inputs) == 0 && a.Bare:
		return
	case len(st.inputs) == 0:
		s.fail(st.place(), requiredInputs(a), "step %s has no inputs", st.Name)
		return
	case len(st.inputs) > 1 && !a.List:
		s.fail(st.inputs[1], "one mapping", "%s takes one set of inputs, step %s has %d", a.Name, st.Name, len(st.inputs))
		return
	case a.Inputs[0].Type == Comparison:
		return
	}
	for _, n := range st.inputs {
		s.checkEntry(a, n, platform)
	}
}

func requiredInputs(a *Action) string {
	var names []string
	for _, in := range a.Inputs {
		if in.Required {
			names = append(names, in.Name)
		}
	}
	if len(names) == 0 {
		names = a.inputNames()
	}
	return "inputs with " + strings.Join(names, ", ")
}

func (s *source) checkEntry(a *Action, n *yaml.Node, platform string) {
	given := map[string]bool{}
	for _, f := range s.fields(n, "inputs of "+a.Name) {
		key := f.key.Value
		in, ok := a.input(key)
		if !ok {
			// An input that looks like a slip of the pen is one; others are ignored, because
			// documents in use have them (inferred). Parse has warned.
			if near := yamldoc.Suggest(key, a.inputNames()); near != "" {
				s.fail(f.key, fmt.Sprintf("did you mean %q?", near), "%s has no input %q", a.Name, key)
				given[near] = true
			}
			continue
		}
		given[key] = true
		if in.POSIX && platform == Windows {
			s.fail(f.key, "", "%s of %s does not exist on Windows", key, a.Name)
			continue
		}
		s.checkType(a, in, f.value)
	}
	for _, in := range a.Inputs {
		if in.Required && !given[in.Name] {
			s.fail(n, string(in.Type)+" "+in.Name, "inputs of %s lack %s", a.Name, in.Name)
		}
	}
}

// checkType looks at what is written; text with a reference is looked at again
// when its value is known.
func (s *source) checkType(a *Action, in Input, n *yaml.Node) {
	what := in.Name + " of " + a.Name
	switch in.Type {
	case TextList:
		s.textList(n, what)
	case TextOrList:
		if n.Kind != yaml.ScalarNode {
			s.textList(n, what)
		}
	case TextMap:
		for _, f := range s.fields(n, what) {
			s.text(f.value, f.key.Value+" in "+what)
		}
	case Pairs:
		s.pairs(n, what)
	default:
		value := s.text(n, what)
		if n.Kind != yaml.ScalarNode || strings.Contains(value, "{{") {
			return
		}
		if in.Required && value == "" {
			s.fail(n, "a value", "%s is empty", what)
			return
		}
		if problem := in.wrong(value); problem != "" {
			s.fail(n, problem, "%s is %s", what, describe(n))
		}
	}
}

// wrong says what a value of the input should be instead, or nothing.
func (in Input) wrong(value string) (expected string) {
	switch {
	case value == "" && !in.Required:
		return ""
	case in.Type == Bool && !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false"):
		return "true or false"
	case in.Type == Permissions && !octal.MatchString(value):
		return "three or four octal digits, such as 0644"
	case in.Type == Number:
		if v, err := strconv.ParseUint(value, 10, 31); err != nil || v > maxTimeout {
			return "a whole number"
		}
	case len(in.Allowed) > 0 && !containsFold(in.Allowed, value):
		return "one of " + strings.Join(in.Allowed, ", ")
	}
	return ""
}

func containsFold(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, word) })
}

// textList accepts a single text as a list of one (inferred).
func (s *source) textList(n *yaml.Node, what string) {
	if n.Kind == yaml.ScalarNode {
		return
	}
	for _, item := range s.items(n, what) {
		if item.Kind == yaml.MappingNode && item.Style&yaml.FlowStyle == 0 {
			s.fail(item, `text; put quotes around an entry that contains ": "`, "an entry of %s is a mapping", what)
			continue
		}
		s.text(item, "an entry of "+what)
	}
}

func (s *source) pairs(n *yaml.Node, what string) {
	for _, item := range s.items(n, what) {
		given := map[string]bool{}
		for _, f := range s.fields(item, "an entry of "+what) {
			given[f.key.Value] = true
			if f.key.Value != "name" && f.key.Value != "value" {
				s.fail(f.key, didYouMean(f.key.Value, []string{"name", "value"}), "unknown key %q in an entry of %s", f.key.Value, what)
			}
			s.text(f.value, f.key.Value+" in "+what)
		}
		if item.Kind == yaml.MappingNode && (!given["name"] || !given["value"]) {
			s.fail(item, "name and value", "an entry of %s is not complete", what)
		}
	}
}

// place is where a problem of the whole step is shown.
func (st *Step) place() *yaml.Node {
	if st.inputsNode != nil {
		return st.inputsNode
	}
	return st.node
}

// checkReferences looks for references of a step that lead nowhere. That they are
// problems, and not text to leave alone, is inferred.
func (s *source) checkReferences(d *Document, pi, si int) {
	st := &d.Phases[pi].Steps[si]
	st.scalars(func(n *yaml.Node) {
		d.braces(n.Value, func(r reference) {
			switch r.kind {
			case plainText:
				s.checkNearChain(d, n, r.text)
			case chained:
				s.checkChained(d, pi, si, s.yaml.Within(n, r.text), r)
			case parameterStore:
				s.checkStored(d, s.yaml.Within(n, r.text), r)
			}
		})
	})
}

// checkStored: what resolve(…) names is a parameter of the document or a name in
// the store, which only a run can look for.
func (s *source) checkStored(d *Document, n *yaml.Node, r reference) {
	m := resolvePattern.FindStringSubmatch(r.text)
	if m == nil || strings.HasPrefix(m[1], "/") || strings.HasPrefix(m[1], "aws:ssm:") {
		return
	}
	if names := d.variables(); !slices.Contains(names, m[1]) {
		s.fail(n, didYouMean(m[1], names), "%s: the document has no parameter %s", r, m[1])
	}
}

// scalars calls each for every text of the step in which references are replaced.
func (st *Step) scalars(each func(*yaml.Node)) {
	for _, n := range st.inputs {
		walkScalars(n, each)
	}
	if st.Loop != nil {
		for _, n := range st.Loop.entries {
			each(n)
		}
		if st.Loop.list != nil {
			each(st.Loop.list)
		}
	}
	if st.If != nil {
		walkScalars(st.If.node, each)
	}
}

func walkScalars(n *yaml.Node, each func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode {
		each(n)
		return
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		walkScalars(child, each)
	}
}

// checkNearChain finds references whose phase is misspelt: such text would be left
// as it is, because others use braces, too.
func (s *source) checkNearChain(d *Document, n *yaml.Node, inner string) {
	m := chainPattern.FindStringSubmatch(inner)
	if m == nil {
		return
	}
	phase, step, _ := strings.Cut(m[1], ".")
	var phases []string
	for _, p := range d.Phases {
		phases = append(phases, p.Name)
	}
	near := yamldoc.Suggest(phase, phases)
	for _, p := range d.Phases {
		if p.Name == near && slices.ContainsFunc(p.Steps, func(st Step) bool { return st.Name == step }) {
			s.fail(s.yaml.Within(n, inner), didYouMean(phase, phases), "{{ %s }}: the document has no phase %s", inner, phase)
		}
	}
}

func (s *source) checkChained(d *Document, pi, si int, n *yaml.Node, r reference) {
	tp := slices.IndexFunc(d.Phases, func(p Phase) bool { return p.Name == r.phase })
	if tp < 0 {
		s.fail(n, "", "%s: the document has no phase %s", r, r.phase)
		return
	}
	ts := slices.IndexFunc(d.Phases[tp].Steps, func(st Step) bool { return st.Name == r.step })
	if ts < 0 {
		var names []string
		for _, st := range d.Phases[tp].Steps {
			names = append(names, st.Name)
		}
		s.fail(n, didYouMean(r.step, names), "%s: phase %s has no step %s", r, r.phase, r.step)
		return
	}
	if tp > pi || (tp == pi && ts >= si) {
		s.fail(n, "a step that runs earlier", "%s: step %s has not run by then", r, r.step)
		return
	}
	s.checkChainedField(&d.Phases[tp].Steps[ts], n, r)
}

func (s *source) checkChainedField(target *Step, n *yaml.Node, r reference) {
	a, ok := s.actions.find(target.Action)
	if !ok {
		return
	}
	if r.side == "outputs" {
		if !slices.Contains(a.Outputs, r.field) {
			s.fail(n, didYouMean(r.field, a.Outputs), "%s: %s has no output %s", r, a.Name, r.field)
		}
		return
	}
	if r.index >= max(len(target.inputs), 1) {
		s.fail(n, fmt.Sprintf("an index below %d", len(target.inputs)), "%s: step %s has %d inputs", r, target.Name, len(target.inputs))
		return
	}
	if _, declared := a.input(r.field); !declared && mappingValue(target.inputs, r.index, r.field) == nil {
		s.fail(n, didYouMean(r.field, a.inputNames()), "%s: %s has no input %s", r, a.Name, r.field)
	}
}

func mappingValue(entries []*yaml.Node, index int, key string) *yaml.Node {
	if index >= len(entries) {
		return nil
	}
	n := entries[index]
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// lint warns of what is legal and probably not meant.
func (s *source) lint(d *Document) {
	for _, p := range d.Phases {
		for i := range p.Steps {
			st := &p.Steps[i]
			s.lintInputs(st)
			s.lintNames(d, st)
			st.scalars(func(n *yaml.Node) {
				d.references(n.Value, func(r reference) {
					if r.kind == chained && p.Name == PhaseTest && r.phase != PhaseTest {
						s.warn(s.yaml.Within(n, r.text), "", "%s: the test phase of an image build runs on another machine, where phase %s has not run", r, r.phase)
					}
				})
			})
		}
	}
}

// lintNames warns of references that stay as they are and look like slips: a name
// near that of a variable, and the turn of a loop in a condition, which is looked at
// before the first one.
func (s *source) lintNames(d *Document, st *Step) {
	names := d.variables()
	st.scalars(func(n *yaml.Node) {
		d.references(n.Value, func(r reference) {
			if near := yamldoc.Suggest(r.name, names); r.kind == variable && !slices.Contains(names, r.name) && near != "" {
				s.warn(s.yaml.Within(n, r.text), didYouMean(r.name, names), "%s is no parameter or constant and stays as it is", r)
			}
		})
	})
	if st.If == nil || st.Loop == nil {
		return
	}
	walkScalars(st.If.node, func(n *yaml.Node) {
		d.references(n.Value, func(r reference) {
			if r.kind == iteration && (r.name == "loop" || r.name == st.Loop.Name) {
				s.warn(s.yaml.Within(n, r.text), "", "%s stays as it is: the condition is looked at once, before the loop", r)
			}
		})
	})
}

func (s *source) lintInputs(st *Step) {
	a, ok := s.actions.find(st.Action)
	if !ok || len(a.Inputs) > 0 && a.Inputs[0].Type == Comparison {
		return
	}
	if a.check != nil {
		found := &source{yaml: s.yaml, actions: s.actions}
		a.check(found, st)
		s.warnings = append(s.warnings, found.warnings...)
	}
	for _, n := range st.inputs {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if _, ok := a.input(key.Value); !ok && yamldoc.Suggest(key.Value, a.inputNames()) == "" {
				s.warn(key, "one of "+strings.Join(a.inputNames(), ", "), "%s has no input %q; it is ignored", a.Name, key.Value)
			}
		}
	}
}

// checkExecute finds program calls in a form that some printed examples show
// and no runner accepts: path or source written inside commands.
func checkExecute(s *source, st *Step) {
	n := st.inputs
	if len(n) != 1 || n[0].Kind != yaml.MappingNode {
		return
	}
	commands, file := mappingValue(n, 0, "commands"), mappingValue(n, 0, "file")
	if st.Action == "ExecutePowerShell" && (commands == nil) == (file == nil) {
		s.fail(st.place(), "either commands or file", "step %s needs exactly one of commands and file", st.Name)
	}
}

// checkExecuteDocument: the step's own limits would cut the nested run short.
func checkExecuteDocument(s *source, st *Step) {
	if st.timeoutSet && st.Timeout != 0 {
		s.fail(st.node, "timeoutSeconds: -1, or none", "step %s: ExecuteDocument has no timeout", st.Name)
	}
	if st.MaxAttempts != 1 {
		s.fail(st.node, "maxAttempts: 1, or none", "step %s: ExecuteDocument is never repeated", st.Name)
	}
	n := mappingValue(st.inputs, 0, "document")
	if n != nil && strings.HasPrefix(n.Value, objectScheme) {
		s.checkAddress(st, "document")
	}
	if n != nil && strings.HasPrefix(n.Value, arnPrefix) && !strings.Contains(n.Value, "{{") && !componentARN.MatchString(n.Value) {
		s.fail(n, "the ARN of a component's build version", "document of ExecuteDocument is %s", describe(n))
	}
}

func checkAssert(s *source, st *Step) {
	if len(st.inputs) == 1 {
		s.condition(st.inputs[0], false)
	}
}

func checkS3Download(s *source, st *Step) { s.checkAddress(st, "source") }

func checkS3Upload(s *source, st *Step) { s.checkAddress(st, "destination") }

// checkAddress looks at the s3:// addresses that stand in the document as they are.
func (s *source) checkAddress(st *Step, input string) {
	for i := range st.inputs {
		n := mappingValue(st.inputs, i, input)
		if n == nil || n.Kind != yaml.ScalarNode || n.Value == "" || strings.Contains(n.Value, "{{") {
			continue
		}
		if _, err := parseObject(n.Value, ""); err != nil {
			s.fail(n, "s3://bucket/key", "%s of %s is %s", input, st.Action, describe(n))
		}
	}
}

func checkWebDownload(s *source, st *Step) {
	for i, n := range st.inputs {
		if src := mappingValue(st.inputs, i, "source"); src != nil && !strings.Contains(src.Value, "{{") &&
			!strings.HasPrefix(src.Value, "http://") && !strings.HasPrefix(src.Value, "https://") {
			s.fail(src, "an http or https URL", "source of WebDownload is %s", describe(src))
		}
		if (mappingValue(st.inputs, i, "checksum") == nil) != (mappingValue(st.inputs, i, "algorithm") == nil) {
			s.warn(n, "both, or none", "only one of checksum and algorithm is given, so nothing is verified")
		}
	}
}
