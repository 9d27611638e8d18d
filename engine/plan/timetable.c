// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Invariants
 * 1. Rows are sorted by family, work and exact, and no two are equal in these.
 * 2. Texts end with a NUL, are printable, and behind the NUL all is zero.
 * 3. Each row has a time above 0, and none above NS_MAX.
 */

#include "engine/plan/timetable.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are written as they lie in memory, which must be little-endian"
#endif

static const char magic[8] = {'p', 'o', 'c', 'k', 't', 'i', 'm', 'e'};

// A thousand seconds: no instruction takes that long.
static const uint64_t NS_MAX = UINT64_C(1000000000000);

enum { VERSION = 1 };

struct header {
    char magic[8];
    uint32_t version;
    uint32_t n_targets;
    uint32_t n_rows;
    uint32_t n_models;
    uint32_t threads;
    uint32_t zero;
    uint64_t wake_ns;
    char device[TIMETABLE_DEVICE];
    char build[TIMETABLE_BUILD];
};
_Static_assert(sizeof(struct header) == 40 + 128 + 64, "written as it is");

struct model {
    uint8_t hash[TIMETABLE_MODEL_BYTES];
    uint64_t when;
};

struct target {
    struct timetable_target target;
    uint32_t zero;
};
_Static_assert(sizeof(struct target) == 24, "written as it is");

struct row {
    struct timetable_shape shape;
    uint64_t when;
};

struct timetable {
    struct header head;
    struct model models[TIMETABLE_MODELS_MAX];
    struct target targets[TIMETABLE_TARGETS_MAX];
    struct row rows[TIMETABLE_ROWS_MAX];
    uint64_t *ns; // (TIMETABLE_ROWS_MAX, n_targets)
};

/*
 * Making
 */

static struct timetable *make(const struct header *head)
{
    struct timetable *t = fault_calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->head = *head;
    t->ns = fault_calloc((size_t) TIMETABLE_ROWS_MAX * head->n_targets,
                         sizeof(*t->ns));
    if (!t->ns) {
        free(t);
        return NULL;
    }
    return t;
}

int timetable_create(struct timetable **out,
                     const struct timetable_params *params)
{
    struct header head = {
        .version = VERSION,
        .n_targets = params->n_targets,
        .threads = params->threads,
    };

    assert(params->n_targets >= 1 &&
           params->n_targets <= TIMETABLE_TARGETS_MAX);
    memcpy(head.magic, magic, sizeof(magic));
    (void) snprintf(head.device, sizeof(head.device), "%s", params->device);
    (void) snprintf(head.build, sizeof(head.build), "%s", params->build);
    struct timetable *t = make(&head);
    if (!t)
        return -ENOMEM;
    for (uint32_t i = 0; i < params->n_targets; i++) {
        struct timetable_target *to = &t->targets[i].target;
        (void) snprintf(to->kernel, sizeof(to->kernel), "%s",
                        params->targets[i].kernel);
        to->threads = params->targets[i].threads;
    }
    *out = t;
    return 0;
}

void timetable_destroy(struct timetable *t)
{
    if (!t)
        return;
    free(t->ns);
    free(t);
}

int timetable_copy(struct timetable **out, const struct timetable *t)
{
    struct timetable *copy = make(&t->head);

    if (!copy)
        return -ENOMEM;
    memcpy(copy->models, t->models, sizeof(t->models));
    memcpy(copy->targets, t->targets, sizeof(t->targets));
    memcpy(copy->rows, t->rows, sizeof(t->rows));
    memcpy(copy->ns, t->ns,
           (size_t) t->head.n_rows * t->head.n_targets * sizeof(*t->ns));
    *out = copy;
    return 0;
}

/*
 * Bytes
 */

static size_t row_bytes(const struct header *h)
{
    return sizeof(struct row) + h->n_targets * sizeof(uint64_t);
}

static size_t body_bytes(const struct header *h)
{
    return h->n_models * sizeof(struct model) +
           h->n_targets * sizeof(struct target) + h->n_rows * row_bytes(h);
}

static void put(unsigned char **at, const void *data, size_t bytes)
{
    memcpy(*at, data, bytes);
    *at += bytes;
}

static void take(void *data, const unsigned char **at, size_t bytes)
{
    memcpy(data, *at, bytes);
    *at += bytes;
}

int timetable_encode(void **out, size_t *bytes, const struct timetable *t)
{
    const struct header *h = &t->head;
    const size_t total = sizeof(*h) + body_bytes(h) + HASH_BYTES;
    unsigned char *data = fault_malloc(total);
    unsigned char *at = data;

    if (!data)
        return -ENOMEM;
    put(&at, h, sizeof(*h));
    put(&at, t->models, h->n_models * sizeof(*t->models));
    put(&at, t->targets, h->n_targets * sizeof(*t->targets));
    for (uint32_t i = 0; i < h->n_rows; i++) {
        put(&at, &t->rows[i], sizeof(t->rows[i]));
        put(&at, t->ns + (size_t) i * h->n_targets,
            h->n_targets * sizeof(*t->ns));
    }
    hash_bytes(at, data, total - HASH_BYTES);
    *out = data;
    *bytes = total;
    return 0;
}

