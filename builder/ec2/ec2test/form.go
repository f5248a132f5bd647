package ec2test

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// list are the values of a list in a flattened form: Name.1, Name.2.
func list(form url.Values, name string) []string {
	var values []string
	for i := 1; form.Has(fmt.Sprintf("%s.%d", name, i)); i++ {
		values = append(values, form.Get(fmt.Sprintf("%s.%d", name, i)))
	}
	return values
}

// members are the numbers of a list of structures, in order.
func members(form url.Values, name string) []string {
	numbers := map[int]bool{}
	for key := range form {
		if after, found := strings.CutPrefix(key, name+"."); found {
			digits, _, _ := strings.Cut(after, ".")
			if n, err := strconv.Atoi(digits); err == nil {
				numbers[n] = true
			}
		}
	}
	var prefixes []string
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		prefixes = append(prefixes, fmt.Sprintf("%s.%d.", name, n))
	}
	return prefixes
}

// without removes a list from a form.
func without(form url.Values, name string) {
	maps.DeleteFunc(form, func(key string, _ []string) bool { return strings.HasPrefix(key, name+".") })
}

// filter is one filter of a describe.
type filter struct {
	name   string
	values []string
}

// takeFilters removes the filters that are answered here from a form.
func takeFilters(form url.Values, ours func(name string) bool) []filter {
	var taken, left []filter
	for _, prefix := range members(form, "Filter") {
		f := filter{name: form.Get(prefix + "Name"), values: list(form, prefix+"Value")}
		if ours(f.name) {
			taken = append(taken, f)
		} else {
			left = append(left, f)
		}
	}
	without(form, "Filter")
	for i, f := range left {
		form.Set(fmt.Sprintf("Filter.%d.Name", i+1), f.name)
		for j, v := range f.values {
			form.Set(fmt.Sprintf("Filter.%d.Value.%d", i+1, j+1), v)
		}
	}
	return taken
}

// matches says whether a value is one of those asked for, which may hold wildcards.
func (f filter) matches(values ...string) bool {
	return slices.ContainsFunc(f.values, func(pattern string) bool {
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		return slices.ContainsFunc(values, regexp.MustCompile("^(?s:"+expression+")$").MatchString)
	})
}

// TagsFor are the tags of a form for one kind of resource.
func TagsFor(form url.Values, kind string) map[string]string {
	tags := map[string]string{}
	for _, prefix := range members(form, "TagSpecification") {
		if form.Get(prefix+"ResourceType") != kind {
			continue
		}
		for _, tag := range members(form, prefix+"Tag") {
			tags[form.Get(tag+"Key")] = form.Get(tag + "Value")
		}
	}
	return tags
}

// setTags says in a form how one kind of resource is tagged.
func setTags(form url.Values, kind string, tags map[string]string) {
	without(form, "TagSpecification")
	for i, key := range slices.Sorted(maps.Keys(tags)) {
		form.Set("TagSpecification.1.ResourceType", kind)
		form.Set(fmt.Sprintf("TagSpecification.1.Tag.%d.Key", i+1), key)
		form.Set(fmt.Sprintf("TagSpecification.1.Tag.%d.Value", i+1), tags[key])
	}
}
