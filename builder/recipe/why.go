package recipe

import (
	"fmt"
	"maps"
	"slices"
)

// maxReasons is how many files are named before the rest is counted.
const maxReasons = 5

// why says in words of the author what differs between two states of a recipe.
func why(old, now *Recipe) []string {
	var reasons []string
	say := func(different bool, format string, args ...any) {
		if different {
			reasons = append(reasons, fmt.Sprintf(format, args...))
		}
	}
	say(old.Version != now.Version, "version %s → %s", old.Version, now.Version)
	say(old.Parent != now.Parent, "parent image %s → %s", old.Parent.Text, now.Parent.Text)
	say(old.Parent == now.Parent && old.parentDigest != now.parentDigest, "parent image %s changed", now.Parent.Name)
	say(old.Platform != now.Platform, "platform %s → %s", old.Platform, now.Platform)
	say(old.DiskGiB != now.DiskGiB, "volume size changed")
	say(devicesDigest(old.BlockDevices) != devicesDigest(now.BlockDevices), "volumes changed")
	say(old.UserData != now.UserData, "user data changed")
	say(old.WorkingDir != now.WorkingDir, "working directory %s → %s", old.WorkingDir, now.WorkingDir)
	say(old.Infrastructure.Driver != now.Infrastructure.Driver, "driver %s → %s", old.Infrastructure.Driver, now.Infrastructure.Driver)
	say(old.Infrastructure.Isolation != now.Infrastructure.Isolation, "isolation %s → %s", old.Infrastructure.Isolation, now.Infrastructure.Isolation)
	reasons = append(reasons, whyUses("component", old.Components, now.Components)...)
	reasons = append(reasons, whyFiles(old.Files, now.Files)...)
	reasons = append(reasons, whyUses("test", old.Tests, now.Tests)...)
	say(!slices.Equal(old.Infrastructure.TestDisks, now.Infrastructure.TestDisks), "disks of the test instance changed")
	say(published(old) != published(now), "publishing %s → %s", published(old), published(now))
	say(old.placesDigest() != now.placesDigest(), "distribution changed")
	say(!maps.Equal(old.AMITags, now.AMITags), "tags of the image changed")
	say(old.Path != now.Path, "%s is now %s", old.Path, now.Path)
	say(len(reasons) == 0, "%s changed", now.Path)
	return reasons
}

// published says to where a recipe's image is published.
func published(r *Recipe) string {
	if r.Publish == nil {
		return "nowhere"
	}
	place := "to " + r.Publish.Driver
	if r.Publish.Region != "" {
		place += " in " + r.Publish.Region
	}
	if r.Publish.Via.Imports() {
		place += " via " + string(r.Publish.Via)
	}
	return place
}

// whyUses compares two lists of components, or of tests.
func whyUses(what string, old, now []Use) []string {
	var reasons []string
	before, after := byPath(old), byPath(now)
	for _, at := range slices.Sorted(maps.Keys(after)) {
		was, is := before[at], after[at]
		switch {
		case len(was) == 0:
			reasons = append(reasons, fmt.Sprintf("%s %s added", what, at))
		case was[0].Digest != is[0].Digest:
			reasons = append(reasons, at+" changed")
		case !slices.EqualFunc(was, is, sameParameters):
			reasons = append(reasons, fmt.Sprintf("parameters of %s changed", at))
		}
	}
	for _, at := range slices.Sorted(maps.Keys(before)) {
		if len(after[at]) == 0 {
			reasons = append(reasons, fmt.Sprintf("%s %s removed", what, at))
		}
	}
	if len(reasons) == 0 && usesDigest(old) != usesDigest(now) {
		reasons = append(reasons, "order of "+what+"s changed")
	}
	return reasons
}

func byPath(uses []Use) map[string][]Use {
	paths := map[string][]Use{}
	for _, u := range uses {
		paths[u.Path] = append(paths[u.Path], u)
	}
	return paths
}

func sameParameters(a, b Use) bool { return maps.Equal(a.Parameters, b.Parameters) }

// placedFile is a file with all that decides what arrives on the instance.
type placedFile struct {
	File
	owner, group, permissions string
}

func whyFiles(old, now []Files) []string {
	var reasons []string
	before, after := byTarget(old), byTarget(now)
	for _, target := range slices.Sorted(maps.Keys(after)) {
		was, existed := before[target]
		is := after[target]
		switch {
		case !existed:
			reasons = append(reasons, fmt.Sprintf("files %s added", is.Path))
		case was.Digest != is.Digest || was.Link != is.Link:
			reasons = append(reasons, fmt.Sprintf("files %s changed", is.Path))
		case was.Mode != is.Mode || was.owner != is.owner || was.group != is.group || was.permissions != is.permissions:
			reasons = append(reasons, fmt.Sprintf("owner or mode of %s changed", is.Path))
		}
	}
	for _, target := range slices.Sorted(maps.Keys(before)) {
		if _, exists := after[target]; !exists {
			reasons = append(reasons, fmt.Sprintf("files %s removed", before[target].Path))
		}
	}
	if len(reasons) > maxReasons {
		more := len(reasons) - maxReasons
		reasons = append(reasons[:maxReasons], fmt.Sprintf("%d more files differ", more))
	}
	return reasons
}

func byTarget(all []Files) map[string]placedFile {
	targets := map[string]placedFile{}
	for _, files := range all {
		for _, f := range files.Entries {
			if !f.Mode.IsDir() { // authors think of files
				targets[f.Target] = placedFile{f, files.Owner, files.Group, files.Permissions}
			}
		}
	}
	return targets
}
