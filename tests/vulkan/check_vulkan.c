// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/tensor/quant.h"
#include "engine/vulkan/vk_device.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 64 << 20, WEIGHT_BYTES = 64 << 20 };

// One of the two devices, with its memory.
struct side {
    const struct backend *backend;
    struct device *dev;
    struct buffer *arena;
    struct buffer *weights;
};

static struct side c_side, vk_side;
static unsigned char *weights; // the model's mapping
static unsigned char *arena;
static unsigned char *results[3];
static int bad, good;
static int stride = 1, number; // of the cases

struct operand vcase_f32(int64_t rows, int64_t cols)
{
    return (struct operand){.region = REGION_ARENA,
                            .dtype = DTYPE_f32,
                            .rank = 2,
                            .ne = {1, 1, rows, cols}};
}

struct operand vcase_i32(int64_t n)
{
    return (struct operand){.region = REGION_ARENA,
                            .dtype = DTYPE_i32,
                            .rank = 1,
                            .ne = {1, 1, 1, n}};
}

struct operand vcase_weight(enum dtype type, int64_t rows, int64_t cols)
{
    return (struct operand){.region = REGION_WEIGHT,
                            .dtype = (uint8_t) type,
                            .rank = 2,
                            .ne = {1, 1, rows, cols}};
}

static int64_t rows_of(const struct operand *o)
{
    return o->ne[0] * o->ne[1] * o->ne[2];
}

static size_t bytes_of(const struct operand *o)
{
    return (size_t) rows_of(o) *
           dtype_row_bytes((enum dtype) o->dtype, o->ne[3]);
}

static void die(const char *what, const struct error *err)
{
    printf("Bail out! %s: %s\n", what, err ? err->text : "");
    exit(1);
}

static void fill(unsigned char *to, const struct operand *o, float scale,
                 struct rng *rng)
{
    float row[16384];

    for (int64_t r = 0; r < rows_of(o); r++) {
        for (int64_t i = 0; i < o->ne[3]; i++)
            row[i] = (float) rng_normal(rng) * scale;
        unsigned char *at =
            to + r * (int64_t) dtype_row_bytes((enum dtype) o->dtype, o->ne[3]);
        if (o->dtype == DTYPE_f32)
            memcpy(at, row, (size_t) o->ne[3] * 4);
        else
            quant_encode((enum dtype) o->dtype, at, row, o->ne[3]);
    }
}

static size_t place(struct operand *o, size_t *used)
{
    o->offset = *used;
    *used += (bytes_of(o) + 63) & ~(size_t) 63;
    return o->offset;
}

// Places and fills everything; outputs that update an input share its place.
static void lay_out(struct instr *in, const struct vcase *c,
                    struct binding bindings[VCASE_SLOTS], struct buffer *model)
{
    size_t used = 0, used_weights = 0;
    struct rng rng;

    rng_init(&rng, 7, 0);
    for (int i = 0; i < in->n_in; i++) {
        struct operand *o = &in->in[i];
        const float scale = c->scale[i] > 0 ? c->scale[i] : 1;
        if (o->region == REGION_NONE)
            continue;
        const bool is_weight = o->region == REGION_WEIGHT;
        const size_t at = place(o, is_weight ? &used_weights : &used);
        unsigned char *to = (is_weight ? weights : arena) + at;
        if (c->data[i])
            memcpy(to, c->data[i], bytes_of(o));
        else
            fill(to, o, scale, &rng);
        if (is_weight) {
            bindings[i] = (struct binding){model, at};
            o->slot = (uint32_t) i;
            o->offset = 0;
        }
    }
    for (int i = 0; i < in->n_out; i++) {
        struct operand *o = &in->out[i];
        int from = op_updates((enum op) in->op, i);
        if (from < 0 && i == 0)
            from = c->shares - 1;
        if (o->region == REGION_NONE)
            continue;
        if (from >= 0)
            o->offset = in->in[from].offset;
        else
            (void) place(o, &used);
    }
    in->scratch.region = REGION_ARENA;
    in->scratch.offset = used;
}

