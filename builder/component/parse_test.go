package component

import (
	"fmt"
	"strings"
	"testing"
)

// step wraps the lines of one step into a document with a build phase.
func oneStep(lines string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n" + indent(lines, "      ")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by) + "\n"
}

func mustParse(t *testing.T, text string) *Document {
	t.Helper()
	d, problems := Parse("test.yaml", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatalf("Parse:\n%v\nof\n%s", err, text)
	}
	return d
}

func TestParseReadsEveryPart(t *testing.T) {
	d := mustParse(t, `
name: web-base
description: Installs nginx
schemaVersion: 1.0
parameters:
  - PackageName:
      type: string
      default: nginx
      description: package to install
  - Level: {type: string, allowedValues: [Low, High]}
constants:
  - ConfDir: {type: string, value: /etc/nginx}
phases:
  - name: build
    steps:
      - name: Fetch
        action: WebDownload
        timeoutSeconds: -1
        maxAttempts: 3
        onFailure: Ignore
        inputs:
          - source: https://example.com/a
            destination: '{{ ConfDir }}/nginx.conf'
      - name: Each
        action: ExecuteBash
        loop: {name: files, forEach: {list: "a:b", delimiter: ":"}}
        if: {fileExists: /etc/passwd, else: Abort}
        inputs: {commands: ['echo {{ files.value }}']}
  - name: validate
    steps:
      - {name: Fetch, action: Reboot}
`)
	if d.Name != "web-base" || d.SchemaVersion != "1.0" || len(d.Parameters) != 2 || len(d.Constants) != 1 {
		t.Errorf("document: %+v", d)
	}
	if p, _ := d.Parameter("Level"); !p.Required || len(p.AllowedValues) != 2 {
		t.Errorf("parameter Level: %+v", p)
	}
	first := d.Phases[0].Steps[0]
	if first.Timeout != 0 || first.MaxAttempts != 3 || first.OnFailure != Ignore || len(first.inputs) != 1 {
		t.Errorf("first step: %+v", first)
	}
	second := d.Phases[0].Steps[1]
	if second.Loop.Name != "files" || second.Loop.delimiter != ":" || second.If.operator != "fileExists" || second.If.Else != VerdictAbort {
		t.Errorf("second step: %+v", second)
	}
	if !d.HasPhase("validate") || d.HasPhase("test") || d.IsTest() {
		t.Error("phases are not found by name")
	}
	if problems := d.Check(Linux, map[string]string{"Level": "High"}); problems.Err() != nil {
		t.Errorf("Check: %v", problems)
	}
}

// Traps 14 and 24, and the version in its three spellings.
func TestTrap14ScalarsKeepTheirText(t *testing.T) {
	for _, version := range []string{"1.0", "1", `"1.0"`} {
		d := mustParse(t, "schemaVersion: "+version+`
phases:
  - name: test
    steps:
      - name: A
        action: S3Download
        inputs: {source: s3://b/k, destination: /x, expectedBucketOwner: 012345678901}
      - name: B
        action: SetFilePermissions
        inputs: [{path: /x, permissions: 0755}]
`)
		steps := d.Phases[0].Steps
		if got := mappingValue(steps[0].inputs, 0, "expectedBucketOwner").Value; got != "012345678901" {
			t.Errorf("account id became %q", got)
		}
		if got := mappingValue(steps[1].inputs, 0, "permissions").Value; got != "0755" {
			t.Errorf("permissions became %q", got)
		}
		if s := steps[0]; s.OnFailure != Abort || s.Timeout.Seconds() != 7200 || s.MaxAttempts != 1 {
			t.Errorf("defaults: %+v", s)
		}
		if !d.IsTest() {
			t.Error("trap 30: a document with only a test phase is a test")
		}
	}
}

