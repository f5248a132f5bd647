package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6db18919/ingot/internal/ledger/ledgertest"
)

// TestScripts drives the program as a user does. Beside what testscript knows,
// `exits CODE PROGRAM ARG...` runs a program that must end with that code.
func TestScripts(t *testing.T) {
	ingot := program(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(ingot)+":"+e.Getenv("PATH"))
			e.Setenv("EXAMPLES", examples)
			e.Setenv("TAKEN", taken.Addr().String())
			for _, who := range []string{"AUTHOR", "COMMITTER"} {
				e.Setenv("GIT_"+who+"_NAME", "Somebody")
				e.Setenv("GIT_"+who+"_EMAIL", "somebody@example.org")
			}
			// Without it, commands find what the machine's daemon has.
			return os.WriteFile(filepath.Join(e.WorkDir, "ingot.yaml"), []byte("dataDir: ./data\n"), 0o600)
		},
	})
}

// exits runs a program and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	code := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// programs is the folder in which ingot and its agent are built once, when the
// first test asks for them.
var programs struct {
	dir   string
	once  sync.Once
	error error
}

func TestMain(m *testing.M) {
	var err error
	if programs.dir, err = os.MkdirTemp("", "ingot-programs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := ledgertest.Main(m)
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// program is the path of ingot, with its agent beside it, as they are installed.
func program(t *testing.T) string {
	t.Helper()
	programs.once.Do(func() {
		// With the flags of the Makefile, so that what it has compiled is used again.
		for _, of := range []struct{ name, source, cgo string }{{"ingot", ".", os.Getenv("CGO_ENABLED")}, {"ingot-agent", "../ingot-agent", "0"}} {
			build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(programs.dir, of.name), of.source)
			build.Env = append(os.Environ(), "CGO_ENABLED="+of.cgo)
			if out, err := build.CombinedOutput(); err != nil {
				programs.error = fmt.Errorf("build %s: %w\n%s", of.name, err, out)
				return
			}
		}
	})
	if programs.error != nil {
		t.Fatal(programs.error)
	}
	return filepath.Join(programs.dir, "ingot")
}
