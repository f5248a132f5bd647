package sanitize

import (
	"os/exec"
	"testing"
)

// immutable makes a file that even root cannot change, until the test ends.
func immutable(t *testing.T, path string) {
	t.Helper()
	for _, flag := range []string{"+i", "-i"} {
		change := func() error { return exec.Command("chattr", flag, path).Run() }
		if flag == "+i" {
			if err := change(); err != nil {
				t.Fatalf("chattr +i (Debian package e2fsprogs; needs root and ext4): %v", err)
			}
			continue
		}
		t.Cleanup(func() {
			if err := change(); err != nil {
				t.Errorf("chattr -i: %v", err)
			}
		})
	}
}
