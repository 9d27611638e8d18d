// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/memplan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"

/*
 * First fit: intervals are placed one after the other, each at the lowest
 * offset that is free as long as it lives. The result hangs on the order, so
 * several are tried: by size, by area, by lifetime, by first step. The best is
 * then improved: what touches the peak goes to the front, again and again.
 */

enum { IMPROVE_ROUNDS = 48 };

struct fit {
    const struct liveness *l;
    uint32_t *order;  // intervals in the order of placing
    uint32_t *next;   // the order to try after that
    uint32_t *placed; // by offset
    size_t *offsets;
    size_t peak;
    size_t *best_offsets;
    size_t best_peak;
};

struct rank {
    uint64_t key; // larger is placed earlier
    uint32_t interval;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a;
    const struct rank *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->interval < y->interval ? -1 : x->interval > y->interval;
}

static uint64_t rank_key(const struct liveness *l, uint32_t i, int which)
{
    const struct interval *v = &l->intervals[i];
    const uint64_t steps = v->last - v->first + 1u;

    switch (which) {
    case 0:
        return v->bytes;
    case 1:
        return v->bytes * steps;
    case 2:
        return steps << 40 | v->bytes >> 6;
    default:
        return UINT32_MAX - v->first;
    }
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
    for (uint32_t i = 0; i < n; i++) {
        const size_t end = place(f, f->order[i], i);
        if (end > f->peak)
            f->peak = end;
    }
    if (f->peak >= f->best_peak)
        return;
    f->best_peak = f->peak;
    memcpy(f->best_offsets, f->offsets, n * sizeof(*f->offsets));
}

static int try_ranks(struct fit *f, int which, struct arena *a)
{
    const uint32_t n = f->l->n;

    struct rank *ranks = arena_calloc(a, n + 1u, sizeof(*ranks));
    if (!ranks)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        ranks[i] = (struct rank){rank_key(f->l, i, which), i};
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

static int alloc(struct fit *f, const struct liveness *l, struct arena *a)
{
    const size_t n = l->n + 1u;
    f->l = l;
    f->best_peak = SIZE_MAX;
    f->order = arena_calloc(a, n, sizeof(*f->order));
    f->placed = arena_calloc(a, n, sizeof(*f->placed));
    f->offsets = arena_calloc(a, n, sizeof(*f->offsets));
    f->next = arena_calloc(a, n, sizeof(*f->next));
    f->best_offsets = arena_calloc(a, n, sizeof(*f->best_offsets));
    if (!f->order || !f->placed || !f->offsets || !f->next || !f->best_offsets)
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
    if ((rc = alloc(&f, l, a)) < 0)
        return rc;
    for (int which = 0; which < 4 && f.best_peak > l->peak; which++)
        if ((rc = try_ranks(&f, which, a)) < 0)
            return rc;
    for (int i = 0; i < IMPROVE_ROUNDS && f.best_peak > l->peak; i++)
        improve(&f);

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
