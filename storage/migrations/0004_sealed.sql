-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Keys of records, each for one app and month, of at most 65536 records whose
-- ids begin at first_id: a tree of keys (storage/keytree.h), sealed by the
-- master key. A body in `records` is sealed when it begins with C1, which no
-- message begins with.
CREATE TABLE keys (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    app      TEXT    NOT NULL CHECK (length(app) BETWEEN 1 AND 64),
    month    INTEGER NOT NULL, -- 12 times the year, and 0 to 11
    first_id INTEGER NOT NULL CHECK (first_id >= 1),
    made_ms  INTEGER NOT NULL,
    sealed   BLOB    NOT NULL CHECK (length(sealed) > 0)
) STRICT;

CREATE INDEX keys_by_app ON keys (app, month, first_id);

-- Keys of files: adapters, checkpoints, kept states. A file whose row is gone
-- cannot be read any more.
CREATE TABLE files (
    name   TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 127),
    sealed BLOB NOT NULL CHECK (length(sealed) > 0)
) STRICT, WITHOUT ROWID;

-- Nothing to seal is sealed.
INSERT INTO meta (key, value) SELECT 'sealed', '1'
    WHERE NOT EXISTS (SELECT 1 FROM records) AND NOT EXISTS (SELECT 1 FROM versions)
    AND NOT EXISTS (SELECT 1 FROM jobs);

-- Erasures, for ever without what was erased. `step` is the last one that is
-- done: see storage/store_erase.h.
CREATE TABLE erasures (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    step        INTEGER NOT NULL CHECK (step BETWEEN 0 AND 9),
    reason      TEXT    NOT NULL CHECK (length(reason) BETWEEN 1 AND 31),
    started_ms  INTEGER NOT NULL,
    records     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    versions    INTEGER NOT NULL
) STRICT;

-- Days that records of a stream are kept; NULL: as the policy says, 0: for ever.
ALTER TABLE streams ADD COLUMN keep_days INTEGER CHECK (keep_days BETWEEN 0 AND 36500);

-- Records whose time was up: nothing of them but what filters look at and which
-- versions learned from them, so that these can still be erased.
CREATE TABLE forgotten (
    record_id   INTEGER PRIMARY KEY,
    stream_id   INTEGER NOT NULL REFERENCES streams (id),
    kind        INTEGER NOT NULL,
    is_feedback INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    added_ms    INTEGER NOT NULL
) STRICT;

CREATE INDEX forgotten_by_stream ON forgotten (stream_id);

CREATE TABLE lineage_forgotten (
    adapter_id INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    record_id  INTEGER NOT NULL REFERENCES forgotten (record_id) ON DELETE CASCADE,
    PRIMARY KEY (adapter_id, version, record_id),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX lineage_forgotten_by_record ON lineage_forgotten (record_id);
