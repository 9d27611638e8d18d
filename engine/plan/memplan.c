// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/memplan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/rng.h"

/*
 * First fit: intervals are placed one after the other, each at the lowest
 * offset that is free as long as it lives. The result hangs on the order, so
 * several are tried until one comes near the sum of live bytes, which no plan
 * can beat: by how much is live beside an interval, by size, by area, by
 * lifetime, by first step. If none does, the last is improved: what touches the
 * peak goes to the front, again and again. After that the best is shuffled a
 * little, many times, by numbers that are the same in every run.
 */

enum {
    RANKS = 5,
    IMPROVE_ROUNDS = 32,
    SHUFFLE_ROUNDS = 800,
    SHUFFLE_WORK = 20 << 20, // comparisons of intervals, about
};

struct fit {
    const struct liveness *l;
    size_t *breadth;  // the most that is live at once beside an interval
    uint32_t *order;  // intervals in the order of placing
    uint32_t *next;   // the order to try after that
    uint32_t *placed; // by offset
    size_t *offsets;
    size_t peak;
    size_t enough; // a plan below it is not improved
    size_t limit;  // a plan above it is not finished
    size_t *best_offsets;
    uint32_t *best_order;
    size_t best_peak;
};

struct rank {
    uint64_t key; // larger is placed earlier, then larger bytes
    size_t bytes;
    uint32_t interval;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a;
    const struct rank *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->interval < y->interval ? -1 : x->interval > y->interval;
}

static uint64_t rank_key(const struct fit *f, uint32_t i, int which)
{
    const struct interval *v = &f->l->intervals[i];
    const uint64_t steps = v->last - v->first + 1u;

    switch (which) {
    case 0:
        return f->breadth[i];
    case 1:
        return v->bytes;
    case 2:
        return v->bytes * steps;
    case 3:
        return steps << 40 | v->bytes >> 6;
    default:
        return UINT32_MAX - v->first;
    }
}

// Sums live bytes by step, then takes the largest over each lifetime.
static int find_breadth(struct fit *f, struct arena *a)
{
    const struct liveness *l = f->l;
    uint32_t steps = 0;

    for (uint32_t i = 0; i < l->n; i++)
        if (l->intervals[i].last + 1 > steps)
            steps = l->intervals[i].last + 1;
    size_t *live = arena_calloc(a, steps + 1u, sizeof(*live));
    if (!live)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->n; i++)
        for (uint32_t s = l->intervals[i].first; s <= l->intervals[i].last; s++)
            live[s] += l->intervals[i].bytes;
    for (uint32_t i = 0; i < l->n; i++)
        for (uint32_t s = l->intervals[i].first; s <= l->intervals[i].last; s++)
            if (live[s] > f->breadth[i])
                f->breadth[i] = live[s];
    return 0;
}

static bool meet(const struct interval *a, const struct interval *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// Place interval `id`; `n` were placed before it.
static size_t place(struct fit *f, uint32_t id, uint32_t n)
{
    const struct interval *v = &f->l->intervals[id];
    size_t offset = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t other = f->placed[i];
        const struct interval *w = &f->l->intervals[other];
        if (!meet(v, w))
            continue;
        if (f->offsets[other] >= offset + v->bytes)
            break; // all that follow start higher still
        if (f->offsets[other] + w->bytes > offset)
            offset = f->offsets[other] + w->bytes;
    }
    f->offsets[id] = offset;

    uint32_t at = n;
    while (at > 0 && f->offsets[f->placed[at - 1]] > offset) {
        f->placed[at] = f->placed[at - 1];
        at--;
    }
    f->placed[at] = id;
    return offset + v->bytes;
}

static void try_order(struct fit *f)
{
    const uint32_t n = f->l->n;

    f->peak = 0;
    for (uint32_t i = 0; i < n && f->peak <= f->limit; i++) {
        const size_t end = place(f, f->order[i], i);
        if (end > f->peak)
            f->peak = end;
    }
    // Equally good orders are taken too: they lead elsewhere.
    if (f->peak > f->best_peak)
        return;
    f->best_peak = f->peak;
    memcpy(f->best_order, f->order, n * sizeof(*f->order));
    memcpy(f->best_offsets, f->offsets, n * sizeof(*f->offsets));
}

static int try_ranks(struct fit *f, int which, struct arena *a)
{
    const uint32_t n = f->l->n;

    struct rank *ranks = arena_calloc(a, n + 1u, sizeof(*ranks));
    if (!ranks)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        ranks[i] =
            (struct rank){rank_key(f, i, which), f->l->intervals[i].bytes, i};
    qsort(ranks, n, sizeof(*ranks), compare_ranks);
    for (uint32_t i = 0; i < n; i++)
        f->order[i] = ranks[i].interval;
    try_order(f);
    return 0;
}

