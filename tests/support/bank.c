// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/bank.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/tensor/quant.h"

void bank_init(struct bank *b, const struct backend *backend,
               struct device *dev, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    b->backend = backend;
    b->dev = dev;
    b->seed = seed;
}

void bank_finish(struct bank *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        b->backend->buffer_destroy(b->items[i].buffer);
        free(b->items[i].data);
    }
    b->n = 0;
}

struct bank_item *bank_find(struct bank *b, const char *name)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (strcmp(b->items[i].name, name) == 0)
            return &b->items[i];
    return NULL;
}

static uint64_t name_hash(const char *name)
{
    uint64_t h = 1469598103934665603u;
    while (*name)
        h = (h ^ (unsigned char) *name++) * 1099511628211u;
    return h;
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s);
    const size_t m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static bool is_difference(const char *name)
{
    return ends_with(name, ".delta") || ends_with(name, ".magnitude");
}

// Gains near one, the rest small enough that nothing saturates, in sums over
// wide rows too.
static float *random_values(const struct bank *b, const struct program_slot *s)
{
    size_t count = 1;
    struct rng r;
    const bool is_gain = s->rank == 1 && !is_difference(s->name);

    for (int i = 0; i < s->rank; i++)
        count *= (size_t) s->ne[i];
    const double cols = (double) s->ne[s->rank - 1];
    const double spread = s->rank > 1 && cols > 64 ? 1 / sqrt(cols) : 0.25;
    float *x = malloc(count * sizeof(*x));
    assert(x);
    rng_init(&r, b->seed, name_hash(s->name));
    for (size_t i = 0; i < count; i++)
        x[i] = (float) (is_gain ? 1 + 0.2 * rng_normal(&r)
                                : spread * rng_normal(&r));
    return x;
}

static void *encode_rows(const float *x, const struct program_slot *s)
{
    const int64_t cols = s->ne[s->rank - 1];
    const int64_t rows = s->rank > 1 ? s->ne[0] : 1;
    const size_t row = dtype_row_bytes((enum dtype) s->dtype, cols);
    unsigned char *out = aligned_alloc(64, (s->bytes + 63) / 64 * 64);

    assert(out);
    for (int64_t i = 0; i < rows; i++)
        quant_encode((enum dtype) s->dtype, out + (size_t) i * row,
                     x + i * cols, cols);
    return out;
}

static struct bank_item *add(struct bank *b, const struct program_slot *slot)
{
    assert(b->n < sizeof(b->items) / sizeof(b->items[0]));
    struct bank_item *it = &b->items[b->n++];
    (void) snprintf(it->name, sizeof(it->name), "%s", slot->name);
    it->slot = *slot;
    it->slot.name = it->name;
    return it;
}

static int bind_weight(struct binding *out, const struct program_slot *slot,
                       void *user, struct error *err)
{
    struct bank *b = user;
    struct bank_item *it = bank_find(b, slot->name);

    if (!it) {
        it = add(b, slot);
        float *x = random_values(b, slot);
        it->data = encode_rows(x, slot);
        free(x);
        int rc = b->backend->buffer_import(&it->buffer, b->dev, it->data,
                                           slot->bytes);
        if (rc < 0)
            return rc;
    }
    *out = (struct binding){it->buffer, 0};
    return 0;
}

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    struct bank *b = user;
    struct bank_item *it = bank_find(b, slot->name);

    if (it && it->slot.bytes != slot->bytes)
        return error_set(err, -EINVAL, "%s has two sizes", slot->name);
    if (!it) {
        it = add(b, slot);
        int rc = b->backend->buffer_create(&it->buffer, b->dev, slot->bytes);
        if (rc < 0)
            return rc;
        if (ends_with(slot->name, ".lora_a") ||
            ends_with(slot->name, ".lora_b") || is_difference(slot->name) ||
            strncmp(slot->name, "random.", 7) == 0) {
            float *x = random_values(b, slot);
            rc = b->backend->buffer_write(it->buffer, 0, x, slot->bytes);
            free(x);
            if (rc < 0)
                return rc;
        }
    }
    *out = (struct binding){it->buffer, 0};
    return 0;
}

struct executor_params bank_executor_params(struct bank *b)
{
    return (struct executor_params){
        .backend = b->backend,
        .dev = b->dev,
        .bind_weight = bind_weight,
        .bind_state = bind_state,
        .user = b,
    };
}

size_t bank_count(struct bank *b, const char *name)
{
    const struct bank_item *it = bank_find(b, name);
    return it ? it->slot.bytes / sizeof(float) : 0;
}

void bank_read(struct bank *b, const char *name, float *out)
{
    const struct bank_item *it = bank_find(b, name);
    assert(it);
    int rc = b->backend->buffer_read(it->buffer, 0, out, it->slot.bytes);
    assert(rc == 0);
    (void) rc;
}

void bank_write(struct bank *b, const char *name, const float *data)
{
    const struct bank_item *it = bank_find(b, name);
    assert(it);
    int rc = b->backend->buffer_write(it->buffer, 0, data, it->slot.bytes);
    assert(rc == 0);
    (void) rc;
}