static int damaged(struct error *err, const char *why)
{
    return error_set(err, -EBADMSG,
                     "the table of kernel times cannot be used: %s; make a new "
                     "one with `pockctl doctor --tune`",
                     why);
}

static bool is_text(const char *text, size_t size)
{
    size_t n = strnlen(text, size);

    if (n == 0 || n == size)
        return false;
    for (size_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    for (; n < size; n++)
        if (text[n])
            return false;
    return true;
}

size_t timetable_length(const void *data, size_t bytes)
{
    struct header h;

    if (bytes < sizeof(h) + HASH_BYTES)
        return 0;
    memcpy(&h, data, sizeof(h));
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 ||
        h.n_targets > TIMETABLE_TARGETS_MAX || h.n_rows > TIMETABLE_ROWS_MAX ||
        h.n_models > TIMETABLE_MODELS_MAX)
        return 0;
    const size_t n = sizeof(h) + body_bytes(&h) + HASH_BYTES;
    return n <= bytes ? n : 0;
}

static int check_header(const struct header *h, size_t bytes, struct error *err)
{
    if (memcmp(h->magic, magic, sizeof(magic)) != 0)
        return damaged(err, "it does not begin like one");
    if (h->version != VERSION || h->zero != 0)
        return damaged(err, "it was written by another version of the program");
    if (h->n_targets < 1 || h->n_targets > TIMETABLE_TARGETS_MAX ||
        h->n_rows > TIMETABLE_ROWS_MAX || h->n_models > TIMETABLE_MODELS_MAX ||
        bytes != sizeof(*h) + body_bytes(h) + HASH_BYTES)
        return damaged(err, "its length does not fit its contents");
    if (!is_text(h->device, sizeof(h->device)) ||
        !is_text(h->build, sizeof(h->build)) || h->wake_ns > NS_MAX)
        return damaged(err, "its header makes no sense");
    return 0;
}

// Less than 0, 0, more than 0: x stands before y, is y, stands behind it.
static int compare(const struct timetable_shape *x,
                   const struct timetable_shape *y)
{
    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    if (x->work != y->work)
        return x->work < y->work ? -1 : 1;
    if (x->exact != y->exact)
        return x->exact < y->exact ? -1 : 1;
    return 0;
}

static bool is_row_fine(const struct timetable *t, uint32_t i)
{
    const uint64_t *ns = t->ns + (size_t) i * t->head.n_targets;
    bool is_timed = false;

    for (uint32_t k = 0; k < t->head.n_targets; k++) {
        is_timed |= ns[k] > 0;
        if (ns[k] > NS_MAX)
            return false;
    }
    return is_timed && t->rows[i].shape.work > 0 &&
           (i == 0 || compare(&t->rows[i - 1].shape, &t->rows[i].shape) < 0);
}

static bool are_targets_fine(const struct timetable *t)
{
    for (uint32_t i = 0; i < t->head.n_targets; i++) {
        const struct timetable_target *x = &t->targets[i].target;
        if (!is_text(x->kernel, sizeof(x->kernel)) || x->threads < 1 ||
            x->threads > t->head.threads || t->targets[i].zero)
            return false;
    }
    return true;
}

int timetable_decode(struct timetable **out, const void *data, size_t bytes,
                     struct error *err)
{
    const unsigned char *at = data;
    uint8_t digest[HASH_BYTES];
    struct header h;
    int rc;

    if (bytes < sizeof(h) + HASH_BYTES || bytes > TIMETABLE_BYTES_MAX)
        return damaged(err, "it does not have the length of one");
    take(&h, &at, sizeof(h));
    if ((rc = check_header(&h, bytes, err)) < 0)
        return rc;
    hash_bytes(digest, data, bytes - HASH_BYTES);
    if (memcmp(digest, (const char *) data + bytes - HASH_BYTES, HASH_BYTES) !=
        0)
        return damaged(err, "its checksum is wrong, so bytes were changed or "
                            "lost");

