package wine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const module = "github.com/seed-6db18919/ingot/"

// packages have tests that need Windows: those whose names begin with TestWindows.
var packages = []string{"builder/component", "builder/agent", "builder/relay"}

// suiteLimit is for all tests of one package.
const suiteLimit = 3 * time.Minute

// TestPackagesOnWindows runs them all in one prefix, which is half of the time.
func TestPackagesOnWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a Windows of its own")
	}
	dir := t.TempDir()
	fixtures := []string{
		"INGOT_WINE_MSI=" + windowsPath(samplePackage(t, dir)),
		"INGOT_WINE_AGENT=" + windowsPath(build(t, dir, "agent.exe", "build", "-trimpath", module+"cmd/ingot-agent")),
	}
	p := newPrefix(t)
	for _, name := range packages {
		t.Run(name, func(t *testing.T) {
			program := build(t, dir, strings.ReplaceAll(name, "/", "-")+".test.exe", "test", "-c", module+name)
			ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
			defer cancel()
			cmd := p.command(ctx, program, "-test.v", "-test.run=^TestWindows", "-test.timeout="+suiteLimit.String())
			cmd.Dir = t.TempDir()
			cmd.Env = append(cmd.Env, fixtures...)
			out, err := p.output(t, cmd)
			retell(t, out, err)
		})
	}
}

// build makes a Windows program.
func build(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	program := filepath.Join(dir, name)
	args = append(args[:len(args)-1:len(args)-1], "-o", program, args[len(args)-1])
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return program
}

// samplePackage makes a package for Windows Installer.
func samplePackage(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "sample.msi")
	cmd := exec.CommandContext(t.Context(), "wixl", "-a", "x64", "-o", file, "sample.wxs")
	cmd.Dir = "testdata"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wixl: %v\n%s", err, out)
	}
	return file
}

var outcome = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+) \((.*)\)`)

// retell makes a test of each one that ran.
func retell(t *testing.T, out []byte, err error) {
	t.Helper()
	ran := outcome.FindAllSubmatch(out, -1)
	for _, m := range ran {
		t.Run(string(m[2]), func(t *testing.T) {
			t.Logf("%s in %s", m[1], m[3])
			if string(m[1]) != "PASS" {
				t.Fail()
			}
		})
	}
	if len(ran) == 0 || err != nil || t.Failed() {
		t.Errorf("%d tests ran: %v\n%s", len(ran), err, out)
	}
}
