// Package ledger is the durable record of the daemon: heads seen, builds, their
// progress and logs, images, and reports owed, in SQLite or PostgreSQL with River
// as the queue in the same database.
//
// What it promises, whatever moment the process dies at:
//
//   - A head and everything it asks for are recorded in one transaction (Accept).
//     Before it, the next poll finds the head again; after it, nothing is lost.
//   - A build runs in one place at a time. It leaves the queue by a conditional
//     update of its own row, its worker renews a lease on it, and a worker whose
//     lease may have lapsed stops by itself before anybody else starts.
//   - A build ends once: its outcome, its image, its release number, the builds
//     that wait for it and the reports it owes are one transaction.
//   - A report is delivered until the other side has the newest state, by one
//     worker at a time. It says what to tell about, never what to say: that is
//     read when it is delivered, so that a repeat is harmless.
//
// The package decides nothing about recipes, runs no build and talks to no code
// host: those are the functions in Workers. Reads return the types of package
// reporter, ready to be rendered.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"

	"github.com/seed-6db18919/ingot/builder"
)

var (
	// ErrConflict means that another daemon recorded the same change first.
	// Nothing was written.
	ErrConflict = errors.New("another daemon was first")

	// ErrNotFound means that there is no such row.
	ErrNotFound = errors.New("not found")

	// ErrFinal means that a build has ended and cannot be changed any more.
	ErrFinal = errors.New("the build has ended")

	// ErrStopping is the cause of a build's context when the daemon stops: the
	// build goes back to the queue.
	ErrStopping = fmt.Errorf("the daemon is stopping: %w", builder.ErrGoesOn)

	// ErrCancelled is the cause of a build's context when somebody cancelled it.
	ErrCancelled = errors.New("the build was cancelled")

	// ErrLost is the cause of a build's context when its lease lapsed, so that
	// another daemon may have taken it. What it still does is not recorded.
	ErrLost = fmt.Errorf("the build was given to another worker: %w", builder.ErrGoesOn)
)

// Options says where the ledger is and how patient it is. Times that are zero
// have defaults that fit production.
type Options struct {
	URL string // sqlite:PATH or postgres://…
	Log logrus.FieldLogger

	// WorkerID names this daemon; needed by Start alone. It has to be the same
	// after a restart, so that the daemon finds what it was doing, and no two
	// processes may use one at the same time.
	WorkerID string

	Lease       time.Duration // how long a silent worker is believed alive; default 90 s
	RetryBuild  time.Duration // before the first retry of a transient fault, then thrice as long each; default 5 s
	RetryReport time.Duration // after the first error of a report, then twice as long each, up to 5 min; default 1 s
	Drain       time.Duration // how long Stop lets reports go out; default 10 s
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.Lease, 90 * time.Second},
		{&o.RetryBuild, 5 * time.Second},
		{&o.RetryReport, time.Second},
		{&o.Drain, 10 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return o
}

// Ledger is the record. All methods may be called from several goroutines.
type Ledger struct {
	db      database
	options Options
	log     logrus.FieldLogger
	changes hub

	lifecycle sync.Mutex             // held by Start and Stop
	worker    atomic.Pointer[worker] // between Start and Stop
}

// Open connects to the database and brings its tables to the newest version.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	o = o.withDefaults()
	log := o.Log.WithField("component", "ledger")
	db, err := connect(ctx, o.URL, river.Config{Logger: riverLog(log), FetchCooldown: fetchCooldown})
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	if err := migrateLocked(ctx, db); err != nil {
		return nil, fmt.Errorf("bring the ledger's tables up to date: %w", errors.Join(err, db.close()))
	}
	return &Ledger{db: db, options: o, log: log}, nil
}

func connect(ctx context.Context, url string, config river.Config) (database, error) {
	scheme, path, _ := strings.Cut(url, ":")
	switch {
	case scheme == "sqlite" && path != "":
		return openSQLite(path, config)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, url, config)
	default:
		// The text may hold a password, so it is not repeated.
		return nil, errors.New("database: expected sqlite:PATH or postgres://…")
	}
}

// Close lets go of the database. Stop comes first, where Start did.
func (l *Ledger) Close() error { return l.db.close() }

// Ping says whether the database answers.
func (l *Ledger) Ping(ctx context.Context) error {
	_, err := value[int](l.db.row(ctx, "SELECT 1"))
	return err
}

func now() int64 { return time.Now().UnixMilli() }

// riverLog passes on what an operator can act on; River says much more.
func riverLog(log *logrus.Entry) *slog.Logger {
	attrs := make([]slog.Attr, 0, len(log.Data))
	for key, v := range log.Data {
		attrs = append(attrs, slog.Any(key, v))
	}
	return slog.New(warnings{logrusslog.NewHandler(log.Logger, nil).WithAttrs(attrs)})
}

// warnings drops everything below a warning.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// Handle drops what is only the end of the daemon: River says it as an error.
func (w warnings) Handle(ctx context.Context, r slog.Record) error {
	ended := false
	r.Attrs(func(a slog.Attr) bool {
		ended = ended || strings.HasSuffix(a.Value.String(), context.Canceled.Error())
		return !ended
	})
	if ended {
		return nil
	}
	return w.Handler.Handle(ctx, r)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
