//go:build linux

package component

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// checkCorpus parses and checks a document of the corpus without running it.
func checkCorpus(t *testing.T, kind, name, platform string) (text string, d *Document, problems yamldoc.Problems) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(corpusDir, kind, name))
	if err != nil {
		t.Fatal(err)
	}
	if line, _, _ := strings.Cut(string(content), "\n"); strings.HasPrefix(line, "# platform: ") {
		platform = strings.TrimPrefix(line, "# platform: ")
	}
	d, problems = Parse(name, content)
	if d != nil {
		problems = append(problems, d.Check(platform, nil)...)
		problems.Sort()
	}
	return string(content), d, problems
}

// TestCorpusRefused compares what the author of a wrong document is told with the
// file of the same name that ends in .txt.
func TestCorpusRefused(t *testing.T) {
	got := map[string]string{}
	for _, name := range corpusNames(t, "refused") {
		base, isDocument := strings.CutSuffix(name, ".yaml")
		if !isDocument {
			continue
		}
		text, _, problems := checkCorpus(t, "refused", name, Linux)
		if len(problems) == 0 {
			t.Errorf("%s: nothing is wrong with it", name)
		}
		for _, p := range problems {
			if lines := strings.Count(text, "\n") + 1; p.Line > lines || p.Line < 0 || p.Column < 0 {
				t.Errorf("%s: a problem at %d:%d of %d lines", name, p.Line, p.Column, lines)
			}
		}
		got[base+".txt"] = problems.Error() + "\n"
	}
	golden(t, filepath.Join(corpusDir, "refused"), got, ".txt")
}

// TestCorpusForWindows: what cannot be run here is checked for where it can.
func TestCorpusForWindows(t *testing.T) {
	for _, name := range corpusNames(t, "windows") {
		_, d, problems := checkCorpus(t, "windows", name, Windows)
		if len(problems) > 0 || len(d.Warnings) > 0 {
			t.Errorf("%v\n%v", problems, d.Warnings)
		}
	}
}

// TestCorpusOnOtherPlatforms: documents for Linux without its own actions are good
// ones for macOS, and those that use bash none for Windows.
func TestCorpusOnOtherPlatforms(t *testing.T) {
	for _, name := range corpusNames(t, "linux") {
		c := loadCase(t, name)
		for _, file := range c.Documents {
			d, problems := Parse(file, []byte(c.texts[file]))
			if problems.Err() != nil {
				t.Fatal(problems)
			}
			uses := map[string]bool{}
			for _, p := range d.Phases {
				for _, st := range p.Steps {
					uses[st.Action] = true
				}
			}
			if mac := d.Check(MacOS, c.Parameters).Err() == nil; mac == (uses["Reboot"] || uses["UpdateOS"]) {
				t.Errorf("%s/%s: good for macOS: %v", name, file, mac)
			}
			if uses["ExecuteBash"] && d.Check(Windows, c.Parameters).Err() == nil {
				t.Errorf("%s/%s runs bash on Windows", name, file)
			}
		}
	}
}
