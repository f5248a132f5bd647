// Package ledgertest gives tests a real ledger on each of the two databases:
// SQLite in the test's own directory, and a PostgreSQL server that is started once
// per test binary, on a socket of its own, with a database per test.
//
//	func TestMain(m *testing.M) { os.Exit(ledgertest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		ledgertest.Each(t, func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger) {
//			l := open()
//			…
//		})
//	}
//
// The server comes from the Debian package postgresql (version 15 or later) and
// runs as the user postgres when the tests run as root, which the server refuses.
package ledgertest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sirupsen/logrus"

	"github.com/seed-6db18919/ingot/internal/ledger"
)

// Databases are the names of the databases, as the subtests of Each bear them.
func Databases() []string { return []string{"sqlite", "postgres"} }

// Each runs a test on both databases at the same time, since ledgers wait more than
// they work; it begins when the caller's test function ends. open returns a ledger on
// the database of this test, the same one at each call, and closes it at the test's end.
func Each(t *testing.T, test func(t *testing.T, open func(...func(*ledger.Options)) *ledger.Ledger)) {
	t.Helper()
	for _, name := range Databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := URL(t, name)
			test(t, func(change ...func(*ledger.Options)) *ledger.Ledger {
				t.Helper()
				return Open(t, url, change...)
			})
		})
	}
}

// Open opens a ledger that is stopped and closed at the test's end, and that logs
// into the test's log.
func Open(tb testing.TB, url string, change ...func(*ledger.Options)) *ledger.Ledger {
	tb.Helper()
	options := ledger.Options{URL: url, Log: Log(tb), WorkerID: "test", RetryBuild: 10 * time.Millisecond, RetryReport: 10 * time.Millisecond}
	for _, c := range change {
		c(&options)
	}
	l, err := ledger.Open(tb.Context(), options)
	if err != nil {
		tb.Fatalf("open %s: %v", url, err)
	}
	tb.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), time.Minute)
		defer done()
		if err := l.Stop(ctx); err != nil {
			tb.Errorf("stop: %v", err)
		}
		if err := l.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return l
}

// URL makes an empty database for a test.
func URL(tb testing.TB, name string) string {
	tb.Helper()
	if name == "sqlite" {
		return "sqlite:" + filepath.Join(tb.TempDir(), "ingot.db")
	}
	s, err := theServer.start()
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	database := fmt.Sprintf("t%d", s.databases.Add(1))
	conn, err := pgx.Connect(tb.Context(), s.url("postgres"))
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	defer func() {
		if err := conn.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("PostgreSQL: %v", err)
		}
	}()
	if _, err := conn.Exec(tb.Context(), "CREATE DATABASE "+database); err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	return s.url(database)
}

// Log is a logger that writes to the test's log.
func Log(tb testing.TB) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(testLog{tb})
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
	return log
}

type testLog struct{ testing.TB }

func (t testLog) Write(line []byte) (int, error) {
	if t.Context().Err() == nil || testing.Verbose() {
		t.Log(strings.TrimRight(string(line), "\n"))
	}
	return len(line), nil
}
