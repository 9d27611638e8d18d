// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Keys of the store (inside storage/)
 *
 * The master key seals everything else that opens something: a tree of keys
 * for the records of an app and a month (table keys), and a key for each file
 * (table files). Trees are opened when they are needed, and some stay open.
 */

#include "storage/keytree.h"
#include "storage/store_record.h"
#include "storage/store_sql.h"

struct store_params;
struct store_report;

enum {
    STORE_SEALED_MARK = 0xc1, // the first byte of a sealed body
    STORE_SEALED_HEAD = 5,    // the mark, and its key's id
    STORE_SEALED_EXTRA = STORE_SEALED_HEAD + SEAL_EXTRA_BYTES,
};

// After the migrations. -ENOKEY: the key is missing, or is another one.
int store_keys_open(struct store *s, const struct store_params *p,
                    struct store_report *report, struct error *err);
void store_keys_close(struct store *s);
// After a roll-back: what is open may not be in the database.
void store_keys_forget(struct store *s);

// The id of the record that is put next.
int store_keys_next_id(struct store *s, int64_t *id, struct error *err);
// It was put.
void store_keys_took_id(struct store *s);
// Whose stream it is; borrowed until the next call. -ENOENT.
int store_keys_app(struct store *s, int64_t stream_id, const char **app,
                   struct error *err);

// Seal r->body for the row with r's id and other columns. *out is borrowed
// until the next call. -ENOENT: no such stream.
int store_seal_record(struct store *s, const struct store_record *r,
                      const void **out, size_t *bytes, struct error *err);

// Opened bodies; zero is empty.
struct store_opened {
    uint8_t *data;
    size_t size;
};
void store_opened_finish(struct store_opened *o);
// r->body as it is in the row becomes what was put; an empty one where it
// cannot be opened any more. -ENOMEM.
int store_open_record(struct store *s, struct store_record *r,
                      struct store_opened *o, struct error *err);

// What an older pockd left in the clear is sealed, and nothing of it stays on
// the disk: records, then what copies them. May be killed at any moment and
// goes on at the next start. *count: records.
int store_seal_all(struct store *s, int64_t *count, struct error *err);

// The records in the temporary table `erasing` cannot be opened any more.
// Within a transaction.
int store_keys_shred(struct store *s, struct error *err);

// The key of a file: the one it has, or a new one where `may_make`. -ENOKEY.
int store_file_key(struct store *s, const char *name, bool may_make,
                   uint8_t key[SEAL_KEY_BYTES], struct error *err);
// It cannot be read any more. The file itself is the caller's.
int store_file_shred(struct store *s, const char *name, struct error *err);
