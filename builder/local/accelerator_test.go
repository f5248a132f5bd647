package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-6db18919/ingot/builder/local/store"
)

func TestProbeIsRecalledUntilTheHostRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accelerator.json")
	tests := []struct {
		name string
		memo any
		want bool
	}{
		{"of this run of the host", probedAccel{Boot: bootID(), Want: "auto", Accel: "tcg"}, true},
		{"of an earlier run", probedAccel{Boot: "other", Want: "auto", Accel: "tcg"}, false},
		{"of another wish", probedAccel{Boot: bootID(), Want: "kvm", Accel: "kvm"}, false},
		{"incomplete", probedAccel{Boot: bootID(), Want: "auto"}, false},
		{"nonsense", "nonsense", false},
	}
	if _, ok := recallAccel(path, "auto"); ok {
		t.Error("recalled without a memo")
	}
	for _, c := range tests {
		if err := store.WriteJSON(path, c.memo); err != nil {
			t.Fatal(err)
		}
		if _, ok := recallAccel(path, "auto"); ok != c.want {
			t.Errorf("%s: recalled %v, want %v", c.name, ok, c.want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := recallAccel(path, "auto"); ok {
		t.Error("recalled from half a file")
	}
}
