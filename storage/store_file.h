// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Sealed files beside the database (database thread)
 *
 * A file under the store's directory, by its path from there
 * ("ckpt/job-1.ckpt"), sealed by a key of its own that lies in the database. It
 * is removed key first: what a disk keeps of it cannot be read from then on.
 */

#include "storage/store.h"

// The whole of `fd`, in place of what is there. Durable when it returns.
int store_file_save(struct store *s, const char *name, int fd,
                    uint64_t bytes_max, struct error *err);
// A sealed memfd. -ENOENT: no such file. -EUCLEAN, -ENOKEY: it cannot be
// opened.
int store_file_open(struct store *s, const char *name, uint64_t bytes_max,
                    struct error *err);
// Again is fine.
int store_file_remove(struct store *s, const char *name, struct error *err);
// For a file that somebody else reads and writes.
int store_file_lend_key(struct store *s, const char *name, uint8_t key[32],
                        struct error *err);
