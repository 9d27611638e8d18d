// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Merkle tree of a set
 *
 * The root stands for a set of keys (digests of 32 bytes), and a path proves
 * that a key is in it or is not, without telling which others are. The tree is
 * a trie over the first MERKLE_DEPTH bits of the keys, highest bit first:
 *
 *   leaf    SHA-256(00 salt key)       a salt of its own for each key
 *   inner   SHA-256(01 left right)
 *   empty   SHA-256(02)                no key below
 *   crowd   SHA-256(03 leaf leaf ..)   several keys of the same first bits
 *
 * All paths to a key go down to MERKLE_DEPTH, so that a neighbour on the way
 * tells no more than that something lies there: whoever guesses a key cannot
 * try it without its salt. A key that is not there ends at an empty node above.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/hash.h"

enum {
    MERKLE_DEPTH = 64,
    MERKLE_SALT_BYTES = 16,
};

struct merkle_leaf {
    uint8_t key[HASH_BYTES];
    uint8_t salt[MERKLE_SALT_BYTES];
};

struct merkle_proof {
    bool is_member;
    uint8_t salt[MERKLE_SALT_BYTES];            // of a member
    uint32_t depth;                             // of a member: MERKLE_DEPTH
    uint8_t siblings[MERKLE_DEPTH][HASH_BYTES]; // from the root down
};

// Sorted by key, each once (with its smallest salt); returns how many stay.
size_t merkle_sort(struct merkle_leaf *leaves, size_t count);
// Of sorted leaves.
void merkle_root(uint8_t out[HASH_BYTES], const struct merkle_leaf *leaves,
                 size_t count);
// -ENOTSUP: another key has the same first MERKLE_DEPTH bits, which nobody
// meets by chance.
int merkle_prove(struct merkle_proof *out, const struct merkle_leaf *leaves,
                 size_t count, const uint8_t key[HASH_BYTES]);
// 0, or -EBADMSG when the proof does not lead to the root.
int merkle_check(const uint8_t root[HASH_BYTES], const uint8_t key[HASH_BYTES],
                 const struct merkle_proof *p);
// What stands for nothing.
void merkle_empty(uint8_t out[HASH_BYTES]);
