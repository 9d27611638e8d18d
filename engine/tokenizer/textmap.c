// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/textmap.h"

#include "engine/base/bits.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int textmap_init(struct textmap *m, uint32_t count, textmap_text_fn *text,
                 const void *owner)
{
    size_t slots = 16;
    while (slots < (size_t) count + count / 2)
        slots *= 2;
    m->slots = fault_malloc(slots * sizeof(*m->slots));
    if (!m->slots)
        return -ENOMEM;
    memset(m->slots, 0xff, slots * sizeof(*m->slots));
    m->mask = (uint32_t) (slots - 1);
    m->text = text;
    m->owner = owner;
    return 0;
}

void textmap_finish(struct textmap *m)
{
    free(m->slots);
    *m = (struct textmap){0};
}

static uint32_t hash_of(const char *text, size_t bytes)
{
    uint64_t h = bytes * 0x9e3779b97f4a7c15u;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8)
        h = (h ^ bits_load64(text + i)) * 0x9e3779b97f4a7c15u;
    for (; i < bytes; i++)
        h = (h ^ (unsigned char) text[i]) * 0x9e3779b97f4a7c15u;
    return (uint32_t) (h >> 32);
}

static int32_t *slot_of(const struct textmap *m, const char *text, size_t bytes)
{
    for (uint32_t i = hash_of(text, bytes) & m->mask;; i = (i + 1) & m->mask) {
        int32_t id = m->slots[i];
        size_t n;
        if (id < 0)
            return &m->slots[i];
        const char *p = m->text(m->owner, id, &n);
        if (n == bytes && memcmp(p, text, n) == 0)
            return &m->slots[i];
    }
}

void textmap_add(struct textmap *m, int32_t id)
{
    size_t bytes;
    const char *text = m->text(m->owner, id, &bytes);
    int32_t *slot = slot_of(m, text, bytes);
    if (*slot < 0)
        *slot = id;
}

int32_t textmap_find(const struct textmap *m, const char *text, size_t bytes)
{
    return *slot_of(m, text, bytes);
}