func TestBadDocumentsSayWhatIsWrong(t *testing.T) {
	step := "- name: A\n  action: ExecuteBash\n"
	inputs := "  inputs: {commands: [x]}\n"
	for _, c := range []struct{ text, want string }{
		{"", "the file is empty"},
		{"[]", "the document is a list; expected a mapping"},
		{"schemaVersion: 2.0\nphases: []", `schemaVersion "2.0" is unknown; expected 1.0`},
		{"phases:\n  - {name: verify, steps: []}", "the document has no schemaVersion"},
		{"schemaVersion: 1\nphases:\n  - {name: verify, steps: []}", "expected at least one phase called build, validate or test"},
		{"schemaVersion: 1\nphases:\n  - {name: test, steps: []}\n  - {name: test, steps: []}", `phase "test" appears twice`},
		{"schemaVersion: 1\nphases:\n  - {name: test}", "a phase has no steps"},
		{oneStep(step + inputs + step + inputs), `step "A" appears twice`},
		{oneStep("- name: A\n  inputs: {}"), "a step has no action"},
		{oneStep(step + inputs + "  timeoutSeconds: 0"), "timeoutSeconds is the value \"0\"; expected a whole number of seconds above 0"},
		{oneStep(step + inputs + "  timeoutSeconds: -5"), `timeoutSeconds is the value "-5"`},
		{oneStep(step + inputs + "  timeoutSeconds: '{{ T }}'"), "timeoutSeconds is"},
		{oneStep(step + inputs + "  maxAttempts: 0"), `maxAttempts is the value "0"`},
		{oneStep(step + inputs + "  onFailure: abort"), `onFailure is "abort"; did you mean "Abort"?`},
		{oneStep(step + "  inputs: [x]"), `an entry of inputs of step A is the value "x"`},
		{oneStep(step + "  inputs: {commands: [{{ X }}]}"), "quote"},
		{oneStep(step + inputs + "  loop: {}"), "loop has 0 shapes; expected exactly one of for and forEach"},
		{oneStep(step + inputs + "  loop: {for: {start: 1, end: 3, updateBy: 0}}"), "updateBy is 0"},
		{oneStep(step + inputs + "  loop: {for: {start: 1, end: 3, updateBy: -1}}"), "never reaches 3"},
		{oneStep(step + inputs + "  loop: {for: {start: 1, end: 3}}"), "expected start, end and updateBy"},
		{oneStep(step + inputs + "  loop: {for: {start: '{{ a }}', end: 3, updateBy: 1}}"), "expressions are not possible here"},
		{oneStep(step + inputs + "  loop: {forEach: {list: a, delimiter: ab}}"), `delimiter is "ab"`},
		{oneStep(step + inputs + "  loop: {forEach: {delimiter: ','}}"), "forEach has no list"},
		{oneStep(step + inputs + "  if: {stringEqals: a, value: b}"), `unknown operator "stringEqals"; did you mean "stringEquals"?`},
		{oneStep(step + inputs + "  if: {stringEquals: a}"), `stringEquals has no "value" to look at`},
		{oneStep(step + inputs + "  if: {stringEquals: a, fileExists: b, value: c}"), "exactly one operator"},
		{oneStep(step + inputs + "  if: {fileExists: a, then: Run}"), `then or else is "Run"`},
		{"schemaVersion: 1\nparameters:\n  - ab: {type: string}\nphases:\n  - {name: test, steps: []}", "the name of a parameter has 2 characters"},
		{"schemaVersion: 1\nparameters:\n  - a.b: {type: string}\nphases:\n  - {name: test, steps: []}", "illegal character"},
		{"schemaVersion: 1\nparameters:\n  - abc: {type: number}\nphases:\n  - {name: test, steps: []}", `parameter abc has the type "number"; expected string`},
		{"schemaVersion: 1\nparameters:\n  - abc: {type: string}\nconstants:\n  - abc: {type: string, value: x}\nphases:\n  - {name: test, steps: []}", "constant abc has the name of another"},
		{"schemaVersion: 1\nphases: &a\n  - *a", "alias"},
		{strings.Repeat("#", MaxDocumentSize+1), "the file has 65537 bytes"},
	} {
		_, problems := Parse("bad.yaml", []byte(c.text))
		if !strings.Contains(problems.Error(), c.want) {
			t.Errorf("got:\n%v\nwant: %s\nof:\n%.300s", problems, c.want, c.text)
		}
	}
}

