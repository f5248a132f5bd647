package recipe

import (
	"bytes"
	"errors"
	"flag"

	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder/recipe/recipetest"
)

var update = flag.Bool("update", false, "write what the tests see into testdata")

// TestBadExamples reads each folder below testdata/bad as a repository and
// compares what its author would be told with want.txt; see package recipetest for
// what a folder can hold. Run with -update after adding a case, and read what was
// written.
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

// badTree lays out an example and opens it.
func badTree(t *testing.T, folder string) *DirTree {
	t.Helper()
	copied := t.TempDir()
	recipetest.LayOut(t, folder, copied)
	return openDir(t, copied, nil)
}

// TestFilesTooLargeToRead needs a file that no repository of ours should hold.
func TestFilesTooLargeToRead(t *testing.T) {
	folder := t.TempDir()
	document := "apiVersion: ingot/v1\nkind: ImageRecipe\nname: web\nversion: 1.0.0\nparentImage: debian-12\nfiles: [{source: ./disk.img, destination: /srv/}]\n"
	if err := os.WriteFile(filepath.Join(folder, "web.yaml"), []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk.img", "huge.recipe.yaml", "data.yaml"} {
		file, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Truncate(MaxFileSize+1), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Load(t.Context(), openDir(t, folder, nil), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	want := `huge.recipe.yaml: the file has 134217729 bytes; a document has at most 1048576 bytes
web.yaml:6:18: files: disk.img has 134217729 bytes, more than 134217728; large files belong behind a WebDownload step with a checksum`
	if got := s.Problems().Error(); !strings.HasPrefix(got, want) || len(s.Problems()) != 2 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
