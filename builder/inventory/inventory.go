// Package inventory reads what is installed in a Linux system from its files, and
// compares two such lists.
//
// It never runs anything of the system that it reads, and takes none of its text
// on trust: files are read inside the given root only, up to a size, and what is
// not printable does not leave. It reads the databases of dpkg; systems with
// other package managers have an inventory without packages.
package inventory

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

// Bounds for what a hostile system can make us read or keep.
const (
	maxOSRelease = 64 << 10
	maxStatus    = 64 << 20 // bytes of dpkg's database; a full desktop has some 5 MiB
	maxLine      = 1 << 20
	maxPackages  = 100_000
	maxField     = 256
)

// Read lists what is installed in the system below root. What is missing stays
// empty; a file that is there but cannot be read is an error.
func Read(root *os.Root) (builder.Inventory, error) {
	name, err := osName(root)
	if err != nil {
		return builder.Inventory{}, err
	}
	kernel, err := newestKernel(root)
	if err != nil {
		return builder.Inventory{}, err
	}
	packages, err := dpkgPackages(root)
	if err != nil {
		return builder.Inventory{}, err
	}
	return builder.Inventory{OS: name, Kernel: kernel, Packages: packages}, nil
}

// osName is PRETTY_NAME of os-release, which is usually a link to /usr/lib.
func osName(root *os.Root) (string, error) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		f, err := openRegular(root, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		name, err := parseOSRelease(io.LimitReader(f, maxOSRelease))
		return name, errors.Join(err, f.Close())
	}
	return "", nil
}

func parseOSRelease(r io.Reader) (string, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxOSRelease+1)
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME=")
		if ok {
			return printable(strings.Trim(strings.TrimSpace(value), `"'`)), nil
		}
	}
	return "", lines.Err()
}

// newestKernel is the highest version that /boot holds a kernel for, which is the
// one that the boot menu starts.
func newestKernel(root *os.Root) (string, error) {
	dir, err := root.Open("boot")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	entries, err := dir.ReadDir(maxPackages)
	if err := errors.Join(ignoreEOF(err), dir.Close()); err != nil {
		return "", err
	}
	var newest string
	for _, e := range entries {
		version, ok := strings.CutPrefix(e.Name(), "vmlinuz-")
		if ok && CompareVersions(version, newest) > 0 {
			newest = version
		}
	}
	return printable(newest), nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func dpkgPackages(root *os.Root) ([]builder.Package, error) {
	f, err := openRegular(root, "var/lib/dpkg/status")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	packages, err := parseStatus(io.LimitReader(f, maxStatus))
	return packages, errors.Join(err, f.Close())
}

// parseStatus reads paragraphs of "Field: value" lines, and keeps the packages
// that are installed: removed ones stay in the database with their configuration.
func parseStatus(r io.Reader) ([]builder.Package, error) {
	var packages []builder.Package
	var p builder.Package
	var installed bool
	finish := func() {
		if installed && p.Name != "" && len(packages) < maxPackages {
			packages = append(packages, p)
		}
		p, installed = builder.Package{}, false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			finish()
			continue
		}
		name, value, _ := strings.Cut(lines.Text(), ":") // continued lines begin with a blank and match nothing
		value = printable(strings.TrimSpace(value))
		switch name {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Architecture = value
		case "Status":
			state := strings.Fields(value) // wanted, error, state
			installed = len(state) == 3 && state[2] == "installed"
		}
	}
	finish()
	slices.SortFunc(packages, comparePackages)
	return packages, lines.Err()
}

func comparePackages(a, b builder.Package) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture), CompareVersions(a.Version, b.Version))
}

// openRegular opens a file without waiting for the other end of a FIFO that
// somebody put in its place.
func openRegular(root *os.Root, path string) (*os.File, error) {
	info, err := root.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a file")}
	}
	return root.Open(path)
}

// printable cuts a foreign value to a length and drops what a terminal or a page
// could take for a command.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || r == 0xfffd {
			return -1
		}
		return r
	}, s)
	for i := range s {
		if i > maxField {
			return s[:i]
		}
	}
	return s
}
