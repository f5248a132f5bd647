package relay

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"
)

func TestWindowsPut(t *testing.T) {
	// Not t.TempDir: Go and Wine do not agree on how a folder with folders is removed.
	dir, err := os.MkdirTemp("", "put")
	if err != nil {
		t.Fatal(err)
	}
	s, a := newStore(t), &Agent{Dir: filepath.Join(dir, "agent")}
	old := filepath.Join(dir, "old.txt")
	if err := os.WriteFile(old, []byte("old"), 0o400); err != nil {
		t.Fatal(err)
	}
	names := []string{filepath.ToSlash(dir) + "/old.txt", filepath.ToSlash(dir) + "/site/a/index.html", dir + "/b.txt"}
	headers := []tar.Header{{Name: filepath.ToSlash(dir) + "/site", Typeflag: tar.TypeDir, Mode: 0o755}}
	for _, name := range names {
		headers = append(headers, tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644})
	}
	r := Request{ID: "put", Op: Put, Archive: new(s.put("files", pack(t, headers...)))}
	if err := a.Do(t.Context(), s.request(t, r, "x")); err != nil {
		t.Fatal(err)
	}
	if done, _ := s.outcome(t, "x"); done.Error != "" {
		t.Fatal(done.Error)
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); string(text) != "content of "+name {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
