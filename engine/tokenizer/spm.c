// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tokenizer/spm.h"

#include "engine/base/fault.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/textmap.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/wordcache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEEP_SYMBOLS = 4096,
};

#define NOWHERE UINT32_MAX

// A part of the text, in a doubly linked list.
struct symbol {
    uint32_t begin;
    uint32_t bytes; // 0: joined to the one before it
    uint32_t prev, next;
    int32_t id; // negative: its text is no token
};

// Neighbours that could be joined, as they were when they were found.
struct candidate {
    float score;
    uint32_t left, right;
    uint32_t bytes; // of both
    int32_t id;
};

struct spm {
    struct spm_params params;
    struct wordcache *cache;
    char *text; // of a whole call, blanks as blanks
    size_t text_size;
    struct symbol *symbols;
    size_t symbols_size;
    struct candidate *heap;
    size_t heap_count, heap_size;
};

int spm_create(struct spm **out, const struct spm_params *params)
{
    struct spm *s = fault_calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    if (wordcache_create(&s->cache) < 0) {
        free(s);
        return -ENOMEM;
    }
    s->params = *params;
    *out = s;
    return 0;
}

static void drop_scratch(struct spm *s)
{
    free(s->symbols);
    free(s->heap);
    free(s->text);
    s->symbols = NULL;
    s->heap = NULL;
    s->text = NULL;
    s->symbols_size = s->heap_size = s->text_size = 0;
}

void spm_destroy(struct spm *s)
{
    if (!s)
        return;
    drop_scratch(s);
    wordcache_destroy(s->cache);
    free(s);
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
    return a->score != b->score ? a->score > b->score : a->left < b->left;
}

