// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "fault_vfs.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTOR = 512 };

// What a write that is not synced yet has covered.
struct undo {
    struct undo *next; // the write before it
    char *path;
    sqlite3_int64 offset;
    sqlite3_int64 old_size; // of the file
    int bytes;              // of old content
    bool is_truncate;
    bool is_lost; // a truncation that never reached the disk
    unsigned char old[];
};

struct fault_file {
    sqlite3_file base;
    const char *path; // SQLite keeps it while the file is open
    sqlite3_file *real;
};

static struct {
    enum fault_vfs_mode mode;
    unsigned left;
    bool fired;
    struct undo *undo;
} state;

static sqlite3_vfs *real_vfs;

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct fault_file *) f)->real;
}

// SQLITE_OK, or what this operation must fail with.
static int hit(int eio)
{
    if (state.fired && state.mode != FAULT_VFS_FULL_ONCE &&
        state.mode != FAULT_VFS_EIO_ONCE)
        return state.mode == FAULT_VFS_FULL ? SQLITE_FULL : eio;
    if (state.left == 0 || --state.left > 0)
        return SQLITE_OK;
    state.fired = true;
    if (state.mode == FAULT_VFS_KILL)
        (void) raise(SIGKILL);
    return state.mode == FAULT_VFS_FULL || state.mode == FAULT_VFS_FULL_ONCE
               ? SQLITE_FULL
               : eio;
}

static void remember(struct fault_file *f, sqlite3_int64 offset,
                     sqlite3_int64 bytes, bool is_truncate)
{
    sqlite3_int64 size = 0;

    if (state.mode != FAULT_VFS_POWER || !f->path ||
        f->real->pMethods->xFileSize(f->real, &size) != SQLITE_OK)
        return;
    if (bytes > size - offset)
        bytes = offset < size ? size - offset : 0;
    struct undo *u = calloc(1, sizeof(*u) + (size_t) bytes);
    if (!u)
        return;
    u->path = strdup(f->path);
    u->is_truncate = is_truncate;
    u->offset = offset;
    u->old_size = size;
    u->bytes = (int) bytes;
    if (bytes > 0)
        (void) f->real->pMethods->xRead(f->real, u->old, (int) bytes, offset);
    u->next = state.undo;
    state.undo = u;
}

static void undo_free(struct undo *u)
{
    free(u->path);
    free(u);
}

// The file is on the disk now.
static void forget(const char *path)
{
    struct undo **at = &state.undo;

    while (path && *at) {
        struct undo *u = *at;
        if (strcmp(u->path, path) != 0) {
            at = &u->next;
            continue;
        }
        *at = u->next;
        undo_free(u);
    }
}

static int on_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int on_read(sqlite3_file *f, void *p, int bytes, sqlite3_int64 offset)
{
    return real_of(f)->pMethods->xRead(real_of(f), p, bytes, offset);
}

static int on_write(sqlite3_file *f, const void *p, int bytes,
                    sqlite3_int64 offset)
{
    const bool was_fired = state.fired;
    int rc = hit(SQLITE_IOERR_WRITE);

    if (rc != SQLITE_OK && state.mode == FAULT_VFS_TORN && !was_fired)
        (void) real_of(f)->pMethods->xWrite(real_of(f), p, bytes / 2, offset);
    if (rc != SQLITE_OK)
        return rc;
    remember((struct fault_file *) f, offset, bytes, false);
    return real_of(f)->pMethods->xWrite(real_of(f), p, bytes, offset);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    sqlite3_int64 old = 0;
    int rc = hit(SQLITE_IOERR_TRUNCATE);

    if (rc != SQLITE_OK)
        return rc;
    if (real_of(f)->pMethods->xFileSize(real_of(f), &old) == SQLITE_OK &&
        old > size)
        remember((struct fault_file *) f, size, old - size, true);
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int on_sync(sqlite3_file *f, int flags)
{
    int rc = hit(SQLITE_IOERR_FSYNC);

    if (rc == SQLITE_OK)
        rc = real_of(f)->pMethods->xSync(real_of(f), flags);
    if (rc == SQLITE_OK)
        forget(((struct fault_file *) f)->path);
    return rc;
}

static int on_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int on_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int on_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int on_check_lock(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int on_sector_size(sqlite3_file *f)
{
    return SECTOR;
}

// Nothing is promised: no safe appends, no atomic writes.
static int on_characteristics(sqlite3_file *f)
{
    return 0;
}

// Version 1 has no shared memory: the store locks exclusively and needs none.
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_file_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector_size,
    .xDeviceCharacteristics = on_characteristics,
};

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *out,
                   int flags, int *out_flags)
{
    struct fault_file *f = (struct fault_file *) out;
    int rc = hit(SQLITE_CANTOPEN);

    f->base.pMethods = NULL;
    f->real = (sqlite3_file *) (f + 1);
    f->path = path;
    if (rc != SQLITE_OK)
        return rc;
    rc = real_vfs->xOpen(real_vfs, path, f->real, flags, out_flags);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    return rc;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    int rc = hit(SQLITE_IOERR_DELETE);

    if (rc != SQLITE_OK)
        return rc;
    forget(path);
    return real_vfs->xDelete(real_vfs, path, sync_dir);
}

