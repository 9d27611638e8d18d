// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/arena.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// The first block is small, and comes from the heap. Later ones are whole
// mappings: what a compile took goes back to the system at once, where the heap
// would keep it for the rest of the run.
enum {
    ARENA_ALIGN = 16,
    ARENA_BLOCK = 64 << 10,
    ARENA_MAPPING = 1 << 20,
};

struct block {
    struct block *next;
    size_t used;
    size_t size;
    bool is_mapped;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

struct arena {
    struct block *head;
    size_t limit;
    size_t bytes; // handed out, padding included
};

int arena_create(struct arena **out, size_t limit)
{
    struct arena *a = fault_calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->limit = limit;
    *out = a;
    return 0;
}

static void block_free(struct block *b)
{
    if (b->is_mapped)
        (void) munmap(b, sizeof(*b) + b->size);
    else
        free(b);
}

void arena_destroy(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        block_free(b);
    }
    free(a);
}

// Zeroed memory for a block and its header; NULL: there is none.
static struct block *block_map(size_t bytes)
{
    if (fault_hit(FAULT_ALLOC))
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static struct block *block_add(struct arena *a, size_t bytes)
{
    const bool is_mapped = a->head || bytes > ARENA_BLOCK;
    const size_t least =
        is_mapped ? ARENA_MAPPING - sizeof(struct block) : ARENA_BLOCK;
    const size_t size = bytes > least ? bytes : least;
    struct block *b = is_mapped ? block_map(sizeof(*b) + size)
                                : fault_calloc(1, sizeof(*b) + size);

    if (!b)
        return NULL;
    b->size = size;
    b->is_mapped = is_mapped;
    b->next = a->head;
    a->head = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (bytes == 0)
        bytes = ARENA_ALIGN;
    if (bytes > a->limit - a->bytes)
        return NULL;

    struct block *b = a->head;
    if (!b || b->size - b->used < bytes)
        b = block_add(a, bytes);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += bytes;
    a->bytes += bytes;
    return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return arena_alloc(a, bytes);
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = arena_alloc(a, n);
    if (p)
        memcpy(p, s, n);
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t) n + 1);
    if (p)
        (void) vsnprintf(p, (size_t) n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t arena_bytes(const struct arena *a)
{
    return a->bytes;
}
