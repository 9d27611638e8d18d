// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Store (database thread)
 *
 * One SQLite database and one directory of adapter files under a state
 * directory, opened by one process through one connection. Each function is
 * synchronous. A call that writes is its own transaction, durable when it
 * returns, unless the caller holds one open with store_begin(): then all are
 * durable, or none, when store_commit() returns.
 *
 *   DIR/lock            flock'ed while the store is open; holds the pid
 *   DIR/data.db         and -wal, -shm
 *   DIR/adapters/HASH/  see blob.h
 *
 * Return codes everywhere in storage/: -ENOENT nothing of that id or name,
 * -EEXIST a name or id is taken, -ENOTUNIQ the same uid with other content,
 * -EBUSY still in use, -EINVAL a value that the schema refuses, -ENOSPC,
 * -EROFS, -EIO, -EUCLEAN the file is damaged, -ENOMEM.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct keykeeper;

enum {
    STORE_NAME_SIZE = 65, // of a stream, adapter, model, app; with the NUL
    STORE_PATH_SIZE = 4097,
    STORE_TEXT_SIZE = 512,
    STORE_HASH_BYTES = 32,
    STORE_UID_BYTES = 16,
    STORE_SCHEMA = 12, // user_version that this build writes
};

struct store_params {
    const char *dir; // made, with mode 0700, when it is not there
    int64_t now_ms;
    const char *vfs; // for tests; NULL = the default
    // The master key: CREDENTIALS/pockd.key, else this file, which is made when
    // the store has no key yet. NULL: no credentials; DIR/pockd.key.
    const char *credentials;
    const char *key_file;
    // Who else may keep it; NULL: nobody. Must outlive the store. A store knows
    // where its key is; is_key_kept says where that of a new one goes.
    const struct keykeeper *keeper;
    bool is_key_kept;
};

// What store_open() found.
struct store_report {
    bool is_new;
    bool was_clean; // closed by store_close(); otherwise it was checked
    // The database was damaged and moved aside, now or in an earlier start,
    // and the owner has not accepted the loss: ingest must be refused.
    bool is_degraded;
    char quarantine[STORE_PATH_SIZE]; // where the damaged file lies, or ""
    uint32_t orphans;                 // adapter files without a row, removed
    uint32_t lost;    // versions whose file is missing or short; retired now
    int64_t erasures; // whose files could not be deleted yet
    int64_t sealed;   // records that an older pockd had left in the clear
    bool is_key_left; // one that is not in force could not be removed yet
};

// -EBUSY: another process has it; the sentence names its pid. -EPROTO: written
// by a newer version of pockd. -EINVAL: data.db is no store. -ENOKEY: its key
// is missing, or is another one; nothing was changed.
int store_open(struct store **out, const struct store_params *params,
               struct store_report *report, struct error *err);
// Checkpoints, sets the mark of a clean shutdown, closes. NULL is fine.
void store_close(struct store *s);

// Group commit. Not nested. After a failed call inside, store_rollback().
int store_begin(struct store *s, struct error *err);
int store_commit(struct store *s, struct error *err);
void store_rollback(struct store *s);
bool store_is_in_transaction(const struct store *s);

// Empty the log into the database file: after it deleted text is in no page.
int store_checkpoint(struct store *s, struct error *err);
// quick_check, or all of integrity_check and foreign_key_check. -EUCLEAN.
int store_check(struct store *s, bool full, struct error *err);
// The owner knows that what is in quarantine is lost.
int store_accept_loss(struct store *s, struct error *err);

// The master key that seals everything.
enum store_key_place {
    STORE_KEY_CREDENTIAL, // handed over by systemd
    STORE_KEY_FILE,       // of pockd's own
    STORE_KEY_KEEPER,
    STORE_KEY_SAME, // for rotate: where it is
};
struct store_key_info {
    enum store_key_place place;
    bool is_beside;             // the file lies in the store's directory
    bool is_left;               // as in the report
    char file[STORE_PATH_SIZE]; // "" where it is no file
    char name[33];              // tells keys apart and says nothing of them
    int64_t keys;               // of records that it seals
};
int store_key_info(struct store *s, struct store_key_info *out,
                   struct error *err);
// Another one, at once, and there: keys are sealed anew, records stay as they
// are. -EOPNOTSUPP: the key is a credential, which only its owner can change,
// or the keeper does not take it. -EEXIST: there is a file already.
int store_key_rotate(struct store *s, enum store_key_place to,
                     struct error *err);

// data.db with its log, bytes.
int64_t store_bytes(const struct store *s);