    struct timetable *t = make(&h);
    if (!t)
        return error_set(err, -ENOMEM, "kernel times: out of memory");
    take(t->models, &at, h.n_models * sizeof(*t->models));
    take(t->targets, &at, h.n_targets * sizeof(*t->targets));
    bool is_fine = are_targets_fine(t);
    for (uint32_t i = 0; i < h.n_rows && is_fine; i++) {
        take(&t->rows[i], &at, sizeof(t->rows[i]));
        take(t->ns + (size_t) i * h.n_targets, &at,
             h.n_targets * sizeof(*t->ns));
        is_fine = is_row_fine(t, i);
    }
    if (!is_fine) {
        timetable_destroy(t);
        return damaged(err, "its rows make no sense");
    }
    *out = t;
    return 0;
}

int timetable_match(const struct timetable *t, const char *device,
                    const char *build, uint32_t threads, struct error *err)
{
    static const char remedy[] = "make a new one with `pockctl doctor --tune`";
    const struct header *h = &t->head;

    if (strncmp(h->device, device, sizeof(h->device) - 1) != 0)
        return error_set(err, -ESTALE,
                         "the table of kernel times is of another device (%s) "
                         "and is not used: %s",
                         h->device, remedy);
    if (build && strncmp(h->build, build, sizeof(h->build) - 1) != 0)
        return error_set(err, -ESTALE,
                         "the table of kernel times is of another build of "
                         "pockd and is not used: %s",
                         remedy);
    if (h->threads < threads)
        return error_set(err, -ESTALE,
                         "the table of kernel times knows %u threads, but "
                         "there are %u now, so it is not used: %s",
                         h->threads, threads, remedy);
    return 0;
}

/*
 * Looking
 */

const char *timetable_device(const struct timetable *t)
{
    return t->head.device;
}

const char *timetable_build(const struct timetable *t)
{
    return t->head.build;
}

uint32_t timetable_threads(const struct timetable *t)
{
    return t->head.threads;
}

uint32_t timetable_rows(const struct timetable *t)
{
    return t->head.n_rows;
}

uint64_t timetable_when(const struct timetable *t)
{
    uint64_t newest = 0;

    for (uint32_t i = 0; i < t->head.n_rows; i++)
        if (t->rows[i].when > newest)
            newest = t->rows[i].when;
    return newest;
}

uint32_t timetable_targets(const struct timetable *t)
{
    return t->head.n_targets;
}

const struct timetable_target *timetable_target(const struct timetable *t,
                                                uint32_t i)
{
    return i < t->head.n_targets ? &t->targets[i].target : NULL;
}

uint64_t timetable_wake_ns(const struct timetable *t)
{
    return t->head.wake_ns;
}

void timetable_set_wake_ns(struct timetable *t, uint64_t ns)
{
    t->head.wake_ns = ns < NS_MAX ? ns : NS_MAX;
}

/*
 * Models
 */

static struct model *find_model(const struct timetable *t, const uint8_t *hash)
{
    for (uint32_t i = 0; i < t->head.n_models; i++)
        if (memcmp(t->models[i].hash, hash, TIMETABLE_MODEL_BYTES) == 0)
            return (struct model *) &t->models[i];
    return NULL;
}

bool timetable_has_model(const struct timetable *t,
                         const uint8_t model[TIMETABLE_MODEL_BYTES])
{
    return find_model(t, model) != NULL;
}

void timetable_put_model(struct timetable *t,
                         const uint8_t model[TIMETABLE_MODEL_BYTES],
                         uint64_t when)
{
    struct model *m = find_model(t, model);

    if (!m && t->head.n_models < TIMETABLE_MODELS_MAX)
        m = &t->models[t->head.n_models++];
    if (!m) {
        m = t->models;
        for (uint32_t i = 1; i < t->head.n_models; i++)
            if (t->models[i].when < m->when)
                m = &t->models[i];
    }
    memcpy(m->hash, model, TIMETABLE_MODEL_BYTES);
    m->when = when;
}

/*
 * Rows
 */

