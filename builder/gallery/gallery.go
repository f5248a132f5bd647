// Package gallery holds the component documents that come with ingot, for
// recipes that name a component instead of a file.
//
// A document lies in gallery/<name>/<x.y.z>.yaml and is never changed once it was
// released: a new version is a new file. Beside it may lie example.yaml, the part
// of a recipe that shows its use on the page docs/gallery.md. Names and parameters are those of the
// managed components of EC2 Image Builder where there is one of that purpose.
// What a document does is its own business; this package only finds it.
package gallery

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-6db18919/ingot/internal/yamldoc"
)

//go:generate go test -run TestPageIsFresh -update .

//go:embed gallery
var documents embed.FS

// Gallery finds component documents by name and version.
type Gallery struct {
	root fs.FS // of <name>/<x.y.z>.yaml
}

// New returns the gallery that is built into this program.
func New() Gallery {
	root, err := fs.Sub(documents, "gallery")
	if err != nil {
		panic(err) // the path is a constant
	}
	return Gallery{root}
}

// Names lists all components, sorted.
func (g Gallery) Names() []string {
	entries, err := fs.ReadDir(g.root, ".")
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Versions lists the versions of a component, oldest first; none when there is
// no such component.
func (g Gallery) Versions(name string) []string {
	all := g.versions(name)
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.String()
	}
	return out
}

// Component returns the newest document that ref means: a name, or a name with a
// version or pattern, such as update-linux@1.0.0, update-linux@1.x.x. The error
// is for the author of the reference and says what there is.
func (g Gallery) Component(ref string) (name, chosen string, text []byte, err error) {
	name, wanted, versioned := strings.Cut(ref, "@")
	if !versioned {
		wanted = "x.x.x"
	}
	pattern, err := parsePattern(wanted)
	if err != nil {
		return "", "", nil, fmt.Errorf("component %s: %w", name, err)
	}
	versions := g.versions(name)
	if len(versions) == 0 {
		return "", "", nil, unknown(name, g.Names())
	}
	for _, v := range slices.Backward(versions) {
		if pattern.matches(v) {
			text, err := fs.ReadFile(g.root, path.Join(name, v.String()+".yaml"))
			return name, v.String(), text, err
		}
	}
	return "", "", nil, fmt.Errorf("component %s has no version %s; there is %s", name, wanted, strings.Join(g.Versions(name), ", "))
}

func unknown(name string, names []string) error {
	if near := yamldoc.Suggest(name, names); near != "" {
		return fmt.Errorf("the gallery has no component %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("the gallery has no component %q; it has %s", name, strings.Join(names, ", "))
}

// versions of a component, sorted.
func (g Gallery) versions(name string) []version {
	if !fs.ValidPath(name) || strings.Contains(name, "/") || name == "." {
		return nil
	}
	entries, err := fs.ReadDir(g.root, name)
	if err != nil {
		return nil // there is no such folder
	}
	var out []version
	for _, e := range entries {
		if v, err := parsePattern(strings.TrimSuffix(e.Name(), ".yaml")); err == nil && !v.open() {
			out = append(out, version(v))
		}
	}
	slices.SortFunc(out, func(a, b version) int { return slices.Compare(a[:], b[:]) })
	return out
}

type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// pattern is a version in which -1 stands for any number.
type pattern [3]int

func parsePattern(text string) (pattern, error) {
	nodes := strings.Split(text, ".")
	var p pattern
	if len(nodes) != len(p) {
		return p, fmt.Errorf("%q is no version: expected x.y.z, such as 1.0.0 or 1.x.x", text)
	}
	for i, node := range nodes {
		if node == "x" {
			p[i] = -1
			continue
		}
		n, err := strconv.ParseUint(node, 10, 30)
		if err != nil || i > 0 && p[i-1] == -1 {
			return p, fmt.Errorf("%q is no version: expected numbers, or x from some node on, such as 1.x.x", text)
		}
		p[i] = int(n)
	}
	return p, nil
}

func (p pattern) open() bool { return slices.Contains(p[:], -1) }

func (p pattern) matches(v version) bool {
	for i := range p {
		if p[i] >= 0 && p[i] != v[i] {
			return false
		}
	}
	return true
}
