package recipe

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxNode is the largest number in a version, as in Image Builder.
const maxNode = 1<<30 - 1

// Version is x.y.z, as its author raises it; each node is 0 … 2^30−1.
type Version struct{ Major, Minor, Patch int }

// ParseVersion reads x.y.z. Dates such as 2026.08.01 are versions too; leading
// zeros are not kept.
func ParseVersion(text string) (Version, error) {
	nodes := strings.Split(text, ".")
	if len(nodes) != 3 {
		return Version{}, fmt.Errorf("%q is not a version: expected x.y.z, such as 1.4.0", text)
	}
	var numbers [3]int
	for i, node := range nodes {
		n, err := parseNode(node)
		if err != nil {
			return Version{}, fmt.Errorf("%q is not a version: %w", text, err)
		}
		numbers[i] = n
	}
	return Version{numbers[0], numbers[1], numbers[2]}, nil
}

func parseNode(text string) (int, error) {
	for _, r := range text {
		if r < '0' || r > '9' {
			return 0, fmt.Errorf("%q is not a number", text)
		}
	}
	n, err := strconv.Atoi(text)
	switch {
	case text == "":
		return 0, fmt.Errorf("a number is missing")
	case err != nil || n > maxNode:
		return 0, fmt.Errorf("%s is larger than %d", text, maxNode)
	default:
		return n, nil
	}
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare orders versions by their numbers: -1 when v is older than w, 0 when
// they are equal, 1 when it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// NextPatch is the smallest version above v that an author would choose.
func (v Version) NextPatch() Version {
	switch {
	case v.Patch < maxNode:
		return Version{v.Major, v.Minor, v.Patch + 1}
	case v.Minor < maxNode:
		return Version{v.Major, v.Minor + 1, 0}
	default:
		return Version{v.Major + 1, 0, 0}
	}
}

// Pattern is a version whose last nodes may be left open: x.x.x, 1.x.x, 1.6.x or
// 1.6.2. The zero Pattern matches only 0.0.0.
type Pattern struct {
	version Version
	open    int // how many nodes, from the right, are x
}

// ParsePattern reads a pattern. Once a node is x, all nodes to its right must be.
func ParsePattern(text string) (Pattern, error) {
	nodes := strings.Split(text, ".")
	if len(nodes) != 3 {
		return Pattern{}, fmt.Errorf("%q is not a version or pattern: expected 1.4.0, 1.4.x, 1.x.x or x.x.x", text)
	}
	fixed := slices.Index(nodes, "x")
	if fixed < 0 {
		fixed = len(nodes)
	}
	for i, node := range nodes {
		switch {
		case i < fixed:
		case node != "x":
			return Pattern{}, fmt.Errorf("%q is not a pattern: after an x only x may follow", text)
		default:
			nodes[i] = "0"
		}
	}
	version, err := ParseVersion(strings.Join(nodes, "."))
	if err != nil {
		return Pattern{}, fmt.Errorf("%q is not a version or pattern: expected 1.4.0, 1.4.x, 1.x.x or x.x.x", text)
	}
	return Pattern{version, len(nodes) - fixed}, nil
}

func (p Pattern) String() string {
	nodes := strings.Split(p.version.String(), ".")
	for i := len(nodes) - p.open; i < len(nodes); i++ {
		nodes[i] = "x"
	}
	return strings.Join(nodes, ".")
}

// Open reports whether newer versions may match the pattern in the future.
func (p Pattern) Open() bool { return p.open > 0 }

// Match reports whether v is one of the versions that the pattern stands for.
func (p Pattern) Match(v Version) bool {
	if p.open >= 1 {
		v.Patch = 0
	}
	if p.open >= 2 {
		v.Minor = 0
	}
	if p.open >= 3 {
		v.Major = 0
	}
	return v == p.version
}

// Newest picks the newest of versions that the pattern matches.
func (p Pattern) Newest(versions []Version) (Version, bool) {
	var newest Version
	found := false
	for _, v := range versions {
		if p.Match(v) && (!found || v.Compare(newest) > 0) {
			newest, found = v, true
		}
	}
	return newest, found
}
