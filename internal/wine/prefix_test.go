package wine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Where Debian has what other systems have in PATH.
const (
	wineProgram = "/usr/lib/wine/wine64"
	wineServer  = "/usr/lib/wine/wineserver64"
)

// setupLimit is for making a prefix, which takes about 10 s on an idle machine.
const setupLimit = 5 * time.Minute

// prefix is a Windows of its own, with its own registry and its own drive C.
type prefix struct {
	dir  string
	home string
}

// newPrefix makes a prefix that is gone, with all that runs in it, when the test ends.
func newPrefix(t *testing.T) *prefix {
	t.Helper()
	if _, err := os.Stat(wineProgram); errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing: scripts/install-packages.sh test installs it", wineProgram)
	}
	p := &prefix{dir: filepath.Join(t.TempDir(), "prefix"), home: t.TempDir()}
	t.Cleanup(func() { p.end(t) })
	ctx, cancel := context.WithTimeout(t.Context(), setupLimit)
	defer cancel()
	p.must(t, p.command(ctx, "wineboot", "-i"))
	// Go starts on nothing older than Windows 10, and not without this library, which
	// came to Wine after version 8.
	library := filepath.Join(p.dir, "drive_c", "windows", "system32", "bcryptprimitives.dll")
	if _, err := os.Stat(library); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(library, forwarder("bcryptprimitives.dll", "ProcessPrng", "advapi32.SystemFunction036"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.must(t, p.command(ctx, "reg", "add", `HKCU\Software\Wine`, "/v", "Version", "/d", "win10", "/f"))
	// A service has 10 s to start unless this says otherwise, which a busy machine
	// exceeds. It is read when the first service starts, so that none may run.
	p.must(t, p.command(ctx, "reg", "add", `HKLM\System\CurrentControlSet\Control`, "/v", "ServicesPipeTimeout", "/d", "120000", "/f"))
	p.stop(ctx, t)
	return p
}

// command is a Windows program that runs in the prefix.
func (p *prefix) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, wineProgram, args...)
	cmd.Env = p.environ()
	return cmd
}

// output runs a command to its end. It is a file that takes what is printed: services
// of Windows outlive the program that needed them, and would hold a pipe open.
func (p *prefix) output(t *testing.T, cmd *exec.Cmd) ([]byte, error) {
	t.Helper()
	f, err := os.CreateTemp(p.home, "output")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	runErr := cmd.Run()
	out, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return out, runErr
}

// environ leaves out what would tie the prefix to whoever runs the tests: a
// display, a home folder, a locale.
func (p *prefix) environ() []string {
	return []string{
		"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + p.home, "TMPDIR=" + p.home, "WINEPREFIX=" + p.dir, "WINEARCH=win64", "WINEDEBUG=-all",
		// No .NET and no HTML, which Wine would want to download, and no entries in menus.
		"WINEDLLOVERRIDES=mscoree,mshtml=;winemenubuilder.exe=d",
	}
}

// must runs a command that says something only when it fails.
func (p *prefix) must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := p.output(t, cmd); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

// end leaves nothing running. The test's own context has ended by then.
func (p *prefix) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p.stop(ctx, t)
}

// stop kills what runs in the prefix and waits until it is gone.
func (p *prefix) stop(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, option := range []string{"-k", "-w"} {
		cmd := exec.CommandContext(ctx, wineServer, option)
		cmd.Env = p.environ()
		// One that never started cannot be killed.
		if out, err := cmd.CombinedOutput(); err != nil && option == "-w" {
			t.Errorf("%s %s: %v\n%s", wineServer, option, err, out)
		}
	}
}

// windowsPath is how programs in a prefix see a file of this machine.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }
