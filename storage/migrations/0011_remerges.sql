-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Merged versions that an erase took, to be merged again of what is clean. The
-- parts are in `merged_from`, whose rows stay with the retired version.
-- activation_id and active_ms are what was active of that adapter after the
-- erase, and since when (NULL and 0: never anything). made: NULL while it
-- waits, 0 when nothing was left to merge, else the version that took its place.
CREATE TABLE remerges (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    adapter_id    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    was_active    INTEGER NOT NULL CHECK (was_active IN (0, 1)),
    activation_id INTEGER,
    active_ms     INTEGER NOT NULL DEFAULT 0,
    created_ms    INTEGER NOT NULL,
    made          INTEGER CHECK (made >= 0),
    UNIQUE (adapter_id, version),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT;

CREATE INDEX remerges_waiting ON remerges (id) WHERE made IS NULL;
