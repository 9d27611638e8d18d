// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. Nodes are sorted by their first leaf and do not overlap.
 * 2. `way` holds keys of the way down from a node: way[d] is the key at depth
 *    d above leaf `way_leaf`, for way_top <= d <= KEYTREE_DEPTH. It never
 *    outlives a removal.
 */

#include "storage/keytree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct node {
    uint32_t first; // leaf
    uint32_t depth; // of the node; the root is 0
    uint8_t key[SEAL_KEY_BYTES];
};

struct keytree {
    size_t count;
    size_t size;
    uint32_t way_leaf;
    uint32_t way_top; // KEYTREE_DEPTH + 1: there is no way
    uint8_t way[KEYTREE_DEPTH + 1][SEAL_KEY_BYTES];
    struct node *nodes; // of its own, so that it can grow
};

static uint32_t width(const struct node *n)
{
    return UINT32_C(1) << (KEYTREE_DEPTH - n->depth);
}

static struct keytree *make(size_t size)
{
    struct keytree *t = seal_alloc(sizeof(*t));

    if (!t)
        return NULL;
    t->nodes = seal_alloc(size * sizeof(t->nodes[0]));
    if (!t->nodes) {
        seal_free(t);
        return NULL;
    }
    t->size = size;
    t->way_top = KEYTREE_DEPTH + 1;
    return t;
}

struct keytree *keytree_new(void)
{
    struct keytree *t = make(1);

    if (!t)
        return NULL;
    seal_random(t->nodes[0].key, SEAL_KEY_BYTES);
    t->count = 1;
    return t;
}

void keytree_free(struct keytree *t)
{
    if (!t)
        return;
    seal_free(t->nodes);
    seal_free(t);
}

size_t keytree_nodes(const struct keytree *t)
{
    return t->count;
}

size_t keytree_bytes(const struct keytree *t)
{
    return t->count * KEYTREE_NODE_BYTES;
}

void keytree_save(void *out, const struct keytree *t)
{
    uint8_t *at = out;

    for (size_t i = 0; i < t->count; i++, at += KEYTREE_NODE_BYTES) {
        const struct node *n = &t->nodes[i];
        at[0] = (uint8_t) n->depth;
        for (int b = 0; b < 3; b++)
            at[1 + b] = (uint8_t) (n->first >> 8 * b);
        memcpy(at + 4, n->key, SEAL_KEY_BYTES);
    }
}

struct keytree *keytree_load(const void *data, size_t bytes, int *rc)
{
    const uint8_t *at = data;
    const size_t count = bytes / KEYTREE_NODE_BYTES;
    uint32_t end = 0;

    *rc = -EUCLEAN;
    if (count == 0 || count > KEYTREE_NODES_MAX || bytes % KEYTREE_NODE_BYTES)
        return NULL;
    struct keytree *t = make(count);
    if (!t) {
        *rc = -ENOMEM;
        return NULL;
    }
    for (; t->count < count; at += KEYTREE_NODE_BYTES) {
        struct node *n = &t->nodes[t->count++];
        n->depth = at[0];
        n->first = at[1] | (uint32_t) at[2] << 8 | (uint32_t) at[3] << 16;
        if (n->depth > KEYTREE_DEPTH || n->first < end ||
            n->first % width(n) != 0 ||
            n->first + width(n) > (uint32_t) KEYTREE_LEAVES) {
            keytree_free(t);
            return NULL;
        }
        end = n->first + width(n);
        memcpy(n->key, at + 4, SEAL_KEY_BYTES);
    }
    *rc = 0;
    return t;
}

