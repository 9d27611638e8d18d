// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * File of the prefix cache (database thread, but for prefix_file_bytes())
 *
 * Where training keeps what the first blocks of a model make of the records,
 * beside the checkpoints: read and written by training workers, bounded here,
 * and gone as a whole as soon as any record is erased. pockd never reads it:
 * workers seal its entries by a key that the store keeps, and shreds.
 */

#include "engine/base/seal.h"

struct paths;
struct policy;
struct store;

// Open it, or make it, for a run: how far it may grow goes to *bytes_max, what
// seals it to `key`. -1 when the policy wants none, or the disk is short; then
// nothing is left of it.
int prefix_file_open(struct store *s, const struct paths *p,
                     const struct policy *policy, uint64_t *bytes_max,
                     uint8_t key[SEAL_KEY_BYTES]);
// Nothing is left of it afterwards, nor of its key. 0 or a negative errno.
int prefix_file_drop(struct store *s, const struct paths *p);
// Bytes on disk; 0 when there is none. Any thread.
int64_t prefix_file_bytes(const struct paths *p);
