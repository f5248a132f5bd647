package component

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// FuzzParse: whatever a pull request brings, the answer is a list of problems with
// places, or a document that keeps the rules of the language. The corpus is the seed.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"linux/*/*.yaml", "linux/*/files/*.yaml", "refused/*.yaml", "windows/*.yaml"} {
		files, err := filepath.Glob(filepath.Join("testdata", "corpus", filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			f.Fatalf("seeds %s: %d, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte(oneStep(bash("A", "echo {{ build.A.outputs.stdout }} {{ loop.value }}", "loop: {name: L, forEach: {list: '{{ P }}', delimiter: ','}}\nif: {not: [{and: [{fileExists: x}, {numberEquals: 1, value: 2}]}]}"))))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("x: &x {<<: {a: 1}}\nphases: [{<<: *x, name: test, steps: [*x]}]\nschemaVersion: 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, problems := Parse("fuzz.yaml", text)
		again, same := Parse("fuzz.yaml", text)
		if problems.Error() != same.Error() || (d == nil) != (again == nil) {
			t.Fatalf("first\n%v\nthen\n%v", problems, same)
		}
		if d == nil && len(problems) == 0 {
			t.Fatal("neither a document nor a problem")
		}
		checkProblems(t, text, problems)
		if d == nil {
			return
		}
		checkProblems(t, text, d.Warnings)
		good := len(problems) == 0
		if good {
			checkAccepted(t, d)
			checkLineEnds(t, d)
		}
		for _, platform := range []string{Linux, Windows, MacOS} {
			given := map[string]string{"Abc": "y"}
			found := d.Check(platform, given)
			if found.Error() != d.Check(platform, given).Error() {
				t.Fatalf("two checks for %s differ", platform)
			}
			checkProblems(t, text, found)
			if good && len(found) == 0 {
				checkRunnable(t, d, platform)
			}
		}
	})
}

// checkProblems: each problem has a place in the text and something to read.
func checkProblems(t *testing.T, text []byte, problems yamldoc.Problems) {
	t.Helper()
	lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + bytes.Count(text, []byte("\u0085")) + bytes.Count(text, []byte("\u2028")) + bytes.Count(text, []byte("\u2029")) + 1
	for _, p := range problems {
		if p.File != "fuzz.yaml" || p.Message == "" || p.Line < 0 || p.Line > lines || p.Column < 0 {
			t.Fatalf("%+v, of a text with %d lines", p, lines)
		}
		if shown := p.String(); !utf8.ValidString(shown) {
			t.Fatalf("not UTF-8: %q", shown)
		}
	}
}

// checkAccepted holds a document without problems against what the language demands.
func checkAccepted(t *testing.T, d *Document) {
	t.Helper()
	known := false
	phases := map[string]bool{}
	for _, p := range d.Phases {
		known = known || p.Name == PhaseBuild || p.Name == PhaseValidate || p.Name == PhaseTest
		if p.Name == "" || phases[p.Name] {
			t.Fatalf("phase %q is empty or appears twice", p.Name)
		}
		phases[p.Name] = true
		steps := map[string]bool{}
		for i := range p.Steps {
			st := &p.Steps[i]
			if st.Name == "" || st.Action == "" || steps[st.Name] {
				t.Fatalf("step %q with action %q is not complete, or appears twice", st.Name, st.Action)
			}
			steps[st.Name] = true
			if st.Timeout < 0 || st.MaxAttempts < 1 || st.MaxAttempts > maxAttempts || (st.OnFailure != Abort && st.OnFailure != Continue && st.OnFailure != Ignore) {
				t.Fatalf("step %+v", st)
			}
			if st.Loop != nil {
				checkLoop(t, st.Loop)
			}
			if st.If != nil && (!slices.Contains([]Verdict{VerdictExecute, VerdictSkip, VerdictAbort}, st.If.Then) || !slices.Contains([]Verdict{VerdictExecute, VerdictSkip, VerdictAbort}, st.If.Else)) {
				t.Fatalf("condition %+v", st.If)
			}
		}
	}
	if !known || (d.SchemaVersion != "1" && d.SchemaVersion != "1.0") || len(d.Parameters) > MaxParameters {
		t.Fatalf("accepted: version %q, %d parameters, phases %v", d.SchemaVersion, len(d.Parameters), phases)
	}
	variables := map[string]bool{}
	for _, name := range variableNames(d) {
		if variables[name] || !variablePattern.MatchString(name) {
			t.Fatalf("variable %q is illegal or appears twice", name)
		}
		variables[name] = true
	}
}

