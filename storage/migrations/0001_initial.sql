-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Times are unix milliseconds, digests 32 bytes, losses nats a token (NULL:
-- unknown). Ids of what a person may name are never used twice.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('clean', '1');

CREATE TABLE models (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    path       TEXT    NOT NULL CHECK (length(path) BETWEEN 1 AND 4096),
    sha256     BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    bytes      INTEGER NOT NULL CHECK (bytes >= 0),
    state      INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    added_ms   INTEGER NOT NULL,
    arch       TEXT    NOT NULL,
    quant      TEXT    NOT NULL,
    license    TEXT    NOT NULL,
    params     INTEGER NOT NULL,
    context    INTEGER NOT NULL,
    vocab      INTEGER NOT NULL,
    layers     INTEGER NOT NULL,
    width      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX models_one_default ON models (is_default) WHERE is_default = 1;

CREATE TABLE streams (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    app        TEXT    NOT NULL CHECK (length(app) BETWEEN 1 AND 64),
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    created_ms INTEGER NOT NULL,
    UNIQUE (app, name)
) STRICT;

CREATE TABLE records (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    uid       BLOB    NOT NULL UNIQUE CHECK (length(uid) = 16),
    stream_id INTEGER NOT NULL REFERENCES streams (id),
    kind      INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    time_ms   INTEGER NOT NULL CHECK (time_ms >= 0),
    added_ms  INTEGER NOT NULL,
    bytes     INTEGER NOT NULL CHECK (bytes >= 0),
    body      BLOB    NOT NULL CHECK (length(body) > 0)
) STRICT;

CREATE INDEX records_by_stream ON records (stream_id, time_ms, bytes);

CREATE TABLE adapters (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    model_id     INTEGER NOT NULL REFERENCES models (id),
    created_ms   INTEGER NOT NULL,
    next_version INTEGER NOT NULL DEFAULT 1 CHECK (next_version >= 1)
) STRICT;

CREATE INDEX adapters_by_model ON adapters (model_id);

CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
    phase           TEXT    NOT NULL,
    stop_reason     TEXT    NOT NULL CHECK (length(stop_reason) BETWEEN 1 AND 23),
    message         TEXT    NOT NULL,
    adapter_id      INTEGER NOT NULL REFERENCES adapters (id) ON DELETE CASCADE,
    model_id        INTEGER NOT NULL REFERENCES models (id),
    streams         TEXT    NOT NULL,
    before_ms       INTEGER,
    is_forced       INTEGER NOT NULL CHECK (is_forced IN (0, 1)),
    recipe          TEXT    NOT NULL,
    created_ms      INTEGER NOT NULL,
    started_ms      INTEGER NOT NULL,
    finished_ms     INTEGER NOT NULL,
    not_before_ms   INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    failures        INTEGER NOT NULL CHECK (failures >= 0),
    step            INTEGER NOT NULL CHECK (step >= 0),
    steps           INTEGER NOT NULL CHECK (steps >= 0),
    epoch           REAL    NOT NULL,
    tokens          INTEGER NOT NULL CHECK (tokens >= 0),
    records         INTEGER NOT NULL CHECK (records >= 0),
    heldout_records INTEGER NOT NULL CHECK (heldout_records >= 0),
    run_ms          INTEGER NOT NULL CHECK (run_ms >= 0),
    loss            REAL,
    heldout_start   REAL,
    heldout_best    REAL,
    heldout_step    INTEGER NOT NULL,
    version         INTEGER NOT NULL CHECK (version >= 0),
    checkpoint      TEXT    NOT NULL,
    checkpoint_step INTEGER NOT NULL CHECK (checkpoint_step >= 0)
) STRICT;

CREATE INDEX jobs_alive ON jobs (id) WHERE state < 5;
CREATE INDEX jobs_by_adapter ON jobs (adapter_id, id);
CREATE INDEX jobs_by_model ON jobs (model_id);

CREATE TABLE metrics (
    job_id  INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    step    INTEGER NOT NULL CHECK (step >= 0),
    time_ms INTEGER NOT NULL,
    tokens  INTEGER NOT NULL CHECK (tokens >= 0),
    loss    REAL,
    heldout REAL,
    rate    REAL,
    PRIMARY KEY (job_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    adapter_id     INTEGER NOT NULL REFERENCES adapters (id) ON DELETE CASCADE,
    version        INTEGER NOT NULL CHECK (version >= 1),
    parent         INTEGER CHECK (parent < version),
    job_id         INTEGER REFERENCES jobs (id) ON DELETE SET NULL,
    is_imported    INTEGER NOT NULL CHECK (is_imported IN (0, 1)),
    is_retired     INTEGER NOT NULL DEFAULT 0 CHECK (is_retired IN (0, 1)),
    created_ms     INTEGER NOT NULL,
    sha256         BLOB    NOT NULL CHECK (length(sha256) = 32),
    bytes          INTEGER NOT NULL CHECK (bytes > 0),
    rank           INTEGER NOT NULL CHECK (rank >= 0),
    records        INTEGER NOT NULL CHECK (records >= 0),
    heldout_before REAL,
    heldout_after  REAL,
    probe_before   REAL,
    probe_after    REAL,
    gate           INTEGER NOT NULL CHECK (gate BETWEEN 0 AND 3),
    reason         TEXT    NOT NULL,
    PRIMARY KEY (adapter_id, version),
    FOREIGN KEY (adapter_id, parent) REFERENCES versions (adapter_id, version)
        DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE INDEX versions_by_hash ON versions (sha256);
CREATE INDEX versions_by_parent ON versions (adapter_id, parent);
CREATE INDEX versions_by_job ON versions (job_id);

-- Every switch to a version, with the one that was active before it. The row
-- of `active` is what a switch changes.
CREATE TABLE activations (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    adapter_id INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    before_id  INTEGER REFERENCES activations (id),
    time_ms    INTEGER NOT NULL,
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT;

CREATE INDEX activations_by_version ON activations (adapter_id, version);
CREATE INDEX activations_by_before ON activations (before_id);

CREATE TABLE active (
    adapter_id    INTEGER PRIMARY KEY REFERENCES adapters (id) ON DELETE CASCADE,
    activation_id INTEGER REFERENCES activations (id) ON DELETE CASCADE,
    time_ms       INTEGER NOT NULL
) STRICT;

CREATE INDEX active_by_activation ON active (activation_id);

CREATE TABLE lineage (
    adapter_id INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    record_id  INTEGER NOT NULL REFERENCES records (id) ON DELETE CASCADE,
    PRIMARY KEY (adapter_id, version, record_id),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX lineage_by_record ON lineage (record_id);

CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    kind    TEXT    NOT NULL CHECK (length(kind) BETWEEN 1 AND 31),
    job_id  INTEGER NOT NULL,
    adapter TEXT    NOT NULL,
    version INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    text    TEXT    NOT NULL
) STRICT;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    uid     INTEGER NOT NULL,
    app     TEXT    NOT NULL,
    action  TEXT    NOT NULL CHECK (length(action) BETWEEN 1 AND 31),
    count   INTEGER NOT NULL,
    text    TEXT    NOT NULL
) STRICT;

CREATE TABLE policy (
    key    TEXT    PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 64),
    value  TEXT    NOT NULL,
    set_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
