package guest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSpareLeavesTheImagesOwnUnitsAlone(t *testing.T) {
	dir := t.TempDir()
	units := filepath.Join(dir, "etc/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(units, "getty@tty1.service")
	if err := os.WriteFile(own, []byte("[Service]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for range 2 { // a disk that was prepared before
		if err := Spare(root); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(own); err != nil || string(text) != "[Service]\n" {
		t.Errorf("the image's own unit is %q, %v", text, err)
	}
	if to, err := os.Readlink(filepath.Join(units, "systemd-pstore.service")); err != nil || to != "/dev/null" {
		t.Errorf("systemd-pstore leads to %q, %v", to, err)
	}
}

func TestSpareNeedsNoSystemd(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := Spare(root); err != nil {
		t.Error(err)
	}
}
