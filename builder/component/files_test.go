//go:build linux

package component

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFilesOfARunAreThoseOfTheOriginal compares every file of a run's folder, and the
// folder's name, with testdata/files; run it with -update after a change, and read
// what was written against the reference's chapter on files.
func TestFilesOfARunAreThoseOfTheOriginal(t *testing.T) {
	b := newBench(t, `name: demo
description: every kind of step
schemaVersion: 1.0
parameters:
  - Word: {type: string, default: hello}
phases:
  - name: build
    steps:
      - name: Say
        action: ExecuteBash
        inputs: {commands: ["echo {{ Word }}", "exec 3>&1"]}
      - name: Each
        action: ExecuteBinary
        timeoutSeconds: 60
        maxAttempts: 2
        onFailure: Continue
        loop: {name: Names, forEach: ["a", "{{ build.Say.outputs.stdout }}"]}
        inputs: {path: echo, arguments: ["{{ Names.index }}", "{{ Names.value }}", "s3cret"]}
      - name: Folder
        action: CreateFolder
        inputs: [{path: made}]
      - name: Forever
        action: ListFiles
        timeoutSeconds: -1
        inputs: {path: made}
      - name: Inner
        action: ExecuteDocument
        inputs: {document: inner.yaml, parameters: [{name: Word, value: "{{ Word }}"}]}
      - name: Not
        action: Reboot
        if: {fileExists: /nowhere}
  - name: validate
    steps:
      - name: Tolerated
        action: Assert
        onFailure: Ignore
        inputs: {stringEquals: a, value: b}
      - name: Bad
        action: ExecuteBash
        inputs: {commands: ["printf 'one\\ntwo s3cret\\n' >&2; exit 9"]}
      - name: Never
        action: UpdateOS
`)
	b.put("inner.yaml", "name: inner\nschemaVersion: 1\nparameters:\n  - Word: {type: string}\nphases:\n  - name: build\n    steps:\n      - {name: In, action: ExecuteBash, inputs: {commands: 'echo inner {{ Word }}'}}\n")
	b.job.Secrets = []string{"s3cret"}
	b.job.Documents[0].Path = "components/demo.yaml"
	now := time.Date(2031, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	b.env.Now = func() time.Time { return now }
	b.fails("exit status 9")
	folders, err := filepath.Glob(filepath.Join(b.dir, "log", "*"))
	if err != nil || len(folders) != 1 || filepath.Base(folders[0]) != "TOE_2031-02-03_03-05-06_UTC-0_run-1" {
		t.Fatalf("folders %q, %v", folders, err)
	}
	entries, err := os.ReadDir(folders[0])
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		if e.Name() == "input.sh" {
			continue // what is left of a script is empty
		}
		got[e.Name()] = strings.ReplaceAll(b.logFile(e.Name()), b.dir, "$WORK")
	}
	golden(t, filepath.Join("testdata", "files"), got, "")
}

// A restart in the middle makes neither another folder nor another beginning, and
// what a store said is secret before it stays masked after it.
func TestFilesOfARunGoOnAfterAReboot(t *testing.T) {
	b := newBench(t, oneStep(bash("Before", "echo {{ aws:ssm:/app/secret }}")+"- {name: R, action: Reboot}\n"+bash("After", "echo '{{ build.Before.outputs.stdout }}'")))
	b.env.Store = fakeStore{"/app/secret": "hidden-value"}
	now := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	b.env.Now = func() time.Time { now = now.Add(time.Second); return now }
	if r := b.run(); !r.Reboot {
		t.Fatalf("%+v", r)
	}
	b.prints("***\n***\n")
	all := ""
	for _, name := range []string{"console.log", "application.log", "detailedoutput.json", "chaining.json"} {
		all += b.logFile(name)
	}
	if strings.Contains(all, "hidden-value") || strings.Count(all, `"startTime": "2031-02-03T04:05:07+00:00"`) < 1 {
		t.Errorf("the secret shows, or the beginning is another:\n%s", all)
	}
}
