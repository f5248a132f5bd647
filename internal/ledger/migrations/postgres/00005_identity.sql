-- +goose Up
-- What this ledger is told from others by, where builds are known by their numbers alone:
-- one row, made once and never changed.
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id  TEXT NOT NULL
);

-- +goose Down
DROP TABLE identity;
