package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// querier reads by SQL that both databases understand: parameters are $1, $2, …
// and may be used twice.
type querier interface {
	query(ctx context.Context, query string, args ...any) (rows, error)
	row(ctx context.Context, query string, args ...any) scanner
}

type scanner interface {
	Scan(into ...any) error
}

type rows interface {
	scanner
	Next() bool
	Err() error
	Close()
}

// tx is a transaction of ours with the queue's work in it.
type tx interface {
	querier
	exec(ctx context.Context, query string, args ...any) (affected int64, err error)
	enqueue(ctx context.Context, jobs ...river.InsertManyParams) error
	complete(ctx context.Context, job *rivertype.JobRow) error
	executor() riverdriver.ExecutorTx
}

// database is one of the two that are supported. Outside a transaction it only
// reads: whatever writes goes through inTx.
type database interface {
	querier
	// inTx commits what fn did unless fn fails. It may call fn again when the
	// database asks for it, so fn must not keep anything from a call that failed.
	inTx(ctx context.Context, fn func(tx) error) error
	// lock waits for the lock of that name, which ends with the process at the latest.
	lock(ctx context.Context, name string) (release func() error, err error)
	migrate(ctx context.Context) error
	workers(config *river.Config) (workers, error)
	// clock is an SQL expression: now, in milliseconds, by the database's own clock.
	clock() string
	// only is an SQL expression: of the JSON object in a text column one field alone, as
	// such an object.
	only(field, column string) string
	close() error
}

// workers is the part of a River client that does not depend on the database.
type workers interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	StopAndCancel(ctx context.Context) error
	Queues() *river.QueueBundle
}

// anyArgs stands for the arguments of whatever job is completed.
type anyArgs struct{}

func (anyArgs) Kind() string { return "any" }

// collect scans every row of a query.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	found, err := q.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var out []T
	for found.Next() {
		one, err := scan(found)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, found.Err()
}

// value scans a single column.
func value[T any](s scanner) (T, error) {
	var v T
	err := s.Scan(&v)
	return v, err
}

// one reads a single row; found is false when there is none.
func one[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (v T, found bool, err error) {
	v, err = scan(q.row(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil, err
}

// cleaned makes every string fit for both databases: PostgreSQL refuses text with
// a zero byte or broken UTF-8, and both come out of builds and commits.
func cleaned(args []any) []any {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = cleanText(s)
		}
	}
	return args
}

func cleanText(s string) string {
	if utf8.ValidString(s) && !strings.Contains(s, "\x00") {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// toJSON is for values that always encode; the empty value is the empty text.
func toJSON[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	text, err := json.Marshal(v)
	// An escaped zero byte is valid JSON, and valid nowhere else.
	return strings.ReplaceAll(string(text), `\u0000`, `\ufffd`), err
}

func fromJSON[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return nil, fmt.Errorf("read %T from the database: %w", *v, err)
	}
	return v, nil
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
