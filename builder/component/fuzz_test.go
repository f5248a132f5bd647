package component

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// FuzzParse: whatever a pull request brings, the answer is a list of problems.
func FuzzParse(f *testing.F) {
	f.Add([]byte(oneStep(bash("A", "echo {{ build.A.outputs.stdout }} {{ loop.value }}", "loop: {name: L, forEach: {list: '{{ P }}', delimiter: ','}}\nif: {not: [{and: [{fileExists: x}, {numberEquals: 1, value: 2}]}]}"))))
	f.Add([]byte("schemaVersion: 1.0\nparameters:\n  - Abc: {type: string, default: x, allowedValues: [x]}\nconstants:\n  - Def: {type: string, value: 0755}\nphases: [{name: test, steps: [{name: A, action: Reboot}]}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("x: &x {<<: {a: 1}}\nphases: [{<<: *x, name: test, steps: [*x]}]\nschemaVersion: 1"))
	f.Add([]byte("schemaVersion: 1\nphases:\n- name: build\n  steps:\n  - {name: A, action: Assert, inputs: {or: []}}\n  - {name: B, action: ExecuteDocument, inputs: {document: x, parameters: [{name: a}]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, problems := Parse("fuzz.yaml", text)
		if d == nil && len(problems) == 0 {
			t.Fatal("neither a document nor a problem")
		}
		if d == nil {
			return
		}
		for _, platform := range []string{Linux, Windows, MacOS} {
			d.Check(platform, map[string]string{"Abc": "y"})
		}
	})
}

// FuzzExpand: what is no reference stays, byte for byte, and nothing is replaced twice.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"{{ a }}", "{{{a}}}", "{{ a }} }} {{", "{{{{ a }}}}", "{{ build.A.inputs[0].x }}", "{{ aws:ssm:resolve( x ) }}", strings.Repeat("{{", 1000)} {
		f.Add(seed, "{{ a }}")
	}
	d, problems := Parse("x", []byte(oneStep(bash("A", ":"))))
	if problems.Err() != nil {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		same, err := expand(text, func(string) (string, bool, error) { return "", false, nil })
		if err != nil || same != text {
			t.Fatalf("%q became %q, %v", text, same, err)
		}
		hits := 0
		replaced, err := expand(text, func(inner string) (string, bool, error) {
			d.parseReference(inner)
			hits++
			return value, true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if hits > 0 && value != "" && strings.Count(replaced, value) < 1 {
			t.Fatalf("%q became %q with %d hits", text, replaced, hits)
		}
		d.references(text, func(reference) {})
	})
}

// FuzzMask: however output falls into pieces, a secret never shows.
func FuzzMask(f *testing.F) {
	f.Add([]byte("one secret two\nsec"), "secret", "cret\n", uint8(3))
	f.Add([]byte("aaaaaaaaab"), "aaab", "b", uint8(1))
	f.Add(bytes.Repeat([]byte("x"), maxPiece+10), "xxxx", "", uint8(200))
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
		if secret == "" && other == "" && out.String() != string(text) {
			t.Fatalf("%q became %q", text, out.String())
		}
	})
}

// FuzzCondition: any condition that parses has an answer or an error.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"{stringEquals: a, value: b}", "{patternMatches: '(a|b)*', value: aab}", "{numberLessThan: 1.5, value: '-7'}", "{not: {or: [{fileExists: /x}, {stringIsEmpty: ''}]}}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) != 1 {
			return
		}
		d, _ := Parse("x", []byte("a: b"))
		s := &source{yaml: d.source.yaml}
		c := s.condition(n.Content[0], true)
		if len(s.problems) > 0 || strings.Contains(text, "path") || strings.Contains(text, "Exists") || strings.Contains(text, "exists") {
			return // not a condition, or one that would look at files
		}
		r := &engine{documents: []*Document{d}, job: Job{Documents: []JobDocument{{}}}, env: Env{}.withDefaults()}
		first, err := c.holds(&scope{engine: r, ctx: context.Background(), state: &documentState{}})
		second, err2 := c.holds(&scope{engine: r, ctx: context.Background(), state: &documentState{}})
		if first != second || (err == nil) != (err2 == nil) {
			t.Fatalf("%v %v, then %v %v", first, err, second, err2)
		}
	})
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
