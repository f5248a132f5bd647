package component

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTrap01DocumentsOuterPhasesInner(t *testing.T) {
	doc := document(inPhase("build", bash("A", "echo build")), inPhase("validate", bash("A", "echo validate")), inPhase("test", bash("A", "echo test")))
	b := newBench(t, doc, doc)
	b.job.Phases = []string{"validate", "build"}
	b.prints("build\nvalidate\nbuild\nvalidate\n")
}

func TestTrap07CommandsAreOneScriptWithoutErrexit(t *testing.T) {
	b := newBench(t, oneStep(`- name: A
  action: ExecuteBash
  inputs:
    commands:
      - x=1; cd /
      - "false"
      - echo $? $x $PWD
      - f() { echo "from $1"; }
      - f here`))
	b.prints("1 1 /\nfrom here\n")
	b = newBench(t, oneStep(bash("A", "false\nexit 3")))
	b.fails("exit status 3")
	b = newBench(t, oneStep("- {name: A, action: ExecuteBash, inputs: {commands: echo one}}"))
	b.prints("one\n")
}

// Traps 8 and 26, and the wiring of inputs and outputs.
func TestTrap08StdoutIsChainedWithoutItsLineEnd(t *testing.T) {
	b := newBench(t, document(
		inPhase("build", bash("Where", `echo "`+"$PWD"+`"`),
			"- name: Make\n  action: CreateFile\n  inputs: [{path: '{{ build.Where.outputs.stdout }}/made', content: x}, {path: other, content: '{{ build.Where.outputs[0].stdout }}'}]\n",
			bash("Use", "cat {{ build.Make.inputs.path }}; echo {{build.Make.inputs[1].path}}")),
		inPhase("validate", bash("Where", "echo validate"), bash("Both", "echo {{ build.Where.outputs.stdout }} {{ validate.Where.outputs.stdout }}")),
	))
	b.ok()
	if want := b.dir + "\nxother\nvalidate\n" + b.dir + " validate\n"; b.printed() != want {
		t.Errorf("printed %q, want %q", b.printed(), want)
	}
	if b.read("other") != b.dir {
		t.Errorf("other holds %q", b.read("other"))
	}
}

func TestTrap09ValuesAreNeitherQuotedNorExpandedAgain(t *testing.T) {
	b := newBench(t, "parameters:\n  - Evil: {type: string, default: \"{{ Other }} $(echo run)\"}\n  - Other: {type: string, default: no}\n"+oneStep(bash("A", "echo {{Evil}} {{ Evil }}")))
	b.prints("{{ Other }} run {{ Other }} run\n")
}

// Section 16: whatever is no known reference stays.
func TestProposalLiteralBracesStay(t *testing.T) {
	b := newBench(t, oneStep(bash("A", `cat <<'E'
{{ .Names }} {{ unknown }} {{ loop.index }} ${{ steps.a.outputs.b }} {{{ x }}} {{ a
}} {{}} {{ }} }} {{
E`)))
	b.prints("{{ .Names }} {{ unknown }} {{ loop.index }} ${{ steps.a.outputs.b }} {{{ x }}} {{ a\n}} {{}} {{ }} }} {{\n")
}

func TestParametersAndConstants(t *testing.T) {
	doc := "parameters:\n  - Given: {type: string}\n  - Default: {type: string, default: d}\n  - Empty: {type: string, default: e}\nconstants:\n  - Const: {type: string, value: 012}\n" +
		oneStep(bash("A", "echo {{Given}}/{{ Default }}/{{ Empty}}/{{Const }}"))
	b := newBench(t, doc)
	b.job.Documents[0].Parameters = map[string]string{"Given": "g", "Empty": "", "Const": "never", "Unknown": "u"}
	b.prints("g/d//012\n")
	b = newBench(t, doc)
	b.fails("parameter Given has no default and was given no value")
}

