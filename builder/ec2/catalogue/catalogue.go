// Package catalogue finds the AMI that a recipe of driver ec2 starts from: given by
// its id, by a Systems Manager parameter, or by an alias of a managed list such as
// amazon-linux-2023.
//
// The list (parents.yaml) says for each alias who publishes the images and how they
// are named. A name alone is never enough: anyone can publish an image that is named
// like Canonical's, so that every image is checked against the accounts of its
// vendor, whatever the question to EC2 was.
//
// Nothing is launched or kept here, and an image of another recipe is the driver's
// to find.
package catalogue

import (
	_ "embed" // the list
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// Architectures that images are published for, in EC2's words.
const (
	X8664 = "x86_64"
	ARM64 = "arm64"
)

// Alias is a parent image by the name that recipes use.
type Alias struct {
	Name          string
	Title         string // of the system, for people
	Platform      string // Linux or Windows
	Notice        string // why it should no longer be used; empty for all that is current
	Architectures []string
}

// Aliases lists the managed list, sorted by name.
func Aliases() []Alias {
	var all []Alias
	for _, e := range list() {
		all = append(all, Alias{
			Name: e.Name, Title: e.Title, Platform: e.Platform, Notice: e.Withdrawn,
			Architectures: slices.Sorted(maps.Keys(e.Images)),
		})
	}
	return all
}

// ArchitectureOf tells for which images an instance type is, by its name: families
// with a g behind the generation have AWS's own ARM processors, as has a1.
func ArchitectureOf(instanceType string) string {
	family, _, _ := strings.Cut(instanceType, ".")
	if family == "a1" || armFamily.MatchString(family) {
		return ARM64
	}
	return X8664
}

var armFamily = regexp.MustCompile(`^[a-z]+[0-9]+g[a-z]*$`)

// entry is one alias as the list writes it.
type entry struct {
	Name       string            `yaml:"name,required"`
	Title      string            `yaml:"title,required"`
	Platform   string            `yaml:"platform,required"`
	Owners     []string          `yaml:"owners,required"`
	User       string            `yaml:"user,required"`
	RootDevice string            `yaml:"rootDevice,required"`
	Agent      bool              `yaml:"agent,required"`
	Newest     string            `yaml:"newest"`
	Withdrawn  string            `yaml:"withdrawn"`
	Images     map[string]source `yaml:"images,required"`
}

// source is where the images of one architecture are found; one of the two is set.
type source struct {
	Parameter string   `yaml:"parameter"`
	Names     []string `yaml:"names"`
}

//go:embed parents.yaml
var parents []byte

// list is the managed list, sorted by name.
var list = sync.OnceValue(func() []entry {
	entries, err := read(parents)
	if err != nil {
		panic(err) // the file is part of the program, and a test reads it
	}
	return entries
})

func read(text []byte) ([]entry, error) {
	d, problems := yamldoc.Parse("parents.yaml", text)
	if len(problems) > 0 {
		return nil, problems
	}
	var file struct {
		Aliases []entry `yaml:"aliases,required"`
	}
	if problems := d.Decode(d.Root, &file); len(problems) > 0 {
		return nil, problems
	}
	for _, e := range file.Aliases {
		for arch, s := range e.Images {
			if (s.Parameter == "") == (len(s.Names) == 0) {
				return nil, fmt.Errorf("parents.yaml: %s, %s: needs a parameter or names", e.Name, arch)
			}
		}
	}
	slices.SortFunc(file.Aliases, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return file.Aliases, nil
}

func find(name string) (entry, bool) {
	all := list()
	i := slices.IndexFunc(all, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return entry{}, false
	}
	return all[i], true
}

// ByParameter tells whether an alias is found through a parameter.
func ByParameter(name string) bool {
	e, _ := find(name)
	for _, s := range e.Images {
		return s.Parameter != ""
	}
	return false
}
