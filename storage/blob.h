// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapter files (database thread)
 *
 * DIR/adapters/<64 hex digits>/adapter.gguf, named by the SHA-256 of what it
 * holds, sealed (sealed_file.h) and never changed. A file is complete and
 * durable before anything names it; one that no row names is swept. Put the
 * file and add its version's row in one visit to the database thread, so that
 * no sweep comes in between.
 */

#include "storage/store.h"

enum { BLOB_HASH_BYTES = 32 };

// Copy `fd` from its start to its end. *bytes may be NULL; they are those of
// the content, here and below. -E2BIG above bytes_max.
int store_blob_put_fd(struct store *s, int fd, uint64_t bytes_max,
                      uint8_t sha256[BLOB_HASH_BYTES], uint64_t *bytes,
                      struct error *err);

// A sealed memfd at offset 0: all of it was opened and is what was put.
// -ENOENT, -EUCLEAN when it is not as it should be.
int store_blob_open(struct store *s, const uint8_t sha256[BLOB_HASH_BYTES],
                    uint64_t bytes, struct error *err);
// The file is there with that size; its content is not read.
bool store_blob_exists(const struct store *s,
                       const uint8_t sha256[BLOB_HASH_BYTES], uint64_t bytes);

typedef bool (*blob_keep_fn)(const uint8_t sha256[BLOB_HASH_BYTES], void *user);
// Delete what `keep` does not want, and what is no blob: first its key.
// *removed: how many.
int blob_sweep(struct store *s, blob_keep_fn keep, void *user,
               uint32_t *removed, struct error *err);
// Files that an older pockd left in the clear are sealed.
int blob_seal_all(struct store *s, struct error *err);
