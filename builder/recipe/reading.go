package recipe

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

const kindImageRecipe = "ImageRecipe"

// text is a value whose place is remembered for the checks after decoding.
type text = yamldoc.At[string]

// imageRecipe is a recipe as it is written.
type imageRecipe struct {
	APIVersion       text                          `yaml:"apiVersion,required" example:"ingot/v1"`
	Kind             text                          `yaml:"kind,required" example:"ImageRecipe"`
	Name             text                          `yaml:"name,required" example:"web-server"`
	Version          text                          `yaml:"version,required" example:"1.0.0"`
	Description      string                        `yaml:"description"`
	Platform         text                          `yaml:"platform"`
	ParentImage      parentImage                   `yaml:"parentImage,required" example:"debian-12"`
	Components       yamldoc.At[[]use]             `yaml:"components"`
	Files            yamldoc.At[[]fileEntry]       `yaml:"files"`
	Tests            yamldoc.At[[]use]             `yaml:"tests"`
	Schedule         *schedule                     `yaml:"schedule"`
	Infrastructure   infrastructure                `yaml:"infrastructure"`
	Publish          *publish                      `yaml:"publish"`
	Exports          yamldoc.At[[]export]          `yaml:"exports"`
	Distribution     yamldoc.At[[]distribution]    `yaml:"distribution"`
	WorkingDirectory text                          `yaml:"workingDirectory"`
	VolumeSize       yamldoc.At[int]               `yaml:"volumeSize"`
	BlockDevices     yamldoc.At[[]blockDevice]     `yaml:"blockDeviceMappings"`
	UserData         text                          `yaml:"userData"`
	AMITags          yamldoc.At[map[string]string] `yaml:"amiTags"`
}

// reading is one document on its way to a recipe.
type reading struct {
	*loader
	yaml     *yamldoc.Document
	document *document
	recipe   *Recipe
	read     []string // digests of what was read
}

// bad reports a mistake of the author at a node.
func (r *reading) bad(n *yaml.Node, expected, format string, args ...any) {
	r.document.problems = append(r.document.problems, r.yaml.Problem(n, fmt.Sprintf(format, args...), expected))
}

// noteRead makes something that was read part of the document's digest.
func (r *reading) noteRead(kind string, texts ...string) {
	r.read = append(r.read, hash(kind, texts...))
}

// owner names the recipe for messages about files that it uses.
func (r *reading) owner() string {
	if r.document.name != "" {
		return "recipe " + r.document.name
	}
	return r.document.path
}

// read makes a document of a parsed text. All problems are found in one go.
func (l *loader) read(at string, text []byte, d *yamldoc.Document, problems yamldoc.Problems) *document {
	r := &reading{
		loader: l, yaml: d,
		document: &document{path: at, watched: map[string]bool{}},
		recipe:   &Recipe{Path: at},
	}
	r.watch(at)
	var source imageRecipe
	r.document.problems = append(problems, d.Decode(d.Root, &source)...)
	if r.known(&source) {
		r.convert(&source)
	}
	r.document.problems.Sort()
	r.document.digest = hash("document", append([]string{string(text)}, r.read...)...)
	if len(r.document.problems) == 0 {
		r.recipe.document = hash("text", string(text))
		r.recipe.signature = r.recipe.sign()
		r.document.recipe = r.recipe
	}
	return r.document
}

// known reports whether this program understands documents of that version and
// kind; of others nothing but that can be said.
func (r *reading) known(source *imageRecipe) bool {
	switch {
	case source.APIVersion.Node != nil && source.APIVersion.Value != APIVersion:
		r.document.problems = nil
		r.bad(source.APIVersion.Node, "expected "+APIVersion, "unknown apiVersion %q", shorten(source.APIVersion.Value))
		return false
	case source.Kind.Node != nil && source.Kind.Value != kindImageRecipe:
		r.document.problems = nil
		r.bad(source.Kind.Node, "expected "+kindImageRecipe, "unknown kind %q", shorten(source.Kind.Value))
		return false
	}
	return true
}

func (r *reading) convert(source *imageRecipe) {
	r.identity(source)
	r.platform(source)
	r.infrastructure(&source.Infrastructure)
	r.blockDevices(source.BlockDevices)
	r.userData(source.UserData)
	r.parent(&source.ParentImage)
	r.recipe.Components = r.uses(source.Components, "components")
	r.recipe.Tests = r.uses(source.Tests, "tests")
	r.files(source.Files)
	r.schedule(source.Schedule)
	r.publish(source.Publish)
	r.infrastructureName(source.Infrastructure.Name)
	r.exports(source.Exports)
	r.distribution(source.Distribution)
	r.tags(source.AMITags)
}

var legalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{1,126}[A-Za-z0-9]$`)

func (r *reading) identity(source *imageRecipe) {
	if name := source.Name; name.Node != nil {
		if legalName.MatchString(name.Value) {
			r.document.name = name.Value
			r.recipe.Name = name.Value
		} else {
			r.bad(name.Node, "expected 3 to 128 letters, digits, - and _", "%q is not a name", shorten(name.Value))
		}
		r.document.nameAt = r.yaml.Problem(name.Node, "", "")
	}
	if version := source.Version; version.Node != nil {
		v, err := ParseVersion(shorten(version.Value))
		if err != nil {
			r.bad(version.Node, "", "%v", err)
		}
		r.recipe.Version = v
		r.recipe.versionAt = r.yaml.Problem(version.Node, "", "")
	}
	r.recipe.Description = source.Description
}

func (r *reading) platform(source *imageRecipe) {
	r.recipe.Platform = r.oneOf(source.Platform, "platform", platformNames()...)
	r.recipe.WorkingDir = "/tmp"
	if r.recipe.Platform == "Windows" {
		r.recipe.WorkingDir = `C:\`
	}
	if dir := source.WorkingDirectory; dir.Node != nil {
		if !absolute(dir.Value, r.recipe.Platform) {
			r.bad(dir.Node, "expected an absolute path on the instance", "%q is not a working directory", shorten(dir.Value))
		}
		r.recipe.WorkingDir = dir.Value
	}
	if size := source.VolumeSize; size.Node != nil {
		if size.Value < 1 || size.Value > maxVolumeGiB {
			r.bad(size.Node, fmt.Sprintf("expected 1 to %d GiB", maxVolumeGiB), "volumeSize %d is out of bounds", size.Value)
		}
		r.recipe.DiskGiB = size.Value
	}
}

// oneOf returns a value out of a few; the first is the default.
func (r *reading) oneOf(value text, key string, known ...string) string {
	if value.Node == nil {
		return known[0]
	}
	for _, k := range known {
		if value.Value == k {
			return k
		}
	}
	r.bad(value.Node, choice(value.Value, known), "unknown %s %q", key, shorten(value.Value))
	return known[0]
}

// choice tells what would have been right instead of a word.
func choice(word string, known []string) string {
	if near := yamldoc.Suggest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "expected " + alternatives(known)
}
