package reporter

import (
	"cmp"
	"maps"
	"slices"
)

// PackageChange is a package whose version is another one now.
type PackageChange struct {
	Name         string
	Architecture string
	From, To     string
}

// PackageChanges is what differs between two inventories, each list sorted by
// name and architecture.
type PackageChanges struct {
	Added   []Package
	Removed []Package
	Changed []PackageChange
}

// Total is how many packages differ.
func (c PackageChanges) Total() int {
	return len(c.Added) + len(c.Removed) + len(c.Changed)
}

// PackageDiff compares two inventories, in any order. A package that is installed
// in several versions at once is compared version by version.
func PackageDiff(old, new []Package) PackageChanges {
	before, after := versions(old), versions(new)
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	var out PackageChanges
	for _, key := range slices.SortedFunc(maps.Keys(keys), comparePackages) {
		gone, come := without(before[key], after[key]), without(after[key], before[key])
		paired := min(len(gone), len(come))
		for i := range paired {
			out.Changed = append(out.Changed, PackageChange{Name: key.Name, Architecture: key.Architecture, From: gone[i], To: come[i]})
		}
		for _, version := range gone[paired:] {
			out.Removed = append(out.Removed, Package{Name: key.Name, Version: version, Architecture: key.Architecture})
		}
		for _, version := range come[paired:] {
			out.Added = append(out.Added, Package{Name: key.Name, Version: version, Architecture: key.Architecture})
		}
	}
	return out
}

// versions groups by name and architecture; the key is a Package without version.
func versions(packages []Package) map[Package][]string {
	out := make(map[Package][]string, len(packages))
	for _, p := range packages {
		key := Package{Name: p.Name, Architecture: p.Architecture}
		out[key] = append(out[key], p.Version)
	}
	return out
}

func without(versions, others []string) []string {
	var out []string
	for _, v := range versions {
		if !slices.Contains(others, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func comparePackages(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
}
