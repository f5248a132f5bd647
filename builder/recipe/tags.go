package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

// What AWS takes. Of the 50 tags that a resource may have, ingot needs ten, and leaves
// the operator as many.
const (
	maxTags     = 30
	maxTagKey   = 128
	maxTagValue = 256
)

// Variables in the values of tags. Image Builder writes a date in the same form.
const (
	tagVersion   = "version"
	tagBuildDate = "buildDate"
	dateLayout   = "2006-01-02T15-04-05.000Z"
)

// tagVariable is what a variable stands for; Image Builder's own way to write one is
// understood too.
func tagVariable(name string) (variable string, known bool) {
	variable = strings.TrimPrefix(name, "imagebuilder:")
	return variable, variable == tagBuildDate || name == tagVersion
}

func (r *reading) tags(tags yamldoc.At[map[string]string]) {
	if len(tags.Value) > maxTags {
		r.bad(tags.Key, fmt.Sprintf("a recipe has at most %d: of the 50 that AWS takes, the others are for ingot and its operator", maxTags), "%d tags", len(tags.Value))
	}
	for _, name := range slices.Sorted(maps.Keys(tags.Value)) {
		key, value := entryOf(tags.Node, name)
		switch prefix, _, _ := strings.Cut(strings.ToLower(name), ":"); {
		case strings.Contains(name, ":") && (prefix == "aws" || prefix == "ingot"):
			r.bad(key, "expected another beginning than aws: and ingot:", "the tag %q is not yours to set", shorten(name))
		case name == "" || utf8.RuneCountInString(name) > maxTagKey:
			r.bad(key, fmt.Sprintf("expected 1 to %d characters", maxTagKey), "%q is not a tag key", shorten(name))
		}
		r.tagValue(value, name, tags.Value[name])
	}
	r.recipe.AMITags = tags.Value
	if built := r.recipe.Infrastructure.Driver; len(tags.Value) > 0 && built == driverLocal && r.recipe.Publish == nil {
		notice := r.yaml.Problem(tags.Key, "amiTags are put on AMIs, and this recipe makes none", "add publish: {driver: ec2}, or leave them out")
		r.recipe.notices = append(r.recipe.notices, notice)
	}
}

func (r *reading) tagValue(at *yaml.Node, name, value string) {
	for _, match := range variable.FindAllStringSubmatch(value, -1) {
		switch variable, known := tagVariable(match[1]); {
		case variable == "build" || variable == "buildVersion":
			r.bad(at, "expected {{ version }} or {{ buildDate }}", "the number of a build is given when it is released, after its image was made: %q", shorten(match[0]))
		case !known:
			r.bad(at, "expected {{ version }} or {{ buildDate }}", "unknown variable %q", shorten(match[0]))
		}
	}
	if full := r.recipe.fillTag(value, time.Time{}); utf8.RuneCountInString(full) > maxTagValue {
		r.bad(at, fmt.Sprintf("expected at most %d characters", maxTagValue), "the value of tag %q is too long", shorten(name))
	}
}

// entryOf finds where a key and its value stand in a mapping.
func entryOf(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return mapping, mapping // by way of an alias
}

func (r *Recipe) fillTag(value string, made time.Time) string {
	return variable.ReplaceAllStringFunc(value, func(match string) string {
		switch name, _ := tagVariable(variable.FindStringSubmatch(match)[1]); name {
		case tagVersion:
			return r.Version.String()
		case tagBuildDate:
			return made.UTC().Format(dateLayout)
		}
		return match
	})
}

// ImageTags are the tags of the recipe's image that was made at that time. For the zero
// time they leave out those that tell when it was.
func (r *Recipe) ImageTags(made time.Time) map[string]string {
	all := map[string]string{}
	for name, value := range r.AMITags {
		dated := slices.ContainsFunc(variable.FindAllStringSubmatch(value, -1), func(match []string) bool {
			used, _ := tagVariable(match[1])
			return used == tagBuildDate
		})
		if !dated || !made.IsZero() {
			all[name] = r.fillTag(value, made)
		}
	}
	return all
}
