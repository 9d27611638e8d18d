-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- What a version is made of, as it was written and signed when it was made.
-- `root` is that of the Merkle tree over what it learned; NULL where that is
-- not known in full (imported, or made of something imported).
CREATE TABLE manifests (
    adapter_id INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    root       BLOB    CHECK (length(root) = 32),
    leaves     INTEGER NOT NULL CHECK (leaves >= 0),
    json       TEXT    NOT NULL,
    signature  BLOB    NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (adapter_id, version),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What hides a record in such trees. It goes with its record, and then nobody
-- can try a guess at what the record was.
CREATE TABLE record_salts (
    record_id INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    salt      BLOB    NOT NULL CHECK (length(salt) = 16)
) STRICT;

-- Each row's hash covers the one before it. What is counted together (one
-- process, one action) is from time_ms to until_ms.
ALTER TABLE audit ADD COLUMN pid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN until_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN hash BLOB CHECK (length(hash) = 32);

-- What is still being counted; closed rows go into `audit`.
CREATE TABLE audit_open (
    uid      INTEGER NOT NULL,
    pid      INTEGER NOT NULL,
    app      TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    time_ms  INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (uid, pid, app, action, text)
) STRICT, WITHOUT ROWID;
