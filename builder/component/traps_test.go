package component

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryTrapHasATest: the language has 35 known traps, each of which is held by a
// test of its number, and points that its reference leaves open, each of which is
// held by a test that shows how we decided.
func TestEveryTrapHasATest(t *testing.T) {
	names := testNames(t)
	for trap := 1; trap <= 35; trap++ {
		prefix := fmt.Sprintf("TestTrap%02d", trap)
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("no test is called %s…", prefix)
		}
	}
	for _, proposal := range []string{
		"BashFlags", "StatusSpellings", "IgnoredFailuresAreSuccess", "LaterDocuments", "UnknownKeys", "ChainingToASkippedStep", "LiteralBraces",
		"UnknownStepIsAProblem", "NoPauseBetweenAttempts", "StdoutIsKeptTo1MiB", "LoopIsNotKnownToIf", "StringsCompareWithoutCase", "NoByteOrderMark",
	} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "TestProposal"+proposal) }) {
			t.Errorf("no test is called TestProposal%s…", proposal)
		}
	}
	for _, name := range names {
		if number, ok := strings.CutPrefix(name, "TestTrap"); ok && (len(number) < 3 || number[0] < '0' || number[0] > '3') {
			t.Errorf("%s has no number", name)
		}
	}
}

// testNames are the tests of this package, read from its sources.
func testNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

// Once per step: neither for each attempt, nor after a reboot, nor for each turn of a loop.
func TestTrap03ConditionsAreLookedAtOnce(t *testing.T) {
	const guard = "if: {not: {fileExists: ran}}"
	b := newBench(t, oneStep(bash("A", "touch ran; echo attempt >> attempts; [ $(wc -l < attempts) = 3 ]", guard, "maxAttempts: 3")))
	if r := b.ok(); r.Documents[0].Steps[0].Attempts != 3 {
		t.Errorf("%+v", r.Documents[0].Steps[0])
	}
	b = newBench(t, oneStep(bash("A", "echo turn {{ loop.value }}; touch ran", guard, "loop: {forEach: [a, b]}")))
	b.prints("turn a\nturn b\n")
	b = newBench(t, oneStep(bash("A", "[ -e ran ] && { echo again; exit 0; }; touch ran; exit 194", guard)))
	if r := b.run(); !r.Reboot {
		t.Fatalf("%+v", r)
	}
	b.prints("again\n")
}

// holdsFor says how a step with this condition ends.
func holdsFor(t *testing.T, condition string) bool {
	t.Helper()
	b := newBench(t, oneStep(bash("A", ":", "if: "+condition)))
	return b.ok().Documents[0].Steps[0].Status == Success
}

func TestTrap04ComparisonsAreValueOperatorBaseline(t *testing.T) {
	for condition, want := range map[string]bool{
		"{numberLessThan: 2, value: 1}": true, "{numberLessThan: 1, value: 2}": false,
		"{value: 1, numberLessThan: 2}":          true,
		"{stringGreaterThan: a, value: b}":       true,
		"{stringGreaterThan: b, value: a}":       false,
		"{patternMatches: '^a+$', value: aaa}":   true,
		"{patternMatches: aaa, value: '^a+$'}":   false,
		"{numberGreaterThanEquals: 5, value: 4}": false,
	} {
		if got := holdsFor(t, condition); got != want {
			t.Errorf("%s: %v", condition, got)
		}
	}
}

func TestTrap05NoNumberIsFalseAndNoError(t *testing.T) {
	for _, operator := range []string{"numberEquals", "numberLessThan", "numberLessThanEquals", "numberGreaterThan", "numberGreaterThanEquals"} {
		for _, pair := range []string{"1, value: one", "one, value: 1", "'', value: 0", "1e3, value: 1000", "0x1, value: 1", "'1,0', value: 1"} {
			if holdsFor(t, "{"+operator+": "+pair+"}") {
				t.Errorf("%s: %s holds", operator, pair)
			}
		}
	}
	if !holdsFor(t, "{stringEquals: 1, value: '1'}") || !holdsFor(t, "{not: {numberEquals: 1, value: one}}") {
		t.Error("a number is text to a string operator, and what is false can be negated")
	}
}

