// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/token_norms.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// A token whose gradients were small may matter the next time: it is drawn as
// if they were this part of the average, so that none weighs more than 1 /
// this.
static const double floor_norm = 0.1;

struct token_norms {
    const struct dataset *data;
    size_t *first; // by window
    size_t n;
    float *values; // (n)
    float *taken;  // (n), of the step that is under way
    float *places; // room for one program
    size_t n_places;
};

void token_norms_destroy(struct token_norms *n)
{
    if (!n)
        return;
    free(n->first);
    free(n->values);
    free(n->taken);
    free(n->places);
    free(n);
}

static uint32_t places_of(const struct token_norms *n, uint32_t window)
{
    const uint32_t count = n->data->windows[window].count;
    return count > 0 ? count - 1 : 0;
}

int token_norms_create(struct token_norms **out, const struct dataset *d,
                       size_t places)
{
    struct token_norms *n = calloc(1, sizeof *n);

    if (!n)
        return -ENOMEM;
    n->data = d;
    n->n_places = places;
    n->first = calloc(d->n_windows + 1, sizeof *n->first);
    n->places = calloc(places + 1, sizeof *n->places);
    if (!n->first || !n->places)
        goto error;
    for (uint32_t i = 0; i < d->n_windows; i++) {
        n->first[i] = n->n;
        n->n += places_of(n, i);
    }
    n->values = calloc(n->n + 1, sizeof *n->values);
    n->taken = calloc(n->n + 1, sizeof *n->taken);
    if (!n->values || !n->taken)
        goto error;
    for (size_t i = 0; i < n->n; i++)
        n->values[i] = 1;
    *out = n;
    return 0;

error:
    token_norms_destroy(n);
    return -ENOMEM;
}

// Item i of the packing, if it lies in rows [first, first + rows).
static bool find(const struct packing_item **item, size_t *at,
                 const struct packing *p, uint32_t i, uint32_t first,
                 uint32_t rows)
{
    *item = &p->items[i];
    if ((*item)->row < first || (*item)->row - first >= rows)
        return false;
    *at = (size_t) ((*item)->row - first) * p->length + (*item)->at;
    return true;
}

const float *token_norms_of_rows(struct token_norms *n, const struct packing *p,
                                 uint32_t first, uint32_t rows)
{
    const size_t count = (size_t) rows * p->length;
    const struct packing_item *item;
    size_t at;

    assert(count <= n->n_places);
    memset(n->places, 0, count * sizeof *n->places);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (find(&item, &at, p, i, first, rows))
            memcpy(n->places + at, n->values + n->first[item->window],
                   places_of(n, item->window) * sizeof *n->places);
    return n->places;
}

// Where no gradient came through at all, nothing new is known.
static void take_item(struct token_norms *n, uint32_t window,
                      const float *squares, double unit)
{
    const float *before = n->values + n->first[window];
    float *out = n->taken + n->first[window];

    for (uint32_t t = 0; t < places_of(n, window); t++) {
        const double square = (double) squares[t] * unit;
        out[t] = isfinite(square) ? (float) fmax(sqrt(square), floor_norm)
                                  : before[t];
    }
}

void token_norms_take(struct token_norms *n, const struct packing *p,
                      uint32_t first, uint32_t rows, const float *squares)
{
    const struct packing_item *item;
    size_t at, count = 0;
    double sum = 0;

    for (uint32_t i = 0; i < p->n_items; i++) {
        if (!find(&item, &at, p, i, first, rows))
            continue;
        count += places_of(n, item->window);
        for (uint32_t t = 0; t < places_of(n, item->window); t++)
            sum += (double) squares[at + t];
    }
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (!find(&item, &at, p, i, first, rows))
            continue;
        take_item(n, item->window, squares + at, (double) count / sum);
    }
}

void token_norms_commit(struct token_norms *n, const struct packing *p)
{
    for (uint32_t i = 0; i < p->n_items; i++) {
        const uint32_t window = p->items[i].window;
        memcpy(n->values + n->first[window], n->taken + n->first[window],
               places_of(n, window) * sizeof *n->values);
    }
}

size_t token_norms_floats(const struct token_norms *n)
{
    return n->n;
}

float *token_norms_values(struct token_norms *n)
{
    return n->values;
}
