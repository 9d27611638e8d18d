// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Keys of what a version learned
 *
 * The Merkle tree of a version's manifest has two kinds of keys: one of each
 * record as a whole, and one of each text in it, so that "this sentence was no
 * record, no prompt, no answer and no turn of a chat" can be proved as well as
 * "this record was not there". Exact bytes count, times and streams do not.
 *
 *   text    SHA-256("pockd text" 00 bytes)
 *   record  SHA-256("pockd record" 00 kind (u8) then, for each part in order,
 *           its length (u64, little-endian) and bytes); parts are the text;
 *           prompt and completion, and of feedback "1" (taken) or "0"; role and
 *           content of each message
 */

#include "engine/base/hash.h"
#include "ipc/rpc_record.h"

void rpc_leaf_text(uint8_t key[HASH_BYTES], const char *text, size_t bytes);
void rpc_leaf_record(uint8_t key[HASH_BYTES], const struct rpc_record *r);

// The i-th text of a record. False past the end.
bool rpc_leaf_part(const struct rpc_record *r, uint32_t i,
                   struct codec_bytes *text);
