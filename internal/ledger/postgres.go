package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

type postgres struct {
	pool   *pgxpool.Pool
	driver *riverpgxv5.Driver
	insert *river.Client[pgx.Tx]
}

// pgConns is the pool's size where the URL does not say: River keeps one
// connection to listen on, and builds hardly use any.
const pgConns = 10

func openPostgres(ctx context.Context, url string, config river.Config) (*postgres, error) {
	settings, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	settings.MaxConns = max(settings.MaxConns, pgConns)
	d := &postgres{}
	if d.pool, err = pgxpool.NewWithConfig(ctx, settings); err != nil {
		return nil, err
	}
	d.driver = riverpgxv5.New(d.pool)
	if d.insert, err = river.NewClient(d.driver, &config); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *postgres) query(ctx context.Context, query string, args ...any) (rows, error) {
	return d.pool.Query(ctx, query, cleaned(args)...)
}

func (d *postgres) row(ctx context.Context, query string, args ...any) scanner {
	return d.pool.QueryRow(ctx, query, cleaned(args)...)
}

// inTx tries again after a deadlock: transactions touch the reports of a commit in
// the order in which its builds come to their ends, which two daemons need not share.
func (d *postgres) inTx(ctx context.Context, fn func(tx) error) error {
	const tries = 5
	var err error
	for range tries {
		err = pgx.BeginFunc(ctx, d.pool, func(t pgx.Tx) error { return fn(&postgresTx{d: d, tx: t}) })
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "40P01" && refused.Code != "40001" {
			return err
		}
	}
	return err
}

func (d *postgres) clock() string { return "(extract(epoch FROM clock_timestamp()) * 1000)::bigint" }

func (d *postgres) only(field, column string) string {
	return fmt.Sprintf("json_build_object('%[1]s', %[2]s::json -> '%[1]s')::text", field, column)
}

func (d *postgres) workers(config *river.Config) (workers, error) {
	return river.NewClient(d.driver, config)
}

func (d *postgres) close() error {
	d.pool.Close()
	return nil
}

func (d *postgres) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		return err
	}
	// Goose wants database/sql; this connection is its own and ends with it.
	db := stdlib.OpenDB(*d.pool.Config().ConnConfig)
	if err := errors.Join(migrateGoose(ctx, goose.DialectPostgres, db, files), db.Close()); err != nil {
		return err
	}
	migrator, err := rivermigrate.New(d.driver, &rivermigrate.Config{Logger: silent()})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// lock holds an advisory lock on a connection of its own: it ends with the
// connection, and so with the process. It needs the server itself, or a pooler in
// session mode.
func (d *postgres) lock(ctx context.Context, name string) (func() error, error) {
	conn, err := pgx.ConnectConfig(ctx, d.pool.Config().ConnConfig)
	if err != nil {
		return nil, err
	}
	release := func() error {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		return conn.Close(ctx)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", "ingot "+name); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", name, err), release())
	}
	return release, nil
}

type postgresTx struct {
	d  *postgres
	tx pgx.Tx
}

func (t *postgresTx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	done, err := t.tx.Exec(ctx, query, cleaned(args)...)
	return done.RowsAffected(), err
}

func (t *postgresTx) query(ctx context.Context, query string, args ...any) (rows, error) {
	return t.tx.Query(ctx, query, cleaned(args)...)
}

func (t *postgresTx) row(ctx context.Context, query string, args ...any) scanner {
	return t.tx.QueryRow(ctx, query, cleaned(args)...)
}

func (t *postgresTx) enqueue(ctx context.Context, jobs ...river.InsertManyParams) error {
	if len(jobs) == 0 {
		return nil
	}
	_, err := t.d.insert.InsertManyTx(ctx, t.tx, jobs)
	return err
}

func (t *postgresTx) complete(ctx context.Context, job *rivertype.JobRow) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, t.tx, &river.Job[anyArgs]{JobRow: job})
	return err
}

func (t *postgresTx) executor() riverdriver.ExecutorTx { return t.d.driver.UnwrapExecutor(t.tx) }
