// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prefix.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/sidejob.h"
#include "engine/train/base_model.h"
#include "engine/train/packing.h"
#include "engine/train/prefix_cache.h"
#include "engine/train/program_cache.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// What the states depend on beside the model's file and the boundary.
static const char VERSION[] = "pockd prefix 2";

// A window of some rows, and its place among theirs.
struct want {
    uint32_t window;
    uint32_t at;
    bool is_missing; // from the cache
};

// The states of some rows.
struct fill {
    const struct dataset *data;
    enum precision precision;
    size_t places;
    struct want *wants;
    uint32_t n_wants, n_missing;
    uint32_t wants_size;
    uint8_t *kept;    // (places, row_bytes), as in the cache
    uint16_t *halves; // (places, width), what programs begin with: in `kept`,
                      // or made of it
    bool is_lent;     // that memory is the backend's
};

/*
 * While `ahead` is being read, by `job`, cache and `ahead` are the job's.
 */
struct prefix {
    struct prefix_params params;
    uint32_t width;
    size_t row_bytes; // of a kept state
    uint8_t owner[HASH_BYTES];
    struct prefix_cache *cache; // or NULL
    struct error problem;       // why there is none, if one was asked for
    const char *notice;         // that nobody has seen
    struct prefix_cache_stats stats;
    struct packing packing; // of the windows that are missing
    struct packing_rows rows;
    uint32_t *missing;      // windows, as many as now.wants has room for
    float *computed;        // (places, width)
    struct fill now, ahead; // ahead: nothing of it without a job
    struct sidejob *job;    // NULL: nothing is read ahead
    bool is_expecting;      // `ahead` is read, or being read
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
    const int rc = prefix_cache_open(&p->cache, &params, &p->problem);
    if (rc < 0 && p->problem.text[0])
        p->notice = p->problem.text;
    return rc;
}

// What the cache has to say, when nobody else uses it.
static void look_at_cache(struct prefix *p)
{
    if (!p->cache)
        return;
    prefix_cache_stats(&p->stats, p->cache);
    if (!p->notice)
        p->notice = prefix_cache_notice(p->cache);
}

static int fill_init(struct fill *f, const struct prefix *p)
{
    const struct base_model *base = p->params.base;
    const size_t places = (size_t) p->params.rows * p->params.length;
    const size_t bytes = places * p->width * sizeof *f->halves;

    if (base->backend->host_alloc)
        f->halves = base->backend->host_alloc(base->dev, bytes);
    f->is_lent = f->halves != NULL;
    if (!f->halves)
        f->halves = fault_calloc(1, bytes);
    f->kept = (uint8_t *) f->halves;
    if (p->params.values != PREFIX_VALUES_F16)
        f->kept = fault_calloc(places, p->row_bytes);
    return f->kept && f->halves ? 0 : -ENOMEM;
}

static void fill_finish(struct fill *f, const struct base_model *base)
{
    free(f->wants);
    if (f->kept != (uint8_t *) f->halves)
        free(f->kept);
    if (f->is_lent)
        base->backend->host_free(base->dev, f->halves);
    else
        free(f->halves);
}

// Processors have no time to spare while they compute; other devices leave
// them idle.
static bool is_ahead(const struct base_model *base)
{
    return base->backend != &cpu_backend;
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
    p->computed = fault_calloc(places, p->width * sizeof *p->computed);
    if (!p->computed || fill_init(&p->now, p) < 0 ||
        packing_rows_init(&p->rows, places) < 0)
        goto error;
    set_owner(p);
    if (params->file && open_cache(p, params->file) == -ENOMEM)
        goto error;
    look_at_cache(p);
    if (p->cache && (params->is_ahead || is_ahead(params->base)) &&
        (fill_init(&p->ahead, p) < 0 || sidejob_create(&p->job) < 0))
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
    sidejob_destroy(p->job);
    prefix_cache_close(p->cache);
    packing_rows_finish(&p->rows);
    packing_finish(&p->packing);
    free(p->missing);
    free(p->computed);
    fill_finish(&p->now, p->params.base);
    fill_finish(&p->ahead, p->params.base);
    free(p);
}

/*
 * What rows want, and what the cache has of it
 */

// How products are rounded counts, too: what is learned from may be rounded
// where the recipe allows it, what is judged by is not.
static void key_of(uint8_t key[PREFIX_KEY_BYTES], const struct prefix *p,
                   const struct fill *f, uint32_t window)
{
    const struct dataset_window *w = &f->data->windows[window];
    const uint8_t precision = (uint8_t) f->precision;
    struct hash_state h;

    hash_init(&h);
    hash_update(&h, p->owner, sizeof p->owner);
    hash_update(&h, &precision, sizeof precision);
    for (uint32_t i = 0; i + 1 < w->count; i++) {
        const uint32_t id = (uint32_t) f->data->ids[w->first + i];
        const uint8_t bytes[4] = {(uint8_t) id, (uint8_t) (id >> 8),
                                  (uint8_t) (id >> 16), (uint8_t) (id >> 24)};
        hash_update(&h, bytes, sizeof bytes);
    }
    hash_final(&h, key);
}