static void heap_push(struct spm *s, struct candidate c)
{
    size_t i = s->heap_count++;
    while (i > 0 && is_before(&c, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = c;
}

static struct candidate heap_pop(struct spm *s)
{
    struct candidate top = s->heap[0];
    struct candidate c = s->heap[--s->heap_count];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < s->heap_count; i = child) {
        if (child + 1 < s->heap_count &&
            is_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!is_before(&s->heap[child], &c))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = c;
    return top;
}

static void push_pair(struct spm *s, const char *text, uint32_t left,
                      uint32_t right)
{
    if (left == NOWHERE || right == NOWHERE)
        return;
    const struct symbol *x = &s->symbols[left], *y = &s->symbols[right];
    uint32_t bytes = x->bytes + y->bytes;
    if (bytes > s->params.longest)
        return;
    int32_t id = textmap_find(s->params.texts, text + x->begin, bytes);
    if (id >= 0)
        heap_push(s, (struct candidate){s->params.scores[id], left, right,
                                        bytes, id});
}

// Room for n symbols and the pairs they make, see bpe.c.
static int reserve(struct spm *s, size_t n)
{
    if (n >= NOWHERE / 4)
        return -E2BIG;
    if (n > s->symbols_size) {
        void *p = fault_realloc(s->symbols, n * sizeof(*s->symbols));
        if (!p)
            return -ENOMEM;
        s->symbols = p;
        s->symbols_size = n;
    }
    if (3 * n > s->heap_size) {
        void *p = fault_realloc(s->heap, 3 * n * sizeof(*s->heap));
        if (!p)
            return -ENOMEM;
        s->heap = p;
        s->heap_size = 3 * n;
    }
    return 0;
}

// One symbol for each character, or byte that is part of none. How many.
static uint32_t split(struct spm *s, const char *text, size_t bytes)
{
    uint32_t n = 0;

    for (size_t at = 0; at < bytes; n++) {
        uint32_t length =
            (uint32_t) utf8_length((const unsigned char *) text + at,
                                   bytes - at);
        if (length == 0)
            length = 1;
        s->symbols[n] = (struct symbol){
            .begin = (uint32_t) at,
            .bytes = length,
            .prev = n == 0 ? NOWHERE : n - 1,
            .next = at + length == bytes ? NOWHERE : n + 1,
            .id = textmap_find(s->params.texts, text + at, length),
        };
        at += length;
    }
    return n;
}

static void join(struct spm *s, const char *text, uint32_t n)
{
    s->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        push_pair(s, text, i, i + 1);
    while (s->heap_count > 0) {
        struct candidate c = heap_pop(s);
        struct symbol *x = &s->symbols[c.left], *y = &s->symbols[c.right];
        // Stale when either side has changed since it was pushed.
        if (x->bytes == 0 || y->bytes == 0 || x->bytes + y->bytes != c.bytes)
            continue;
        x->bytes = c.bytes;
        x->id = c.id;
        x->next = y->next;
        y->bytes = 0;
        if (x->next != NOWHERE)
            s->symbols[x->next].prev = c.left;
        push_pair(s, text, x->prev, c.left);
        push_pair(s, text, c.left, x->next);
    }
}

static int add_symbol(const struct spm *s, struct token_list *out,
                      const char *text, const struct symbol *x)
{
    int rc = 0;
    if (x->id >= 0)
        return token_list_add(out, x->id);
    for (uint32_t i = 0; i < x->bytes && rc == 0; i++)
        rc = token_list_add(out,
                            s->params
                                .byte_ids[(unsigned char) text[x->begin + i]]);
    return rc;
}

static int encode_word(struct spm *s, struct token_list *out, const char *text,
                       size_t bytes)
{
    size_t count = out->count;
    int rc = wordcache_find(s->cache, out, text, bytes);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    if ((rc = reserve(s, bytes)) < 0)
        return rc;
    join(s, text, split(s, text, bytes));
    for (uint32_t i = 0; i != NOWHERE && rc == 0; i = s->symbols[i].next)
        rc = add_symbol(s, out, text, &s->symbols[i]);
    if (rc == 0)
        wordcache_put(s->cache, text, bytes, out->ids + count,
                      out->count - count);
    return rc;
}

// The text with its blanks as blanks, and perhaps one more in front: borrowed
// from `s` where it is not `text` itself.
static int prepare(struct spm *s, const char **out, size_t *out_bytes,
                   const char *text, size_t bytes, bool space)
{
    static const char mark[] = "\xe2\x96\x81";
    const char *hit = memmem(text, bytes, mark, 3);

    *out = text;
    *out_bytes = bytes;
    if (!space && !hit)
        return 0;
    if (bytes + 1 > s->text_size) {
        char *p = fault_realloc(s->text, bytes + 1);
        if (!p)
            return -ENOMEM;
        s->text = p;
        s->text_size = bytes + 1;
    }
    size_t n = 0;
    if (space)
        s->text[n++] = ' ';
    for (const char *end = text + bytes; text < end;) {
        size_t plain = (size_t) ((hit ? hit : end) - text);
        memcpy(s->text + n, text, plain);
        n += plain;
        text += plain;
        if (!hit)
            break;
        s->text[n++] = ' ';
        text += 3;
        hit = memmem(text, (size_t) (end - text), mark, 3);
    }
    *out = s->text;
    *out_bytes = n;
    return 0;
}

// Blanks and what follows up to the next blank.
static size_t word_bytes(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && text[at] == ' ')
        at++;
    const char *end = at < bytes ? memchr(text + at, ' ', bytes - at) : NULL;
    return end ? (size_t) (end - text) : bytes;
}

int spm_encode(struct spm *s, struct token_list *out, const char *text,
               size_t bytes, bool space)
{
    if (bytes == 0)
        return 0;
    int rc = prepare(s, &text, &bytes, text, bytes, space);
    while (bytes > 0 && rc == 0) {
        size_t n = s->params.has_words ? word_bytes(text, bytes) : bytes;
        rc = encode_word(s, out, text, n);
        text += n;
        bytes -= n;
    }
    if (s->symbols_size > KEEP_SYMBOLS || s->text_size > KEEP_SYMBOLS)
        drop_scratch(s);
    return rc;
}
