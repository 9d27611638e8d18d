// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/bpe.h"

#include "engine/base/fault.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/wordcache.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORT_BYTES = 48, // longer words are merged with a heap
    KEEP_SYMBOLS = 4096,
};

#define RANK_NONE UINT32_MAX
#define NOWHERE   UINT32_MAX

struct merge {
    int32_t left; // -1: an empty slot
    int32_t right;
    uint32_t rank;
    int32_t id;
};

// A token of a long word, in a doubly linked list.
struct symbol {
    int32_t id; // -1: merged into the one before it
    uint32_t prev;
    uint32_t next;
};

// A pair that could merge, as it was when it was found.
struct candidate {
    uint32_t rank;
    uint32_t at; // index of the left symbol
    int32_t left;
    int32_t right;
    int32_t id;
};

struct bpe {
    int32_t byte_ids[256];
    struct merge *merges; // open addressing, at most half full
    uint32_t mask;
    uint32_t n_merges;
    struct wordcache *cache;
    const struct textmap *words; // NULL: none
    // For long words; kept from one to the next unless it was very long.
    struct symbol *symbols;
    size_t symbols_size;
    struct candidate *heap;
    size_t heap_count, heap_size;
};

int bpe_create(struct bpe **out, const int32_t byte_ids[256], uint32_t n_merges)
{
    struct bpe *b = fault_calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    size_t slots = 16;
    while (slots < 2 * (size_t) n_merges)
        slots *= 2;
    b->mask = (uint32_t) (slots - 1);
    b->merges = fault_malloc(slots * sizeof(*b->merges));
    if (!b->merges || wordcache_create(&b->cache) < 0) {
        bpe_destroy(b);
        return -ENOMEM;
    }
    for (size_t i = 0; i < slots; i++)
        b->merges[i].left = -1;
    memcpy(b->byte_ids, byte_ids, sizeof(b->byte_ids));
    *out = b;
    return 0;
}

void bpe_set_words(struct bpe *b, const struct textmap *words)
{
    b->words = words;
}

void bpe_destroy(struct bpe *b)
{
    if (!b)
        return;
    free(b->merges);
    wordcache_destroy(b->cache);
    free(b->symbols);
    free(b->heap);
    free(b);
}

static struct merge *find_slot(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t h = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
    h *= 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    for (uint32_t i = (uint32_t) h & b->mask;; i = (i + 1) & b->mask) {
        struct merge *m = &b->merges[i];
        if (m->left < 0 || (m->left == left && m->right == right))
            return m;
    }
}

void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t id)
{
    uint32_t rank = b->n_merges++;
    struct merge *m = find_slot(b, left, right);

    assert(b->n_merges <= b->mask / 2 + 1);
    if (m->left < 0)
        *m = (struct merge){left, right, rank, id};
}

static uint32_t rank_of(const struct bpe *b, int32_t left, int32_t right)
{
    const struct merge *m = find_slot(b, left, right);
    return m->left < 0 ? RANK_NONE : m->rank;
}

