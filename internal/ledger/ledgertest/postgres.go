package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// theServer is the one PostgreSQL of this test binary: starting it takes seconds,
// and testing.M has no value to hang it on.
var theServer server

// Main runs the tests of a package and stops the server afterwards, if one was
// started. It returns the exit status.
func Main(m *testing.M) int {
	code := m.Run()
	if err := theServer.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

type server struct {
	once      sync.Once
	err       error
	dir       string
	process   *exec.Cmd
	ended     chan error // what Wait returned
	databases atomic.Int64
}

// start starts the server at the first call.
func (s *server) start() (*server, error) {
	s.once.Do(func() { s.err = s.run() })
	return s, s.err
}

func (s *server) url(database string) string {
	query := url.Values{"host": {s.dir}, "user": {"postgres"}}
	return "postgres:///" + database + "?" + query.Encode()
}

func (s *server) run() error {
	initdb, err := program("initdb")
	if err != nil {
		return err
	}
	postgres, err := program("postgres")
	if err != nil {
		return err
	}
	// Not the test's own directory: a socket's path has 107 bytes at most.
	if s.dir, err = os.MkdirTemp("", "ingotpg"); err != nil {
		return err
	}
	as, err := s.owner()
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	create := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	create.SysProcAttr, create.Dir = as, s.dir
	if out, err := create.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", initdb, err, out)
	}
	// What a crash of the machine would cost is of no interest here.
	s.process = exec.Command(postgres, "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB")
	s.process.SysProcAttr, s.process.Dir = as, s.dir
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	started := make(chan error, 1)
	s.ended = make(chan error, 1)
	go s.keep(started)
	if err := <-started; err != nil {
		return err
	}
	return s.wait()
}

// keep starts the server and waits for its end on one thread: the kernel sends
// Pdeathsig when the thread ends that started a process, not the process.
func (s *server) keep(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := s.process.Start()
	started <- err
	if err == nil {
		s.ended <- s.process.Wait()
	}
}

// owner hands the directory to the user that the server runs as, and returns how
// to become that user; nil when the tests do not run as root.
func (s *server) owner() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("%w: install the Debian package postgresql", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(s.dir, int(uid), int(gid))
}

// wait returns when the server answers. It has no event for that to outsiders.
func (s *server) wait() error {
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			log, unread := os.ReadFile(filepath.Join(s.dir, "log"))
			return errors.Join(fmt.Errorf("the server does not answer: %w\n%s", err, log), unread)
		case <-retry.C:
		}
	}
}

func (s *server) stop() error {
	if s.dir == "" {
		return nil
	}
	var err error
	if s.process != nil && s.process.Process != nil {
		if err = s.process.Process.Signal(syscall.SIGINT); err == nil { // fast shutdown: clients are sent away
			err = <-s.ended
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// program finds a program of the server, which Debian keeps out of PATH.
func program(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("no %s: install the Debian package postgresql", name)
}

// version is the number in /usr/lib/postgresql/15/bin/….
func version(path string) int {
	n, err := strconv.Atoi(strings.Split(path, "/")[4])
	if err != nil {
		return 0
	}
	return n
}
