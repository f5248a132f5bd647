// Package mototest runs the server of moto, an emulator of AWS that nobody of this
// project wrote, for the tests of the packages that speak to AWS. It knows nothing of
// what they ask of it, nor of what moto lacks.
package mototest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program is moto's server program as the environment variable INGOT_TEST_MOTO names
// it, which `make test-aws` sets; it is empty elsewhere: `make test` has no moto.
func Program() string { return os.Getenv("INGOT_TEST_MOTO") }

// Need is Program for a test that is nothing without, and is skipped.
func Need(t testing.TB) string {
	t.Helper()
	program := Program()
	if program == "" {
		t.Skip("INGOT_TEST_MOTO names no moto server; make test-aws runs this test")
	}
	return program
}

// Main runs the tests of a package with one server for all of them, as TestMain's; it
// returns the status to exit with. The server stays nil where there is no moto.
func Main(m *testing.M, server **Server) int {
	if program := Program(); program != "" {
		s, err := Start(program)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer s.Stop()
		*server = s
	}
	return m.Run()
}

// Server is a running moto.
type Server struct {
	URL  string // without a slash at its end
	stop func()
}

var listening = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// patience is how long moto, which is written in Python, may take to start.
const patience = time.Minute

// Start returns when the server listens, on a free port of the loopback address. env
// is added to the environment, as NAME=value. The server does not outlive this process.
func Start(program string, env ...string) (*Server, error) {
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var reader sync.WaitGroup
	address := make(chan string, 1)
	reader.Go(func() { scan(out, address) })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s := &Server{}
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		<-ended
		_ = in.Close()
		reader.Wait()
	})
	select {
	case s.URL = <-address:
		return s, nil
	case err := <-ended:
		ended <- err
		s.stop()
		return nil, fmt.Errorf("%s has ended: %w", program, cmp.Or(err, errors.New("without an error")))
	case <-time.After(patience):
		s.stop()
		return nil, fmt.Errorf("%s does not listen after %s", program, patience)
	}
}

// Stop ends the server and waits for its end.
func (s *Server) Stop() { s.stop() }

// scan reads to the end, so that the server is never held up by what it says.
func scan(out io.Reader, address chan<- string) {
	said := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil && !said {
			address <- found[1]
			said = true
		}
	}
}
