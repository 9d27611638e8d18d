// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/journal.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/prober.h"
#include "engine/train/program_cache.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are written as they lie in memory, which must be little-endian"
#endif

enum { VERSION = 1, QUERIES_MAX = 1024, TEXT_MAX = 4 << 20 };

static const char magic[8] = {'p', 'o', 'c', 'k', 'j', 'r', 'n', 'l'};

// The fixed part, without gaps.
struct header {
    char magic[8];
    uint32_t version, queries;
    uint64_t steps, steps_best;
    uint8_t base[HASH_BYTES], start[HASH_BYTES], values[HASH_BYTES];
    char recipe[RECIPE_TEXT_BYTES];
    uint8_t check[HASH_BYTES];
};
_Static_assert(sizeof(struct header) == 32 + 4 * HASH_BYTES + RECIPE_TEXT_BYTES,
               "the header is written as it is");

void journal_init(struct journal *j, uint32_t queries)
{
    *j = (struct journal){.queries = queries};
}

void journal_finish(struct journal *j)
{
    free(j->records);
    *j = (struct journal){0};
}

size_t journal_record_bytes(uint32_t queries)
{
    return 16 + 4 * (size_t) queries;
}

static uint32_t check_of(const uint8_t *record, size_t bytes, uint32_t before)
{
    uint8_t digest[HASH_BYTES];
    struct hash_state h;
    uint32_t check;

    hash_init(&h);
    hash_update(&h, &before, sizeof before);
    hash_update(&h, record, bytes - sizeof check);
    hash_final(&h, digest);
    memcpy(&check, digest, sizeof check);
    return check;
}

static uint32_t last_check(const struct journal *j, uint64_t steps)
{
    const size_t bytes = journal_record_bytes(j->queries);
    uint32_t check = 0;

    if (steps > 0)
        memcpy(&check, j->records + steps * bytes - sizeof check, sizeof check);
    return check;
}

static int reserve(struct journal *j, uint64_t steps)
{
    const size_t bytes = journal_record_bytes(j->queries);

    if (steps * bytes <= j->size)
        return 0;
    const size_t size = steps * bytes * 2;
    uint8_t *p = realloc(j->records, size);
    if (!p)
        return -ENOMEM;
    j->records = p;
    j->size = size;
    return 0;
}

int journal_append(struct journal *j, const struct journal_step *s)
{
    const size_t bytes = journal_record_bytes(j->queries);
    const uint32_t number = (uint32_t) j->steps;
    int rc = reserve(j, j->steps + 1);

    if (rc < 0)
        return rc;
    uint8_t *p = j->records + j->steps * bytes;
    memcpy(p, &number, 4);
    memcpy(p + 4, &s->rate, 4);
    memcpy(p + 8, &s->eps, 4);
    memcpy(p + 12, s->g, 4 * (size_t) j->queries);
    const uint32_t check = check_of(p, bytes, last_check(j, j->steps));
    memcpy(p + bytes - 4, &check, 4);
    j->steps++;
    return 0;
}

struct journal_step journal_step(const struct journal *j, uint64_t i)
{
    const uint8_t *p = j->records + i * journal_record_bytes(j->queries);
    struct journal_step s = {.g = (const float *) (const void *) (p + 12)};

    memcpy(&s.rate, p + 4, 4);
    memcpy(&s.eps, p + 8, 4);
    return s;
}

static bool is_good(const struct journal *j, uint64_t i)
{
    const size_t bytes = journal_record_bytes(j->queries);
    const uint8_t *p = j->records + i * bytes;
    const struct journal_step s = journal_step(j, i);
    uint32_t number, check;
    bool good;

    memcpy(&number, p, 4);
    memcpy(&check, p + bytes - 4, 4);
    good = number == i && check == check_of(p, bytes, last_check(j, i)) &&
           isfinite(s.rate) && isfinite(s.eps);
    for (uint32_t q = 0; q < j->queries; q++)
        good &= isfinite(s.g[q]);
    return good;
}

int journal_take(struct journal *j, const void *records, uint64_t steps,
                 struct error *err)
{
    int rc = reserve(j, steps);

    if (rc < 0)
        return error_set(err, rc, "journal: out of memory");
    if (steps > 0)
        memcpy(j->records, records, steps * journal_record_bytes(j->queries));
    for (uint64_t i = 0; i < steps; i++)
        if (!is_good(j, i))
            return error_set(err, -EBADMSG,
                             "the journal does not replay: step %llu is not "
                             "what was written",
                             (unsigned long long) i + 1);
    j->steps = steps;
    return 0;
}

