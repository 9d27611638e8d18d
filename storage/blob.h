// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Adapter files (database thread)
 *
 * DIR/<64 hex digits>/adapter.gguf, named by the SHA-256 of its bytes and
 * never changed. A file is complete and durable before anything names it; one
 * that no row names is swept. Put the file and add its version's row in one
 * visit to the database thread, so that no sweep comes in between.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { BLOB_HASH_BYTES = 32 };

// Copy `fd` from its start to its end. *bytes may be NULL. -E2BIG above
// bytes_max.
int blob_put_fd(int dirfd, int fd, uint64_t bytes_max,
                uint8_t sha256[BLOB_HASH_BYTES], uint64_t *bytes,
                struct error *err);

// A read-only descriptor at offset 0, after all bytes were read and hashed.
// -ENOENT, -EUCLEAN when size or hash are not as they should be.
int blob_open(int dirfd, const uint8_t sha256[BLOB_HASH_BYTES], uint64_t bytes,
              struct error *err);
// The file is there with that size; its content is not read.
bool blob_exists(int dirfd, const uint8_t sha256[BLOB_HASH_BYTES],
                 uint64_t bytes);

typedef bool (*blob_keep_fn)(const uint8_t sha256[BLOB_HASH_BYTES], void *user);
// Delete what `keep` does not want, and what is no blob. *removed: how many.
int blob_sweep(int dirfd, blob_keep_fn keep, void *user, uint32_t *removed,
               struct error *err);
