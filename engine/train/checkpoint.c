// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/checkpoint.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are written as they lie in memory, which must be little-endian"
#endif

static const char magic[8] = {'p', 'o', 'c', 'k', 'c', 'k', 'p', 't'};

enum { VERSION = 2 };

// The fixed part of the file, without gaps.
struct header {
    char magic[8];
    uint32_t version;
    uint32_t n_kept;
    struct checkpoint_key key;
    uint64_t step;
    uint64_t best_step;
    double best_loss;
    double step_loss;
    uint32_t evals_since_best;
    uint32_t end;
    uint32_t micro_rows;
    uint32_t n_evals;
    uint64_t n_floats;
    uint64_t times_bytes;
};
_Static_assert(sizeof(struct header) == 16 + 128 + 32 + 16 + 16,
               "the header is written as it is");

int checkpoint_encode(void **out, size_t *bytes, const struct checkpoint *c)
{
    const struct header h = {
        .magic = {'p', 'o', 'c', 'k', 'c', 'k', 'p', 't'},
        .version = VERSION,
        .n_kept = c->n_kept,
        .key = c->key,
        .step = c->step,
        .best_step = c->best_step,
        .best_loss = c->best_loss,
        .step_loss = c->step_loss,
        .evals_since_best = c->evals_since_best,
        .end = c->end,
        .micro_rows = c->micro_rows,
        .n_evals = c->n_evals,
        .n_floats = c->n_floats,
        .times_bytes = c->times_bytes,
    };
    const size_t eval_bytes = c->n_evals * sizeof *c->evals;
    const size_t value_bytes = c->n_floats * 4 * sizeof *c->values;
    const size_t kept_bytes = c->n_kept * sizeof *c->kept;
    const size_t body = sizeof h + eval_bytes + value_bytes + kept_bytes;
    const size_t total = body + c->times_bytes + HASH_BYTES;
    unsigned char *p = malloc(total);

    if (!p)
        return -ENOMEM;
    memcpy(p, &h, sizeof h);
    if (eval_bytes > 0)
        memcpy(p + sizeof h, c->evals, eval_bytes);
    if (value_bytes > 0)
        memcpy(p + sizeof h + eval_bytes, c->values, value_bytes);
    if (kept_bytes > 0)
        memcpy(p + sizeof h + eval_bytes + value_bytes, c->kept, kept_bytes);
    if (c->times_bytes > 0)
        memcpy(p + body, c->times, c->times_bytes);
    hash_bytes(p + total - HASH_BYTES, p, total - HASH_BYTES);
    *out = p;
    *bytes = total;
    return 0;
}

static int damaged(struct error *err, const char *why)
{
    return error_set(err, -EBADMSG,
                     "checkpoint cannot be used: %s; training has to start "
                     "over",
                     why);
}

static int check_sizes(const struct header *h, size_t bytes, struct error *err)
{
    const size_t body = bytes - sizeof *h - HASH_BYTES;

    if (h->n_evals > CHECKPOINT_EVALS_MAX ||
        h->n_evals > body / sizeof(struct checkpoint_eval))
        return damaged(err, "it is shorter than its history");
    size_t rest = body - h->n_evals * sizeof(struct checkpoint_eval);
    if (h->n_kept > rest / sizeof(float))
        return damaged(err, "it is shorter than what was kept");
    rest -= h->n_kept * sizeof(float);
    if (h->times_bytes > CHECKPOINT_TIMES_MAX || h->times_bytes > rest)
        return damaged(err, "its length does not fit its contents");
    rest -= h->times_bytes;
    if (rest % (4 * sizeof(float)) || h->n_floats != rest / 4 / sizeof(float))
        return damaged(err, "its length does not fit its contents");
    return 0;
}

// The header of bytes that are what was written.
static int check(struct header *out, const void *data, size_t bytes,
                 struct error *err)
{
    const unsigned char *p = data;
    uint8_t digest[HASH_BYTES];
    struct header h;