/*
 * To bytes and back
 */

int journal_encode(void **out, size_t *bytes, const struct journal *j,
                   const struct recipe *r)
{
    const size_t body = j->steps * journal_record_bytes(j->queries);
    struct header *h = calloc(1, sizeof *h + body);

    if (!h)
        return -ENOMEM;
    memcpy(h->magic, magic, sizeof magic);
    h->version = VERSION;
    h->queries = j->queries;
    h->steps = j->steps;
    h->steps_best = j->steps_best;
    memcpy(h->base, j->base, HASH_BYTES);
    memcpy(h->start, j->start, HASH_BYTES);
    memcpy(h->values, j->values, HASH_BYTES);
    int rc = recipe_print(h->recipe, sizeof h->recipe, r);
    if (rc < 0) {
        free(h);
        return rc;
    }
    hash_bytes(h->check, h, sizeof *h - HASH_BYTES);
    if (body > 0)
        memcpy(h + 1, j->records, body);
    *out = h;
    *bytes = sizeof *h + body;
    return 0;
}

static int damaged(struct error *err, const char *why)
{
    return error_set(err, -EBADMSG, "the journal cannot be used: %s", why);
}

static int check_header(const struct header *h, size_t bytes, struct error *err)
{
    uint8_t digest[HASH_BYTES];

    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return damaged(err, "it does not begin like a journal");
    if (h->version != VERSION)
        return damaged(err, "it was written by another version of the program");
    hash_bytes(digest, h, sizeof *h - HASH_BYTES);
    if (memcmp(digest, h->check, HASH_BYTES) != 0)
        return damaged(err, "the checksum of its head is wrong");
    if (h->queries < 1 || h->queries > QUERIES_MAX ||
        h->recipe[RECIPE_TEXT_BYTES - 1] != '\0')
        return damaged(err, "its head makes no sense");
    const size_t record = journal_record_bytes(h->queries);
    const size_t body = bytes - sizeof *h;
    if (body % record != 0 || body / record != h->steps ||
        h->steps_best > h->steps)
        return damaged(err, "it does not have as many steps as it says");
    return 0;
}

int journal_decode(struct journal *out, struct recipe *r, const void *data,
                   size_t bytes, struct error *err)
{
    struct journal j;
    struct header h;
    int rc;

    if (bytes < sizeof h)
        return damaged(err, "it is shorter than any journal");
    memcpy(&h, data, sizeof h);
    if ((rc = check_header(&h, bytes, err)) < 0)
        return rc;
    recipe_init(r);
    if ((rc = recipe_parse(r, h.recipe, err)) < 0)
        return rc;
    if (!recipe_is_forward(r) || r->queries != h.queries)
        return damaged(err, "its recipe is another's");
    journal_init(&j, h.queries);
    rc = journal_take(&j, (const char *) data + sizeof h, h.steps, err);
    if (rc < 0) {
        journal_finish(&j);
        return rc;
    }
    j.steps_best = h.steps_best;
    memcpy(j.base, h.base, HASH_BYTES);
    memcpy(j.start, h.start, HASH_BYTES);
    memcpy(j.values, h.values, HASH_BYTES);
    *out = j;
    return 0;
}

