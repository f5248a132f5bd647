package watcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-git/go-git/v5/plumbing"
)

// localMirror is the mirror of a repository that is read in place.
func localMirror(t testing.TB, r *repo) *Mirror {
	t.Helper()
	return mustNew(t, testConfig(t, r.work, &book{})).Mirror()
}

func treeOf(t testing.TB, m *Mirror, commit string) *Tree {
	t.Helper()
	tree, err := m.Tree(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTreeIsAFileSystem(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	r.write("README", "hello\n", "recipes/web/recipe.yaml", "name: web\n", "recipes/web/files/a/b/c", "deep\n", "empty", "")
	commit := r.commit("files")
	tree := treeOf(t, localMirror(t, r), commit)
	if err := fstest.TestFS(tree, "README", "recipes/web/recipe.yaml", "recipes/web/files/a/b/c", "empty"); err != nil {
		t.Fatal(err)
	}
}

func TestTreeOfSpecialFiles(t *testing.T) {
	sub := newRepo(t, t.TempDir(), "sub.git")
	sub.write("inside", "not for us\n")
	sub.push("sub", "refs/heads/main")
	r := newRepo(t, t.TempDir(), "images.git")
	r.write("run.sh", "#!/bin/sh\n", "plain", "text\n", "dir/file", "x\n")
	if err := os.Chmod(filepath.Join(r.work, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": "plain", "dirlink": "dir", "outside": "../../etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(r.work, link)); err != nil {
			t.Fatal(err)
		}
	}
	r.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub.dir, "module")
	tree := treeOf(t, localMirror(t, r), r.commit("special"))

	for path, want := range map[string]string{
		"run.sh": "-rwxr-xr-x", "plain": "-rw-r--r--", "dir": "drwxr-xr-x", "link": "Lrwxrwxrwx", "module": "drwxr-xr-x", ".": "drwxr-xr-x",
	} {
		info, err := tree.Lstat(path)
		if err != nil || info.Mode().String() != want {
			t.Errorf("Lstat(%q) = %v, %v; want mode %s", path, info, err, want)
		}
	}
	if target, err := tree.ReadLink("outside"); err != nil || target != "../../etc/passwd" {
		t.Errorf("ReadLink(outside) = %q, %v", target, err)
	}
	if entries, err := tree.ReadDir("module"); err != nil || len(entries) != 0 {
		t.Errorf("ReadDir of a submodule = %v, %v; want an empty folder", entries, err)
	}
	if got, want := hashOf(t, tree, "module"), sub.git("rev-parse", "HEAD"); got != want {
		t.Errorf("Hash of a submodule = %s, want its commit %s", got, want)
	}
	if got, want := hashOf(t, tree, "dir"), r.git("rev-parse", "HEAD:dir"); got != want {
		t.Errorf("Hash(dir) = %s, want %s", got, want)
	}
	for _, path := range []string{"link", "dirlink", "dir", "module"} {
		if _, err := tree.ReadFile(path); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ReadFile(%q): %v, want it refused", path, err)
		}
	}
	for _, path := range []string{"dirlink/file", "nothing", "plain/below", "module/inside"} {
		if _, err := tree.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadFile(%q): %v, want that it does not exist", path, err)
		}
	}
	for _, path := range []string{"../plain", "/plain", "dir/../plain", ""} {
		if _, err := tree.ReadFile(path); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("ReadFile(%q): %v, want it refused", path, err)
		}
	}
}

func hashOf(t testing.TB, tree *Tree, path string) string {
	t.Helper()
	hash, err := tree.Hash(path)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestTreeRefusesLargeFiles(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	r.write("large", string(bytes.Repeat([]byte("0123456789abcdef"), MaxFile/16)), "larger", string(bytes.Repeat([]byte("0123456789abcdef"), MaxFile/16))+"!")
	r.commit("large")
	r.git("gc", "-q")
	tree := treeOf(t, localMirror(t, r), r.git("rev-parse", "HEAD"))
	if data, err := tree.ReadFile("large"); err != nil || len(data) != MaxFile {
		t.Errorf("ReadFile at the limit: %d bytes, %v", len(data), err)
	}
	if _, err := tree.ReadFile("larger"); err == nil || !strings.Contains(err.Error(), "at most 8388608") {
		t.Errorf("ReadFile beyond the limit: %v, want an error that names it", err)
	}
}

// Changed says what git diff says, whatever happens to the files.
func TestChangedAgreesWithGit(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	random := rand.New(rand.NewPCG(1, 2))
	var commits []string
	for step := range 12 {
		for range 6 {
			mutate(t, r, random)
		}
		commits = append(commits, r.commit(fmt.Sprint(step)))
	}
	m := localMirror(t, r)
	for i := 1; i < len(commits); i++ {
		before, after := commits[i-1], commits[i]
		got, err := Changed(t.Context(), treeOf(t, m, before), treeOf(t, m, after))
		if err != nil {
			t.Fatal(err)
		}
		out := r.git("diff", "--name-only", "--no-renames", before, after)
		want := strings.Fields(out)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s..%s: %q, want %q", before, after, got, want)
		}
	}
	all, err := Changed(t.Context(), nil, treeOf(t, m, commits[0]))
	if want := strings.Fields(r.git("ls-tree", "-r", "--name-only", commits[0])); err != nil || !slices.Equal(all, slices.Sorted(slices.Values(want))) {
		t.Fatalf("against nothing: %q, %v; want %q", all, err, want)
	}
}

