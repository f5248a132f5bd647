package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestEveryOptionIsDocumented holds docs/command-line.md against the program: each
// option of a run, each key of its file, and an example that is read.
func TestEveryOptionIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/command-line.md")
	must(t, err)
	page := string(text)
	componentRunCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !strings.Contains(page, "`--"+f.Name+"`") && !strings.Contains(page, "`--"+f.Name+" ") {
			t.Errorf("docs/command-line.md does not tell of --%s", f.Name)
		}
		if f.Shorthand != "" && !strings.Contains(page, "`-"+f.Shorthand+"`") {
			t.Errorf("docs/command-line.md does not tell of -%s", f.Shorthand)
		}
	})
	example := regexp.MustCompile("(?s)```json\n(\\{\n  \"documents\".*?)```").FindStringSubmatch(page)
	if example == nil {
		t.Fatal("docs/command-line.md has no example of a file for --config")
	}
	path := filepath.Join(t.TempDir(), "run.json")
	must(t, os.WriteFile(path, []byte(example[1]), 0o600))
	o := runOptions{config: path, isolation: "container"}
	documents, err := o.documentsAsked(t.Context(), func(string) bool { return false })
	if err != nil || len(documents) != 2 || documents[1].parameters["Port"] != "8080" || documents[1].parameters["Greeting"] != "Hello, world" || o.phases != "build,validate" {
		t.Errorf("%+v, %+v, %v", documents, o, err)
	}
}