// For a short word looking through all ranks each time is the fastest.
static size_t merge_short(const struct bpe *b, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_BYTES]; // of (i, i + 1)

    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(b, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == RANK_NONE)
            break;
        ids[best] = find_slot(b, ids[best], ids[best + 1])->id;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
        }
        if (best > 0)
            ranks[best - 1] = rank_of(b, ids[best - 1], ids[best]);
        if (best + 1 < n)
            ranks[best] = rank_of(b, ids[best], ids[best + 1]);
    }
    return n;
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct bpe *b, struct candidate c)
{
    size_t i = b->heap_count++;
    assert(b->heap_count <= b->heap_size);
    while (i > 0 && is_before(&c, &b->heap[(i - 1) / 2])) {
        b->heap[i] = b->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    b->heap[i] = c;
}

static struct candidate heap_pop(struct bpe *b)
{
    struct candidate top = b->heap[0];
    struct candidate c = b->heap[--b->heap_count];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < b->heap_count; i = child) {
        if (child + 1 < b->heap_count &&
            is_before(&b->heap[child + 1], &b->heap[child]))
            child++;
        if (!is_before(&b->heap[child], &c))
            break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = c;
    return top;
}

static void push_pair(struct bpe *b, uint32_t left, uint32_t right)
{
    if (left == NOWHERE || right == NOWHERE)
        return;
    const struct symbol *x = &b->symbols[left], *y = &b->symbols[right];
    const struct merge *m = find_slot(b, x->id, y->id);
    if (m->left >= 0)
        heap_push(b, (struct candidate){m->rank, left, x->id, y->id, m->id});
}

// Room for n symbols, and for the candidates that they can make: n - 1 at
// the start and two for each of at most n - 1 merges.
static int reserve(struct bpe *b, size_t n)
{
    if (n >= NOWHERE / 4)
        return -E2BIG;
    if (n > b->symbols_size) {
        void *p = fault_realloc(b->symbols, n * sizeof(*b->symbols));
        if (!p)
            return -ENOMEM;
        b->symbols = p;
        b->symbols_size = n;
    }
    if (3 * n > b->heap_size) {
        void *p = fault_realloc(b->heap, 3 * n * sizeof(*b->heap));
        if (!p)
            return -ENOMEM;
        b->heap = p;
        b->heap_size = 3 * n;
    }
    return 0;
}

static void drop_scratch(struct bpe *b)
{
    free(b->symbols);
    free(b->heap);
    b->symbols = NULL;
    b->heap = NULL;
    b->symbols_size = b->heap_size = 0;
}

static void merge_long(struct bpe *b, size_t n)
{
    b->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        push_pair(b, i, i + 1);
    while (b->heap_count > 0) {
        struct candidate c = heap_pop(b);
        struct symbol *x = &b->symbols[c.at];
        // Stale when either side has changed since it was pushed.
        if (x->id != c.left || x->next == NOWHERE ||
            b->symbols[x->next].id != c.right)
            continue;
        struct symbol *y = &b->symbols[x->next];
        x->id = c.id;
        x->next = y->next;
        y->id = -1;
        if (x->next != NOWHERE)
            b->symbols[x->next].prev = c.at;
        push_pair(b, x->prev, c.at);
        push_pair(b, c.at, x->next);
    }
}

static int encode_long(struct bpe *b, struct token_list *out,
                       const unsigned char *word, size_t n)
{
    int rc = reserve(b, n);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        b->symbols[i] = (struct symbol){
            .id = b->byte_ids[word[i]],
            .prev = i == 0 ? NOWHERE : i - 1,
            .next = i + 1 == n ? NOWHERE : i + 1,
        };
    merge_long(b, n);
    for (uint32_t i = 0; i != NOWHERE && rc == 0; i = b->symbols[i].next)
        rc = token_list_add(out, b->symbols[i].id);
    if (b->symbols_size > KEEP_SYMBOLS)
        drop_scratch(b);
    return rc;
}

int bpe_encode(struct bpe *b, struct token_list *out, const char *word,
               size_t bytes)
{
    const unsigned char *p = (const unsigned char *) word;
    int32_t ids[SHORT_BYTES];
    size_t n = 0;
    int rc = wordcache_find(b->cache, out, word, bytes);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    int32_t whole = b->words ? textmap_find(b->words, word, bytes) : -1;
    if (whole >= 0) {
        ids[n++] = whole;
    } else if (bytes > SHORT_BYTES) {
        return encode_long(b, out, p, bytes);
    } else {
        for (; n < bytes; n++)
            ids[n] = b->byte_ids[p[n]];
        n = merge_short(b, ids, bytes);
    }
    wordcache_put(b->cache, word, bytes, ids, n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = token_list_add(out, ids[i]);
    return rc;
}
