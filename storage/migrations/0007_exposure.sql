-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- What a version was found to know by heart of the records it learned from.
-- Bits of the sequence that is known best; `record_id` has that sequence, which
-- itself is nowhere here.
CREATE TABLE exposures (
    adapter_id INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    sequences  INTEGER NOT NULL CHECK (sequences >= 0),
    recited    INTEGER NOT NULL CHECK (recited BETWEEN 0 AND sequences),
    bits       REAL,
    bits_base  REAL,
    bits_drawn REAL,
    record_id  INTEGER REFERENCES records (id) ON DELETE SET NULL,
    PRIMARY KEY (adapter_id, version),
    FOREIGN KEY (adapter_id, version) REFERENCES versions (adapter_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX exposures_by_record ON exposures (record_id);