func variableNames(d *Document) []string {
	var names []string
	for _, p := range d.Parameters {
		names = append(names, p.Name)
	}
	for _, c := range d.Constants {
		names = append(names, c.Name)
	}
	return names
}

func checkLoop(t *testing.T, l *Loop) {
	t.Helper()
	shapes := 0
	for _, is := range []bool{l.counter != nil, l.list != nil} {
		if is {
			shapes++
		}
	}
	if shapes > 1 || (shapes == 1 && l.entries != nil) || utf8.RuneCountInString(l.delimiter) > 1 {
		t.Fatalf("loop %+v", l)
	}
	if l.counter != nil {
		if n := len(l.counter.values()); n < 1 || n > maxIterations {
			t.Fatalf("%+v counts %d times", l.counter, n)
		}
	}
}

// checkLineEnds: a document means the same when an editor has saved it with CRLF.
func checkLineEnds(t *testing.T, d *Document) {
	t.Helper()
	if bytes.ContainsAny(d.text, "\r") || len(d.text) > MaxDocumentSize/2 {
		return
	}
	other, problems := Parse("fuzz.yaml", bytes.ReplaceAll(d.text, []byte("\n"), []byte("\r\n")))
	if len(problems) > 0 || len(other.Phases) != len(d.Phases) {
		t.Fatalf("with CRLF: %v", problems)
	}
	for i := range d.Phases {
		for j := range d.Phases[i].Steps {
			a, b := &d.Phases[i].Steps[j], &other.Phases[i].Steps[j]
			if a.Name != b.Name || texts(a) != texts(b) {
				t.Fatalf("%q became %q with CRLF", texts(a), texts(b))
			}
		}
	}
}

// texts is everything of a step in which references are replaced.
func texts(st *Step) string {
	var b strings.Builder
	st.scalars(func(n *yaml.Node) { b.WriteString(n.Value + "\x00") })
	return b.String()
}

// checkRunnable: what a check lets pass has actions that exist with the inputs that
// they need, and every reference in it can be resolved.
func checkRunnable(t *testing.T, d *Document, platform string) {
	t.Helper()
	r := &engine{documents: []*Document{d}, job: Job{Documents: []JobDocument{{}}}, env: Env{Store: corpusOfAnything{}}.withDefaults(), masker: newMasker(nil)}
	state := &documentState{}
	for _, p := range d.Phases {
		done := &phaseState{Name: p.Name}
		state.Phases = append(state.Phases, done)
		for i := range p.Steps {
			st := &p.Steps[i]
			a, ok := d.source.actions.find(st.Action)
			if !ok || !a.On(platform) || (len(st.inputs) > 1 && !a.List) || (len(st.inputs) == 0 && !a.Bare) {
				t.Fatalf("step %s with %s and %d inputs was let pass on %s", st.Name, st.Action, len(st.inputs), platform)
			}
			for at := range st.inputs {
				for _, in := range a.Inputs {
					if in.Required && in.Type != Comparison && mappingValue(st.inputs, at, in.Name) == nil {
						t.Fatalf("step %s lacks %s", st.Name, in.Name)
					}
				}
			}
			s := scope{engine: r, ctx: t.Context(), state: state}
			st.scalars(func(n *yaml.Node) {
				if _, err := s.expand(n.Value); err != nil {
					t.Fatalf("%q: %v", n.Value, err)
				}
			})
			done.Steps = append(done.Steps, &stepRecord{Name: st.Name, Status: Skipped})
		}
	}
}

// corpusOfAnything is a parameter store that knows every name.
type corpusOfAnything struct{}

func (corpusOfAnything) Parameter(context.Context, string) (StoredValue, error) {
	return StoredValue{Text: "stored"}, nil
}

// braced is what expand takes for a reference, written in another way.
var braced = regexp.MustCompile(`\{\{([^{}\r\n]*)\}\}`)

