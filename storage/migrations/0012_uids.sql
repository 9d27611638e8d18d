-- SPDX-FileCopyrightText: the pockd authors
-- SPDX-License-Identifier: Apache-2.0

-- Uids are an app's own: `uid` is what keeps a record single. Of an app's it is
-- a hash of app and uid, and app_uid what the app gave. NULL: the owner's own
-- record, or one from before this, whose `uid` is what was given.
ALTER TABLE records ADD COLUMN app_uid BLOB
    CHECK (app_uid IS NULL OR length(app_uid) = 16);
