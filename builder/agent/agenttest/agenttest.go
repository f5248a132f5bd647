// Package agenttest lends tests the real agent, which is built once in a test's
// process. Where the agent runs, and with what jobs, is the test's business.
package agenttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var shared struct {
	sync.Once
	dir string
	err error
}

// Dir returns a folder for what the tests of a process share; it is there until
// Main ends.
func Dir(t testing.TB) string {
	t.Helper()
	shared.Do(build)
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.dir
}

// Program returns the path of the agent, a static program for Linux.
func Program(t testing.TB) string {
	t.Helper()
	return filepath.Join(Dir(t), "ingot-agent")
}

func build() {
	if shared.dir, shared.err = os.MkdirTemp("", "ingot-agent-"); shared.err != nil {
		return
	}
	// With the flags of the Makefile, so that what it has compiled is used again.
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(shared.dir, "ingot-agent"), "github.com/seed-6db18919/ingot/cmd/ingot-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		shared.err = fmt.Errorf("build the agent: %w\n%s", err, out)
	}
}

// Main runs the tests of a package that uses this one, removes what they shared and
// returns the status to exit with.
func Main(m *testing.M) int {
	status := m.Run()
	if shared.dir == "" {
		return status
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(errors.New("what tests shared is left"), err))
		return 1
	}
	return status
}
