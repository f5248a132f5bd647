package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// sqlite is one file with one writing connection: SQLite has one writer at a
// time anyway, and waiting in Go is fairer than waiting in the file's lock.
// Reads outside transactions have connections of their own, so that a page is
// not held up by a writer. synchronous=NORMAL keeps every commit through the
// death of the process; a power cut may take the last ones back, all of each,
// and then the poll finds the same heads again.
type sqlite struct {
	path    string
	writer  *sql.DB
	readers *sql.DB
	driver  *riversqlite.Driver
	insert  *river.Client[*sql.Tx]
}

const sqliteReaders = 4

func openSQLite(path string, config river.Config) (*sqlite, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	d := &sqlite{path: path}
	d.writer, err = sql.Open("sqlite", sqliteName(path, "_txlock=immediate&_pragma=journal_mode(WAL)"))
	if err != nil {
		return nil, err
	}
	d.writer.SetMaxOpenConns(1)
	d.readers, err = sql.Open("sqlite", sqliteName(path, "_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	d.readers.SetMaxOpenConns(sqliteReaders)
	d.readers.SetMaxIdleConns(sqliteReaders)
	d.driver = riversqlite.New(d.writer)
	if d.insert, err = river.NewClient(d.driver, &config); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func sqliteName(path, options string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?_pragma=busy_timeout(10000)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&" + options
}

func (d *sqlite) query(ctx context.Context, query string, args ...any) (rows, error) {
	return querySQL(ctx, d.readers, query, args)
}

func (d *sqlite) row(ctx context.Context, query string, args ...any) scanner {
	return d.readers.QueryRowContext(ctx, query, cleaned(args)...)
}

func (d *sqlite) inTx(ctx context.Context, fn func(tx) error) error {
	t, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(&sqliteTx{d: d, tx: t}); err != nil {
		if undone := t.Rollback(); undone != nil && !errors.Is(undone, sql.ErrTxDone) {
			return errors.Join(err, undone)
		}
		return err
	}
	return t.Commit()
}

func (d *sqlite) clock() string { return "CAST(unixepoch('subsec') * 1000 AS INTEGER)" }

func (d *sqlite) only(field, column string) string {
	return fmt.Sprintf("json_object('%[1]s', json_extract(%[2]s, '$.%[1]s'))", field, column)
}

func (d *sqlite) workers(config *river.Config) (workers, error) {
	return river.NewClient(d.driver, config)
}

func (d *sqlite) close() error { return errors.Join(d.readers.Close(), d.writer.Close()) }

func (d *sqlite) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	if err := migrateGoose(ctx, goose.DialectSQLite3, d.writer, files); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(d.driver, &rivermigrate.Config{Logger: silent()})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// lock takes the lock of a file beside the database, which the kernel gives back
// when the process dies. The file stays: removing it would let two processes
// hold locks on two files of one name.
func (d *sqlite) lock(ctx context.Context, name string) (func() error, error) {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	file, err := os.OpenFile(fmt.Sprintf("%s-%016x.lock", d.path, hash.Sum64()), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	// A blocking flock could not be given up when ctx ends, hence the ticker.
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: another process holds it: %w", file.Name(), ctx.Err()), file.Close())
		case <-retry.C:
		}
	}
}

type sqliteTx struct {
	d  *sqlite
	tx *sql.Tx
}

func (t *sqliteTx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	done, err := t.tx.ExecContext(ctx, query, cleaned(args)...)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

func (t *sqliteTx) query(ctx context.Context, query string, args ...any) (rows, error) {
	return querySQL(ctx, t.tx, query, args)
}

func (t *sqliteTx) row(ctx context.Context, query string, args ...any) scanner {
	return t.tx.QueryRowContext(ctx, query, cleaned(args)...)
}

func (t *sqliteTx) enqueue(ctx context.Context, jobs ...river.InsertManyParams) error {
	if len(jobs) == 0 {
		return nil
	}
	_, err := t.d.insert.InsertManyTx(ctx, t.tx, jobs)
	return err
}

func (t *sqliteTx) complete(ctx context.Context, job *rivertype.JobRow) error {
	_, err := river.JobCompleteTx[*riversqlite.Driver](ctx, t.tx, &river.Job[anyArgs]{JobRow: job})
	return err
}

func (t *sqliteTx) executor() riverdriver.ExecutorTx { return t.d.driver.UnwrapExecutor(t.tx) }

type sqlReader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func querySQL(ctx context.Context, db sqlReader, query string, args []any) (rows, error) {
	found, err := db.QueryContext(ctx, query, cleaned(args)...)
	if err != nil {
		return nil, err
	}
	return sqlRows{found}, nil
}

// sqlRows drops the error of Close, which repeats what Err has said.
type sqlRows struct{ *sql.Rows }

func (r sqlRows) Close() { _ = r.Rows.Close() }
