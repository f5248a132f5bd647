-- +goose Up
-- Whose cloud account holds what this ledger's builds have made, by the name under which
-- they mark it there: with the credentials of another account nothing is removed.
CREATE TABLE accounts (
    owner   TEXT PRIMARY KEY,
    account TEXT NOT NULL
);

-- +goose Down
DROP TABLE accounts;
