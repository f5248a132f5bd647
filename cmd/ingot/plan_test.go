package main

import (
	"fmt"
	"testing"

	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/yamldoc"
	"github.com/seed-6db18919/ingot/reporter"
)

func TestNewBuildsOfDecisions(t *testing.T) {
	web := &recipe.Recipe{Name: "web", Version: recipe.Version{Major: 1}}
	exporting := &recipe.Recipe{Name: "web", Exports: []recipe.Export{{Format: "vmdk"}}, Distribution: []recipe.Distribution{{Region: "x"}}}
	keeping := &recipe.Recipe{Name: "web", Infrastructure: recipe.Infrastructure{KeepOnFailure: true}}
	bad := yamldoc.Problems{{File: "web.yaml", Line: 1, Message: "wrong"}}
	tests := []struct {
		name      string
		decisions []recipe.Decision
		actions   []reporter.Action
		failed    bool
		findings  int
		neverKept string
	}{
		{"a change", []recipe.Decision{{Name: "web", Recipe: web, Action: recipe.ActionBuild}}, []reporter.Action{reporter.ActionBuild}, false, 0, ""},
		{"nothing to do", []recipe.Decision{{Name: "web", Recipe: web, Action: recipe.ActionNone}}, nil, false, 0, ""},
		{"settings alone", []recipe.Decision{{Name: "web", Recipe: web, Action: recipe.ActionCheck, Outcome: recipe.SettingsChanged}}, nil, false, 0, ""},
		{"a document without a name", []recipe.Decision{{Path: "web.yaml", Action: recipe.ActionCheck, Problems: bad}}, []reporter.Action{reporter.ActionCheck}, true, 1, ""},
		{"two documents of one name", []recipe.Decision{
			{Name: "web", Path: "a.yaml", Action: recipe.ActionCheck, Problems: bad}, {Name: "web", Path: "b.yaml", Action: recipe.ActionCheck, Problems: bad},
		}, []reporter.Action{reporter.ActionCheck}, true, 2, ""},
		{"what is not carried out is said", []recipe.Decision{{Name: "web", Recipe: exporting, Action: recipe.ActionBuild}}, []reporter.Action{reporter.ActionBuild}, false, 2, ""},
		{"an instance that is kept", []recipe.Decision{{Name: "web", Recipe: keeping, Action: recipe.ActionBuild}}, []reporter.Action{reporter.ActionBuild}, false, 0, ""},
		{"that the operator keeps nothing is said", []recipe.Decision{{Name: "web", Recipe: keeping, Action: recipe.ActionBuild}}, []reporter.Action{reporter.ActionBuild}, false, 1, "switched off"},
		{"but not where nobody asks", []recipe.Decision{{Name: "web", Recipe: web, Action: recipe.ActionBuild}}, []reporter.Action{reporter.ActionBuild}, false, 0, "switched off"},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			builds := newBuilds(c.decisions, c.neverKept)
			if len(builds) != len(c.actions) {
				t.Fatalf("%d builds, want %d", len(builds), len(c.actions))
			}
			for i, b := range builds {
				if b.Action != c.actions[i] || (b.State == reporter.Failed) != c.failed || (b.Failure != nil) != c.failed || len(b.Findings) != c.findings {
					t.Errorf("build %+v", b)
				}
			}
		})
	}
}

func TestShellWordQuotesForPeople(t *testing.T) {
	for text, want := range map[string]string{
		"recipes/web/recipe.yaml": "recipes/web/recipe.yaml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'", "a\nb": "'a\nb'",
	} {
		if got := shellWord(text); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestDeskKeepsWhatIsComparedWithAgainAndAgain(t *testing.T) {
	d, branch := &desk{}, &recipe.Set{}
	d.remember("main", branch)
	for i := range 20 {
		d.remember(fmt.Sprint("pull request ", i), &recipe.Set{})
		if d.known("main") != branch {
			t.Fatalf("after %d pull requests the branch has to be read again", i+1)
		}
	}
	if d.known("pull request 19") == nil || d.known("pull request 0") != nil || len(d.last) > 4 {
		t.Errorf("kept: %+v", d.last)
	}
}