func TestTrap06StringsAndPatternsIgnoreCase(t *testing.T) {
	for _, condition := range []string{
		"{stringEquals: Legacy, value: lEGACY}", "{patternMatches: '^ab', value: ABC}", "{patternMatches: '[A-F]{2}', value: ab}", "{stringLessThan: B, value: a}",
	} {
		if !holdsFor(t, condition) {
			t.Errorf("%s does not hold", condition)
		}
	}
	if holdsFor(t, "{stringEquals: 'a', value: 'a '}") {
		t.Error("strings were trimmed")
	}
}

// ListFiles joins by comma, WebDownload by line, and a turn that fails gives nothing.
func TestTrap13OnlySuccessfulTurnsGiveOutputs(t *testing.T) {
	server, _ := site(t)
	b := prepared(t, "- {name: List, action: ListFiles, inputs: [{path: folder}, {path: folder/sub}]}\n"+
		download("{source: '"+server.URL+"/file', destination: d/1}", "{source: '"+server.URL+"/file', destination: d/2}")+
		bash("Show", "echo '{{ build.List.outputs.files }}'; echo '{{ build.Get.outputs.destination }}'"))
	b.prints(fmt.Sprintf("%[1]s/folder/in.log,%[1]s/folder/sub/deep.log\n%[1]s/d/1\n%[1]s/d/2\n", b.dir))
	b = newBench(t, oneStep(bash("A", "echo turn {{ loop.index }}; [ {{ loop.index }} != 1 ]", "loop: {forEach: [a, b, c]}", "onFailure: Ignore")))
	b.run()
	if got := b.logFile("detailedoutput.json"); !strings.Contains(got, `"outputs": "[{\"stdout\":\"turn 0\"}]"`) {
		t.Errorf("detailedoutput.json:\n%s", got)
	}
}

// What is missing is an error for a path and none for a pattern.
func TestTrap21DeletingWhatIsMissing(t *testing.T) {
	prepared(t, act("DeleteFile", "{path: none}")).fails("no such file")
	b := prepared(t, act("DeleteFile", "{path: '*.none'}, {path: 'folder/*.none'}"))
	b.ok()
	if b.missing("a.log") || b.missing("folder/in.log") {
		t.Error("something else is gone")
	}
	prepared(t, act("DeleteFile", "{path: 'none/*.log'}")).fails("no such file")
}

func TestTrap22WildcardsStandInTheLastElement(t *testing.T) {
	for _, c := range []struct{ step, want string }{
		{act("DeleteFile", "{path: 'fol*/in.log'}"), "only in the last element"},
		{act("CopyFile", "{source: 'f*/in.log', destination: x/}"), "only in the last element"},
		{act("MoveFolder", "{source: '*/sub', destination: x/}"), "only in the last element"},
		{act("CopyFile", "{source: '*.log', destination: target}"), "has to end in a separator"},
		{act("MoveFile", "{source: '*.log', destination: target}"), "has to end in a separator"},
		{act("CopyFile", "{source: '*.none', destination: target/}"), "matches nothing"},
	} {
		b := prepared(t, c.step)
		b.fails(c.want)
		if b.missing("a.log") || b.missing("folder/in.log") {
			t.Errorf("%s moved something", c.step)
		}
	}
	b := prepared(t, act("CopyFile", "{source: '*.txt', destination: one.txt}, {source: '?.log', destination: x}"))
	b.fails("?.log: no such file")
	if b.read("one.txt") != "c" {
		t.Error("a pattern with one match needs no separator")
	}
}