static uint32_t places_of(const struct fill *f, uint32_t window)
{
    return f->data->windows[window].count - 1;
}

static int list_wants(struct fill *f, const struct prefix_rows *r)
{
    const struct packing *packing = r->packing;

    if (packing->n_items > f->wants_size) {
        struct want *wants =
            fault_realloc(f->wants, packing->n_items * sizeof *wants);
        if (!wants)
            return -ENOMEM;
        f->wants = wants;
        f->wants_size = packing->n_items;
    }
    f->data = r->data;
    f->precision = r->precision;
    f->places = (size_t) r->n * packing->length;
    f->n_wants = f->n_missing = 0;
    for (uint32_t i = 0; i < packing->n_items; i++) {
        const struct packing_item *item = &packing->items[i];
        if (item->row < r->first || item->row - r->first >= r->n)
            continue;
        f->wants[f->n_wants++] = (struct want){
            .window = item->window,
            .at = (item->row - r->first) * packing->length + item->at,
        };
    }
    return 0;
}

static bool wants_same(const struct fill *f, const struct prefix_rows *r)
{
    const struct packing *packing = r->packing;
    uint32_t n = 0;

    if (f->data != r->data || f->precision != r->precision ||
        f->places != (size_t) r->n * packing->length)
        return false;
    for (uint32_t i = 0; i < packing->n_items; i++) {
        const struct packing_item *item = &packing->items[i];
        if (item->row < r->first || item->row - r->first >= r->n)
            continue;
        if (n == f->n_wants || f->wants[n].window != item->window ||
            f->wants[n].at !=
                (item->row - r->first) * packing->length + item->at)
            return false;
        n++;
    }
    return n == f->n_wants;
}

// What the cache knows goes to its place in `kept`; the rest is missing.
static void read_known(struct prefix *p, struct fill *f)
{
    uint8_t key[PREFIX_KEY_BYTES];

    for (uint32_t i = 0; i < f->n_wants; i++) {
        struct want *w = &f->wants[i];
        key_of(key, p, f, w->window);
        w->is_missing =
            !p->cache ||
            !prefix_cache_get(p->cache, key, places_of(f, w->window),
                              f->kept + w->at * p->row_bytes);
        f->n_missing += w->is_missing;
    }
}

// Places without a token are zero: they weigh nothing, and nobody sees them.
// Wants stand by place.
static void clear_gaps(const struct prefix *p, struct fill *f)
{
    size_t end = 0;

    for (uint32_t i = 0; i < f->n_wants; i++) {
        const size_t at = f->wants[i].at;
        memset(f->kept + end * p->row_bytes, 0, (at - end) * p->row_bytes);
        end = at + places_of(f, f->wants[i].window);
    }
    memset(f->kept + end * p->row_bytes, 0, (f->places - end) * p->row_bytes);
}

static void decode(const struct prefix *p, struct fill *f)
{
    clear_gaps(p, f);
    if (p->params.values != PREFIX_VALUES_F16)
        prefix_values_halves(f->halves, p->params.values, f->kept, f->places,
                             p->width);
}

static void read_ahead(void *arg)
{
    struct prefix *p = arg;

    read_known(p, &p->ahead);
    if (p->ahead.n_missing == 0)
        decode(p, &p->ahead);
}

void prefix_expect(struct prefix *p, const struct prefix_rows *r)
{
    if (!p->job)
        return;
    sidejob_wait(p->job);
    p->is_expecting = list_wants(&p->ahead, r) == 0;
    if (p->is_expecting)
        sidejob_start(p->job, read_ahead, p);
}

/*
 * Filling
 */

// Where the states of a window belong.
static uint8_t *home_of(const struct prefix *p, uint32_t window)
{
    const struct want *w = p->now.wants;

    while (!w->is_missing || w->window != window)
        w++;
    return p->now.kept + w->at * p->row_bytes;
}

// Rows [first, first + n) of the missing windows' own packing.
static int compute(struct prefix *p, uint32_t first, uint32_t n,
                   struct error *err)
{
    const struct program_params params = {
        .kind = PROGRAM_PREFIX,
        .batch = n,
        .length = p->packing.length,
        .first_block = p->params.first_block,
        .precision = p->now.precision,
    };
    const size_t places = (size_t) n * p->packing.length;
    const size_t bytes = places * sizeof *p->rows.tokens;
    uint8_t key[PREFIX_KEY_BYTES];
    struct executor *x;
    int rc = program_cache_get(&x, p->params.programs, &params, err);

