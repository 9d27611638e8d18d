// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants:
 * 1. Items of a row do not overlap, and are sorted by place.
 * 2. A place that belongs to no item sees only itself and weighs nothing.
 * 3. The result depends on the windows' sizes and order alone.
 */

#include "engine/train/packing.h"

#include "engine/base/rng.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Streams of random numbers: one for each epoch, from here.
#define STREAM_EPOCH ((uint64_t) 1 << 32)

uint32_t packing_lengths(uint32_t out[PACKING_LENGTHS], uint32_t length)
{
    uint32_t n = 0;

    for (uint32_t i = 1; i <= PACKING_LENGTHS; i++) {
        // Multiples of 16 suit the kernels; the longest is as asked.
        uint32_t l = length * i / PACKING_LENGTHS;
        if (i < PACKING_LENGTHS)
            l = (l + 15) / 16 * 16;
        if (l > length)
            l = length;
        if (n == 0 || l > out[n - 1])
            out[n++] = l;
    }
    return n;
}

static uint32_t places(const struct dataset *d, uint32_t window)
{
    return d->windows[window].count - 1;
}

// First fit into rows of `length`, in the order of items[]. `used` has room
// for a row per item. Returns the number of rows.
static uint32_t fit(struct packing_item *items, uint32_t n, uint32_t *used,
                    const struct dataset *d, uint32_t length)
{
    uint32_t n_rows = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t need = places(d, items[i].window);
        uint32_t row = 0;
        while (row < n_rows && used[row] + need > length)
            row++;
        if (row == n_rows)
            used[n_rows++] = 0;
        items[i].row = row;
        items[i].at = used[row];
        used[row] += need;
    }
    return n_rows;
}

// Stable insertion sort by decreasing size: a step has few records.
static void sort_by_size(struct packing_item *items, uint32_t n,
                         const struct dataset *d)
{
    for (uint32_t i = 1; i < n; i++) {
        const struct packing_item item = items[i];
        const uint32_t size = places(d, item.window);
        uint32_t j = i;
        while (j > 0 && places(d, items[j - 1].window) < size) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = item;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct packing_item *x = a;
    const struct packing_item *y = b;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int reserve(struct packing *p, uint32_t n)
{
    if (n > p->items_size) {
        void *items = realloc(p->items, n * sizeof *p->items);
        if (!items)
            return -ENOMEM;
        p->items = items;
        p->items_size = n;
    }
    return 0;
}

int packing_assign(struct packing *p, const struct dataset *d,
                   const uint32_t *windows, uint32_t n_windows,
                   uint32_t length_max)
{
    uint32_t lengths[PACKING_LENGTHS];
    const uint32_t n_lengths = packing_lengths(lengths, length_max);
    uint64_t least = UINT64_MAX;
    uint32_t *used;
    int rc = reserve(p, n_windows);

    if (rc < 0)
        return rc;
    used = malloc((n_windows + 1) * sizeof *used);
    if (!used)
        return -ENOMEM;
    p->n_items = n_windows;
    p->n_tokens = 0;
    p->n_targets = 0;
    for (uint32_t i = 0; i < n_windows; i++) {
        p->items[i].window = windows[i];
        p->n_tokens += places(d, windows[i]);
        p->n_targets += d->windows[windows[i]].n_targets;
    }
    sort_by_size(p->items, n_windows, d);
    // Longer rows come last and win ties: fewer rows, the same places.
    for (uint32_t i = 0; i < n_lengths; i++) {
        if (n_windows > 0 && places(d, p->items[0].window) > lengths[i])
            continue;
        const uint32_t n = fit(p->items, n_windows, used, d, lengths[i]);
        if ((uint64_t) n * lengths[i] <= least) {
            least = (uint64_t) n * lengths[i];
            p->length = lengths[i];
        }
    }
    assert(least != UINT64_MAX);
    p->n_rows = fit(p->items, n_windows, used, d, p->length);
    free(used);
    if (n_windows > 0)
        qsort(p->items, n_windows, sizeof *p->items, by_place);
    return 0;
}

void packing_finish(struct packing *p)
{
    free(p->items);
    *p = (struct packing){0};
}

int packing_rows_init(struct packing_rows *r, size_t n)
{
    *r = (struct packing_rows){
        .tokens = calloc(n, sizeof *r->tokens),
        .pos = calloc(n, sizeof *r->pos),
        .start = calloc(n, sizeof *r->start),
        .targets = calloc(n, sizeof *r->targets),
        .weights = calloc(n, sizeof *r->weights),
        .state = calloc(n, sizeof *r->state),
        .places = n,
    };
    if (!r->tokens || !r->pos || !r->start || !r->targets || !r->weights ||
        !r->state) {
        packing_rows_finish(r);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        r->state[i] = (int32_t) i;
    return 0;
}

void packing_rows_finish(struct packing_rows *r)
{
    free(r->tokens);
    free(r->pos);
    free(r->start);
    free(r->targets);
    free(r->weights);
    free(r->state);
    *r = (struct packing_rows){0};
}

static void fill_item(struct packing_rows *r, size_t base,
                      const struct dataset *d, const struct dataset_window *w,
                      float weight)
{
    for (uint32_t i = 0; i + 1 < w->count; i++) {
        const size_t t = base + i;
        const bool counts = dataset_is_target(d, w, i);
        r->tokens[t] = d->ids[w->first + i];
        r->pos[t] = (int32_t) i;
        r->start[t] = (int32_t) base;
        r->targets[t] = counts ? d->ids[w->first + i + 1] : 0;
        r->weights[t] = counts ? weight : 0;
    }
}

void packing_fill(struct packing_rows *r, const struct packing *p,
                  const struct dataset *d, uint32_t first, uint32_t n,
                  float weight)
{
    const size_t count = (size_t) n * p->length;

    assert(count <= r->places);
    memset(r->tokens, 0, count * sizeof *r->tokens);
    memset(r->pos, 0, count * sizeof *r->pos);
    memset(r->targets, 0, count * sizeof *r->targets);
    memset(r->weights, 0, count * sizeof *r->weights);
    for (size_t t = 0; t < count; t++)
        r->start[t] = (int32_t) t;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct packing_item *item = &p->items[i];
        if (item->row < first || item->row - first >= n)
            continue;
        fill_item(r, (size_t) (item->row - first) * p->length + item->at, d,
                  &d->windows[item->window], weight);
    }
}

void packing_shuffle(uint32_t *order, uint32_t n, uint64_t seed, uint64_t epoch)
{
    struct rng rng;

    rng_init(&rng, seed, STREAM_EPOCH + epoch);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = rng_below(&rng, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}