// The first row that does not stand before the shape.
static uint32_t lower_bound(const struct timetable *t,
                            const struct timetable_shape *shape)
{
    uint32_t from = 0;
    uint32_t to = t->head.n_rows;

    while (from < to) {
        const uint32_t mid = from + (to - from) / 2;
        if (compare(&t->rows[mid].shape, shape) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool is_at(const struct timetable *t, uint32_t i,
                  const struct timetable_shape *shape)
{
    return i < t->head.n_rows && compare(&t->rows[i].shape, shape) == 0;
}

// Rows [from, n) to `to`.
static void move_rows(struct timetable *t, uint32_t to, uint32_t from)
{
    const size_t n = t->head.n_rows - from;
    const size_t width = t->head.n_targets;

    memmove(&t->rows[to], &t->rows[from], n * sizeof(*t->rows));
    memmove(t->ns + to * width, t->ns + from * width,
            n * width * sizeof(*t->ns));
}

static void forget_oldest(struct timetable *t)
{
    uint32_t oldest = 0;

    for (uint32_t i = 1; i < t->head.n_rows; i++)
        if (t->rows[i].when < t->rows[oldest].when)
            oldest = i;
    move_rows(t, oldest, oldest + 1);
    t->head.n_rows--;
}

int timetable_put(struct timetable *t, const struct timetable_shape *shape,
                  const uint64_t *ns, uint64_t when)
{
    const uint32_t width = t->head.n_targets;
    uint32_t i = lower_bound(t, shape);
    bool is_timed = false;

    for (uint32_t k = 0; k < width; k++)
        is_timed |= ns[k] > 0;
    if (!is_timed || shape->work == 0)
        return -EINVAL;
    if (!is_at(t, i, shape)) {
        if (t->head.n_rows == TIMETABLE_ROWS_MAX)
            forget_oldest(t);
        i = lower_bound(t, shape);
        move_rows(t, i + 1, i);
        t->head.n_rows++;
    }
    t->rows[i] = (struct row){*shape, when};
    for (uint32_t k = 0; k < width; k++)
        t->ns[(size_t) i * width + k] = ns[k] < NS_MAX ? ns[k] : NS_MAX;
    return 0;
}

const uint64_t *timetable_row(struct timetable_shape *out,
                              const struct timetable *t, uint32_t i)
{
    if (i >= t->head.n_rows)
        return NULL;
    *out = t->rows[i].shape;
    return t->ns + (size_t) i * t->head.n_targets;
}

bool timetable_has(const struct timetable *t,
                   const struct timetable_shape *shape)
{
    return is_at(t, lower_bound(t, shape), shape);
}

static double distance(uint64_t x, uint64_t y)
{
    return x < y ? (double) y / (double) x : (double) x / (double) y;
}

// The row of `kind` (or family) whose work is nearest; n_rows: there is none.
static uint32_t nearest(const struct timetable *t,
                        const struct timetable_shape *shape, bool is_family)
{
    uint32_t best = t->head.n_rows;

    for (uint32_t i = 0; i < t->head.n_rows; i++) {
        const struct timetable_shape *x = &t->rows[i].shape;
        if (is_family ? x->family != shape->family : x->kind != shape->kind)
            continue;
        if (best == t->head.n_rows ||
            distance(x->work, shape->work) <
                distance(t->rows[best].shape.work, shape->work))
            best = i;
    }
    return best;
}

enum timetable_source timetable_find(double *ns, const struct timetable *t,
                                     const struct timetable_shape *shape)
{
    const uint32_t width = t->head.n_targets;
    uint32_t i = lower_bound(t, shape);
    const bool is_here = is_at(t, i, shape);

    if (!is_here)
        i = nearest(t, shape, true);
    if (i == t->head.n_rows)
        i = nearest(t, shape, false);
    if (i == t->head.n_rows) {
        for (uint32_t k = 0; k < width; k++)
            ns[k] = INFINITY;
        return TIMETABLE_NOTHING;
    }
    const double scale =
        is_here ? 1 : (double) shape->work / (double) t->rows[i].shape.work;
    for (uint32_t k = 0; k < width; k++) {
        const uint64_t x = t->ns[(size_t) i * width + k];
        ns[k] = x > 0 ? scale * (double) x : (double) INFINITY;
    }
    return is_here ? TIMETABLE_MEASURED : TIMETABLE_SCALED;
}

// The target that a row is for.
static uint32_t winner_of(const struct timetable *t, uint32_t row)
{
    const uint64_t *ns = t->ns + (size_t) row * t->head.n_targets;
    uint32_t usual = 0, best = 0;

    while (ns[usual] == 0)
        usual++;
    best = usual;
    for (uint32_t k = usual; k < t->head.n_targets; k++)
        if (ns[k] > 0 && ns[k] < ns[best])
            best = k;
    return (double) ns[best] * (100 + TIMETABLE_GAIN_PCT) / 100 <
                   (double) ns[usual]
               ? best
               : usual;
}

void timetable_winners(char *out, size_t size, const struct timetable *t)
{
    uint32_t wins[TIMETABLE_TARGETS_MAX] = {0}; // of the first of that kernel
    size_t n = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < t->head.n_rows; i++) {
        const char *kernel = t->targets[winner_of(t, i)].target.kernel;
        uint32_t k = 0;
        while (strcmp(t->targets[k].target.kernel, kernel) != 0)
            k++;
        wins[k]++;
    }
    for (;;) {
        uint32_t most = 0;
        for (uint32_t k = 1; k < t->head.n_targets; k++)
            most = wins[k] > wins[most] ? k : most;
        if (wins[most] == 0 || n + TIMETABLE_KERNEL + 16 > size)
            return;
        n += (size_t) snprintf(out + n, size - n, "%s%s %u", n ? ", " : "",
                               t->targets[most].target.kernel, wins[most]);
        wins[most] = 0;
    }
}