func TestCheckFindsWhatWouldFailAtRunTime(t *testing.T) {
	bash := func(name, command string) string {
		return fmt.Sprintf("- name: %s\n  action: ExecuteBash\n  inputs: {commands: ['%s']}\n", name, command)
	}
	for _, c := range []struct{ text, platform, want string }{
		{oneStep("- {name: A, action: ExecuteBahs, inputs: {commands: [x]}}"), Linux, `unknown action "ExecuteBahs"; did you mean "ExecuteBash"?`},
		{oneStep(bash("A", "x")), Windows, "ExecuteBash is not available on Windows, only on Linux and macOS"},
		{oneStep("- {name: A, action: ExecuteBash}"), Linux, "step A has no inputs; expected inputs with commands"},
		{oneStep("- {name: A, action: ExecuteBash, inputs: {comands: [x]}}"), Linux, `did you mean "commands"?`},
		{oneStep("- {name: A, action: ExecuteBash, inputs: [{commands: [x]}, {commands: [x]}]}"), Linux, "takes one set of inputs"},
		{oneStep("- name: A\n  action: ExecuteBash\n  inputs:\n    commands:\n      - echo {{ a }}: x\n"), Linux, "an entry of commands of ExecuteBash is a mapping"},
		{oneStep("- name: A\n  action: ExecuteBinary\n  inputs:\n    commands: {path: x, arguments: [y]}\n"), Linux, "inputs of ExecuteBinary lack path"},
		{oneStep("- {name: A, action: CreateFile, inputs: [{path: /x, permissions: u+x}]}"), Linux, "expected three or four octal digits"},
		{oneStep("- {name: A, action: CreateFile, inputs: [{path: /x, permissions: 0644}]}"), Windows, "permissions of CreateFile does not exist on Windows"},
		{oneStep("- {name: A, action: CopyFile, inputs: [{source: /x, destination: /y, overwrite: maybe}]}"), Linux, "expected true or false"},
		{oneStep("- {name: A, action: Reboot, inputs: {delaySeconds: soon}}"), Linux, "expected a whole number"},
		{oneStep("- {name: A, action: WebDownload, inputs: [{source: ftp://x, destination: /y}]}"), Linux, "expected an http or https URL"},
		{oneStep("- {name: A, action: WebDownload, inputs: [{source: http://x, destination: /y, algorithm: CRC32, checksum: a}]}"), Linux, "expected one of MD5, SHA1, SHA256, SHA512"},
		{oneStep("- {name: A, action: ExecuteDocument, timeoutSeconds: 5, inputs: {document: /x}}"), Linux, "ExecuteDocument has no timeout"},
		{oneStep("- {name: A, action: ExecuteDocument, maxAttempts: 2, inputs: {document: /x}}"), Linux, "never repeated"},
		{oneStep("- {name: A, action: Assert, inputs: {stringEquals: x}}"), Linux, `stringEquals has no "value"`},
		{oneStep("- {name: A, action: ExecutePowerShell, inputs: {commands: [x], file: y}}"), Windows, "exactly one of commands and file"},
		{oneStep(bash("A", "{{ build.B.outputs.stdout }}") + bash("B", "x")), Linux, "step B has not run by then"},
		{oneStep(bash("A", "{{ build.A.outputs.stdout }}")), Linux, "step A has not run by then"},
		{oneStep(bash("Alpha", "x") + bash("B", "{{ build.Alpa.outputs.stdout }}")), Linux, `phase build has no step Alpa; did you mean "Alpha"?`},
		{oneStep(bash("A", "x") + bash("B", "{{ build.A.outputs.stdot }}")), Linux, `ExecuteBash has no output stdot; did you mean "stdout"?`},
		{oneStep(bash("A", "x") + bash("B", "{{ build.A.inputs[1].commands }}")), Linux, "step A has 1 inputs"},
		{oneStep(bash("A", "{{ validate.B.outputs.stdout }}")), Linux, "the document has no phase validate"},
		{oneStep(bash("A", "x") + bash("B", "x {{ biuld.A.outputs.stdout }}")), Linux, `{{ biuld.A.outputs.stdout }}: the document has no phase biuld; did you mean "build"?`},
		{oneStep(bash("A", "{{ aws:ssm:resolve(Name) }}")), Linux, "the document has no parameter Name"},
		{oneStep("- {name: A, action: ExecuteDocument, inputs: {document: /x, parameters: [{name: a, valeu: b}]}}"), Linux, `unknown key "valeu" in an entry of parameters of ExecuteDocument; did you mean "value"?`},
		{oneStep("- {name: A, action: ExecuteDocument, inputs: {document: 'arn:aws:imagebuilder:eu-west-1:aws:image/x/1.0.0/1'}}"), Linux, "expected the ARN of a component's build version"},
		{oneStep("- {name: A, action: ExecuteDocument, inputs: {document: 's3://bucket'}}"), Linux, "expected s3://bucket/key"},
		{oneStep("- {name: A, action: S3Download, inputs: [{source: /x, destination: /y}]}"), Linux, "expected s3://bucket/key"},
		{"schemaVersion: 1\nparameters:\n  - Key: {type: string}\nphases:\n  - {name: test, steps: []}", Linux, "parameter Key has no default and was given no value"},
		{"schemaVersion: 1\nparameters:\n  - Key: {type: string, default: c, allowedValues: [a, b]}\nphases:\n  - {name: test, steps: []}", Linux, `the value "c" of parameter Key is not allowed; expected one of a, b`},
	} {
		problems := mustParse(t, c.text).Check(c.platform, nil)
		if !strings.Contains(problems.Error(), c.want) {
			t.Errorf("got:\n%v\nwant: %s\nof:\n%s", problems, c.want, c.text)
		}
	}
}

