-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Apps that asked, and what their owner said. `name` begins with the way in
-- which it is known (flatpak:, snap:, scope:, host:) and is the namespace of
-- the app's streams. purposes and wanted: 1 train, 2 generate, 4 score. kinds: a
-- bit for each kind of record, 0 all of them. streams: names with a blank
-- between, '' all of them. 0 as an expiry: never; as retention: as long as the
-- owner keeps them.
CREATE TABLE apps (
    name           TEXT    PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    strength       INTEGER NOT NULL CHECK (strength BETWEEN 1 AND 3),
    state          INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
    purposes       INTEGER NOT NULL CHECK (purposes BETWEEN 0 AND 7),
    wanted         INTEGER NOT NULL CHECK (wanted BETWEEN 0 AND 7),
    kinds          INTEGER NOT NULL CHECK (kinds BETWEEN 0 AND 15),
    streams        TEXT    NOT NULL,
    retention_days INTEGER NOT NULL CHECK (retention_days >= 0),
    expires_ms     INTEGER NOT NULL CHECK (expires_ms >= 0),
    client         TEXT    NOT NULL CHECK (length(client) <= 64),
    first_ms       INTEGER NOT NULL,
    changed_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