static int on_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    return real_vfs->xAccess(real_vfs, path, flags, out);
}

static int on_full_path(sqlite3_vfs *vfs, const char *path, int bytes,
                        char *out)
{
    return real_vfs->xFullPathname(real_vfs, path, bytes, out);
}

int fault_vfs_register(void)
{
    static sqlite3_vfs vfs;

    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "fault";
    vfs.pNext = NULL;
    vfs.szOsFile = (int) sizeof(struct fault_file) + real_vfs->szOsFile;
    vfs.xOpen = on_open;
    vfs.xDelete = on_delete;
    vfs.xAccess = on_access;
    vfs.xFullPathname = on_full_path;
    return sqlite3_vfs_register(&vfs, 0);
}

void fault_vfs_arm(enum fault_vfs_mode mode, unsigned n)
{
    while (state.undo) {
        struct undo *u = state.undo;
        state.undo = u->next;
        undo_free(u);
    }
    state.mode = mode;
    state.left = n;
    state.fired = false;
}

bool fault_vfs_fired(void)
{
    return state.fired;
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

enum fate { FATE_KEPT, FATE_LOST, FATE_MIXED };

// A truncation reaches the disk as a whole or not at all, and file systems keep
// it in order with what is written to the same file: when it is lost, so is all
// that came after it; when it is kept, what came before it cannot come back.
static enum fate fate_of(const struct undo *u)
{
    for (const struct undo *v = state.undo; v != u; v = v->next)
        if (v->is_truncate && !v->is_lost && strcmp(v->path, u->path) == 0)
            return FATE_KEPT;
    for (const struct undo *v = u; v; v = v->next)
        if (v->is_truncate && v->is_lost && strcmp(v->path, u->path) == 0)
            return FATE_LOST;
    return u->is_truncate ? FATE_KEPT : FATE_MIXED;
}

static void take_back(const struct undo *u, uint64_t *x)
{
    const enum fate fate = fate_of(u);
    int fd = fate == FATE_KEPT ? -1 : open(u->path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size > u->old_size && (fate == FATE_LOST || next_random(x) % 2))
        (void) !ftruncate(fd, u->old_size);
    for (int at = 0; at < u->bytes; at += SECTOR) {
        int n = u->bytes - at < SECTOR ? u->bytes - at : SECTOR;
        if (fate == FATE_LOST || next_random(x) % 2)
            (void) !pwrite(fd, u->old + at, (size_t) n, u->offset + at);
    }
    close(fd);
}

void fault_vfs_lose_power(uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (struct undo *u = state.undo; u; u = u->next)
        u->is_lost = u->is_truncate && next_random(&x) % 2;
    // From the last write to the first: any mix of old and new may remain.
    for (struct undo *u = state.undo; u; u = u->next)
        take_back(u, &x);
    while (state.undo) {
        struct undo *u = state.undo;
        state.undo = u->next;
        undo_free(u);
    }
}
