-- +goose Up
-- What the build was expected to take when it was asked for, in a sentence.
ALTER TABLE builds ADD COLUMN estimate TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE builds DROP COLUMN estimate;
