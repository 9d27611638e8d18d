// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/migrations.inc"

#define BACKUP_PREFIX "data.db.backup-"

static int read_version(struct store *s, int *version, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = store_sql(s, &stmt, "PRAGMA user_version", err);

    if (rc < 0)
        return rc;
    rc = store_sql_step(s, stmt, "read the store's version", err);
    if (rc == 1)
        *version = sqlite3_column_int(stmt, 0);
    store_sql_done(stmt);
    return rc < 0 ? rc : 0;
}

static int check_version(struct store *s, size_t count, int *version,
                         struct error *err)
{
    int v = 0;
    int rc = read_version(s, &v, err);

    if (rc < 0)
        return rc;
    if (v < 0 || (size_t) v > count)
        return error_set(err, -EPROTO,
                         "the store in %s has version %d, but this pockd knows "
                         "only versions up to %zu: install the newer pockd "
                         "again, or name another state directory",
                         s->dir, v, count);
    *version = v;
    return 0;
}

int migrate_check_version(struct store *s, size_t count, struct error *err)
{
    int version;

    return check_version(s, count, &version, err);
}

static int backup(struct store *s, int version, struct error *err)
{
    char name[64], path[STORE_PATH_SIZE];
    sqlite3_stmt *stmt = NULL;

    (void) snprintf(name, sizeof(name), BACKUP_PREFIX "%d", version);
    int n = snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    if (n < 0 || (size_t) n >= sizeof(path))
        return error_set(err, -ENAMETOOLONG, "the path %s is too long", s->dir);
    // What is left of an attempt that was interrupted.
    (void) unlinkat(s->dirfd, name, 0);
    int rc = store_sql(s, &stmt, "VACUUM INTO ?", err);
    if (rc < 0)
        return rc;
    (void) store_sql_bind_text(stmt, 1, path);
    rc = store_sql_run(s, stmt, "copy the store before it is migrated", err);
    if (rc < 0)
        return rc;
    // SQLite does not sync what VACUUM INTO writes.
    int fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC);
    rc = fd < 0 || fsync(fd) < 0 || fsync(s->dirfd) < 0 ? -errno : 0;
    if (rc < 0)
        error_set(err, rc, "cannot copy the store before it is migrated: %s",
                  strerror(-rc));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int step(struct store *s, const struct migration *m, int version,
                struct error *err)
{
    char set[64];
    int rc = store_begin(s, err);

    if (rc < 0)
        return rc;
    (void) snprintf(set, sizeof(set), "PRAGMA user_version = %d", version);
    rc = store_sql_exec(s, m->sql, "migrate the store", err);
    if (rc == 0)
        rc = store_sql_exec(s, set, "migrate the store", err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0) {
        store_rollback(s);
        return error_prefix(err, rc, "migration %s", m->name);
    }
    return 0;
}

int migrate_run(struct store *s, const struct migration *steps, size_t count,
                struct error *err)
{
    int version = 0;
    int rc = check_version(s, count, &version, err);

    if (rc < 0)
        return rc;
    if (version > 0 && (size_t) version < count &&
        (rc = backup(s, version, err)) < 0)
        return rc;
    for (size_t v = (size_t) version; v < count; v++)
        if ((rc = step(s, &steps[v], (int) v + 1, err)) < 0)
            return rc;
    return 0;
}

int migrate_forget_backups(struct store *s, struct error *err)
{
    int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int rc = 0;

    if (!d) {
        rc = error_set(err, -errno, "cannot list %s: %s", s->dir,
                       strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (e = readdir(d)))
        if (strncmp(e->d_name, BACKUP_PREFIX, strlen(BACKUP_PREFIX)) == 0 &&
            unlinkat(s->dirfd, e->d_name, 0) < 0 && errno != ENOENT)
            rc = error_set(err, -errno, "cannot delete %s/%s: %s", s->dir,
                           e->d_name, strerror(errno));
    closedir(d);
    return rc;
}
