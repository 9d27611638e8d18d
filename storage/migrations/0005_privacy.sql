-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- What a version gives away of any one record at most; NULL: nothing is
-- promised.
ALTER TABLE versions ADD COLUMN dp_epsilon REAL CHECK (dp_epsilon > 0);
ALTER TABLE versions ADD COLUMN dp_delta REAL CHECK (dp_delta > 0);