// Traps 23 and 24, and section 4.2.
func TestTrap23OnlyIgnoreLetsAFailurePass(t *testing.T) {
	next := bash("Next", "echo next")
	for _, c := range []struct {
		onFailure, steps string
		status           Status
	}{
		{"", "doc1/build/A=failed", Failed},
		{"onFailure: Abort", "doc1/build/A=failed", Failed},
		{"onFailure: Continue", "doc1/build/A=failed doc1/build/Next=success doc1/validate/B=success doc2/build/C=success", Failed},
		{"onFailure: Ignore", "doc1/build/A=ignoredFailure doc1/build/Next=success doc1/validate/B=success doc2/build/C=success", SuccessWithIgnoredFailure},
	} {
		b := newBench(t, document(inPhase("build", bash("A", "echo oops >&2; exit 7", c.onFailure), next), inPhase("validate", bash("B", ":"))), oneStep(bash("C", ":")))
		result := b.run()
		if got := b.steps(result); got != c.steps || result.Status != c.status {
			t.Errorf("%q: %s, %s; want %s, %s", c.onFailure, got, result.Status, c.steps, c.status)
		}
		if f := result.Failure; c.status == Failed && (f.Step != "A" || f.Message != "exit status 7" || f.Stderr != "oops" || f.Path != "doc1.yaml") {
			t.Errorf("failure: %+v", f)
		}
	}
}

func TestFailureOfChainedSteps(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo x; exit 1", "onFailure: Ignore")+bash("B", "echo {{ build.A.outputs.stdout }}")))
	b.fails("{{ build.A.outputs.stdout }}: step A failed, so it has no outputs")
	b = newBench(t, oneStep(bash("A", "echo x", "if: {fileExists: /nowhere}")+bash("B", "echo [{{ build.A.outputs.stdout }}]")))
	b.prints("[]\n")
	b = newBench(t, document(inPhase("build", bash("A", "echo x")), inPhase("test", bash("B", "echo {{ build.A.outputs.stdout }}"))))
	b.job.Phases = []string{"test"}
	b.fails("step A has not run")
}

func TestMaxAttempts(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo try >> tries; [ $(wc -l < tries) = 3 ]", "maxAttempts: 5")))
	if r := b.ok(); r.Documents[0].Steps[0].Attempts != 3 {
		t.Errorf("attempts: %+v", r.Documents[0].Steps[0])
	}
	b = newBench(t, oneStep(bash("A", "echo try >> tries; exit 1", "maxAttempts: 2")))
	if r := b.fails("exit status 1"); r.Documents[0].Steps[0].Attempts != 2 || b.read("tries") != "try\ntry\n" {
		t.Errorf("attempts: %+v", r.Documents[0].Steps[0])
	}
}

func TestLoops(t *testing.T) {
	for _, c := range []struct{ loop, want string }{
		{"{for: {start: 1, end: 5, updateBy: 2}}", "0=1\n1=3\n2=5\n"},
		{"{for: {start: 3, end: 2, updateBy: -1}}", "0=3\n1=2\n"},
		{"{forEach: [a, '{{ List }}']}", "0=a\n1=x,y,,z\n"},
		{"{forEach: {list: '{{ List }}'}}", "0=x\n1=y\n2=\n3=z\n"},
		{"{forEach: {list: \"p\\nq\\n\", delimiter: \"\\n\"}}", "0=p\n1=q\n"},
		{"{forEach: []}", ""},
	} {
		b := newBench(t, "parameters:\n  - List: {type: string, default: 'x,y,,z'}\n"+oneStep(bash("A", "echo {{ loop.index }}={{loop.value}}", "loop: "+c.loop)))
		b.prints(c.want)
	}
}

// Trap 13, and the two names that a loop has.
func TestTrap13LoopOutputsAreJoinedByLine(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo -n {{ Each.value }}", "loop: {name: Each, forEach: [a, b]}")+bash("B", "echo '{{ build.A.outputs.stdout }}'")))
	b.prints("aba\nb\n")
}

