package component

import (
	"fmt"
	"testing"
)

// Traps 4, 5 and 6, one line for each rule.
func TestComparisons(t *testing.T) {
	for _, c := range []struct {
		condition string
		want      bool
	}{
		{"{stringEquals: abc, value: ABC}", true},
		{"{value: abc, stringEquals: abcd}", false},
		{"{stringEquals: '1', value: 1}", true},
		{"{stringLessThan: b, value: a}", true},
		{"{stringLessThan: a, value: b}", false},
		{"{stringlessThan: a, value: A}", true},
		{"{stringLessThan: A, value: '1'}", true},
		{"{stringLessThanEquals: a, value: a}", true},
		{"{stringGreaterThan: a, value: B}", true},
		{"{stringGreaterThanEquals: a, value: a}", true},
		{"{stringIsEmpty: ''}", true},
		{"{stringIsEmpty: ' '}", false},
		{"{stringIsWhitespace: \" \\t\"}", true},
		{"{stringIsWhitespace: ''}", false},
		{"{patternMatches: '^s3:\\/\\/.*\\/.*$', value: 'S3://b/k'}", true},
		{"{patternMatches: b+, value: abbc}", true},
		{"{patternMatches: ^b, value: abbc}", false},
		{"{numberLessThan: 2, value: 1}", true},
		{"{numberLessThan: 1, value: 2}", false},
		{"{numberEquals: 1.50, value: '+1.5'}", true},
		{"{numberEquals: 1, value: one}", false},
		{"{numberGreaterThan: 99999999999999999998, value: 99999999999999999999}", true},
		{"{numberGreaterThanEquals: 0.1, value: 0.10}", true},
		{"{numberLessThanEquals: -2, value: -3}", true},
		{"{numberEquals: 0x10, value: 16}", false},
		{"{numberEquals: 1e3, value: 1000}", false},
		{"{binaryExists: bash}", true},
		{"{binaryExists: no-such-program}", false},
		{"{fileExists: /etc/passwd}", true},
		{"{fileExists: /etc}", false},
		{"{fileExists: here}", true},
		{"{folderExists: /etc}", true},
		{"{folderExists: /etc/passwd}", false},
		{"{fileMD5Equals: 9DD4E461268C8034F5C8564E155C67A6, path: here}", true},
		{"{fileSHA256Equals: 00, path: here}", false},
		{"{fileSHA1Equals: 00, path: nowhere}", false},
		{"{and: [{stringIsEmpty: ''}, {fileExists: here}]}", true},
		{"{and: [{stringIsEmpty: x}, {fileExists: here}]}", false},
		{"{or: [{stringIsEmpty: x}, {fileExists: here}]}", true},
		{"{or: [{stringIsEmpty: x}]}", false},
		{"{not: {stringIsEmpty: x}}", true},
		{"{not: [{not: [{stringIsEmpty: x}]}]}", false},
		{"{and: [{stringIsEmpty: x}, {patternMatches: '(', value: x}]}", false},
	} {
		for action, want := range map[string]Status{"Assert": map[bool]Status{true: Success, false: Failed}[c.want], "if": map[bool]Status{true: Success, false: Skipped}[c.want]} {
			step := "- {name: A, action: Assert, inputs: " + c.condition + "}"
			if action == "if" {
				step = bash("A", ":", "if: "+c.condition)
			}
			b := newBench(t, oneStep(step))
			b.put("here", "x")
			if got := b.run().Documents[0].Steps[0]; got.Status != want {
				t.Errorf("%s %s: %s %s", action, c.condition, got.Status, got.Message)
			}
		}
	}
}

func TestThenAndElse(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   Status
	}{
		{"then: Skip", Skipped}, {"then: Execute", Success}, {"then: Abort", Failed},
	} {
		b := newBench(t, oneStep(bash("A", ":", fmt.Sprintf("if: {stringIsEmpty: '', %s}", c.fields))))
		if got := b.run().Documents[0].Steps[0].Status; got != c.want {
			t.Errorf("%s: %s", c.fields, got)
		}
	}
	b := newBench(t, oneStep(bash("A", ":", "if: {stringIsEmpty: x, else: Abort}\nonFailure: Ignore")))
	if r := b.run(); r.Status != SuccessWithIgnoredFailure {
		t.Errorf("%+v", r)
	}
	b = newBench(t, oneStep(bash("A", "echo ran", "if: {stringIsEmpty: x, else: Execute}")))
	b.prints("ran\n")
}

func TestConditionsSeeReferences(t *testing.T) {
	b := newBench(t, "parameters:\n  - Flavour: {type: string, default: Legacy}\n"+oneStep(bash("A", "echo 5")+bash("B", "echo ran", "if: {and: [{stringEquals: legacy, value: '{{ Flavour }}'}, {numberGreaterThan: 4, value: '{{ build.A.outputs.stdout }}'}]}")))
	b.prints("5\nran\n")
	b = newBench(t, oneStep(bash("A", ":", "if: {patternMatches: '(', value: x}")))
	b.fails("its condition: patternMatches")
}
