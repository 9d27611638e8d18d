// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/wordcache.h"

#include "engine/base/bits.h"
#include "engine/base/fault.h"
#include "engine/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 1 << 13,
    WORD_MAX = 19, // bytes
    IDS_MAX = 8,
};

struct cached {
    uint8_t bytes; // 0: an empty slot
    uint8_t count;
    char word[WORD_MAX];
    int32_t ids[IDS_MAX];
};

struct wordcache {
    struct cached slots[SLOTS];
};

int wordcache_create(struct wordcache **out)
{
    *out = fault_calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

void wordcache_destroy(struct wordcache *c)
{
    free(c);
}

static size_t slot_of(const char *word, size_t bytes)
{
    uint64_t h = bytes;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8)
        h = (h ^ bits_load64(word + i)) * 0x9e3779b97f4a7c15u;
    for (; i < bytes; i++)
        h = (h ^ (unsigned char) word[i]) * 0x9e3779b97f4a7c15u;
    return (h >> 40) & (SLOTS - 1);
}

int wordcache_find(const struct wordcache *c, struct token_list *out,
                   const char *word, size_t bytes)
{
    int rc = 0;

    if (bytes > WORD_MAX)
        return 0;
    const struct cached *w = &c->slots[slot_of(word, bytes)];
    if (w->bytes != bytes || memcmp(w->word, word, bytes) != 0)
        return 0;
    for (size_t i = 0; i < w->count && rc == 0; i++)
        rc = token_list_add(out, w->ids[i]);
    return rc < 0 ? rc : 1;
}

void wordcache_put(struct wordcache *c, const char *word, size_t bytes,
                   const int32_t *ids, size_t count)
{
    if (bytes > WORD_MAX || count > IDS_MAX)
        return;
    struct cached *w = &c->slots[slot_of(word, bytes)];
    w->bytes = (uint8_t) bytes;
    w->count = (uint8_t) count;
    memcpy(w->word, word, bytes);
    memcpy(w->ids, ids, count * sizeof(*ids));
}
