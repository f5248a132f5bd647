package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

// maker is a source of parents whose content is its revision.
type maker struct {
	revision string
	made     atomic.Int32
	asked    atomic.Int32
	fail     error
}

func (m *maker) source(refresh bool) source {
	return source{
		refresh:  refresh,
		revision: func(context.Context) (string, error) { m.asked.Add(1); return m.revision, nil },
		make: func(ctx context.Context, out string) (string, error) {
			m.made.Add(1)
			if err := os.WriteFile(out, []byte(m.revision), 0o600); err != nil {
				return "", err
			}
			if m.fail != nil {
				return "", m.fail
			}
			return hashFile(ctx, out)
		},
	}
}

func TestCacheMakesOnceAndRefreshes(t *testing.T) {
	c := cached{dir: t.TempDir(), name: "debian", log: func(string) {}}
	m := &maker{revision: "one"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.get(t.Context(), m.source(false)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if m.made.Load() != 1 || m.asked.Load() != 1 {
		t.Errorf("made %d times, asked for the revision %d times", m.made.Load(), m.asked.Load())
	}
	first, err := c.get(t.Context(), m.source(true))
	must(t, err)
	if m.made.Load() != 1 || first.Revision != "one" {
		t.Errorf("an unchanged parent was made again: %+v", first)
	}
	m.revision = "two"
	if kept, err := c.get(t.Context(), m.source(false)); err != nil || kept != first {
		t.Errorf("without refresh: %+v, %v", kept, err)
	}
	second, err := c.get(t.Context(), m.source(true))
	must(t, err)
	if second.Digest == first.Digest || second.Revision != "two" {
		t.Errorf("refreshed to %+v", second)
	}
	for _, b := range []builder.Base{first, second} {
		if text, err := os.ReadFile(b.Ref); err != nil || string(text) != b.Revision {
			t.Errorf("%s holds %q, %v", b.Ref, text, err)
		}
	}
}

func TestCacheKeepsNothingOfAFailure(t *testing.T) {
	c := cached{dir: t.TempDir(), name: "debian", log: func(string) {}}
	broken := errors.New("broken")
	if _, err := c.get(t.Context(), (&maker{fail: broken}).source(false)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if files, err := os.ReadDir(c.dir); err != nil || len(files) > 0 {
		t.Errorf("left: %v, %v", files, err)
	}
}

func TestCacheMakesAgainWhatIsGone(t *testing.T) {
	c := cached{dir: t.TempDir(), name: "debian", log: func(string) {}}
	m := &maker{revision: "one"}
	b, err := c.get(t.Context(), m.source(false))
	must(t, err)
	must(t, os.Remove(b.Ref))
	must(t, os.WriteFile(filepath.Join(c.dir, "debian.new.qcow2"), []byte("half"), 0o600))
	again, err := c.get(t.Context(), m.source(false))
	if err != nil || again != b || m.made.Load() != 2 {
		t.Errorf("made %d times: %+v, %v", m.made.Load(), again, err)
	}
}

func TestInRoot(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"abs": "/srv", "rel": "srv/..", "up": "../../../../srv", "loop": "loop", "chain": "abs/deep", "file": "/etc/passwd"} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "srv/deep"), 0o755))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	for name, want := range map[string]string{
		"/": ".", "/plain": "plain", "/abs/x": "srv/x", "/rel/x": "x", "/up/x": "srv/x", "/chain/x": "srv/deep/x",
		"/file": "file", "/no/such/x": "no/such/x", "/a/../../../b": "b", "/abs/../x": "x", "/loop/x": "",
	} {
		got, err := inRoot(root, name)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

func FuzzInRoot(f *testing.F) {
	f.Add("/a/b", "/srv", "../..")
	f.Add("/a/b/c", "b/a", "/a")
	f.Fuzz(func(t *testing.T, name, one, two string) {
		dir := t.TempDir()
		if os.Symlink(one, filepath.Join(dir, "a")) != nil || os.Symlink(two, filepath.Join(dir, "b")) != nil {
			return
		}
		root, err := os.OpenRoot(dir)
		must(t, err)
		defer root.Close()
		if got, err := inRoot(root, name); err == nil && !filepath.IsLocal(got) {
			t.Errorf("%q with links to %q and %q leads to %q", name, one, two, got)
		}
	})
}