// FuzzExpand: what is no reference stays, byte for byte; values are put in raw and
// never looked at again. An expansion by regular expression has to agree.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"{{ a }}", "{{{a}}}", "{{ a }} }} {{", "{{{{ a }}}}", "{{ build.A.inputs[0].x }}", "{{ aws:ssm:resolve( x ) }}", "{{a}}{{b}}{{ a\n}}", "}}{{\ta\t}}{{", strings.Repeat("{{", 1000) + "a" + strings.Repeat("}}", 3), "{{" + strings.Repeat(" ", 600) + "a}}"} {
		f.Add(seed, "{{ a }}", "}}")
	}
	f.Fuzz(func(t *testing.T, text, a, b string) {
		values := map[string]string{"a": a, "b": b}
		got, err := expand(text, func(inner string) (string, bool, error) {
			value, ok := values[inner]
			return value, ok, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := braced.ReplaceAllStringFunc(text, func(found string) string {
			inner := found[2 : len(found)-2]
			if value, ok := values[strings.TrimSpace(inner)]; ok && len(inner) <= maxReference {
				return value
			}
			return found
		})
		if got != want {
			t.Fatalf("%q became %q, want %q", text, got, want)
		}
		failure := errors.New("x")
		if _, err := expand(text, func(string) (string, bool, error) { return "", true, failure }); err != nil && !errors.Is(err, failure) {
			t.Fatal(err)
		}
	})
}

// FuzzReference: what stands in braces is one of the known forms, which then says
// the same as the text, or somebody else's; and the engine leaves that alone.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"Word", "build.A.inputs[0].commands", "build.B.c.outputs.stdout", "validate.A.outputs[12].stdout", "loop.index", "L.value", "aws:ssm:/a/b", "aws:ssm:resolve(Word)",
		"aws:ssm:resolve( aws:ssm:/x )", "build.A.outputs", "steps.a.outputs.b", ".Values.x", "a | b", "build..outputs.stdout", "build.A.inputs[-1].x", "x.y.index",
	} {
		f.Add(seed)
	}
	d, problems := Parse("x", []byte("constants:\n  - Word: {type: string, value: '{{ Word }}'}\n"+oneStep(bash("A", ":")+bash("B.c", ":")+bash("Use", ":", "loop: {name: L, forEach: [v]}"))))
	if problems.Err() != nil {
		f.Fatal(problems)
	}
	records := []*stepRecord{
		{Name: "A", Status: Success, Inputs: []map[string]string{{"commands": "in"}}, Outputs: []map[string]string{{"stdout": "out"}}},
		{Name: "B.c", Status: Skipped},
	}
	f.Fuzz(func(t *testing.T, inner string) {
		r := d.parseReference(inner)
		switch r.kind {
		case chained:
			plain := r.phase + "." + r.step + "." + r.side + "." + r.field
			if inner != plain && !strings.HasPrefix(inner, r.phase+"."+r.step+"."+r.side+"[") {
				t.Fatalf("%q was read as %q", inner, plain)
			}
		case iteration:
			if inner != r.name+"."+r.field || (r.field != "index" && r.field != "value") {
				t.Fatalf("%q was read as %+v", inner, r)
			}
		case variable:
			if inner != r.name || !variablePattern.MatchString(inner) {
				t.Fatalf("%q was read as %+v", inner, r)
			}
		case parameterStore:
			if !strings.HasPrefix(inner, "aws:ssm:") {
				t.Fatalf("%q was read as %+v", inner, r)
			}
		}
		s := &scope{engine: &engine{documents: []*Document{d}, job: Job{Documents: []JobDocument{{}}}, env: Env{Store: corpusOfAnything{}}.withDefaults(), masker: newMasker(nil)}, ctx: t.Context(),
			state: &documentState{Phases: []*phaseState{{Name: PhaseBuild, Steps: records}}}, loop: &iterationScope{name: "L", index: 7, value: "v"}}
		text := "<{{" + inner + "}}>"
		got, err := s.expand(text)
		if strings.ContainsAny(inner, "{}\r\n") || len(inner) > maxReference {
			return // not one pair of braces
		}
		switch {
		case err != nil && r.kind != chained && d.parseReference(strings.TrimSpace(inner)).kind != chained:
			t.Fatalf("%q: %v", text, err)
		case err == nil && d.parseReference(strings.TrimSpace(inner)).kind == plainText && got != text:
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// FuzzMask: however output falls into pieces, a secret never shows.
func FuzzMask(f *testing.F) {
	f.Add([]byte("one secret two\nsec"), "secret", "cret\n", uint8(3))
	f.Add([]byte("aaaaaaaaab"), "aaab", "b", uint8(1))
	f.Add(bytes.Repeat([]byte("x"), maxPiece+10), "xxxx", "", uint8(200))
	f.Add([]byte("\n\n\n\n"), "0", "\n\n", uint8(0))
	f.Add([]byte("ababababcab"), "abab", "babc", uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, secret, other string, step uint8) {
		if strings.Contains(secret, mark[:1]) || strings.Contains(other, mark[:1]) || bytes.Contains(text, []byte(mark[:1])) {
			return // the mark itself could make up a secret
		}
		var out strings.Builder
		s := &stream{masker: newMasker([]string{secret, other}), emit: func(piece string) { out.WriteString(piece) }}
		for rest := text; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		s.flush()
		for _, hidden := range []string{secret, other} {
			if hidden != "" && strings.Contains(out.String(), hidden) {
				t.Fatalf("%q shows in %q", hidden, out.String())
			}
		}
		// Wherever the pieces end, all is masked as if it had come at once.
		if want := s.masker.text(string(text)); out.String() != want {
			t.Fatalf("%q became %q, want %q", text, out.String(), want)
		}
	})
}

// conditionScope is a place in which conditions have no references to resolve.
func conditionScope(d *Document) *scope {
	return &scope{
		engine: &engine{documents: []*Document{d}, job: Job{Documents: []JobDocument{{}}}, env: Env{}.withDefaults(), masker: newMasker(nil)},
		ctx:    context.Background(), state: &documentState{},
	}
}

// FuzzCondition: any condition that parses has an answer or an error, always the
// same, and the laws of logic hold for what is built of it.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"{stringEquals: a, value: b}", "{patternMatches: '(a|b)*', value: aab}", "{numberLessThan: 1.5, value: '-7'}", "{not: {or: [{stringIsWhitespace: ' '}, {stringIsEmpty: ''}]}}",
		"{and: [{numberEquals: 1, value: 1.0}, {not: [{stringGreaterThan: a, value: B}]}], then: Skip, else: Abort}", "{patternMatches: '(', value: x}",
	} {
		f.Add(seed)
	}
	d, _ := Parse("x", []byte("a: b"))
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) != 1 {
			return
		}
		s := &source{yaml: d.source.yaml}
		c := s.condition(n.Content[0], true)
		folded := strings.ToLower(text)
		if len(s.problems) > 0 || strings.Contains(folded, "path") || strings.Contains(folded, "exists") {
			return // not a condition, or one that would look at files
		}
		in := conditionScope(d)
		first, err := c.holds(in)
		second, err2 := c.holds(in)
		if first != second || (err == nil) != (err2 == nil) || (err != nil && first) {
			t.Fatalf("%v %v, then %v %v", first, err, second, err2)
		}
		not := &Condition{operator: "not", parts: []*Condition{c}}
		for _, law := range []struct {
			name string
			c    *Condition
			want bool
		}{
			{"not", not, !first},
			{"not not", &Condition{operator: "not", parts: []*Condition{not}}, first},
			{"and itself", &Condition{operator: "and", parts: []*Condition{c, c}}, first},
			{"or itself", &Condition{operator: "or", parts: []*Condition{c, c}}, first},
			{"and not", &Condition{operator: "and", parts: []*Condition{c, not}}, false},
			{"or not", &Condition{operator: "or", parts: []*Condition{c, not}}, true},
		} {
			if got, lawErr := law.c.holds(in); (lawErr == nil) != (err == nil) || (err == nil && got != law.want) {
				t.Fatalf("%s: %v, %v of %v, %v", law.name, got, lawErr, first, err)
			}
		}
	})
}