// mutate changes, adds or removes something, including files that become folders.
func mutate(t *testing.T, r *repo, random *rand.Rand) {
	t.Helper()
	names := []string{"a", "b", "a.b", "a-b", "c", "ab"}
	var parts []string
	for range 1 + random.IntN(3) {
		parts = append(parts, names[random.IntN(len(names))])
	}
	path := filepath.Join(append([]string{r.work}, parts...)...)
	for at := r.work; ; {
		at = filepath.Join(at, parts[0])
		if info, err := os.Lstat(at); err == nil && (!info.IsDir() || at == path) {
			if err := os.RemoveAll(at); err != nil {
				t.Fatal(err)
			}
		}
		if parts = parts[1:]; len(parts) == 0 {
			break
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	switch random.IntN(5) {
	case 0: // it is gone
	case 1:
		if err := os.Symlink("a", path); err != nil {
			t.Fatal(err)
		}
	case 2:
		if err := os.WriteFile(path, []byte("same"), 0o755); err != nil {
			t.Fatal(err)
		}
	default:
		if err := os.WriteFile(path, []byte(fmt.Sprint(random.IntN(3))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A tree that contains itself many times over is given up, not walked to its end.
func TestChangedGivesUpOnBombs(t *testing.T) {
	levels := map[plumbing.Hash][]entry{}
	hash := func(n byte) plumbing.Hash { return plumbing.Hash{n} }
	for level := range byte(40) {
		for i := range 10 {
			e := entry{name: fmt.Sprint(i), mode: fs.ModeDir | 0o755, hash: hash(level + 1)}
			if level == 39 {
				e.mode = 0o644
			}
			levels[hash(level)] = append(levels[hash(level)], e)
		}
	}
	bomb := &Tree{root: hash(0), source: fixedTrees(levels)}
	if _, err := Changed(t.Context(), nil, bomb); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Fatalf("Changed: %v, want it given up", err)
	}
}

// fixedTrees is a treeSource of folders only.
type fixedTrees map[plumbing.Hash][]entry

func (f fixedTrees) tree(h plumbing.Hash) ([]entry, error)     { return f[h], nil }
func (f fixedTrees) blob(plumbing.Hash, int64) ([]byte, error) { return nil, errNoObject }
func (f fixedTrees) size(plumbing.Hash) (int64, error)         { return 0, errNoObject }

func TestCommitAndAncestors(t *testing.T) {
	r := newRepo(t, t.TempDir(), "images.git")
	root := r.commit("root")
	r.git("checkout", "-q", "-b", "side")
	side := r.commit("side")
	r.git("checkout", "-q", "main")
	main := r.commit("Title here\n\nBody.\n")
	r.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	merge := r.git("rev-parse", "HEAD")
	m := localMirror(t, r)
	for _, tt := range []struct {
		ancestor, descendant string
		want                 bool
	}{
		{root, root, true}, {root, merge, true}, {side, merge, true}, {main, merge, true},
		{merge, root, false}, {side, main, false}, {strings.Repeat("5", 40), merge, false},
	} {
		if got, err := m.IsAncestor(t.Context(), tt.ancestor, tt.descendant); got != tt.want || err != nil {
			t.Errorf("IsAncestor(%.7s, %.7s) = %v, %v; want %v", tt.ancestor, tt.descendant, got, err, tt.want)
		}
	}
	info, err := m.Commit(t.Context(), main)
	if err != nil || info.Title != "Title here" || info.Author != "Ada" || info.Time.IsZero() || !slices.Equal(info.Parents, []string{root}) {
		t.Errorf("Commit = %+v, %v", info, err)
	}
	for _, bad := range []string{"", "main", root[:12], strings.Repeat("5", 40)} {
		if _, err := m.Commit(t.Context(), bad); err == nil {
			t.Errorf("Commit(%q): no error", bad)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	hash := strings.Repeat("h", 20)
	f.Add([]byte("100644 a\x00" + hash + "40000 b\x00" + hash))
	f.Add([]byte("120000 ..\x00" + hash))
	f.Add([]byte("160000 m\x00" + hash[:7]))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := parseTree(raw)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.name == "" || strings.Contains(e.name, "/") || e.name == ".." || e.name == "." {
				t.Fatalf("a name that leads elsewhere: %q", e.name)
			}
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add([]byte("tree " + strings.Repeat("a", 40) + "\nparent " + strings.Repeat("b", 40) + "\nauthor A <a@b> 1700000000 +0100\ncommitter A <a@b> 1 +0000\n\nTitle\n\nBody"))
	f.Add([]byte("tree x\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseCommit(raw)
		if err == nil && (c.tree.IsZero() || strings.ContainsAny(c.title+c.author, "\n\x00\x1b")) {
			t.Fatalf("%+v of %q", c, raw)
		}
	})
}

func TestChangedEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Changed(ctx, nil, &Tree{root: plumbing.Hash{1}, source: fixedTrees{}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Changed: %v, want context.Canceled", err)
	}
}