    if (bytes < sizeof h + HASH_BYTES)
        return damaged(err, "it is shorter than any checkpoint");
    memcpy(&h, p, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0)
        return damaged(err, "it does not begin like a checkpoint");
    if (h.version != VERSION)
        return damaged(err, "it was written by another version of the program");
    hash_bytes(digest, p, bytes - HASH_BYTES);
    if (memcmp(digest, p + bytes - HASH_BYTES, HASH_BYTES) != 0)
        return damaged(err, "its checksum is wrong, so bytes were changed or "
                            "lost");
    *out = h;
    return check_sizes(&h, bytes, err);
}

int checkpoint_decode(struct checkpoint *out, const void *data, size_t bytes,
                      struct error *err)
{
    const unsigned char *p = data;
    struct header h;
    int rc = check(&h, data, bytes, err);

    if (rc < 0)
        return rc;
    struct checkpoint c = {
        .key = h.key,
        .step = h.step,
        .best_step = h.best_step,
        .best_loss = h.best_loss,
        .step_loss = h.step_loss,
        .evals_since_best = h.evals_since_best,
        .end = h.end,
        .micro_rows = h.micro_rows,
        .n_evals = h.n_evals,
        .n_floats = h.n_floats,
        .n_kept = h.n_kept,
        .times_bytes = h.times_bytes,
    };
    const size_t eval_bytes = c.n_evals * sizeof *c.evals;
    const size_t value_bytes = c.n_floats * 4 * sizeof *c.values;
    const size_t kept_bytes = c.n_kept * sizeof *c.kept;
    c.evals = malloc(eval_bytes + 1);
    c.values = malloc(value_bytes + 1);
    c.kept = malloc(kept_bytes + 1);
    c.times = malloc(c.times_bytes + 1);
    if (!c.evals || !c.values || !c.kept || !c.times) {
        checkpoint_finish(&c);
        return error_set(err, -ENOMEM, "checkpoint: out of memory");
    }
    memcpy(c.evals, p + sizeof h, eval_bytes);
    memcpy(c.values, p + sizeof h + eval_bytes, value_bytes);
    memcpy(c.kept, p + sizeof h + eval_bytes + value_bytes, kept_bytes);
    memcpy(c.times, p + sizeof h + eval_bytes + value_bytes + kept_bytes,
           c.times_bytes);
    *out = c;
    return 0;
}

int checkpoint_times(void **out, size_t *bytes, const void *data, size_t size,
                     struct error *err)
{
    const unsigned char *p = data;
    struct header h;
    int rc = check(&h, data, size, err);

    if (rc < 0)
        return rc;
    void *times = malloc(h.times_bytes + 1);
    if (!times)
        return error_set(err, -ENOMEM, "checkpoint: out of memory");
    memcpy(times, p + size - HASH_BYTES - h.times_bytes, h.times_bytes);
    *out = times;
    *bytes = h.times_bytes;
    return 0;
}

void checkpoint_finish(struct checkpoint *c)
{
    free(c->evals);
    free(c->values);
    free(c->kept);
    free(c->times);
    c->times = NULL;
    c->evals = NULL;
    c->values = NULL;
    c->kept = NULL;
}

int checkpoint_match(const struct checkpoint *c,
                     const struct checkpoint_key *key, struct error *err)
{
    const char *what = NULL;

    if (memcmp(c->key.base, key->base, sizeof key->base) != 0)
        what = "base model";
    else if (memcmp(c->key.recipe, key->recipe, sizeof key->recipe) != 0)
        what = "recipe";
    else if (memcmp(c->key.data, key->data, sizeof key->data) != 0)
        what = "set of records";
    else if (memcmp(c->key.start, key->start, sizeof key->start) != 0)
        what = "start adapter";
    if (!what)
        return 0;
    return error_set(err, -ESTALE,
                     "checkpoint belongs to another %s: training has to start "
                     "over",
                     what);
}
