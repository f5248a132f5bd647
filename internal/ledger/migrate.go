package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrationPatience is how long Open waits for another process that migrates.
const migrationPatience = 2 * time.Minute

// migrateLocked brings our tables and then River's to the newest version. Neither
// tool locks both, so one lock around them makes daemons that start together safe.
func migrateLocked(ctx context.Context, db database) (err error) {
	ctx, done := context.WithTimeout(ctx, migrationPatience)
	defer done()
	release, err := db.lock(ctx, "migrate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return db.migrate(ctx)
}

func migrateGoose(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// silent is for tools whose errors are returned and whose progress tells nobody anything.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
