package inventory

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

const status = `Package: zsh
Status: install ok installed
Architecture: amd64
Version: 5.9-4+b2
Description: shell
 Version: 6.0
 Package: not-this

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Version: 2.36-9
Architecture: i386

Package: libc6
Status: hold ok installed
Version: 2.36-9
Architecture: amd64
`

func tree(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestRead(t *testing.T) {
	root := tree(t, map[string]string{
		"usr/lib/os-release":          "NAME=x\nPRETTY_NAME=\"Debian \x1b[31mGNU/Linux 12\"\n",
		"boot/vmlinuz-6.1.0-9-amd64":  "",
		"boot/vmlinuz-6.1.0-10-amd64": "",
		"boot/initrd.img-6.1.0-99":    "",
		"var/lib/dpkg/status":         status,
	})
	got, err := Read(root)
	want := builder.Inventory{
		OS: "Debian [31mGNU/Linux 12", Kernel: "6.1.0-10-amd64",
		Packages: []builder.Package{{Name: "libc6", Version: "2.36-9", Architecture: "amd64"}, {Name: "libc6", Version: "2.36-9", Architecture: "i386"}, {Name: "zsh", Version: "5.9-4+b2", Architecture: "amd64"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestReadEmptySystem(t *testing.T) {
	if got, err := Read(tree(t, nil)); err != nil || !reflect.DeepEqual(got, builder.Inventory{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadStaysInside(t *testing.T) {
	root := tree(t, map[string]string{"var/lib/dpkg/x": "", "etc/x": ""})
	if err := root.Symlink("/etc/os-release", "etc/os-release"); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(root); err == nil {
		t.Errorf("a link out of the system was followed: %+v", got)
	}
}

func TestDiff(t *testing.T) {
	p := func(name, version string) builder.Package {
		return builder.Package{Name: name, Version: version, Architecture: "amd64"}
	}
	before := []builder.Package{p("a", "1.0"), p("b", "2"), p("c", "3"), p("kernel", "5"), p("kernel", "6")}
	after := []builder.Package{p("a", "1.10"), p("c", "3"), p("d", "4"), p("kernel", "6"), p("kernel", "7")}
	got := Diff(before, after)
	want := Changes{
		Added:    []builder.Package{p("d", "4"), p("kernel", "7")},
		Removed:  []builder.Package{p("b", "2"), p("kernel", "5")},
		Upgraded: []Upgrade{{Package: p("a", "1.10"), From: "1.0"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
	if got.Upgraded[0].Downgrade() || !Diff(after, before).Upgraded[0].Downgrade() {
		t.Error("1.0 to 1.10 is an upgrade, and back a downgrade")
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "1.00", 0},
		{"1.9", "1.10", -1},
		{"1.0~rc1", "1.0", -1},
		{"1.0~~", "1.0~", -1},
		{"1:0.1", "9.9", 1},
		{"1.0-1", "1.0-2", -1},
		{"1.0", "1.0-1", -1},
		{"1.0-0", "1.0", 0},
		{"1.0a", "1.0+", -1},
		{"2.36-9+deb12u4", "2.36-9+deb12u10", -1},
		{"", "0", 0},
		{"99999999999999999999999", "99999999999999999999998", 1},
	} {
		if got := CompareVersions(c.a, c.b); got != c.want {
			t.Errorf("CompareVersions(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := CompareVersions(c.b, c.a); got != -c.want {
			t.Errorf("CompareVersions(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(status)
	f.Add("Package: \x1b]0;x\x07\nStatus: a b installed")
	f.Fuzz(func(t *testing.T, text string) {
		packages, err := parseStatus(strings.NewReader(text))
		for _, p := range packages {
			if err == nil && (p.Name == "" || len(p.Name) > maxField+4 || strings.ContainsAny(p.Name+p.Version+p.Architecture, "\x1b\n\x00")) {
				t.Fatalf("%+q", p)
			}
		}
	})
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:2.3~rc1-4", "1:2.3-4")
	f.Fuzz(func(t *testing.T, a, b string) {
		if CompareVersions(a, a) != 0 || CompareVersions(a, b) != -CompareVersions(b, a) {
			t.Fatalf("%q and %q have no order", a, b)
		}
	})
}
