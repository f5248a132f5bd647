package recipe

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests see into testdata")

// TestBadExamples reads each folder below testdata/bad as a repository and
// compares what its author would be told with want.txt. A line "path target" of
// links.txt makes a symbolic link, a line "path bytes" of generate.txt a large
// file; run with -update after adding a case, and read what was written.
func TestBadExamples(t *testing.T) {
	cases, err := os.ReadDir("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			folder := filepath.Join("testdata/bad", c.Name())
			s, err := Load(t.Context(), badTree(t, folder), testOptions())
			if err != nil {
				t.Fatal(err)
			}
			got := []byte(s.Problems().Error() + "\n")
			if len(s.Problems()) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			want := filepath.Join(folder, "want.txt")
			if *update {
				if err := os.WriteFile(want, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, text) {
				t.Errorf("the author sees\n%s\nwant\n%s", got, text)
			}
		})
	}
}

// badTree copies an example, makes what a repository of ours should not hold, and
// opens the result.
func badTree(t *testing.T, folder string) *DirTree {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	for at, target := range instructions(t, copied, "links.txt") {
		at = filepath.Join(copied, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
	}
	for at, size := range instructions(t, copied, "generate.txt") {
		var n int
		if _, err := fmt.Sscan(size, &n); err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("# filled\n", n/9+1)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(copied, at)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, at), []byte(text)[:n], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return openDir(t, copied, nil)
}

// instructions reads the lines of a file that need not exist, and removes it.
func instructions(t *testing.T, folder, name string) map[string]string {
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