// Sections 8.1 and 16: documents in use have keys that nobody defined.
func TestProposalUnknownKeysAreWarnings(t *testing.T) {
	d := mustParse(t, oneStep("- name: A\n  action: DeleteFile\n  note: mine\n  inputs: [{path: /x, force: true}]\n")+"author: me\n")
	if err := d.Check(Linux, nil).Err(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`unknown key "author"`, `unknown key "note"`, `DeleteFile has no input "force"; it is ignored`} {
		if !strings.Contains(d.Warnings.Error(), want) {
			t.Errorf("no warning %q in\n%v", want, d.Warnings)
		}
	}
}

func TestTrap27UnknownParametersAreIgnored(t *testing.T) {
	d := mustParse(t, oneStep("- {name: A, action: Reboot}"))
	if err := d.Check(Linux, map[string]string{"Other": "x"}).Err(); err != nil {
		t.Error(err)
	}
}

func TestForeignBracesAreNoReferences(t *testing.T) {
	d := mustParse(t, oneStep(`- name: A
  action: ExecuteBash
  inputs:
    commands:
      - docker ps --format '{{ .Names }}'
      - echo "${{ steps.meta.outputs.tags }} {{ loop.value }} {{ unknown }}"
`))
	if err := d.Check(Linux, nil).Err(); err != nil {
		t.Error(err)
	}
}

// What is legal and looks like a slip is told, and fails nothing.
func TestSlipsAreWarnings(t *testing.T) {
	const parameter = "parameters:\n  - PackageName: {type: string, default: x}\n"
	step := "- {name: A, action: ExecuteBash, %sinputs: {commands: ['%s']}}\n"
	for _, c := range []struct{ text, want string }{
		{parameter + oneStep(fmt.Sprintf(step, "", "echo {{ PackagName }}")), `{{ PackagName }} is no parameter or constant and stays as it is; did you mean "PackageName"?`},
		{parameter + oneStep(fmt.Sprintf(step, "", "echo {{ Names }} {{ PackageName }}")), ""},
		{oneStep(fmt.Sprintf(step, "loop: {name: Each, forEach: [a]}, if: {stringEquals: a, value: '{{ Each.value }}'}, ", "x")), "{{ Each.value }} stays as it is: the condition is looked at once, before the loop"},
		{oneStep(fmt.Sprintf(step, "if: {stringEquals: a, value: '{{ loop.value }}'}, ", "x")), ""},
		{document(inPhase("build", "- {name: A, action: Reboot}"), inPhase("valdiate", "- {name: A, action: Reboot}")), `phase "valdiate" runs only where it is asked for by that name; did you mean "validate"?`},
		{document(inPhase("build", "- {name: A, action: Reboot}"), inPhase("verify", "- {name: A, action: Reboot}")), ""},
	} {
		d := mustParse(t, c.text)
		if err := d.Check(Linux, nil).Err(); err != nil {
			t.Errorf("%v\nof\n%s", err, c.text)
		}
		if got := d.Warnings.Error(); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("warnings %q, want %q\nof\n%s", got, c.want, c.text)
		}
	}
}
