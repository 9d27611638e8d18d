// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Prefix cache
 *
 * Hidden states of windows in a file that somebody else opened: appended to,
 * with an index in memory that is read from the file at the start. The file
 * holds nothing that could not be computed again, so whatever is wrong with it
 * is dropped, said once, and never fails a run. Little-endian:
 *
 *   header   magic "pockpfx1", u32 width, u32 values (enum prefix_values),
 *            owner (32), check (16)
 *   entries  mark "PFXE", u32 rows, u64 zero, key (32), check (16), the rows
 *
 * A check is the start of the SHA-256 of all that stands before it, and of the
 * rows. The owner says what the states were made with; another one finds the
 * file stale and starts it over.
 *
 * With a key the magic is "pockpfx2". Owner and keys are replaced by digests
 * that it keys, the u64 is random, and the rows are sealed: the check of an
 * entry is its tag, the nonce the first 16 bytes of its key and the u64, what
 * stands before the check is associated data.
 */

#include "engine/train/prefix_values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct prefix_cache;

enum { PREFIX_KEY_BYTES = 32 };

struct prefix_cache_params {
    int fd;             // a regular file, open for both; borrowed
    uint64_t bytes_max; // the file grows to no more
    uint32_t width;
    enum prefix_values values; // not OFF
    uint8_t owner[PREFIX_KEY_BYTES];
    // Seals the entries and hides what they are of; NULL: in the clear.
    const uint8_t *key; // SEAL_KEY_BYTES; copied
};

// -ENOMEM, or a sentence that says why the file is of no use.
int prefix_cache_open(struct prefix_cache **out,
                      const struct prefix_cache_params *params,
                      struct error *err);
void prefix_cache_close(struct prefix_cache *c);

// Encoded rows of this key into `data`. False when they are not there, or are
// not what was written.
bool prefix_cache_get(struct prefix_cache *c,
                      const uint8_t key[PREFIX_KEY_BYTES], uint32_t rows,
                      void *data);
// Keeps them if there is room.
void prefix_cache_put(struct prefix_cache *c,
                      const uint8_t key[PREFIX_KEY_BYTES], uint32_t rows,
                      const void *data);

struct prefix_cache_stats {
    uint64_t entries, bytes; // in the file
    uint64_t hits, misses;   // of get
    uint64_t damaged;        // entries that were dropped while reading
    bool is_full;
};
void prefix_cache_stats(struct prefix_cache_stats *out,
                        const struct prefix_cache *c);

// A sentence about what was wrong with the file, for its owner: once, then
// NULL. It holds no text and no key.
const char *prefix_cache_notice(struct prefix_cache *c);
