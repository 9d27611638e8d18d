// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/merkle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum tag { TAG_LEAF, TAG_INNER, TAG_EMPTY, TAG_CROWD };

static void hash_leaf(uint8_t out[HASH_BYTES],
                      const uint8_t salt[MERKLE_SALT_BYTES],
                      const uint8_t key[HASH_BYTES])
{
    uint8_t text[1 + MERKLE_SALT_BYTES + HASH_BYTES] = {TAG_LEAF};

    memcpy(text + 1, salt, MERKLE_SALT_BYTES);
    memcpy(text + 1 + MERKLE_SALT_BYTES, key, HASH_BYTES);
    hash_bytes(out, text, sizeof(text));
}

static void hash_inner(uint8_t out[HASH_BYTES], const uint8_t left[HASH_BYTES],
                       const uint8_t right[HASH_BYTES])
{
    uint8_t text[1 + 2 * HASH_BYTES] = {TAG_INNER};

    memcpy(text + 1, left, HASH_BYTES);
    memcpy(text + 1 + HASH_BYTES, right, HASH_BYTES);
    hash_bytes(out, text, sizeof(text));
}

static void hash_crowd(uint8_t out[HASH_BYTES],
                       const struct merkle_leaf *leaves, size_t count)
{
    const uint8_t tag = TAG_CROWD;
    uint8_t leaf[HASH_BYTES];
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, &tag, 1);
    for (size_t i = 0; i < count; i++) {
        hash_leaf(leaf, leaves[i].salt, leaves[i].key);
        hash_update(&h, leaf, sizeof(leaf));
    }
    hash_final(&h, out);
}

void merkle_empty(uint8_t out[HASH_BYTES])
{
    const uint8_t tag = TAG_EMPTY;

    hash_bytes(out, &tag, 1);
}

static bool bit_at(const uint8_t key[HASH_BYTES], uint32_t depth)
{
    return (key[depth / 8] >> (7 - depth % 8)) & 1;
}

// Where keys with a one at `depth` begin; all agree on the bits above.
static size_t split(const struct merkle_leaf *leaves, size_t count,
                    uint32_t depth)
{
    size_t low = 0, high = count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (bit_at(leaves[mid].key, depth))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

// One key alone: a chain from its leaf up to `depth`.
static void hash_chain(uint8_t out[HASH_BYTES], const struct merkle_leaf *leaf,
                       uint32_t depth, const uint8_t empty[HASH_BYTES])
{
    hash_leaf(out, leaf->salt, leaf->key);
    for (uint32_t d = MERKLE_DEPTH; d-- > depth;) {
        if (bit_at(leaf->key, d))
            hash_inner(out, empty, out);
        else
            hash_inner(out, out, empty);
    }
}

// At most MERKLE_DEPTH deep. NOLINTNEXTLINE(misc-no-recursion)
static void hash_node(uint8_t out[HASH_BYTES], const struct merkle_leaf *leaves,
                      size_t count, uint32_t depth,
                      const uint8_t empty[HASH_BYTES])
{
    uint8_t left[HASH_BYTES], right[HASH_BYTES];

    if (count == 0) {
        memcpy(out, empty, HASH_BYTES);
    } else if (count == 1) {
        hash_chain(out, leaves, depth, empty);
    } else if (depth == MERKLE_DEPTH) {
        hash_crowd(out, leaves, count);
    } else {
        const size_t n = split(leaves, count, depth);
        hash_node(left, leaves, n, depth + 1, empty);
        hash_node(right, leaves + n, count - n, depth + 1, empty);
        hash_inner(out, left, right);
    }
}

static int compare(const void *a, const void *b)
{
    // Key, then salt: they lie in this order.
    return memcmp(a, b, sizeof(struct merkle_leaf));
}

size_t merkle_sort(struct merkle_leaf *leaves, size_t count)
{
    size_t n = 0;

    if (count == 0)
        return 0;
    qsort(leaves, count, sizeof(leaves[0]), compare);
    for (size_t i = 0; i < count; i++)
        if (n == 0 || memcmp(leaves[n - 1].key, leaves[i].key, HASH_BYTES) != 0)
            leaves[n++] = leaves[i];
    return n;
}

void merkle_root(uint8_t out[HASH_BYTES], const struct merkle_leaf *leaves,
                 size_t count)
{
    uint8_t empty[HASH_BYTES];

    merkle_empty(empty);
    hash_node(out, leaves, count, 0, empty);
}

int merkle_prove(struct merkle_proof *out, const struct merkle_leaf *leaves,
                 size_t count, const uint8_t key[HASH_BYTES])
{
    uint8_t empty[HASH_BYTES];

    memset(out, 0, sizeof(*out));
    merkle_empty(empty);
    while (count > 0 && out->depth < MERKLE_DEPTH) {
        const uint32_t d = out->depth++;
        const size_t n = split(leaves, count, d);
        const bool is_right = bit_at(key, d);
        if (is_right) {
            hash_node(out->siblings[d], leaves, n, d + 1, empty);
            leaves += n;
            count -= n;
        } else {
            hash_node(out->siblings[d], leaves + n, count - n, d + 1, empty);
            count = n;
        }
    }
    if (count == 0)
        return 0;
    if (count > 1 || memcmp(leaves[0].key, key, HASH_BYTES) != 0)
        return -ENOTSUP;
    out->is_member = true;
    memcpy(out->salt, leaves[0].salt, MERKLE_SALT_BYTES);
    return 0;
}

int merkle_check(const uint8_t root[HASH_BYTES], const uint8_t key[HASH_BYTES],
                 const struct merkle_proof *p)
{
    uint8_t at[HASH_BYTES];

    if (p->depth > MERKLE_DEPTH || (p->is_member && p->depth != MERKLE_DEPTH))
        return -EBADMSG;
    if (p->is_member)
        hash_leaf(at, p->salt, key);
    else
        merkle_empty(at);
    for (uint32_t d = p->depth; d-- > 0;) {
        if (bit_at(key, d))
            hash_inner(at, p->siblings[d], at);
        else
            hash_inner(at, at, p->siblings[d]);
    }
    return memcmp(at, root, HASH_BYTES) == 0 ? 0 : -EBADMSG;
}
