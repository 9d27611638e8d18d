-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Schemes that a search found and the owner gave a name; recipes say @name.
-- The model's name is for people: the model may have gone since.
CREATE TABLE schemes (
    name    TEXT    PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    model   TEXT    NOT NULL CHECK (length(model) <= 64),
    json    TEXT    NOT NULL CHECK (length(json) BETWEEN 2 AND 6143),
    made_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
