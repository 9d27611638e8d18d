-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Feedback is a pair (kind 2) of which the body also says whether it was
-- accepted.
ALTER TABLE records ADD COLUMN is_feedback INTEGER NOT NULL DEFAULT 0
    CHECK (is_feedback = 0 OR (is_feedback = 1 AND kind = 2));