func TestTrap24Defaults(t *testing.T) {
	st := mustParse(t, oneStep("- {name: A, action: Reboot}")).Phases[0].Steps[0]
	if st.OnFailure != Abort || st.Timeout != 7200*time.Second || st.MaxAttempts != 1 {
		t.Errorf("defaults: %+v", st)
	}
	for _, wrong := range []string{"timeoutSeconds: 0", "timeoutSeconds: -2", "timeoutSeconds: 1.5", "maxAttempts: 0", "onFailure: abort"} {
		if _, problems := Parse("x", []byte(oneStep("- {name: A, action: Reboot, "+wrong+"}"))); problems.Err() == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
	if st := mustParse(t, oneStep("- {name: A, action: Reboot, timeoutSeconds: -1}")).Phases[0].Steps[0]; st.Timeout != 0 {
		t.Errorf("-1: %s", st.Timeout)
	}
}

func TestTrap26StepNamesAreUniquePerPhase(t *testing.T) {
	b := newBench(t, document(
		inPhase("build", bash("Same", "echo b")),
		inPhase("verify", bash("Same", "echo v")),
		inPhase("validate", bash("Same", "echo {{ build.Same.outputs.stdout }} {{ verify.Same.outputs.stdout }}")),
	))
	b.prints("b\nv\nb v\n")
	if _, problems := Parse("x", []byte(oneStep(bash("Same", "a")+bash("Same", "b")))); !strings.Contains(problems.Error(), `step "Same" appears twice`) {
		t.Errorf("%v", problems)
	}
}

// A test component is one whose only phase is test; with another phase it is a build component.
func TestTrap30OnlyTestPhasesMakeATest(t *testing.T) {
	step := bash("A", ":")
	for text, want := range map[string]bool{
		document(inPhase("test", step)):                             true,
		document(inPhase("build", step)):                            false,
		document(inPhase("build", step), inPhase("test", step)):     false,
		document(inPhase("test", step), inPhase("validate", step)):  false,
		document(inPhase("test", step), inPhase("additions", step)): false,
	} {
		if got := mustParse(t, text).IsTest(); got != want {
			t.Errorf("%v for\n%s", got, text)
		}
	}
}

// /bin/bash with the script as its file: no login shell, not interactive, no -e.
func TestProposalBashFlags(t *testing.T) {
	b := newBench(t, oneStep(bash("A", `echo "$BASH" "$-"; shopt -q login_shell && echo login; false; echo on; set -o | grep -c 'pipefail.*on'; true`)))
	b.prints("/bin/bash hB\non\n0\n")
}

func TestProposalStatusSpellings(t *testing.T) {
	b := newBench(t, oneStep(bash("A", ":")+bash("B", "exit 1", "onFailure: Ignore")+bash("C", ":", "if: {stringIsEmpty: x}")+bash("D", "exit 1")))
	b.fails("exit status 1")
	text := b.logFile("detailedoutput.json")
	for _, want := range []string{`"status": "success"`, `"status": "ignoredFailure"`, `"status": "skipped"`, `"status": "failed"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	b = newBench(t, oneStep(bash("B", "exit 1", "onFailure: Ignore")))
	if b.run(); !strings.Contains(b.logFile("detailedoutput.json"), `"status": "successWithIgnoredFailure"`) {
		t.Error("successWithIgnoredFailure")
	}
}

// What the caller makes an exit status of; that 0 comes of it is tested where programs end.
func TestProposalIgnoredFailuresAreSuccess(t *testing.T) {
	b := newBench(t, oneStep(bash("B", "exit 1", "onFailure: Ignore")))
	if r := b.run(); !r.Status.OK() || r.Failure != nil {
		t.Errorf("%+v", r)
	}
}

func TestProposalLaterDocuments(t *testing.T) {
	for onFailure, want := range map[string]string{
		"Abort":    "doc1/build/A=failed",
		"Continue": "doc1/build/A=failed doc1/build/B=success doc2/build/C=success",
	} {
		b := newBench(t, oneStep(bash("A", "exit 1", "onFailure: "+onFailure)+bash("B", ":")), oneStep(bash("C", ":")))
		if r := b.run(); r.Status != Failed || b.steps(r) != want {
			t.Errorf("%s: %s, %s", onFailure, r.Status, b.steps(r))
		}
	}
}

func TestProposalChainingToASkippedStep(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo x", "if: {stringIsEmpty: x}")+bash("B", "echo '[{{ build.A.outputs.stdout }}][{{ build.A.inputs.commands }}]'")))
	b.prints("[][]\n")
}

func TestProposalUnknownStepIsAProblem(t *testing.T) {
	for _, c := range []struct{ reference, want string }{
		{"build.None.outputs.stdout", "phase build has no step None"},
		{"validate.A.outputs.stdout", "the document has no phase validate"},
		{"build.Later.outputs.stdout", "step Later has not run by then"},
	} {
		d := mustParse(t, oneStep(bash("A", "echo {{ "+c.reference+" }}")+bash("Later", ":")))
		problems := d.Check(Linux, nil)
		if len(problems) != 1 || !strings.Contains(problems.Error(), c.want) || !strings.Contains(problems.Error(), "test.yaml:10:23:") {
			t.Errorf("%s: %v", c.reference, problems)
		}
	}
}

func TestProposalNoPauseBetweenAttempts(t *testing.T) {
	b := newBench(t, oneStep("- {name: A, action: DeleteFile, maxAttempts: 50, inputs: [{path: none}]}\n"))
	began := time.Now()
	b.fails("no such file")
	// A pause of a second, or one that grows, would take minutes.
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("50 attempts took %s", took)
	}
}

// To the last byte; one more is an error, and only of a step that wants it.
func TestProposalStdoutIsKeptTo1MiB(t *testing.T) {
	use := bash("Count", `x='{{ build.A.outputs.stdout }}'; echo ${#x}`)
	step := func(bytes int) string { return bash("A", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", bytes)) }
	b := newBench(t, oneStep(step(maxCapture)+use))
	b.ok()
	if !strings.HasSuffix(b.printed(), "1048576\n") {
		t.Errorf("printed …%q", b.printed()[max(0, len(b.printed())-20):])
	}
	b = newBench(t, oneStep(step(maxCapture+1)))
	b.ok()
	b = newBench(t, oneStep(step(maxCapture+1)+use))
	b.fails("more than the 1048576 bytes that are kept")
}

// The condition guards the whole loop, so there is no turn yet.
func TestProposalLoopIsNotKnownToIf(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo ran", "if: {stringEquals: '{{ loop.value }}', value: a}", "loop: {forEach: [a]}")))
	b.prints("")
	b = newBench(t, oneStep(bash("A", "echo ran", "if: {patternMatches: '^.. loop.value ..$', value: '{{ loop.value }}'}", "loop: {forEach: [a]}")))
	b.prints("ran\n")
}

// Without case first; between texts that differ in nothing else, by bytes.
func TestProposalStringsCompareWithoutCase(t *testing.T) {
	for condition, want := range map[string]bool{
		"{stringEquals: a, value: A}": true, "{stringLessThan: a, value: A}": true, "{stringLessThan: A, value: a}": false,
		"{stringLessThan: b, value: A}": true, "{stringGreaterThan: A, value: b}": true, "{stringLessThanEquals: A, value: A}": true,
	} {
		if got := holdsFor(t, condition); got != want {
			t.Errorf("%s: %v", condition, got)
		}
	}
}

func TestProposalNoByteOrderMark(t *testing.T) {
	for encoding, want := range map[string]string{
		"utf8": "A", "utf16": "A\x00", "utf-16-BE": "\x00A", "UTF-32": "A\x00\x00\x00", "utf32-BE": "\x00\x00\x00A",
	} {
		b := newBench(t, oneStep(act("CreateFile", "{path: f, content: A, encoding: "+encoding+"}")))
		b.ok()
		if got := b.read("f"); got != want {
			t.Errorf("%s: %q", encoding, got)
		}
	}
}
