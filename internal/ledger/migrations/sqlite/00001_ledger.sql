-- +goose Up
-- Times are Unix milliseconds, 0 for "not yet". Lists and records that are only ever
-- read whole are JSON text. The twin for PostgreSQL differs in its types alone.

CREATE TABLE heads (
    repository   TEXT NOT NULL,
    ref          TEXT NOT NULL,
    commit_id    TEXT NOT NULL,
    pull_request INTEGER NOT NULL,
    moved        INTEGER NOT NULL,
    PRIMARY KEY (repository, ref)
);

CREATE TABLE polls (
    repository    TEXT PRIMARY KEY,
    polled        INTEGER NOT NULL,
    failing_since INTEGER NOT NULL,
    error         TEXT NOT NULL
);

CREATE TABLE schedules (
    repository TEXT NOT NULL,
    recipe     TEXT NOT NULL,
    last_run   INTEGER NOT NULL,
    PRIMARY KEY (repository, recipe)
);

CREATE TABLE builds (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    repository       TEXT NOT NULL,
    code_host        TEXT NOT NULL,
    ref              TEXT NOT NULL,
    commit_id        TEXT NOT NULL,
    title            TEXT NOT NULL,
    author           TEXT NOT NULL,
    pull_request     INTEGER NOT NULL,
    fork             BOOLEAN NOT NULL,
    trigger_kind     TEXT NOT NULL,
    release          BOOLEAN NOT NULL,
    recipe           TEXT NOT NULL,
    recipe_path      TEXT NOT NULL,
    version          TEXT NOT NULL,
    previous_version TEXT NOT NULL,
    number           INTEGER NOT NULL DEFAULT 0,
    action           TEXT NOT NULL,
    why              TEXT NOT NULL,
    findings         TEXT NOT NULL,
    fresh            BOOLEAN NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('waiting', 'approval', 'queued', 'running', 'succeeded', 'failed', 'errored', 'cancelled', 'superseded')),
    after_build      INTEGER NOT NULL DEFAULT 0, -- whose image is the parent; 0: none
    approved_by      TEXT NOT NULL DEFAULT '',
    run              INTEGER NOT NULL DEFAULT 0, -- raised each time the build enters the queue; a job of an older run is void
    attempts         INTEGER NOT NULL DEFAULT 0,
    crashes          INTEGER NOT NULL DEFAULT 0, -- how often its worker died while it ran
    worker           TEXT NOT NULL DEFAULT '',
    lease            INTEGER NOT NULL DEFAULT 0, -- until when the worker is believed alive, by the database's clock
    cancel_requested BOOLEAN NOT NULL DEFAULT FALSE,
    tests            TEXT NOT NULL DEFAULT '',
    failure          TEXT NOT NULL,
    image_id         TEXT NOT NULL DEFAULT '',
    created          INTEGER NOT NULL,
    started          INTEGER NOT NULL DEFAULT 0,
    finished         INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX builds_of_recipe ON builds (repository, recipe, id);
CREATE INDEX builds_of_commit ON builds (repository, commit_id, id);
CREATE INDEX builds_of_pull_request ON builds (repository, pull_request, id) WHERE pull_request <> 0;
CREATE INDEX builds_after ON builds (after_build) WHERE after_build <> 0;
CREATE INDEX builds_open ON builds (state, id) WHERE state IN ('waiting', 'approval', 'queued', 'running');

CREATE TABLE stages (
    build    INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    stage    TEXT NOT NULL,
    name     TEXT NOT NULL,
    state    TEXT NOT NULL,
    step     TEXT NOT NULL,
    text     TEXT NOT NULL,
    started  INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    PRIMARY KEY (build, stage, name)
);

CREATE TABLE logs (
    build  INTEGER PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    pieces INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
);

CREATE TABLE log_pieces (
    build  INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    stage  TEXT NOT NULL,
    name   TEXT NOT NULL,
    step   TEXT NOT NULL,
    stderr BOOLEAN NOT NULL,
    text   TEXT NOT NULL,
    PRIMARY KEY (build, seq)
);

CREATE TABLE images (
    id         TEXT PRIMARY KEY,
    build      INTEGER NOT NULL,
    repository TEXT NOT NULL,
    recipe     TEXT NOT NULL,
    version    TEXT NOT NULL,
    driver     TEXT NOT NULL,
    build_key  TEXT NOT NULL,
    ref        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       BIGINT NOT NULL,
    virtual    BIGINT NOT NULL,
    revision   TEXT NOT NULL,
    inventory  TEXT NOT NULL,
    created    INTEGER NOT NULL
);

CREATE INDEX images_by_key ON images (driver, build_key, build);
CREATE INDEX images_of_recipe ON images (repository, recipe, build);

CREATE TABLE release_numbers (
    recipe  TEXT NOT NULL,
    version TEXT NOT NULL,
    latest  INTEGER NOT NULL,
    PRIMARY KEY (recipe, version)
);

CREATE TABLE releases (
    recipe     TEXT NOT NULL,
    version    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    repository TEXT NOT NULL,
    build      INTEGER NOT NULL UNIQUE,
    image_id   TEXT NOT NULL REFERENCES images (id),
    created    INTEGER NOT NULL,
    PRIMARY KEY (recipe, version, number)
);

CREATE INDEX releases_of_recipe ON releases (repository, recipe, build);
CREATE INDEX releases_of_image ON releases (image_id);

CREATE TABLE test_results (
    test_key TEXT PRIMARY KEY,
    tests    TEXT NOT NULL,
    created  INTEGER NOT NULL
);

CREATE TABLE reports (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL CHECK (kind IN ('status', 'comment')),
    repository   TEXT NOT NULL,
    code_host    TEXT NOT NULL,
    subject      TEXT NOT NULL,
    commit_id    TEXT NOT NULL,
    recipe       TEXT NOT NULL,
    pull_request INTEGER NOT NULL,
    wanted       INTEGER NOT NULL, -- raised by every change worth telling
    sent         INTEGER NOT NULL DEFAULT 0, -- what wanted was when the last delivery began
    attempts     INTEGER NOT NULL DEFAULT 0, -- failed in a row
    last_error   TEXT NOT NULL DEFAULT '',
    next_at      INTEGER NOT NULL DEFAULT 0,
    external_id  TEXT NOT NULL DEFAULT '',
    UNIQUE (kind, repository, subject)
);

CREATE INDEX reports_owed ON reports (next_at) WHERE wanted > sent;

-- +goose Down
DROP TABLE reports;
DROP TABLE test_results;
DROP TABLE releases;
DROP TABLE release_numbers;
DROP TABLE images;
DROP TABLE log_pieces;
DROP TABLE logs;
DROP TABLE stages;
DROP TABLE builds;
DROP TABLE schedules;
DROP TABLE polls;
DROP TABLE heads;