func TestTrap12RetryOfALoopBeginsAnew(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo {{ loop.value }} | tee -a tries; [ {{ loop.value }} = 1 ] || [ $(wc -l < tries) -gt 2 ]", "maxAttempts: 2\nloop: {for: {start: 1, end: 2, updateBy: 1}}")+bash("B", "echo '{{ build.A.outputs.stdout }}'")))
	b.prints("1\n2\n1\n2\n1\n2\n")
	b = newBench(t, oneStep(bash("A", "exit {{ loop.value }}", "loop: {for: {start: 0, end: 5, updateBy: 1}}")))
	b.fails("failed iteration: 1")
	b = newBench(t, oneStep(bash("A", "sleep 0.{{ loop.value }}00", "timeoutSeconds: 1\nloop: {for: {start: 4, end: 9, updateBy: 1}}")))
	b.fails("the loop timed out after 1s")
}

// Trap 5 of numbers, and 3010 outside of Windows.
func TestOtherExitStatusesAreFailures(t *testing.T) {
	b := newBench(t, oneStep("- {name: A, action: ExecuteBinary, inputs: {path: sh, arguments: ['-c', 'kill -9 $$']}}"))
	b.fails("signal: killed")
	b = newBench(t, oneStep(bash("A", "exit 194")))
	b.env.Platform = MacOS
	if r := b.run(); !r.Reboot {
		t.Errorf("macOS: %+v", r)
	}
}

func TestExecuteBinaryDoesNotTouchItsArguments(t *testing.T) {
	b := newBench(t, oneStep(`- name: A
  action: ExecuteBinary
  inputs:
    path: printf
    arguments: ['%s|', 'a b', '*', '$HOME', "", '{{ build.X }}']
`))
	b.prints("a b|*|$HOME||{{ build.X }}|")
	b = newBench(t, oneStep("- {name: A, action: ExecuteBinary, inputs: {path: no-such-program}}"))
	b.fails("no-such-program: not found in PATH")
	b = newBench(t, oneStep("- name: Make\n  action: CreateFile\n  inputs: [{path: tool, permissions: 0755, content: \"#!/bin/sh\\necho tool\"}]\n- {name: A, action: ExecuteBinary, inputs: {path: ./tool}}"))
	b.prints("tool\n")
}

// Trap 32: the script is read by bash, never executed.
func TestTrap32ScriptsAreNotExecutedThemselves(t *testing.T) {
	b := newBench(t, oneStep(bash("A", `[ ! -x "$0" ] && echo $BASH`)))
	b.prints("/bin/bash\n")
}

func TestWorkingDirectoryIsToldToScripts(t *testing.T) {
	b := newBench(t, oneStep(bash("A", `[ "$WORKING_DIRECTORY" = "$PWD" ] && echo same; read x || echo no input`)))
	b.prints("same\nno input\n")
}

// Traps 34 and 35.
func TestTrap34OutputIsCappedForChainingOnly(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "yes 0123456789 | head -c 3000000")+bash("B", "echo {{ build.A.outputs.stdout }}")))
	b.fails("printed more than the 1048576 bytes that are kept")
	if n := len(b.printed()); n != 3000000 {
		t.Errorf("%d bytes were passed on", n)
	}
	for _, e := range b.events {
		if len(e.Text) > maxPiece {
			t.Errorf("a piece of %d bytes", len(e.Text))
		}
		if e.Kind == Output && !strings.HasSuffix(e.Text, "\n") && !strings.HasSuffix(b.printed(), e.Text) {
			t.Errorf("a piece ends inside a line: %q", e.Text[len(e.Text)-20:])
		}
	}
	if n := strings.Count(b.logFile("console.log"), "0123456789\n"); n < 270000 {
		t.Errorf("console.log has %d lines", n)
	}
}

