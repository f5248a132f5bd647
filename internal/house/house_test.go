package house

import (
	"encoding/json"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-6db18919/ingot/"

// goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath, Doc string
	Imports, Deps   []string
}

func list(t *testing.T) []goPackage {
	t.Helper()
	look(t)
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Imports,Deps", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages, which cannot be all", len(all))
	}
	return all
}

// look opens every folder of the module: what only `go list` reads, a result that the
// go command keeps would not depend on.
func look(t *testing.T) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rules say which of our own packages a part of the house may import. The first
// rule whose prefix fits holds.
var rules = []struct {
	part   string
	may    []string
	reason string
}{
	{"cmd/ingot-agent-aws", []string{"builder/agent", "builder/component"}, "the agent is copied into instances and stays small"},
	{"cmd/ingot-agent", []string{"builder/agent", "builder/component"}, "the agent is copied into every instance and stays small"},
	{"cmd/", []string{""}, "the commands tie the house together"},
	{"watcher", []string{"watcher", "internal/githubfake"}, "the watcher says what moved and knows nobody who acts on it"},
	{"builder/component/aws", []string{"builder/component"}, "access to AWS implements what the engine declares"},
	{"builder/component", []string{"internal/yamldoc"}, "the engine runs inside instances and stays light"},
	{"builder/ec2/ec2test", []string{"builder", "internal/mototest"}, "a cloud for tests stands on an emulator, and nothing but tests on it"},
	{"builder", []string{"builder", "internal/yamldoc"}, "the builder makes images and knows neither Git hosts nor databases"},
	{"reporter", []string{"reporter", "internal/githubfake"}, "the reporter renders what it is given"},
	{"config", []string{"internal/yamldoc"}, "only commands know the configuration; they hand values over"},
	{"internal/ledger", []string{"internal/ledger", "watcher", "builder", "reporter"}, "the ledger stores what the leaves declare"},
	{"internal/yamldoc", nil, "a shared noun imports nothing of ours"},
	{"internal/schema", []string{"builder/component", "internal/yamldoc"}, "a schema is made of what the parsers declare; which documents there are is for commands to know"},
	{"internal/githubfake", nil, "a fake must not share code with what it tests"},
	{"internal/bench", []string{"builder", "reporter", "examples"}, "the benchmark drives the programs from outside and only reads what they print"},
	{"internal/mototest", nil, "it starts a server for the tests of others"},
	{"internal/wine", nil, "it runs the tests of others and has no code"},
	{"internal/house", nil, "rules have no code"},
	{"examples", nil, "examples are data"},
}

func TestImportsFollowTheHouse(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		at := slices.IndexFunc(rules, func(r struct {
			part   string
			may    []string
			reason string
		}) bool {
			return strings.HasPrefix(name, r.part)
		})
		if at < 0 {
			t.Errorf("%s has no place in the house: add a rule that says what it may import, and why", name)
			continue
		}
		for _, dep := range p.Imports {
			ours, ok := strings.CutPrefix(dep, module)
			if ok && !slices.ContainsFunc(rules[at].may, func(prefix string) bool { return strings.HasPrefix(ours, prefix) }) {
				t.Errorf("%s imports %s: %s", name, ours, rules[at].reason)
			}
		}
	}
}

// TestAgentStaysLight keeps out of the agent what would make it large or slow.
func TestAgentStaysLight(t *testing.T) {
	heavy := []string{"text/template", "html/template", "database/sql", "github.com/aws", "github.com/sirupsen", "github.com/go-git", "github.com/spf13"}
	for _, p := range list(t) {
		if p.ImportPath != module+"cmd/ingot-agent" {
			continue
		}
		for _, dep := range p.Deps {
			for _, h := range heavy {
				if strings.HasPrefix(dep, h) {
					t.Errorf("the agent links %s; it is copied into every instance, find another way", dep)
				}
			}
		}
	}
}

// TestOnlyOneProgramReachesAWSForDocuments: whoever else linked it would have a
// document's powers, and its size.
func TestOnlyOneProgramReachesAWSForDocuments(t *testing.T) {
	for _, p := range list(t) {
		if slices.Contains(p.Deps, module+"builder/component/aws") && p.ImportPath != module+"cmd/ingot-agent-aws" {
			t.Errorf("%s links builder/component/aws; documents reach AWS from inside the instance only", strings.TrimPrefix(p.ImportPath, module))
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range list(t) {
		if len(p.Doc) < 40 {
			t.Errorf("%s: the package comment says too little: %q", p.ImportPath, p.Doc)
		}
	}
}
