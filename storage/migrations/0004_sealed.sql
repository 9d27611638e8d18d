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
