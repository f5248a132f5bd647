package sanitize

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// system makes files below a new folder: "path" or "path -> target" for a link,
// and a path that ends in a slash for a folder.
func system(t *testing.T, entries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, entry := range entries {
		name, target, isLink := strings.Cut(entry, " -> ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte("content of "+name), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func clean(t *testing.T, dir string, opts Options) ([]string, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return Clean(root, opts)
}

func present(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

var secrets = []string{
	"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/ssh_host_dsa_key", "etc/ssh/ssh_host_ed25519_key",
	"root/.ssh/authorized_keys", "home/ann/.ssh/authorized_keys", "root/.bash_history", "home/ann/.zsh_history", "home/ann/.python_history",
	"var/lib/cloud/instances/i-1/user-data.txt", "var/log/cloud-init.log", "etc/sudoers.d/90-cloud-init-users",
	"etc/hostname", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/log/journal/0123/system.journal",
	"var/log/audit/audit.log", "var/log/amazon/ssm/agent.log", "var/tmp/a/b", "tmp/build/secret", "tmp/TOE_2026/console.log",
	"var/log/syslog.1", "var/log/dpkg.log.2.gz", "var/lib/apt/lists/x_Packages", "var/cache/apt/archives/a.deb", "var/lib/dhcp/dhclient.leases",
	"run-of-ours/state",
}

var others = []string{
	"etc/passwd", "etc/ssh/sshd_config", "home/ann/notes", "var/log/nginx/access.log", "var/lib/app/data", "home/ann/.ssh/id_ed25519", "root/.bashrc",
}

func TestClean(t *testing.T) {
	dir := system(t, slices.Concat(secrets, others, []string{"etc/machine-id"})...)
	removed, err := clean(t, dir, Options{Extra: []string{"/run-of-ours"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range secrets {
		if present(dir, name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range others {
		if !present(dir, name) {
			t.Errorf("%s is gone", name)
		}
	}
	for _, name := range []string{"etc/machine-id", "var/log/nginx/access.log"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() != 0 {
			t.Errorf("%s is not empty: %v, %v", name, info, err)
		}
	}
	if !slices.Contains(removed, "/etc/ssh/ssh_host_dsa_key") || !slices.IsSorted(removed) {
		t.Errorf("reported as removed: %q", removed)
	}
	if again, err := clean(t, dir, Options{}); err != nil || len(again) != 0 {
		t.Errorf("the second time: %q, %v", again, err)
	}
}

func TestSkipFiles(t *testing.T) {
	for skip, kept := range map[string]string{
		"skip_cleanup_cloudinit_files":    "var/lib/cloud/instances/i-1/user-data.txt",
		"skip_cleanup_instance_files":     "etc/hostname",
		"skip_cleanup_ssh_files":          "root/.ssh/authorized_keys",
		"skip_cleanup_instance_log_files": "var/log/audit/audit.log",
		"skip_cleanup_toe_files":          "opt/work/TOE_2026/console.log",
		"skip_cleanup_ssm_log_files":      "var/log/amazon/ssm/agent.log",
	} {
		t.Run(skip, func(t *testing.T) {
			dir := system(t, kept, "opt/work/perform_cleanup", "opt/work/"+skip, "var/tmp/a")
			if _, err := clean(t, dir, Options{WorkingDir: "/opt/work"}); err != nil {
				t.Fatal(err)
			}
			if !present(dir, kept) {
				t.Errorf("%s is gone", kept)
			}
			for _, name := range []string{"opt/work/" + skip, "opt/work/perform_cleanup", "var/tmp/a"} {
				if present(dir, name) {
					t.Errorf("%s is still there", name)
				}
			}
		})
	}
}

// TestHostileLinks points links at places that must survive, inside the system
// and outside of it. Where a folder is a link, the clean-up must fail and say so.
func TestHostileLinks(t *testing.T) {
	outside := system(t, "authorized_keys", "etc/passwd")
	for name, c := range map[string]struct {
		links   []string
		message string // empty: no error
	}{
		"folder to everything":         {[]string{"var/tmp -> /"}, "/var/tmp is a symbolic link"},
		"folder upwards":               {[]string{"var/tmp -> .."}, "/var/tmp is a symbolic link"},
		"folder far upwards":           {[]string{"tmp -> ../../../../../../"}, "/tmp is a symbolic link"},
		"keys to the system's own":     {[]string{"home/x/.ssh -> ../../etc"}, "/home/x/.ssh is a symbolic link"},
		"keys outside":                 {[]string{"home/x/.ssh -> " + outside}, "/home/x/.ssh is a symbolic link"},
		"home outside":                 {[]string{"home -> " + outside}, "/home is a symbolic link"},
		"file outside":                 {[]string{"root/.ssh/authorized_keys -> " + outside + "/authorized_keys"}, ""},
		"machine id outside":           {[]string{"etc/machine-id -> " + outside + "/etc/passwd"}, ""},
		"links inside a folder":        {[]string{"var/tmp/a -> " + outside, "tmp/b -> ../etc", "var/lib/cloud/c -> ../../../etc"}, ""},
		"log outside":                  {[]string{"var/log/x -> " + outside + "/etc", "var/log/y.log -> ../../etc/passwd"}, ""},
		"history that is switched off": {[]string{"root/.bash_history -> /dev/null"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := system(t, append([]string{"etc/passwd", "etc/authorized_keys", "root/.bash_history2"}, c.links...)...)
			_, err := clean(t, dir, Options{})
			if c.message == "" && err != nil || c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message)) {
				t.Errorf("got the error %v, want %q", err, c.message)
			}
			for _, path := range []string{dir + "/etc/passwd", dir + "/etc/authorized_keys", outside + "/authorized_keys", outside + "/etc/passwd"} {
				if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), "content of ") {
					t.Errorf("%s was touched: %q, %v", path, data, err)
				}
			}
		})
	}
}

// TestSecretsAreOverwritten keeps a secret open and looks at what it holds then.
func TestSecretsAreOverwritten(t *testing.T) {
	dir := system(t, "etc/ssh/ssh_host_rsa_key", "var/lib/cloud/seed/user-data")
	var open []*os.File
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "var/lib/cloud/seed/user-data"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open = append(open, f)
	}
	if _, err := clean(t, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		data := make([]byte, 100)
		n, _ := f.Read(data)
		if n == 0 || strings.Trim(string(data[:n]), "\x00") != "" {
			t.Errorf("%s held %q after it was removed", f.Name(), data[:n])
		}
	}
}

// TestSecondNames: a file with a second name is not overwritten through the first.
func TestSecondNames(t *testing.T) {
	dir := system(t, "etc/passwd", "root/.ssh/")
	if err := os.Link(dir+"/etc/passwd", dir+"/root/.ssh/authorized_keys"); err != nil {
		t.Fatal(err)
	}
	if _, err := clean(t, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(dir + "/etc/passwd"); string(data) != "content of etc/passwd" || present(dir, "root/.ssh/authorized_keys") {
		t.Errorf("passwd is %q", data)
	}
}

// TestRemainingFileFails: a file that cannot be removed fails the clean-up.
func TestRemainingFileFails(t *testing.T) {
	dir := system(t, "etc/ssh/ssh_host_rsa_key", "var/tmp/a")
	immutable(t, dir+"/etc/ssh/ssh_host_rsa_key")
	_, err := clean(t, dir, Options{})
	if err == nil || !strings.Contains(err.Error(), "/etc/ssh/ssh_host_rsa_key") {
		t.Errorf("got %v", err)
	}
	if present(dir, "var/tmp/a") {
		t.Error("the clean-up stopped at the first error")
	}
}

func TestEmptySystem(t *testing.T) {
	dir := system(t, "etc/")
	if _, err := clean(t, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if !present(dir, "etc/machine-id") {
		t.Error("there is no machine-id, so systemd would take the start for an installation")
	}
}