    if (rc < 0)
        return rc;
    packing_fill(&p->rows, &p->packing, p->now.data, first, n, 1);
    if ((rc = executor_write(x, "tokens", p->rows.tokens, bytes)) < 0 ||
        (rc = executor_write(x, "pos", p->rows.pos, bytes)) < 0 ||
        (rc = executor_write(x, "start", p->rows.start, bytes)) < 0 ||
        (rc = executor_run(x)) < 0 ||
        (rc = executor_read(x, "hidden", p->computed,
                            places * p->width * sizeof *p->computed)) < 0)
        return error_set(err, rc, "training: the first blocks: %s",
                         strerror(-rc));
    for (uint32_t i = 0; i < p->packing.n_items; i++) {
        const struct packing_item *item = &p->packing.items[i];
        if (item->row < first || item->row - first >= n)
            continue;
        const size_t at =
            (size_t) (item->row - first) * p->packing.length + item->at;
        const uint32_t rows = places_of(&p->now, item->window);
        uint8_t *home = home_of(p, item->window);
        prefix_values_encode(home, p->params.values,
                             p->computed + at * p->width, rows, p->width);
        if (p->cache) {
            key_of(key, p, &p->now, item->window);
            prefix_cache_put(p->cache, key, rows, home);
        }
    }
    return 0;
}

// A window's states do not depend on its neighbours, so that those that are
// missing may be packed anew.
static int compute_missing(struct prefix *p, struct error *err)
{
    const struct fill *f = &p->now;
    uint32_t n = 0;
    uint32_t *missing =
        fault_realloc(p->missing, f->wants_size * sizeof *missing);

    if (!missing)
        return error_set(err, -ENOMEM, "training: out of memory");
    p->missing = missing;
    for (uint32_t i = 0; i < f->n_wants; i++)
        if (f->wants[i].is_missing)
            missing[n++] = f->wants[i].window;
    int rc = packing_assign(&p->packing, f->data, missing, n, p->params.length);
    if (rc < 0)
        return error_set(err, rc, "training: out of memory");
    const uint32_t most = p->params.rows * p->params.length / p->packing.length;
    for (uint32_t row = 0; row < p->packing.n_rows && rc == 0; row += most) {
        const uint32_t left = p->packing.n_rows - row;
        rc = compute(p, row, left < most ? left : most, err);
    }
    return rc;
}

// What was read ahead, if it is what is wanted now.
static bool take_ahead(struct prefix *p, const struct prefix_rows *r)
{
    if (!p->is_expecting)
        return false;
    sidejob_wait(p->job);
    p->is_expecting = false;
    if (!wants_same(&p->ahead, r))
        return false;
    const struct fill f = p->now;
    p->now = p->ahead;
    p->ahead = f;
    return true;
}

int prefix_fill(struct prefix *p, const struct prefix_rows *r,
                struct error *err)
{
    const bool was_read = take_ahead(p, r);
    int rc = was_read ? 0 : list_wants(&p->now, r);

    if (rc < 0)
        return error_set(err, rc, "training: out of memory");
    if (!was_read)
        read_known(p, &p->now);
    const uint32_t n_missing = p->now.n_missing;
    if (n_missing > 0)
        rc = compute_missing(p, err);
    if (rc == 0 && (!was_read || n_missing > 0))
        decode(p, &p->now);
    look_at_cache(p);
    return rc;
}

int prefix_write(const struct prefix *p, struct executor *x)
{
    return executor_write(x, "hidden", p->now.halves,
                          p->now.places * p->width * sizeof *p->now.halves);
}

/*
 * Looking at it
 */

uint32_t prefix_first_block(const struct prefix *p)
{
    return p->params.first_block;
}

size_t prefix_bytes(const struct base_model *base, enum prefix_values values,
                    size_t places)
{
    const size_t width = base->config.width;
    const size_t halves =
        values == PREFIX_VALUES_F16 ? 0 : width * sizeof(uint16_t);
    const size_t each = prefix_values_row_bytes(values, base->config.width);

    return places *
           ((each + halves) * (is_ahead(base) ? 2 : 1) + width * sizeof(float));
}

void prefix_stats(struct prefix_cache_stats *out, const struct prefix *p)
{
    *out = p->stats;
}

const char *prefix_notice(struct prefix *p)
{
    const char *notice = p->notice;

    p->notice = NULL;
    return notice;
}