// The last order again, with what touched its peak in front.
static void improve(struct fit *f)
{
    const uint32_t n = f->l->n;
    uint32_t at = 0;

    for (int touches = 1; touches >= 0; touches--) {
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t id = f->order[i];
            const size_t end = f->offsets[id] + f->l->intervals[id].bytes;
            if ((end == f->peak) == touches)
                f->next[at++] = id;
        }
    }
    memcpy(f->order, f->next, n * sizeof(*f->order));
    try_order(f);
}

// Where the best order has the interval that ends at its peak.
static uint32_t find_top(const struct fit *f)
{
    const uint32_t n = f->l->n;
    uint32_t i = 0;

    while (i + 1 < n && f->best_offsets[f->best_order[i]] +
                                f->l->intervals[f->best_order[i]].bytes !=
                            f->best_peak)
        i++;
    return i;
}

// Moves an interval of the best order forwards, every other time the one that
// ends at its peak, and swaps two others.
static void shuffle(struct fit *f, struct rng *r)
{
    const uint32_t n = f->l->n;
    const uint32_t from = rng_below(r, 2) ? find_top(f) : rng_below(r, n);
    const uint32_t to = rng_below(r, from + 1);
    const uint32_t a = rng_below(r, n);
    const uint32_t b = rng_below(r, n);

    memcpy(f->order, f->best_order, n * sizeof(*f->order));
    const uint32_t moved = f->order[from];
    memmove(&f->order[to + 1], &f->order[to], (from - to) * sizeof(*f->order));
    f->order[to] = moved;
    const uint32_t first = f->order[a];
    f->order[a] = f->order[b];
    f->order[b] = first;
    try_order(f);
}

static void search(struct fit *f)
{
    const uint64_t n = f->l->n;
    struct rng r;

    for (int i = 0; i < IMPROVE_ROUNDS && f->best_peak > f->enough; i++)
        improve(f);
    f->limit = f->best_peak;
    rng_init(&r, 0, n);
    for (uint64_t i = 0; i < SHUFFLE_ROUNDS && i * n * n < SHUFFLE_WORK &&
                         f->best_peak > f->enough;
         i++) {
        shuffle(f, &r);
        f->limit = f->best_peak;
    }
}

static int alloc(struct fit *f, const struct liveness *l, struct arena *a)
{
    const size_t n = l->n + 1u;
    f->l = l;
    f->best_peak = SIZE_MAX;
    f->enough = l->peak + l->peak / 64;
    f->limit = SIZE_MAX;
    f->breadth = arena_calloc(a, n, sizeof(*f->breadth));
    f->order = arena_calloc(a, n, sizeof(*f->order));
    f->placed = arena_calloc(a, n, sizeof(*f->placed));
    f->offsets = arena_calloc(a, n, sizeof(*f->offsets));
    f->best_order = arena_calloc(a, n, sizeof(*f->best_order));
    f->next = arena_calloc(a, n, sizeof(*f->next));
    f->best_offsets = arena_calloc(a, n, sizeof(*f->best_offsets));
    if (!f->breadth || !f->order || !f->placed || !f->offsets || !f->next ||
        !f->best_order || !f->best_offsets)
        return -ENOMEM;
    return 0;
}

int memplan_assign(struct memplan **out, const struct liveness *l,
                   struct arena *a)
{
    struct fit f = {0};
    int rc;

    struct memplan *p = arena_calloc(a, 1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    if ((rc = alloc(&f, l, a)) < 0 || (rc = find_breadth(&f, a)) < 0)
        return rc;
    for (int which = 0; which < RANKS && f.best_peak > f.enough; which++)
        if ((rc = try_ranks(&f, which, a)) < 0)
            return rc;
    search(&f);

    p->liveness = l;
    p->offsets = f.best_offsets;
    p->peak = f.best_peak;
    assert(memplan_check(p));
    *out = p;
    return 0;
}

bool memplan_check(const struct memplan *p)
{
    const struct interval *v = p->liveness->intervals;
    const uint32_t n = p->liveness->n;

    for (uint32_t i = 0; i < n; i++) {
        const size_t end = p->offsets[i] + v[i].bytes;
        if (p->offsets[i] % LIVENESS_ALIGN != 0 || end > p->peak)
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (meet(&v[i], &v[k]) &&
                p->offsets[i] < p->offsets[k] + v[k].bytes &&
                p->offsets[k] < end)
                return false;
    }
    return true;
}
