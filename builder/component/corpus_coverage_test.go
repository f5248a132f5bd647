//go:build linux

package component

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// minCorpus is how many documents are run at least.
const minCorpus = 60

// TestCorpusCovers fails when the corpus leaves out an action, one of its inputs or
// outputs, an operator, or another feature of the language. What the language has
// comes from the engine's own tables where there are any.
func TestCorpusCovers(t *testing.T) {
	seen := coverage{}
	documents := 0
	for _, name := range corpusNames(t, "linux") {
		c := loadCase(t, name)
		for _, file := range c.Documents {
			documents++
			seen.document(t, c.texts[file], Linux)
		}
		seen.nested(t, filepath.Join(c.folder, "files"))
		seen.result(t, filepath.Join(c.folder, "want", "detailedoutput.json"))
		seen.mark(len(c.Secrets) > 0, "secrets")
		seen.mark(len(c.Documents) > 1, "several documents")
		seen.mark(len(c.Phases) > 0, "chosen phases")
	}
	for _, name := range corpusNames(t, "windows") {
		text, err := os.ReadFile(filepath.Join(corpusDir, "windows", name))
		if err != nil {
			t.Fatal(err)
		}
		seen.document(t, string(text), Windows)
	}
	for _, what := range features() {
		if !seen[what] {
			t.Errorf("no document of the corpus has: %s", what)
		}
	}
	if documents < minCorpus {
		t.Errorf("the corpus runs %d documents, fewer than %d", documents, minCorpus)
	}
}

// features are all that the corpus has to show.
func features() []string {
	all := []string{
		"secrets", "several documents", "chosen phases", "custom phase", "byte order mark", "CRLF", "alias",
		"text: {%", "text: {{.", "text: ${{", "text: exit 194",
		"plain", "single quotes", "double quotes", "literal block", "folded block", "flow mapping", "flow list",
		"schemaVersion 1.0", "schemaVersion 1", "schemaVersion '1.0'",
		"required parameter", "default", "allowedValues", "constant", "if", "for", "forEach list", "forEach text", "stored list", "loop name", "updateBy negative",
		"timeoutSeconds", "timeoutSeconds -1", "maxAttempts", "onFailure Abort", "onFailure Continue", "onFailure Ignore",
		"{{ Name }}", "{{ loop.index }}", "{{ loop.value }}", "{{ Loop.index }}", "{{ Loop.value }}", "{{ aws:ssm:/name }}", "{{ aws:ssm:resolve(Name) }}", "{{ aws:ssm:resolve(aws:ssm:/name) }}",
		"{{ phase.step.inputs.field }}", "{{ phase.step.inputs[i].field }}", "{{ phase.step.outputs.field }}", "{{ phase.step.outputs[i].field }}",
		"inputs are a mapping", "inputs are a list", "no inputs", "unquoted octal",
		"status success", "status failed", "status skipped", "status ignoredFailure", "status successWithIgnoredFailure", "nested run",
	}
	for _, v := range []Verdict{VerdictExecute, VerdictSkip, VerdictAbort} {
		all = append(all, "then "+string(v), "else "+string(v))
	}
	for _, d := range ".,;:\n\t -_" {
		all = append(all, "delimiter "+string(d))
	}
	for operator := range operators() {
		all = append(all, operator, "not "+operator)
	}
	for _, a := range Actions() {
		for _, platform := range []string{Linux, Windows} {
			if !a.On(platform) {
				continue
			}
			all = append(all, platform+" "+a.Name)
			for _, in := range a.Inputs {
				if in.Type != Comparison && (platform == Linux || !a.On(Linux)) {
					all = append(all, platform+" "+a.Name+" input "+in.Name)
				}
			}
			if platform == Windows {
				continue
			}
			for _, out := range a.Outputs {
				all = append(all, a.Name+" output "+out)
			}
			all = append(all, a.Name+" that works")
			if a.Name != "Reboot" { // nothing in it can fail
				all = append(all, a.Name+" that fails")
			}
		}
	}
	return all
}

// coverage is the set of what was seen.
type coverage map[string]bool

func (seen coverage) mark(is bool, what string) {
	if is {
		seen[what] = true
	}
}

// nested reads the documents that others run.
func (seen coverage) nested(t *testing.T, folder string) {
	t.Helper()
	files, err := fs.Glob(os.DirFS(folder), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		if d, problems := Parse(file, text); d != nil && problems.Err() == nil {
			seen.document(t, string(text), Linux)
		}
	}
}

