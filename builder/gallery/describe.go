package gallery

import (
	"fmt"
	"path"
	"strings"

	"github.com/seed-6db18919/ingot/builder/component"
)

// Description is what there is to know of a component before using it.
type Description struct {
	Name     string
	Versions []string // oldest first
	Platform string   // component.Linux or component.Windows
	Test     bool     // its only phase is test: it belongs into a recipe's tests

	// Of the newest version:
	Text       string // one or two sentences
	Phases     []string
	Parameters []component.Parameter
}

// Describe describes the component of that name, without a version. The error is
// for whoever asked and says what there is.
func (g Gallery) Describe(name string) (Description, error) {
	_, version, text, err := g.Component(name)
	if err != nil {
		return Description{}, err
	}
	document, problems := component.Parse(path.Join(name, version+".yaml"), text)
	if err := problems.Err(); err != nil {
		return Description{}, fmt.Errorf("component %s: %w", name, err)
	}
	d := Description{
		Name: name, Versions: g.Versions(name), Platform: platformOf(name), Test: document.IsTest(),
		Text: document.Description, Parameters: document.Parameters,
	}
	for _, p := range document.Phases {
		d.Phases = append(d.Phases, p.Name)
	}
	return d, nil
}

// platformOf goes by the name, as the managed components do: a document alone does
// not tell, since a bash script for Linux is also a valid one for macOS.
func platformOf(name string) string {
	if strings.HasSuffix(name, "-windows") {
		return component.Windows
	}
	return component.Linux
}
