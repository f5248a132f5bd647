package recipe

import (
	"testing"

	"github.com/seed-6db18919/ingot/builder/gallery"
)

func TestSampleRepository(t *testing.T) {
	tree, err := OpenDir("../../examples/recipes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	options := Options{Aliases: map[string][]Alias{driverLocal: {{Name: "debian-12"}}}, Gallery: gallery.New(), Paths: []string{"recipes"}}
	s, err := Load(t.Context(), tree, options)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, s)
	web, base := s.Recipes["web"], s.Recipes["base"]
	if len(s.Recipes) != 2 || web == nil || base == nil {
		t.Fatalf("recipes: %v", s.Recipes)
	}
	for _, r := range s.Recipes {
		if warnings := r.Warnings(); len(warnings) > 0 {
			t.Errorf("warnings about %s:\n%v", r.Name, warnings)
		}
	}
	if got := len(web.Keys("base", "1").Layers); got != 2 || web.Components[1].Path != "recipes/web/site.yaml" {
		t.Errorf("web has %d layers, want one for nginx and one, the last, for the page", got)
	}
	if base.Components[0].Path != "components/journal.yaml" {
		t.Errorf("base does not use the shared folder: %+v", base.Components)
	}
}