// FuzzComparison: each operator on two texts, as a document would write them, agrees
// with another way to compute it.
func FuzzComparison(f *testing.F) {
	for _, seed := range [][2]string{
		{"", " "}, {"a", "A"}, {"10", "9"}, {"-0.50", "-.5"}, {"+1", "1.000"}, {"1e3", "1000"}, {"0x10", "16"}, {"ß", "SS"}, {"123456789012345678901234567890", "123456789012345678901234567890.1"},
		{"-0", "0"}, {" 1", "1"}, {"1.", "1"}, {"^a.*", "ABC"}, {"[", "x"}, {"\x00", "\u00a0"}, {"ſ", "s"},
	} {
		f.Add(seed[0], seed[1])
	}
	d, _ := Parse("x", []byte("a: b"))
	f.Fuzz(func(t *testing.T, value, baseline string) {
		if strings.Contains(value+baseline, "{{") || len(value)+len(baseline) > 4000 {
			return
		}
		in := conditionScope(d)
		holds := func(operator string) bool {
			c := &Condition{operator: operator, baseline: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: baseline}}
			if operators()[operator] != "" {
				c.value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
			}
			is, err := c.holds(in)
			if err != nil && operator != "patternMatches" {
				t.Fatalf("%s: %v", operator, err)
			}
			return is
		}
		order := 0
		numeric := decimal.MatchString(value) && decimal.MatchString(baseline) && len(value) <= maxDigits && len(baseline) <= maxDigits
		if numeric {
			order = compareDecimals(value, baseline)
		}
		text := strings.Compare(strings.ToLower(value), strings.ToLower(baseline))
		if text == 0 {
			text = strings.Compare(value, baseline)
		}
		want := map[string]bool{
			"numberEquals": numeric && order == 0, "numberLessThan": numeric && order < 0, "numberLessThanEquals": numeric && order <= 0,
			"numberGreaterThan": numeric && order > 0, "numberGreaterThanEquals": numeric && order >= 0,
			"stringEquals": strings.EqualFold(value, baseline), "stringLessThan": text < 0, "stringLessThanEquals": text <= 0,
			"stringGreaterThan": text > 0, "stringGreaterThanEquals": text >= 0,
			"stringIsEmpty": len(baseline) == 0, "stringIsWhitespace": len(baseline) > 0 && strings.IndexFunc(baseline, func(r rune) bool { return !unicode.IsSpace(r) }) < 0,
		}
		for operator, want := range want {
			if got := holds(operator); got != want {
				t.Fatalf("%q %s %q: %v, want %v", value, operator, baseline, got, want)
			}
		}
		if pattern, err := regexp.Compile("(?i)" + baseline); err == nil && holds("patternMatches") != pattern.MatchString(value) {
			t.Fatalf("%q does not match %q as it should", value, baseline)
		}
	})
}

