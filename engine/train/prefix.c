// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prefix.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/train/base_model.h"
#include "engine/train/packing.h"
#include "engine/train/prefix_cache.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// What the states depend on beside the model's file and the boundary.
static const char VERSION[] = "pockd prefix 1";

struct prefix {
    struct prefix_params params;
    uint32_t width;
    size_t row_bytes; // of a kept state
    uint8_t owner[HASH_BYTES];
    struct prefix_cache *cache; // or NULL
    struct error problem;       // why there is none, if one was asked for
    bool problem_said;
    struct packing packing; // of the windows that are missing
    struct packing_rows rows;
    uint32_t *missing; // windows
    struct packing_item *missing_items;
    uint32_t missing_size;
    uint8_t *kept; // (places, row_bytes), as in the cache
    float *states; // (places, width)
    size_t places; // that are filled
};

/*
 * Making one
 */

// Tiers of a processor round differently, so their name counts; how many
// threads there are does not.
static void set_owner(struct prefix *p)
{
    const struct prefix_params *params = &p->params;
    const char *device = params->base->backend->describe(params->base->dev);
    const uint32_t numbers[] = {params->first_block, params->values, p->width};
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, VERSION, sizeof VERSION);
    hash_update(&h, device, strcspn(device, ","));
    hash_update(&h, params->base->hash, HASH_BYTES);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const uint8_t bytes[4] = {(uint8_t) numbers[i],
                                  (uint8_t) (numbers[i] >> 8),
                                  (uint8_t) (numbers[i] >> 16),
                                  (uint8_t) (numbers[i] >> 24)};
        hash_update(&h, bytes, sizeof bytes);
    }
    hash_final(&h, p->owner);
}

static int open_cache(struct prefix *p, const struct prefix_file *file)
{
    struct prefix_cache_params params = {
        .fd = file->fd,
        .bytes_max = file->bytes_max,
        .width = p->width,
        .values = p->params.values,
        .key = file->key,
    };

    memcpy(params.owner, p->owner, sizeof params.owner);
    return prefix_cache_open(&p->cache, &params, &p->problem);
}

int prefix_create(struct prefix **out, const struct prefix_params *params,
                  struct error *err)
{
    const size_t places = (size_t) params->rows * params->length;
    struct prefix *p = fault_calloc(1, sizeof *p);

    if (!p)
        goto error;
    p->params = *params;
    p->params.file = NULL;
    p->width = params->base->config.width;
    p->row_bytes = prefix_values_row_bytes(params->values, p->width);
    p->kept = fault_calloc(places, p->row_bytes);
    p->states = fault_calloc(places, p->width * sizeof *p->states);
    if (!p->kept || !p->states || packing_rows_init(&p->rows, places) < 0)
        goto error;
    set_owner(p);
    if (params->file && open_cache(p, params->file) == -ENOMEM)
        goto error;
    *out = p;
    return 0;

error:
    prefix_destroy(p);
    return error_set(err, -ENOMEM, "training: out of memory");
}

void prefix_destroy(struct prefix *p)
{
    if (!p)
        return;
    prefix_cache_close(p->cache);
    packing_rows_finish(&p->rows);
    packing_finish(&p->packing);
    free(p->missing);
    free(p->missing_items);
    free(p->kept);
    free(p->states);
    free(p);
}

/*
 * Filling
 */

static void key_of(uint8_t key[PREFIX_KEY_BYTES], const struct prefix *p,
                   const struct dataset *d, const struct dataset_window *w)
{
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, p->owner, sizeof p->owner);
    for (uint32_t i = 0; i + 1 < w->count; i++) {
        const uint32_t id = (uint32_t) d->ids[w->first + i];
        const uint8_t bytes[4] = {(uint8_t) id, (uint8_t) (id >> 8),
                                  (uint8_t) (id >> 16), (uint8_t) (id >> 24)};
        hash_update(&h, bytes, sizeof bytes);
    }
    hash_final(&h, key);
}

static int reserve(struct prefix *p, uint32_t n)
{
    if (n <= p->missing_size)
        return 0;
    uint32_t *missing = fault_realloc(p->missing, n * sizeof *missing);
    if (missing)
        p->missing = missing;
    struct packing_item *items =
        fault_realloc(p->missing_items, n * sizeof *items);
    if (items)
        p->missing_items = items;
    if (!missing || !items)
        return -ENOMEM;
    p->missing_size = n;
    return 0;
}

static uint32_t places_of(const struct dataset *d, uint32_t window)
{
    return d->windows[window].count - 1;
}

// What the cache knows goes to its place in `kept`; the rest is counted and
// listed with the place (`at`) where it belongs.
static uint32_t read_known(struct prefix *p, const struct dataset *d,
                           const struct packing *packing, uint32_t first,
                           uint32_t n)
{
    uint8_t key[PREFIX_KEY_BYTES];
    uint32_t n_missing = 0;

    for (uint32_t i = 0; i < packing->n_items; i++) {
        const struct packing_item *item = &packing->items[i];
        if (item->row < first || item->row - first >= n)
            continue;
        const uint32_t at = (item->row - first) * packing->length + item->at;
        key_of(key, p, d, &d->windows[item->window]);
        if (p->cache &&
            prefix_cache_get(p->cache, key, places_of(d, item->window),
                             p->kept + at * p->row_bytes))
            continue;
        p->missing[n_missing] = item->window;
        p->missing_items[n_missing++] =
            (struct packing_item){.window = item->window, .at = at};
    }
    return n_missing;
}

