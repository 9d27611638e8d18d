-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- How a model holds conversations: what its file says ("unknown" where that is
-- nothing that pockd knows), and what its owner says instead ("": nothing).
ALTER TABLE models ADD COLUMN chat TEXT NOT NULL DEFAULT '' CHECK (length(chat) <= 31);
ALTER TABLE models ADD COLUMN chat_set TEXT NOT NULL DEFAULT '' CHECK (length(chat_set) <= 31);

-- Versions that a version was merged from, of any adapter, by name, since those
-- may go. The records of all of them are in the lineage of the merged one.
CREATE TABLE merged_from (
    adapter_id  INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    place       INTEGER NOT NULL CHECK (place >= 0),
    of_adapter  TEXT    NOT NULL CHECK (length(of_adapter) BETWEEN 1 AND 64),
    of_version  INTEGER NOT NULL CHECK (of_version >= 1),
    weight      REAL    NOT NULL,
    PRIMARY KEY (adapter_id, version, place),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
