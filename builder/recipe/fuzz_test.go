package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad reads repositories in which a recipe, a component and a link are
// anything, and plans them: nothing may panic, and whatever is valid must have
// what the rest of the program relies on.
func FuzzLoad(f *testing.F) {
	component := withParameters(buildComponent("true"))
	f.Add([]byte(fullRecipe), []byte(component), "../../shared/motd")
	bad, err := filepath.Glob("testdata/bad/*/recipes/web/recipe.yaml")
	if err != nil || len(bad) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range bad {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(component), "nginx.yaml")
	}
	f.Add([]byte(minimal("web", "1.0.0", "base/x.x.x")), []byte{}, "..")
	before := load(f, fullTree())
	f.Fuzz(func(t *testing.T, recipe, component []byte, link string) {
		files := fullTree().fs()
		files["recipes/web/recipe.yaml"].Data = recipe
		files["recipes/web/nginx.yaml"].Data = component
		files["recipes/web/motd"].Data = []byte(link)
		s, err := Load(t.Context(), mapTree{files}, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range s.Recipes {
			checkInvariants(t, name, r)
		}
		for at, invalid := range s.Invalid {
			if len(invalid.Problems) == 0 || invalid.Path != at {
				t.Errorf("%s is invalid without a reason: %+v", at, invalid)
			}
		}
		for _, d := range Plan(before, s, PlanOptions{All: true}) {
			if d.Path == "" || d.String() == "" || d.Outcome != Untouched && len(d.Why) == 0 {
				t.Errorf("a decision that says nothing: %+v", d)
			}
		}
	})
}

func checkInvariants(t *testing.T, name string, r *Recipe) {
	t.Helper()
	if r.Name != name || r.Path == "" || r.Parent.Kind == "" || r.Parent.Name == "" || r.WorkingDir == "" || r.Infrastructure.TimeoutMinutes < 1 {
		t.Errorf("an incomplete recipe: %+v", r)
	}
	for _, use := range append(r.BuildUses(), r.TestUses()...) {
		if use.Document == nil || use.Path == "" || strings.HasPrefix(use.Path, "..") || strings.HasPrefix(use.Path, "/") {
			t.Errorf("a component that cannot be used: %+v", use)
		}
	}
	for _, files := range r.Files {
		for _, entry := range files.Entries {
			if !strings.HasPrefix(entry.Target, "/") || strings.Contains(entry.Target, "..") || strings.HasPrefix(entry.Path, "..") {
				t.Errorf("a file that leads astray: %+v", entry)
			}
		}
	}
	if r.Schedule != nil && r.Schedule.Cron == "" {
		t.Errorf("a schedule without a calendar: %+v", r.Schedule)
	}
}