static void run(const struct side *s, struct instr in,
                const struct binding bindings[VCASE_SLOTS],
                unsigned char *result)
{
    const struct bindings b = {.arena = s->arena, .weights = bindings};
    const size_t scratch = s->backend->scratch_bytes(s->dev, &in);

    in.scratch.dtype = DTYPE_f32;
    in.scratch.rank = 1;
    in.scratch.ne[0] = in.scratch.ne[1] = in.scratch.ne[2] = 1;
    in.scratch.ne[3] = (int64_t) (scratch + 3) / 4;
    if (scratch == 0)
        in.scratch.region = REGION_NONE;
    if (in.scratch.offset + scratch > ARENA_BYTES)
        die("a case is too large", NULL);
    if (s->backend->buffer_write(s->arena, 0, arena, in.scratch.offset) < 0)
        die("writing", NULL);
    const int n = s->backend->run(s->dev, &in, 1, &b);
    if (n != 1) {
        printf("# %s returned %d\n", op_infos[in.op].name, n);
        die("running", NULL);
    }
    if (s->backend->buffer_read(s->arena, 0, result, in.scratch.offset) < 0)
        die("reading", NULL);
}

static double difference(const unsigned char *a, const unsigned char *b,
                         const struct operand *o)
{
    const float *x = (const float *) (const void *) (a + o->offset);
    const float *y = (const float *) (const void *) (b + o->offset);
    const int64_t n = rows_of(o) * o->ne[3];
    double largest = 1e-30, off = 0;

    if (o->dtype == DTYPE_i32)
        return memcmp(x, y, (size_t) n * 4) == 0 ? 0 : 1;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && fabs(x[i]) > largest)
            largest = fabs(x[i]);
        if (isnan(y[i]) != isnan(x[i]))
            return INFINITY;
        if (x[i] != y[i] && !isnan(x[i]) && fabs((double) x[i] - y[i]) > off)
            off = fabs((double) x[i] - y[i]);
    }
    return off / largest;
}

static void compare(const struct vcase *c, const struct instr *in)
{
    const double tolerance = c->tolerance > 0 ? c->tolerance : 2e-5;
    bool is_bad = false;

    for (int i = 0; i < in->n_out; i++) {
        const struct operand *o = &in->out[i];
        if (o->region == REGION_NONE)
            continue;
        const double off = difference(results[0], results[1], o);
        const bool is_same = memcmp(results[1] + o->offset,
                                    results[2] + o->offset, bytes_of(o)) == 0;
        if (!(off <= tolerance)) {
            printf("# %s (%s) output %d: off by %.3g, %.3g is allowed\n",
                   op_infos[in->op].name, c->name, i, off, tolerance);
            is_bad = true;
        }
        if (!is_same) {
            printf("# %s (%s) output %d: a second run differs\n",
                   op_infos[in->op].name, c->name, i);
            is_bad = true;
        }
    }
    bad += is_bad;
    good += !is_bad;
}

void vcase_few_registers(bool has_few)
{
    vk_side.dev->traits.has_few_registers = has_few;
}