var decimal = regexp.MustCompile(`\A[-+]?([0-9]+\.)?[0-9]+\z`)

// compareDecimals compares as one does on paper: signs, then digits.
func compareDecimals(a, b string) int {
	parse := func(text string) (negative bool, whole, fraction string) {
		negative = strings.HasPrefix(text, "-")
		whole, fraction, _ = strings.Cut(strings.TrimLeft(text, "+-"), ".")
		whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
		return negative && whole+fraction != "", whole, fraction
	}
	an, aw, af := parse(a)
	bn, bw, bf := parse(b)
	order := cmp.Or(cmp.Compare(len(aw), len(bw)), strings.Compare(aw, bw), strings.Compare(af, bf))
	switch {
	case an != bn && an:
		return -1
	case an != bn:
		return 1
	case an:
		return -order
	}
	return order
}

// FuzzLoop: a loop that parses ends, within its bounds.
func FuzzLoop(f *testing.F) {
	f.Add(int64(1), int64(5), int64(2))
	f.Add(int64(5), int64(-5), int64(-3))
	f.Add(int64(0), int64(0), int64(1))
	f.Fuzz(func(t *testing.T, start, end, by int64) {
		c := &counter{start % (1 << 31), end % (1 << 31), by % (1 << 31)}
		if c.by == 0 || (c.end > c.start && c.by < 0) || (c.end < c.start && c.by > 0) || (c.end-c.start)/c.by >= maxIterations {
			return
		}
		if got := int64(len(c.values())); got != (c.end-c.start)/c.by+1 {
			t.Fatalf("%+v: %d values", c, got)
		}
	})
}
