// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/suggest.h"

enum { WORD_MAX = 32 }; // longer ones are no commands

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Levenshtein's distance, in which two neighbours that changed places are one
// slip. Both words have at most WORD_MAX bytes.
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t rows[3][WORD_MAX + 1]; // the last but one, the last, this one
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= n_b; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        now[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            now[j] = min(min(last[j], now[j - 1]) + 1,
                         last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[n_b];
}

void suggest_init(struct suggest *s, const char *typed, size_t bytes)
{
    // One slip in a short word, two in others.
    *s = (struct suggest){.typed = typed,
                          .typed_bytes = bytes,
                          .slips = bytes < 5 ? 2 : 3};
}

void suggest_consider(struct suggest *s, const char *word, size_t bytes)
{
    if (s->typed_bytes > WORD_MAX || bytes > WORD_MAX || s->typed_bytes < 2)
        return;
    const size_t d = distance(s->typed, s->typed_bytes, word, bytes);
    if (d >= s->slips)
        return;
    s->slips = d;
    s->best = word;
    s->best_bytes = bytes;
}
