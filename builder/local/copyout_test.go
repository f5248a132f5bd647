package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

// What a hostile instance leaves in the folder that is asked for brings nothing else out.
func TestCopyOutTakesRegularFilesOfTheFolderAlone(t *testing.T) {
	d := newDriver(t)
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("of the host"), 0o644))
	i := launch(t, d, builder.LaunchSpec{Build: "copy", Base: base(t, d)}).(*instance)
	execute(t, i,
		"mkdir -p /srv/real/deep && ln -s /srv /srv/to && ln -s /srv/real /srv/log && cd /srv/real && echo a >a && echo b >deep/b && chmod 4777 a",
		"ln -s "+secret+" to-host && ln -s /etc/passwd to-system && ln -s "+filepath.Dir(secret)+" folder && ln -s .. up && mkfifo pipe && mknod null c 1 3",
		"mkdir -p /srv/many && cd /srv/many && seq 1 1001 | xargs touch; mkdir /srv/huge && truncate -s 1025M /srv/huge/file; ln -s "+filepath.Dir(secret)+" /srv/escape")
	out := t.TempDir()
	must(t, i.CopyOut(t.Context(), "/srv/to/real", filepath.Join(out, "log")))
	var got []string
	must(t, filepath.WalkDir(out, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, readErr := os.ReadFile(path)
			info, infoErr := entry.Info()
			if readErr != nil || infoErr != nil {
				t.Error(readErr, infoErr)
				return nil
			}
			got = append(got, fmt.Sprintf("%s %q %v", strings.TrimPrefix(path, out), text, info.Mode()))
		}
		return err
	}))
	if list := strings.Join(got, "\n"); list != "/log/a \"a\\n\" -rw-------\n/log/deep/b \"b\\n\" -rw-------" {
		t.Errorf("came out:\n%s", list)
	}
	for folder, want := range map[string]string{
		"/srv/real": "file exists", "/srv/log": "escapes", "/srv/none": "no such file", "/srv/escape": "escapes", "/srv/many": "more than 1000 files", "/srv/huge": "more than 1073741824 bytes",
	} {
		to := filepath.Join(out, "log")
		if folder != "/srv/real" {
			to = t.TempDir()
		}
		if err := i.CopyOut(t.Context(), folder, to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", folder, err, want)
		}
	}
}