func TestTrap35SecretsAreMasked(t *testing.T) {
	const secret = "s3cr\"et\nwith lines"
	b := newBench(t, "name: x\n"+oneStep(bash("A", `q='"et'; printf "s3cr$q\nwi"; sleep 0.05; printf 'th lines\n'; printf "s3cr$q\nwi%s" 'th lines' >&2; exit 1`, "onFailure: Continue")+
		bash("B", "printf 'plain {{ Value }}'")+"- {name: C, action: DeleteFile, inputs: [{path: '/nowhere/{{ Value }}'}]}\n")+"parameters:\n  - Value: {type: string}\n")
	b.job.Secrets = []string{"", secret, "tok"}
	b.job.Documents[0].Parameters = map[string]string{"Value": "tok"}
	result := b.run()
	text, err := json.Marshal(struct {
		R Result
		E []Event
	}{result, b.events})
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for _, name := range []string{"console.log", "application.log", "detailedoutput.json", "chaining.json", "document.yaml"} {
		all += b.logFile(name)
	}
	for _, s := range []string{`s3cr"et`, `s3cr\"et`, "with lines", "tok"} {
		if strings.Contains(all, s) {
			t.Errorf("%q is in\n%s", s, all)
		}
	}
	if !strings.Contains(b.printed(), "plain ***") {
		t.Errorf("printed %q", b.printed())
	}
}

func TestFilesOfARun(t *testing.T) {
	b := newBench(t, "name: demo\ndescription: d\n"+oneStep(bash("A", "echo hello", "loop: {name: Each, forEach: [x]}")+"- {name: C, action: CreateFolder, inputs: {path: folder}}\n"+bash("B", "echo bad >&2; exit 9")))
	b.env.Now = func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600)) }
	b.fails("exit status 9")
	if got := b.logFile("console.log"); got != "hello\nbad\nDocument: doc1\nComponentArn: doc1.yaml\nPhase: build\nStep: B\nAction: ExecuteBash\nErrorMessage: exit status 9\nStderr: bad\n" {
		t.Errorf("console.log:\n%s", got)
	}
	if b.logFile("document.yaml") != b.job.Documents[0].Text {
		t.Error("document.yaml is not the document")
	}
	var run struct {
		ExecutionID, Status, StartTime, FailureMessage string
		Documents                                      []struct {
			Name, FilePath, Description string
			Phases                      []struct {
				Status string
				Steps  []struct {
					Name, Status, OnFailure, Inputs, Outputs string
					TimeoutSeconds, MaxAttempts              int
					Loop, DetailedOutput                     any
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(b.logFile("detailedoutput.json")), &run); err != nil {
		t.Fatal(err)
	}
	if run.ExecutionID != "run-1" || run.Status != "failed" || run.StartTime != "2031-02-03T04:05:06+01:00" || run.FailureMessage != "exit status 9" {
		t.Errorf("run: %+v", run)
	}
	steps := run.Documents[0].Phases[0].Steps
	if steps[0].Inputs != `[{"commands":["echo hello\n"]}]` || steps[0].Outputs != `[{"stdout":"hello"}]` || steps[0].Loop == nil || steps[0].TimeoutSeconds != 7200 || steps[0].OnFailure != "Abort" {
		t.Errorf("first step: %+v", steps[0])
	}
	if want := `[{"group":"","overwrite":true,"owner":"","path":"folder","permissions":"0777"}]`; steps[1].Inputs != want || steps[1].Outputs != "[]" || steps[1].Loop != nil {
		t.Errorf("second step: %+v", steps[1])
	}
	if !strings.Contains(b.logFile("chaining.json"), `"stdout": "hello"`) {
		t.Errorf("chaining.json:\n%s", b.logFile("chaining.json"))
	}
}

func TestABadDocumentRunsNothing(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo a")), oneStep("- {name: A, action: Nonsense}"))
	r := b.fails(`unknown action "Nonsense"`)
	if r.Failure.Document != "doc2" || b.printed() != "" {
		t.Errorf("failure %+v, printed %q", r.Failure, b.printed())
	}
}

func TestAJobIdCannotLeaveItsFolder(t *testing.T) {
	for _, id := range []string{"", "../x", "a/b", ".", strings.Repeat("a", 129)} {
		b := newBench(t, oneStep(bash("A", "echo a")))
		b.job.ID = id
		if _, err := Run(t.Context(), b.job, b.env, b.hear); err == nil {
			t.Errorf("id %q was accepted", id)
		}
	}
}

type fakeStore map[string]string

func (s fakeStore) Parameter(_ context.Context, name string) (StoredValue, error) {
	value, ok := s[name]
	if !ok {
		return StoredValue{}, fmt.Errorf("no parameter %s", name)
	}
	return StoredValue{Text: value, Secret: strings.Contains(name, "secret")}, nil
}

// Trap 35 of values from a store.
func TestTrap35StoredSecretsAreMasked(t *testing.T) {
	doc := "parameters:\n  - Which: {type: string, default: /app/name}\n" + oneStep(bash("A", "echo {{ aws:ssm:/app/name }} {{ aws:ssm:resolve(Which) }} {{ aws:ssm:resolve(aws:ssm:/app/secret) }}"))
	b := newBench(t, doc)
	b.env.Store = fakeStore{"/app/name": "n", "/app/secret": "hidden"}
	b.prints("n n ***\n")
	b = newBench(t, doc)
	b.fails("no access to a parameter store")
}

// A full disk, here a log folder that is gone, is the operator's fault and not the document's.
func TestLogsThatCannotBeWrittenAreAnError(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "rm -rf log")+bash("B", "echo b")))
	b.prints("b\n")
	b = newBench(t, oneStep(bash("A", "rm -rf log; touch log")))
	result, err := Run(t.Context(), b.job, b.env, b.hear)
	if err == nil || !strings.Contains(err.Error(), "write the run's logs") || result.Status != Failed || result.Failure != nil {
		t.Errorf("%+v, %v", result, err)
	}
	b = newBench(t, oneStep(bash("A", "echo a")))
	b.put("log", "a file where the folder should be")
	if _, err = Run(t.Context(), b.job, b.env, b.hear); err == nil {
		t.Error("a run without logs was accepted")
	}
	b = newBench(t, oneStep("- {name: R, action: Reboot}"))
	b.put("state", "a file where the folder should be")
	if result, err = Run(t.Context(), b.job, b.env, b.hear); err == nil || result.Reboot {
		t.Errorf("a reboot without saved state: %+v, %v", result, err)
	}
}

