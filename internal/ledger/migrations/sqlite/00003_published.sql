-- +goose Up
-- What an image is called at another driver, as which it was published: the id of an AMI
-- that was made of a local disk. Images that were built by hand are here, too, though not
-- among images. Rows stay when an image goes: what was published is still there.
CREATE TABLE published (
    image_id TEXT PRIMARY KEY,
    id       TEXT NOT NULL,
    driver   TEXT NOT NULL,
    build    INTEGER NOT NULL, -- the last one that published it; 0: by hand
    created  INTEGER NOT NULL
);

-- +goose Down
DROP TABLE published;
