// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Key trees (inside storage/)
 *
 * One secret from which KEYTREE_LEAVES keys follow, and from which single keys
 * can be taken out for good. It is a binary tree: each node leads to its two
 * children by a one-way function, leaves are keys. Kept are the nodes that
 * cover what has not been taken out: at first the root alone. To take out a
 * leaf is to put, in place of the node above it, the siblings of the way down
 * to it: every other key follows from them as before, that one from nothing
 * that is left. So records share a key of their month, and one of them can
 * still be shredded without sealing the others anew.
 */

#include "engine/base/seal.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KEYTREE_DEPTH = 16,
    KEYTREE_LEAVES = 1 << KEYTREE_DEPTH,
    KEYTREE_NODE_BYTES = 4 + SEAL_KEY_BYTES, // as written by keytree_save()
    // Every second leaf taken out, and a way down to split at.
    KEYTREE_NODES_MAX = KEYTREE_LEAVES / 2 + KEYTREE_DEPTH,
};

struct keytree; // in locked memory

// A new one, of random bytes. NULL: out of memory.
struct keytree *keytree_new(void);
void keytree_free(struct keytree *t); // NULL is fine

// Bytes that keytree_save() writes.
size_t keytree_bytes(const struct keytree *t);
void keytree_save(void *out, const struct keytree *t);
// NULL with *rc -EUCLEAN: these are no nodes of a tree; -ENOMEM.
struct keytree *keytree_load(const void *data, size_t bytes, int *rc);

// -ENOKEY: it was taken out. Leaves in order cost two splits each.
int keytree_key(uint8_t out[SEAL_KEY_BYTES], struct keytree *t, uint32_t leaf);
// Again is fine. -ENOMEM, and then nothing was taken out.
int keytree_remove(struct keytree *t, uint32_t leaf);
size_t keytree_nodes(const struct keytree *t);