func TestDamagedStateIsAnError(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo a")))
	b.put("state/run-1.json", "{")
	if _, err := Run(t.Context(), b.job, b.env, b.hear); err == nil || !strings.Contains(err.Error(), "is damaged; remove it") {
		t.Errorf("%v", err)
	}
}

func TestTrap11LoopReferencesStayWithoutALoop(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo '{{ loop.index }} {{ Other.value }}'")+bash("B", "echo '{{ loop.value }} {{ Other.value }}'", "loop: {name: Mine, forEach: [x]}")))
	b.prints("{{ loop.index }} {{ Other.value }}\nx {{ Other.value }}\n")
}

func TestTrap31ThePlatformIsAnArgument(t *testing.T) {
	d := mustParse(t, oneStep("- {name: A, action: ExecutePowerShell, inputs: {commands: [dir]}}"))
	if err := d.Check(Windows, nil).Err(); err != nil {
		t.Error(err)
	}
	if d.Check(Linux, nil).Err() == nil {
		t.Error("PowerShell on Linux was accepted")
	}
}

// Trap 28: how the guide prints things is not always YAML; the message says what to do.
func TestTrap28BrokenExamplesAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"- {name: A, action: ListFiles, inputs: [{path: /x, fileNamePattern: *log}]}":    "quote a text that begins with",
		"- {name: A, action: DeleteFile, inputs: [{path: \"C:\\Users\\x\"}]}":            "single quotes",
		"- name: A\n  action: ExecuteBash\n  inputs:\n    commands:\n      - {{ Word }}": "quote",
	} {
		_, problems := Parse("x.yaml", []byte(oneStep(text)))
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("%s\n%v", text, problems)
		}
	}
}