int journal_print(char **out, const struct journal *j, const struct recipe *r)
{
    static const char digits[] = "0123456789abcdef";
    size_t bytes = 0;
    uint8_t *data;
    int rc = journal_encode((void **) &data, &bytes, j, r);

    if (rc < 0)
        return rc;
    char *text = 2 * bytes < TEXT_MAX ? malloc(2 * bytes + 1) : NULL;
    for (size_t i = 0; i < bytes && text; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    free(data);
    if (!text)
        return 2 * bytes < TEXT_MAX ? -ENOMEM : -E2BIG;
    text[2 * bytes] = '\0';
    *out = text;
    return 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int journal_parse(struct journal *out, struct recipe *r, const char *text,
                  struct error *err)
{
    const size_t bytes = strlen(text) / 2;
    uint8_t *data = malloc(bytes + 1);
    int bad = strlen(text) % 2 == 1;

    if (!data)
        return error_set(err, -ENOMEM, "journal: out of memory");
    for (size_t i = 0; i < bytes; i++) {
        const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        bad |= high < 0 || low < 0;
        data[i] = (uint8_t) ((high & 15) << 4 | (low & 15));
    }
    int rc = bad ? damaged(err, "it is no hexadecimal text")
                 : journal_decode(out, r, data, bytes, err);
    free(data);
    return rc;
}

/*
 * Replay
 */

struct replay {
    struct adapter_state *state;
    struct program_cache *programs;
    struct prober *prober;
};

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct replay *r = user;
    return adapter_state_bind(out, r->state, slot, err);
}

static int open_replay(struct replay *out, struct base_model *base,
                       const struct adapter *a, const struct recipe *r,
                       struct error *err)
{
    const struct adapter_state_params params = {
        .backend = base->backend,
        .dev = base->dev,
        .config = &base->config,
        .scheme = &a->scheme,
        .is_forward = true,
        .n_moments = (uint8_t) r->zo_update,
    };
    int rc = adapter_state_create(&out->state, &params, err);

    if (rc < 0)
        return rc;
    if ((rc = program_cache_create(&out->programs, base, bind_state, out)) <
            0 ||
        (rc = adapter_state_write(out->state, ADAPTER_PART_VALUE, a->data)) < 0)
        return error_set(err, rc, "journal: %s", strerror(-rc));
    const struct prober_params prober = {
        .base = base,
        .programs = out->programs,
        .state = out->state,
        .recipe = r,
        .scheme = &a->scheme,
    };
    return prober_create(&out->prober, &prober, err);
}

static int check_belongs(const struct journal *j, struct base_model *base,
                         const struct adapter *start, const struct adapter *a,
                         struct error *err)
{
    const size_t bytes = adapter_floats(a) * sizeof *a->data;
    uint8_t hash[HASH_BYTES] = {0};
    int rc = base_model_hash(base, err);

    if (rc < 0)
        return rc;
    if (memcmp(base->hash, j->base, HASH_BYTES) != 0)
        return damaged(err, "it belongs to another base model");
    if (start)
        hash_bytes(hash, a->data, bytes);
    if (memcmp(hash, j->start, HASH_BYTES) != 0)
        return damaged(err, "it began with another adapter");
    return 0;
}

static int walk(struct adapter *a, struct replay *r, const struct journal *j,
                struct error *err)
{
    uint8_t hash[HASH_BYTES];
    int rc = 0;

    for (uint64_t i = 0; i < j->steps_best && rc == 0; i++) {
        const struct journal_step s = journal_step(j, i);
        rc = prober_move(r->prober, i, s.rate, s.g, err);
    }
    if (rc < 0)
        return rc;
    rc = adapter_state_read(r->state, ADAPTER_PART_VALUE, a->data);
    if (rc < 0)
        return error_set(err, rc, "journal: %s", strerror(-rc));
    hash_bytes(hash, a->data, adapter_floats(a) * sizeof *a->data);
    if (memcmp(hash, j->values, HASH_BYTES) != 0)
        return error_set(err, -EBADMSG,
                         "the journal does not replay: after step %llu the "
                         "adapter is another one than was learned",
                         (unsigned long long) j->steps_best);
    return 0;
}

int journal_replay(struct adapter **out, struct base_model *base,
                   const struct journal *j, const struct recipe *r,
                   const struct adapter *start, struct error *err)
{
    struct replay replay = {0};
    struct adapter *a = NULL;
    struct scheme scheme;
    int rc = recipe_scheme(&scheme, r, &base->config, err);

    if (rc < 0 || (rc = adapter_create(&a, &base->config, &scheme, base->sha256,
                                       err)) < 0)
        return rc;
    if (start && (!scheme_equal(&start->scheme, &scheme) ||
                  adapter_floats(start) != adapter_floats(a)))
        rc = damaged(err, "it began with another adapter");
    else if (start)
        memcpy(a->data, start->data, adapter_floats(a) * sizeof *a->data);
    else
        rc = adapter_begin(a->data, &base->config, &scheme, r->seed);
    if (rc == 0 && (rc = check_belongs(j, base, start, a, err)) == 0 &&
        (rc = open_replay(&replay, base, a, r, err)) == 0)
        rc = walk(a, &replay, j, err);
    prober_destroy(replay.prober);
    program_cache_destroy(replay.programs);
    adapter_state_destroy(replay.state);
    if (rc < 0)
        adapter_destroy(a);
    else
        *out = a;
    return rc;
}