func (seen coverage) document(t *testing.T, text, platform string) {
	t.Helper()
	d, problems := Parse("document", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	seen.mark(strings.HasPrefix(text, "\ufeff"), "byte order mark")
	seen.mark(strings.Contains(text, "\r\n"), "CRLF")
	for _, part := range []string{"{%", "{{.", "${{", "exit 194"} {
		seen.mark(strings.Contains(text, part), "text: "+part)
	}
	seen.node(d.source.yaml.Root)
	for _, p := range d.Parameters {
		seen.mark(p.Required, "required parameter")
		seen.mark(!p.Required, "default")
		seen.mark(p.AllowedValues != nil, "allowedValues")
	}
	seen.mark(d.Constants != nil, "constant")
	for _, p := range d.Phases {
		seen.mark(!slices.Contains([]string{PhaseBuild, PhaseValidate, PhaseTest}, p.Name), "custom phase")
		for i := range p.Steps {
			seen.step(d, &p.Steps[i], platform)
		}
	}
}

// node looks at how YAML was written.
func (seen coverage) node(n *yaml.Node) {
	seen.mark(n.Alias != nil, "alias")
	seen.mark(n.Kind == yaml.ScalarNode && n.Style == 0, "plain")
	for style, what := range map[yaml.Style]string{
		yaml.SingleQuotedStyle: "single quotes", yaml.DoubleQuotedStyle: "double quotes", yaml.LiteralStyle: "literal block", yaml.FoldedStyle: "folded block",
	} {
		seen.mark(n.Style&style != 0, what)
	}
	seen.mark(n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0, "flow mapping")
	seen.mark(n.Kind == yaml.SequenceNode && n.Style&yaml.FlowStyle != 0, "flow list")
	for i, child := range n.Content {
		seen.node(child)
		if n.Kind != yaml.MappingNode || i%2 == 0 {
			continue
		}
		plain := child.Style == 0
		switch key := n.Content[i-1].Value; {
		case key == "schemaVersion" && !plain:
			seen["schemaVersion '"+child.Value+"'"] = true
		case key == "schemaVersion":
			seen["schemaVersion "+child.Value] = true
		case key == "permissions":
			seen.mark(plain && strings.HasPrefix(child.Value, "0"), "unquoted octal")
		case key == "onFailure" || key == "then" || key == "else":
			seen[key+" "+child.Value] = true
		case key == "maxAttempts":
			seen.mark(child.Value != "1", key)
		case key == "timeoutSeconds":
			seen[key+map[bool]string{true: " -1"}[child.Value == "-1"]] = true
		}
	}
}

func (seen coverage) step(d *Document, st *Step, platform string) {
	a, ok := d.source.actions.find(st.Action)
	if !ok {
		return
	}
	seen[platform+" "+a.Name] = true
	for _, n := range st.inputs {
		for i := 0; i < len(n.Content); i += 2 {
			seen[platform+" "+a.Name+" input "+n.Content[i].Value] = true
		}
	}
	seen.mark(st.inputsNode == nil, "no inputs")
	seen.mark(st.inputsNode != nil && st.inputsNode.Kind == yaml.MappingNode, "inputs are a mapping")
	seen.mark(st.inputsNode != nil && st.inputsNode.Kind == yaml.SequenceNode, "inputs are a list")
	seen.mark(st.If != nil, "if")
	if st.If != nil {
		seen.condition(st.If, false)
	}
	if a.Name == "Assert" && len(st.inputs) == 1 {
		seen.condition((&source{yaml: d.source.yaml}).condition(st.inputs[0], false), false)
	}
	if l := st.Loop; l != nil {
		seen.mark(l.Name != "", "loop name")
		seen.mark(l.counter != nil, "for")
		seen.mark(l.counter != nil && l.counter.by < 0, "updateBy negative")
		seen.mark(l.entries != nil, "forEach list")
		seen.mark(l.list != nil && l.delimiter != "", "forEach text")
		seen.mark(l.list != nil && l.delimiter == "", "stored list")
		seen.mark(l.delimiter != "", "delimiter "+l.delimiter)
	}
	st.scalars(func(n *yaml.Node) {
		d.references(n.Value, func(r reference) { seen.reference(d, st, r) })
	})
}

func (seen coverage) condition(c *Condition, negated bool) {
	seen[map[bool]string{true: "not "}[negated]+c.operator] = true
	for _, part := range c.parts {
		seen.condition(part, c.operator == "not")
	}
}

func (seen coverage) reference(d *Document, st *Step, r reference) {
	switch r.kind {
	case variable:
		for _, c := range d.Constants {
			seen.mark(c.Name == r.name, "{{ Name }}")
		}
	case iteration:
		seen.mark(r.name == "loop", "{{ loop."+r.field+" }}")
		seen.mark(st.Loop != nil && r.name == st.Loop.Name, "{{ Loop."+r.field+" }}")
	case parameterStore:
		switch m := resolvePattern.FindStringSubmatch(r.text); {
		case m == nil:
			seen["{{ aws:ssm:/name }}"] = true
		case strings.HasPrefix(m[1], "aws:ssm:"):
			seen["{{ aws:ssm:resolve(aws:ssm:/name) }}"] = true
		default:
			seen["{{ aws:ssm:resolve(Name) }}"] = true
		}
	case chained:
		index := map[bool]string{true: "[i]"}[strings.Contains(r.text, r.side+"[")]
		seen["{{ phase.step."+r.side+index+".field }}"] = true
		for _, p := range d.Phases {
			for _, target := range p.Steps {
				if p.Name == r.phase && target.Name == r.step && r.side == "outputs" {
					seen[target.Action+" output "+r.field] = true
				}
			}
		}
	}
}

// result looks at how the steps ended when the golden file was written, which
// TestCorpus holds against how they end now.
func (seen coverage) result(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var run struct {
		Status    Status
		Documents []struct {
			Phases []struct{ Steps []detailedStep }
		}
	}
	if err := json.Unmarshal(text, &run); err != nil {
		t.Fatal(err)
	}
	seen["status "+string(run.Status)] = true
	for _, d := range run.Documents {
		for _, p := range d.Phases {
			for _, s := range p.Steps {
				seen["status "+string(s.Status)] = true
				seen.mark(s.DetailedOutput != nil, "nested run")
				seen.mark(s.Status == Success, s.Action+" that works")
				seen.mark(s.Status == Failed || s.Status == IgnoredFailure, s.Action+" that fails")
			}
		}
	}
}
