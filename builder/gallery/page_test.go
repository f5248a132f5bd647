package gallery

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

var update = flag.Bool("update", false, "write docs/gallery.md anew")

const page = "../../docs/gallery.md"

// TestPageIsFresh holds the page about the gallery against its documents.
func TestPageIsFresh(t *testing.T) {
	want := renderPage(t, New())
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want {
		t.Errorf("%s is not what the documents say (%v): run go generate ./builder/gallery", page, err)
	}
}

const head = `# Gallery

<!-- Written by go generate ./builder/gallery from the documents in builder/gallery/gallery. -->

Components that come with ingot. A recipe uses one by its name, with a version or a pattern where it matters:

` + "```yaml" + `
components:
  - component: update-linux
  - component: chrony@1.x.x
    parameters: {TimeServers: 169.254.169.123}
tests:
  - component: simple-boot-test-linux
` + "```" + `

The build components of Linux work with apt, dnf, yum and zypper where they do not say otherwise, may run twice, and fail with
what to do about it. Names and parameters are those of the managed components of EC2 Image Builder where there is one of that
purpose; the documents are our own. The components for Windows are checked against the rules of that platform, and have not been
run by ingot's tests.

A component that does nearly what you need is the beginning of your own: ` + "`ingot component show nginx > nginx.yaml`" + `.

`

func renderPage(t *testing.T, g Gallery) string {
	var all []Description
	for _, name := range g.Names() {
		d, err := g.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("| component | for | does |\n|---|---|---|\n")
	for _, d := range all {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s, %s | %s |\n", d.Name, d.Name, d.Platform, stage(d), cell(firstSentence(d.Text)))
	}
	for _, d := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s, %s; phases: %s; versions: %s.\n\n",
			d.Name, d.Text, d.Platform, stage(d), strings.Join(d.Phases, ", "), strings.Join(d.Versions, ", "))
		b.WriteString(parameterTable(d.Parameters))
		fmt.Fprintf(&b, "```yaml\n%s```\n", example(t, g, d))
	}
	return b.String()
}

func stage(d Description) string {
	if d.Test {
		return "test"
	}
	return "build"
}

func firstSentence(text string) string {
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}

func parameterTable(parameters []component.Parameter) string {
	if len(parameters) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| parameter | type | default | meaning |\n|---|---|---|---|\n")
	for _, p := range parameters {
		value := "required"
		if !p.Required {
			value = "empty"
		}
		if p.Default != "" {
			value = "`" + p.Default + "`"
		}
		meaning := p.Description
		if len(p.AllowedValues) > 0 {
			meaning += " One of `" + strings.Join(p.AllowedValues, "`, `") + "`."
		}
		fmt.Fprintf(&b, "| `%s` | string | %s | %s |\n", p.Name, cell(value), cell(meaning))
	}
	return b.String() + "\n"
}

// cell is text that does not end a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}

// example is the part of a recipe that uses the component: the one beside the
// document, or without parameters.
func example(t *testing.T, g Gallery, d Description) string {
	t.Helper()
	text, err := fs.ReadFile(g.root, d.Name+"/example.yaml")
	if err == nil {
		return string(text)
	}
	list := "components"
	if d.Test {
		list = "tests"
	}
	if d.Platform != component.Linux {
		list = "platform: " + d.Platform + "\n" + list
	}
	return list + ":\n  - component: " + d.Name + "\n"
}

// TestExamplesAreRecipes reads every example as the part of a recipe that it is.
func TestExamplesAreRecipes(t *testing.T) {
	g := New()
	dir := t.TempDir()
	for name, text := range map[string]string{"postfix.preseed": "x", "agent.msi": "x", "agent.properties": "x", "ssm-agent.asc": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range g.Names() {
		d, err := g.Describe(name)
		if err != nil {
			t.Fatal(err)
		}
		text := example(t, g, d)
		text = "apiVersion: ingot/v1\nkind: ImageRecipe\nname: " + name + "\nversion: 1.0.0\nparentImage: debian-12\n" + text
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "component: "+name+"\n") {
			t.Errorf("the example of %s does not use it", name)
		}
	}
	tree, err := recipe.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	set, err := recipe.Load(t.Context(), tree, recipe.Options{Aliases: map[string][]recipe.Alias{"local": {{Name: "debian-12"}}}, Gallery: g})
	if err != nil {
		t.Fatal(err)
	}
	for _, invalid := range set.Invalid {
		t.Error(invalid.Problems)
	}
	if len(set.Recipes) != len(g.Names()) {
		t.Errorf("%d of %d examples are recipes", len(set.Recipes), len(g.Names()))
	}
}
