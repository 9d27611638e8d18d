// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Migrations (inside storage/)
 *
 * migrations/NNNN_*.sql, embedded at build. Forward only: step n takes a
 * database from user_version n - 1 to n, as one transaction, so that a process
 * killed at any moment leaves one version or the other.
 */

#include "storage/store_sql.h"

struct migration {
    const char *name; // "0001_initial"
    const char *sql;
};

extern const struct migration migrations[];
extern const size_t migration_count;

// -EPROTO when the database is newer than `count` steps.
int migrate_check_version(struct store *s, size_t count, struct error *err);
// From the database's version to `count`. A database that is not new is copied
// to data.db.backup-VERSION first.
int migrate_run(struct store *s, const struct migration *steps, size_t count,
                struct error *err);
// Delete those copies: they hold texts that may have been erased since.
int migrate_forget_backups(struct store *s, struct error *err);
