package recipe

import (
	"fmt"
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"
)

// memory is a tree in memory: path to content. A content that begins with "-> "
// is a symbolic link.
type memory map[string]string

func (m memory) fs() fstest.MapFS {
	files := fstest.MapFS{}
	for at, content := range m {
		var to string
		if _, err := fmt.Sscanf(content, "-> %s", &to); err == nil {
			files[at] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
		} else {
			files[at] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
	}
	return files
}

// with returns a copy with other contents; an empty content removes the file.
func (m memory) with(changes memory) memory {
	m = maps.Clone(m)
	for at, content := range changes {
		if content == "" {
			delete(m, at)
		} else {
			m[at] = content
		}
	}
	return m
}

// mapTree is a Tree over files in memory.
type mapTree struct{ fstest.MapFS }

func (t mapTree) Hash(at string) (string, error) {
	file := t.MapFS[at]
	if file == nil {
		return "", &fs.PathError{Op: "hash", Path: at, Err: fs.ErrNotExist}
	}
	return sha256Hex(file.Data), nil
}

// testGallery has two components, as a real one would have many.
type testGallery struct{}

func (testGallery) Names() []string { return []string{"update-linux", "simple-boot-test-linux"} }

func (testGallery) Component(ref string) (name, version string, text []byte, err error) {
	switch ref {
	case "update-linux", "update-linux@1.x.x":
		return "update-linux", "1.0.3", []byte(buildComponent("apt-get upgrade")), nil
	case "simple-boot-test-linux":
		return "simple-boot-test-linux", "1.0.0", []byte(testComponent("true")), nil
	default:
		return "", "", nil, fmt.Errorf("component %s has no such version; there is 1.0.3", ref)
	}
}

func testOptions() Options {
	return Options{Aliases: map[string][]Alias{
		driverLocal: {{Name: "debian-12"}, {Name: "debian-13"}},
		driverEC2:   {{Name: "debian-12"}, {Name: "centos-7", Notice: "CentOS 7 has ended"}, {Name: "windows-2022", Platform: "Windows"}},
	}, Gallery: testGallery{}}
}

func load(t testing.TB, tree memory) *Set {
	t.Helper()
	return loadWith(t, tree, testOptions())
}

func loadWith(t testing.TB, tree memory, options Options) *Set {
	t.Helper()
	s, err := Load(t.Context(), mapTree{tree.fs()}, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid fails when the set has problems.
func valid(t testing.TB, s *Set) *Set {
	t.Helper()
	if err := s.Problems().Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func buildComponent(command string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: Run, action: ExecuteBash, inputs: {commands: ['" + command + "']}}\n"
}

func testComponent(command string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: test\n    steps:\n      - {name: Run, action: ExecuteBash, inputs: {commands: ['" + command + "']}}\n"
}

func withParameters(component string) string {
	return component + "parameters:\n  - Port: {type: string}\n  - Mode: {type: string, default: fast, allowedValues: [fast, slow]}\n"
}