// The node above the leaf; where there is none, the one behind it.
static size_t find(const struct keytree *t, uint32_t leaf)
{
    size_t low = 0;
    size_t high = t->count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const struct node *n = &t->nodes[mid];
        if (n->first + width(n) <= leaf)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_above(const struct keytree *t, size_t i, uint32_t leaf)
{
    return i < t->count && t->nodes[i].first <= leaf;
}

// Depth of the lowest node of the way that is above this leaf as well.
static uint32_t shared_depth(const struct keytree *t, uint32_t leaf)
{
    const uint32_t differ = t->way_leaf ^ leaf;
    uint32_t depth = KEYTREE_DEPTH;

    while (depth > 0 && differ >> (KEYTREE_DEPTH - depth) != 0)
        depth--;
    return depth;
}

int keytree_key(uint8_t out[SEAL_KEY_BYTES], struct keytree *t, uint32_t leaf)
{
    uint8_t pair[2 * SEAL_KEY_BYTES];
    uint32_t depth = shared_depth(t, leaf);

    assert(leaf < (uint32_t) KEYTREE_LEAVES);
    if (t->way_top > KEYTREE_DEPTH || depth < t->way_top) {
        const size_t i = find(t, leaf);
        if (!is_above(t, i, leaf))
            return -ENOKEY;
        depth = t->way_top = t->nodes[i].depth;
        memcpy(t->way[depth], t->nodes[i].key, SEAL_KEY_BYTES);
    }
    for (; depth < KEYTREE_DEPTH; depth++) {
        const uint32_t side = leaf >> (KEYTREE_DEPTH - 1 - depth) & 1;
        seal_split(pair, t->way[depth]);
        memcpy(t->way[depth + 1], pair + side * SEAL_KEY_BYTES, SEAL_KEY_BYTES);
    }
    t->way_leaf = leaf;
    memcpy(out, t->way[KEYTREE_DEPTH], SEAL_KEY_BYTES);
    seal_wipe(pair, sizeof(pair));
    return 0;
}

static int reserve(struct keytree *t, size_t count)
{
    if (count <= t->size)
        return 0;
    const size_t size = count > 2 * t->size ? count : 2 * t->size;
    struct node *nodes = seal_alloc(size * sizeof(nodes[0]));
    if (!nodes)
        return -ENOMEM;
    memcpy(nodes, t->nodes, t->count * sizeof(nodes[0]));
    seal_free(t->nodes);
    t->nodes = nodes;
    t->size = size;
    return 0;
}

int keytree_remove(struct keytree *t, uint32_t leaf)
{
    uint8_t pair[2 * SEAL_KEY_BYTES];
    const size_t i = find(t, leaf);

    assert(leaf < (uint32_t) KEYTREE_LEAVES);
    if (!is_above(t, i, leaf))
        return 0;
    const size_t more = KEYTREE_DEPTH - t->nodes[i].depth;
    if (reserve(t, t->count + more) < 0)
        return -ENOMEM;
    // The way may know the key, or one above it.
    seal_wipe(t->way, sizeof(t->way));
    t->way_top = KEYTREE_DEPTH + 1;

    struct node at = t->nodes[i];
    memmove(&t->nodes[i + more], &t->nodes[i + 1],
            (t->count - i - 1) * sizeof(at));
    // Siblings fall into place from both ends.
    size_t left = i;
    size_t right = i + more;
    while (at.depth < KEYTREE_DEPTH) {
        seal_split(pair, at.key);
        at.depth++;
        const uint32_t half = width(&at);
        const bool goes_right = leaf >= at.first + half;
        struct node *sibling =
            goes_right ? &t->nodes[left++] : &t->nodes[--right];
        sibling->depth = at.depth;
        sibling->first = goes_right ? at.first : at.first + half;
        memcpy(sibling->key, pair + (goes_right ? 0 : SEAL_KEY_BYTES),
               SEAL_KEY_BYTES);
        at.first += goes_right ? half : 0;
        memcpy(at.key, pair + (goes_right ? SEAL_KEY_BYTES : 0),
               SEAL_KEY_BYTES);
    }
    assert(left == right);
    t->count += more;
    t->count--;
    seal_wipe(&t->nodes[t->count], sizeof(at));
    seal_wipe(&at, sizeof(at));
    seal_wipe(pair, sizeof(pair));
    return 0;
}
