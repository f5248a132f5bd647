package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

// Changes is what differs between two lists of packages, each part sorted by name.
type Changes struct {
	Added, Removed []builder.Package
	Upgraded       []Upgrade // and downgraded ones
}

// Upgrade is a package whose version changed.
type Upgrade struct {
	builder.Package        // with the new version
	From            string // the old version
}

// Downgrade reports whether the version became lower.
func (u Upgrade) Downgrade() bool { return CompareVersions(u.Version, u.From) < 0 }

// Diff compares two lists of packages. A package that is installed in several
// versions at once, as kernels may be under other package managers, counts once
// for each version.
func Diff(before, after []builder.Package) Changes {
	type key struct{ name, architecture string }
	group := func(packages []builder.Package) map[key][]builder.Package {
		groups := map[key][]builder.Package{}
		for _, p := range packages {
			k := key{p.Name, p.Architecture}
			groups[k] = append(groups[k], p)
		}
		return groups
	}
	was, is := group(before), group(after)
	var c Changes
	for k, now := range is {
		then := was[k]
		if len(then) == 1 && len(now) == 1 {
			if then[0].Version != now[0].Version {
				c.Upgraded = append(c.Upgraded, Upgrade{Package: now[0], From: then[0].Version})
			}
			continue
		}
		c.Added = append(c.Added, without(now, then)...)
		c.Removed = append(c.Removed, without(then, now)...)
	}
	for k, then := range was {
		if _, still := is[k]; !still {
			c.Removed = append(c.Removed, then...)
		}
	}
	slices.SortFunc(c.Added, comparePackages)
	slices.SortFunc(c.Removed, comparePackages)
	slices.SortFunc(c.Upgraded, func(a, b Upgrade) int { return comparePackages(a.Package, b.Package) })
	return c
}

func without(packages, others []builder.Package) []builder.Package {
	var left []builder.Package
	for _, p := range packages {
		if !slices.Contains(others, p) {
			left = append(left, p)
		}
	}
	return left
}

// CompareVersions orders versions as dpkg does: an epoch before a colon, then the
// upstream version, then the revision behind the last hyphen; digits count as
// numbers and "~" sorts before everything, even the end.
func CompareVersions(a, b string) int {
	epochA, upstreamA, revisionA := splitVersion(a)
	epochB, upstreamB, revisionB := splitVersion(b)
	return cmp.Or(comparePart(epochA, epochB), comparePart(upstreamA, upstreamB), comparePart(revisionA, revisionB))
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if before, after, found := strings.Cut(v, ":"); found {
		epoch, v = before, after
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// comparePart compares runs of other characters and runs of digits in turn.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(rank(a), rank(b)); c != 0 {
				return c
			}
			a, b = tail(a), tail(b)
		}
		digitsA, restA := number(a)
		digitsB, restB := number(b)
		if c := cmp.Or(cmp.Compare(len(digitsA), len(digitsB)), cmp.Compare(digitsA, digitsB)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return 0
}

// rank orders the first character: "~", then the end or a digit, letters, the rest.
func rank(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case 'a' <= s[0]|0x20 && s[0]|0x20 <= 'z':
		return int(s[0])
	default:
		return int(s[0]) + 256
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func tail(s string) string {
	if s == "" {
		return ""
	}
	return s[1:]
}

// number takes the digits at the beginning of s, without leading zeros.
func number(s string) (digits, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