void vcase_run(const struct vcase *c)
{
    struct binding c_bindings[VCASE_SLOTS] = {{0}};
    struct binding vk_bindings[VCASE_SLOTS] = {{0}};
    struct instr in = c->in;
    struct error err = {0};

    if (number++ % stride != 0)
        return;
    if (!vk_side.backend->supports(vk_side.dev, &in)) {
        printf("# %s (%s) is not supported\n", op_infos[in.op].name, c->name);
        bad++;
        return;
    }
    // Of an import, what was copied stays: a new one for each case.
    if (c_side.backend->buffer_import(&c_side.weights, c_side.dev, weights,
                                      WEIGHT_BYTES) < 0 ||
        vk_side.backend->buffer_import(&vk_side.weights, vk_side.dev, weights,
                                       WEIGHT_BYTES) < 0)
        die("importing", &err);
    lay_out(&in, c, c_bindings, c_side.weights);
    memcpy(vk_bindings, c_bindings, sizeof(vk_bindings));
    for (int i = 0; i < VCASE_SLOTS; i++)
        if (vk_bindings[i].buffer)
            vk_bindings[i].buffer = vk_side.weights;
    run(&c_side, in, c_bindings, results[0]);
    run(&vk_side, in, vk_bindings, results[1]);
    const double slice = vk_side.dev->slice_ns;
    vk_side.dev->slice_ns = 1;
    run(&vk_side, in, vk_bindings, results[2]);
    vk_side.dev->slice_ns = slice;
    compare(c, &in);
    c_side.backend->buffer_destroy(c_side.weights);
    vk_side.backend->buffer_destroy(vk_side.weights);
}

static void side_open(struct side *s, const struct backend *backend,
                      const char *tier)
{
    const struct device_params params = {.tier = tier, .threads = 2};
    struct error err = {0};
    int rc;

    s->backend = backend;
    rc = backend->open(&s->dev, &params, &err);
    if (rc == -ENODEV && !getenv("POCK_TEST_VULKAN")) {
        printf("1..0 # SKIP %s\n", err.text);
        exit(0);
    }
    if (rc < 0)
        die("opening", &err);
    if (backend->buffer_create(&s->arena, s->dev, ARENA_BYTES) < 0)
        die("no memory", NULL);
}

// usage: check_vulkan [GROUP [N] | --but GROUP | --third]
// N: every Nth of its cases.
// --third: of the cases, where the lavapipe of the rigs computes them all.
static bool is_asked_for(int argc, char **argv, const char *group)
{
    if (argc > 2 && strcmp(argv[1], "--but") == 0)
        return strcmp(argv[2], group) != 0;
    return argc < 2 || strcmp(argv[1], group) == 0;
}

int main(int argc, char **argv)
{
    const char *which = getenv("POCK_TEST_VULKAN");
    const char *rigs = getenv("POCKD_RIGS");
    int n = 0;

    if (argc > 1 && strcmp(argv[1], "--third") == 0) {
        stride = rigs && *rigs ? 3 : 1;
        argc = 1;
    }
    if (argc > 2 && strcmp(argv[1], "--but") != 0)
        stride = atoi(argv[2]) > 0 ? atoi(argv[2]) : 1;
    side_open(&vk_side, &vulkan_backend, which ? which : "cpu");
    side_open(&c_side, &cpu_backend, "c");
    weights = malloc(WEIGHT_BYTES);
    arena = calloc(1, ARENA_BYTES);
    for (int i = 0; i < 3; i++)
        results[i] = malloc(ARENA_BYTES);
    if (!weights || !arena || !results[0] || !results[1] || !results[2])
        die("no memory", NULL);
    printf("# %s\n", vk_side.backend->describe(vk_side.dev));

#define VCASES(name)                                                    \
    if (is_asked_for(argc, argv, #name)) {                              \
        const int before = bad;                                         \
        vcases_##name();                                                \
        printf("%sok %d %s\n", bad > before ? "not " : "", ++n, #name); \
    }
#include "tests/vulkan/vcases.def"
#undef VCASES
    if (n == 0)
        die("no such group of cases", NULL);
    printf("1..%d\n# %d cases, %d bad, %u messages of validation\n", n,
           good + bad, bad, vk_api_messages());
    for (int i = 0; i < 3; i++)
        free(results[i]);
    free(arena);
    free(weights);
    c_side.backend->buffer_destroy(c_side.arena);
    vk_side.backend->buffer_destroy(vk_side.arena);
    c_side.backend->close(c_side.dev);
    vk_side.backend->close(vk_side.dev);
    return bad > 0 || vk_api_messages() > 0;
}
