// Package recipetest lays out the bad examples below builder/recipe/testdata/bad,
// for the tests of those who read recipes.
//
// Each folder there is a repository. A line "path target" of its links.txt makes a
// symbolic link, a line "path bytes" of its generate.txt a large file: things that
// this repository should not hold. Its want.txt is what the author is told.
package recipetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// LayOut copies an example into a folder, which has to be empty or new, and makes
// what its instructions say.
func LayOut(t testing.TB, example, into string) {
	t.Helper()
	if err := os.CopyFS(into, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	for at, target := range instructions(t, into, "links.txt") {
		at = filepath.Join(into, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
	}
	for at, size := range instructions(t, into, "generate.txt") {
		var n int
		if _, err := fmt.Sscan(size, &n); err != nil {
			t.Fatal(err)
		}
		at = filepath.Join(into, at)
		text := strings.Repeat("# filled\n", n/9+1)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text)[:n], 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// instructions reads the lines of a file that need not exist, and removes it.
func instructions(t testing.TB, folder, name string) map[string]string {
	t.Helper()
	name = filepath.Join(folder, name)
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		at, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[at] = value
	}
	return lines
}