// Where the states of a window belong.
static uint8_t *home_of(struct prefix *p, uint32_t window, uint32_t n_missing)
{
    uint32_t i = 0;

    while (i + 1 < n_missing && p->missing_items[i].window != window)
        i++;
    return p->kept + p->missing_items[i].at * p->row_bytes;
}

// Rows [first, first + n) of the missing windows' own packing.
static int compute(struct prefix *p, const struct dataset *d, uint32_t first,
                   uint32_t n, uint32_t n_missing, struct error *err)
{
    const struct program_params params = {
        .kind = PROGRAM_PREFIX,
        .batch = n,
        .length = p->packing.length,
        .first_block = p->params.first_block,
    };
    const size_t places = (size_t) n * p->packing.length;
    const size_t bytes = places * sizeof *p->rows.tokens;
    uint8_t key[PREFIX_KEY_BYTES];
    struct executor *x;
    int rc = program_cache_get(&x, p->params.programs, &params, err);

    if (rc < 0)
        return rc;
    packing_fill(&p->rows, &p->packing, d, first, n, 1);
    if ((rc = executor_write(x, "tokens", p->rows.tokens, bytes)) < 0 ||
        (rc = executor_write(x, "pos", p->rows.pos, bytes)) < 0 ||
        (rc = executor_write(x, "start", p->rows.start, bytes)) < 0 ||
        (rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "hidden", p->states,
                            places * p->width * sizeof *p->states)) < 0)
        return error_set(err, rc, "training: the first blocks: %s",
                         strerror(-rc));
    for (uint32_t i = 0; i < p->packing.n_items; i++) {
        const struct packing_item *item = &p->packing.items[i];
        if (item->row < first || item->row - first >= n)
            continue;
        const size_t at =
            (size_t) (item->row - first) * p->packing.length + item->at;
        const uint32_t rows = places_of(d, item->window);
        uint8_t *home = home_of(p, item->window, n_missing);
        prefix_values_encode(home, p->params.values, p->states + at * p->width,
                             rows, p->width);
        if (p->cache) {
            key_of(key, p, d, &d->windows[item->window]);
            prefix_cache_put(p->cache, key, rows, home);
        }
    }
    return 0;
}

// A window's states do not depend on its neighbours, so that those that are
// missing may be packed anew.
static int compute_missing(struct prefix *p, const struct dataset *d,
                           uint32_t n_missing, struct error *err)
{
    int rc =
        packing_assign(&p->packing, d, p->missing, n_missing, p->params.length);

    if (rc < 0)
        return error_set(err, rc, "training: out of memory");
    const uint32_t most = p->params.rows * p->params.length / p->packing.length;
    for (uint32_t row = 0; row < p->packing.n_rows && rc == 0; row += most) {
        const uint32_t left = p->packing.n_rows - row;
        rc = compute(p, d, row, left < most ? left : most, n_missing, err);
    }
    return rc;
}

int prefix_fill(struct prefix *p, const struct dataset *d,
                const struct packing *packing, uint32_t first, uint32_t n,
                struct error *err)
{
    const size_t places = (size_t) n * packing->length;
    int rc = reserve(p, packing->n_items);

    if (rc < 0)
        return error_set(err, rc, "training: out of memory");
    const uint32_t n_missing = read_known(p, d, packing, first, n);
    if (n_missing > 0 && (rc = compute_missing(p, d, n_missing, err)) < 0)
        return rc;
    // Places without a token are zero: they weigh nothing, and nobody sees
    // them.
    memset(p->states, 0, places * p->width * sizeof *p->states);
    for (uint32_t i = 0; i < packing->n_items; i++) {
        const struct packing_item *item = &packing->items[i];
        if (item->row < first || item->row - first >= n)
            continue;
        const size_t at =
            (size_t) (item->row - first) * packing->length + item->at;
        prefix_values_decode(p->states + at * p->width, p->params.values,
                             p->kept + at * p->row_bytes,
                             places_of(d, item->window), p->width);
    }
    p->places = places;
    return 0;
}

int prefix_write(const struct prefix *p, struct executor *x)
{
    return executor_write(x, "hidden", p->states,
                          p->places * p->width * sizeof *p->states);
}

/*
 * Looking at it
 */

uint32_t prefix_first_block(const struct prefix *p)
{
    return p->params.first_block;
}

size_t prefix_bytes(enum prefix_values values, uint32_t width, size_t places)
{
    return places *
           (prefix_values_row_bytes(values, width) + width * sizeof(float));
}

void prefix_stats(struct prefix_cache_stats *out, const struct prefix *p)
{
    *out = (struct prefix_cache_stats){0};
    if (p->cache)
        prefix_cache_stats(out, p->cache);
}

const char *prefix_notice(struct prefix *p)
{
    if (p->cache)
        return prefix_cache_notice(p->cache);
    if (!p->problem.text[0] || p->problem_said)
        return NULL;
    p->problem_said = true;
    return p->problem.text;
}
