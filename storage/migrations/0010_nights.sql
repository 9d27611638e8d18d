-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- What a job's ends mean for its next run: failures of the data or the model,
-- deaths of workers at one place, runs that never reached a checkpoint, and
-- which records are suspected ("tried deaths id id ...").
ALTER TABLE jobs ADD COLUMN permanents INTEGER NOT NULL DEFAULT 0 CHECK (permanents >= 0);
ALTER TABLE jobs ADD COLUMN fruitless INTEGER NOT NULL DEFAULT 0 CHECK (fruitless >= 0);
ALTER TABLE jobs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0);
ALTER TABLE jobs ADD COLUMN death_place INTEGER NOT NULL DEFAULT -1;
ALTER TABLE jobs ADD COLUMN suspects TEXT NOT NULL DEFAULT '' CHECK (length(suspects) <= 8191);

-- Every run of a worker. A night is a day from noon to noon, as days since 1970;
-- energy is that of the whole machine (NULL: it does not report it).
CREATE TABLE runs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id         INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    night          INTEGER NOT NULL,
    started_ms     INTEGER NOT NULL,
    run_ms         INTEGER NOT NULL CHECK (run_ms >= 0),
    slices         INTEGER NOT NULL CHECK (slices >= 0),
    first_step     INTEGER NOT NULL CHECK (first_step >= 0),
    last_step      INTEGER NOT NULL CHECK (last_step >= 0),
    stop_reason    TEXT    NOT NULL CHECK (length(stop_reason) BETWEEN 1 AND 23),
    energy_j       REAL,
    heldout_before REAL,
    heldout_after  REAL,
    version        INTEGER NOT NULL CHECK (version >= 0)
) STRICT;

CREATE INDEX runs_by_night ON runs (night, id);
CREATE INDEX runs_by_job ON runs (job_id);

-- Records that killed the worker of this version of pockd; another may do
-- better.
CREATE TABLE skipped (
    record_id INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    job_id    INTEGER NOT NULL,
    found_ms  INTEGER NOT NULL,
    program   TEXT    NOT NULL CHECK (length(program) BETWEEN 1 AND 63)
) STRICT;
