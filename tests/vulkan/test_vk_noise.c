// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Learning without gradients on Vulkan: noise that is made where it is used,
// and the losses and steps of a whole adapter against those of the CPU.

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/noise.h"
#include "engine/base/rng.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/packing.h"
#include "engine/train/prober.h"
#include "engine/train/program_cache.h"
#include "engine/train/recipe.h"
#include "engine/vulkan/vk_device.h"
#include "engine/vulkan/vk_fold.h"
#include "engine/vulkan/vk_prepare.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

// NULL: there is none, and none was asked for.
static struct device *open_vulkan(void)
{
    const char *which = getenv("POCK_TEST_VULKAN");
    const struct device_params params = {.tier = which ? which : "cpu"};
    struct device *dev;
    struct error err = {0};
    const int rc = vulkan_backend.open(&dev, &params, &err);

    if (rc == -ENODEV && !which) {
        print_message("# skipped: no Vulkan device\n");
        return NULL;
    }
    ok(rc, &err);
    return dev;
}

/*
 * Noise that one instruction alone reads
 */

enum {
    COPIES = 3,
    M = 5,
    N = 70,
    K = 8,
    // Places in the arena, in values.
    B = 0,
    X = B + N * K,
    Y = X + COPIES * M * K,
    Z = Y + COPIES * M * N, // copies, then the sum of directions
    DRAW = Z + COPIES * N * K,
    QUERIES = DRAW + 16,
    SIZES = QUERIES + 16,
    COEFS = SIZES + 16,
    FLOATS = COEFS + 16,
};

static struct operand at(uint32_t offset, int64_t rows, int64_t cols)
{
    return (struct operand){
        .region = REGION_ARENA,
        .dtype = DTYPE_f32,
        .rank = 2,
        .ne = {1, 1, rows, cols},
        .offset = (size_t) offset * sizeof(float),
    };
}

static struct operand ints(uint32_t offset, int64_t n)
{
    struct operand o = at(offset, 1, n);

    o.dtype = DTYPE_i32;
    o.rank = 1;
    return o;
}

// A product of copies, and a step; what they read lies in one place, one after
// the other.
static uint32_t make(struct instr p[4])
{
    const struct operand b = at(B, N, K), y = at(Y, COPIES * M, N);
    const struct operand copies = at(Z, COPIES * N, K), sum = at(Z, N, K);

    p[0] = (struct instr){
        .op = OP_perturb,
        .n_in = 4,
        .n_out = 1,
        .attr.stream = 2,
        .in = {b, ints(DRAW, 4), ints(QUERIES, COPIES), at(SIZES, 1, COPIES)},
        .out = {copies},
    };
    p[1] = (struct instr){
        .op = OP_matmul_copies,
        .n_in = 3,
        .n_out = 1,
        .attr = {.alpha = 0.5f, .copies = COPIES},
        .in = {at(X, COPIES * M, K), copies, y},
        .out = {y},
    };
    p[2] = p[0];
    p[2].op = OP_noise_sum;
    p[2].in[3] = at(COEFS, 1, COPIES);
    p[2].out[0] = sum;
    p[3] = (struct instr){
        .op = OP_accumulate,
        .n_in = 2,
        .n_out = 1,
        .in = {b, sum},
        .out = {b},
    };
    return 4;
}

static uint32_t folds_after(void (*change)(struct instr *))
{
    struct device dev = {0};
    uint32_t folds[4] = {0}, n = 0;
    struct instr p[4];

    (void) make(p);
    if (change)
        change(p);
    vk_fold_find(folds, &dev, p, 4);
    for (uint32_t i = 0; i < 4; i++) {
        n += folds[i] == VK_FOLD_SKIP;
        assert_true(folds[i] == 0 || folds[i] == VK_FOLD_SKIP || folds[i] == i);
    }
    return n;
}

static void is_read_later(struct instr *p)
{
    p[2].in[0] = at(Z, N, K);
    p[3].in[0] = p[3].out[0] = at(Z, N, K);
}

static void is_of_other_copies(struct instr *p)
{
    p[1].attr.copies = 1;
    p[2].kernel = VK_KERNEL_CPU;
}

static void is_not_whole(struct instr *p)
{
    p[1].in[1] = at(Z + K, COPIES * N, K);
    p[3].in[1] = at(Z + 1, N, K);
}

static void is_added_elsewhere(struct instr *p)
{
    p[1].in[2] = p[0].out[0];
    p[3].in[0] = p[3].out[0] = at(X, N, K);
}

static void is_of_odd_rows(struct instr *p)
{
    p[1].in[0] = at(X, COPIES * M, 6);
    p[3].kernel = VK_KERNEL_CPU;
}

static void what_it_is_made_of_is_written(struct instr *p)
{
    // By what comes between.
    p[3] = p[1];
    p[1] = p[2];
    p[1].out[0] = at(B + 4, N, K);
    p[2] = p[1];
    p[2].out[0] = at(Y, N, K);
}

static void noise_that_is_read_once_is_made_there(void **state)
{
    static void (*const changes[])(struct instr *) = {
        is_read_later,      is_of_other_copies, is_not_whole,
        is_added_elsewhere, is_of_odd_rows,     what_it_is_made_of_is_written,
    };

    (void) state;
    assert_int_equal(folds_after(NULL), 2);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        if (folds_after(changes[i]) != 0)
            fail_msg("change %zu", i);
}

static void run_all(float *out, struct device *dev, uint8_t kind,
                    bool is_prepared)
{
    static const int32_t draw[4] = {7, 1, 5, 0}, queries[COPIES] = {9, 9, 2};
    static const float sizes[COPIES] = {0.1f, -0.1f, 0.3f};
    static float values[FLOATS];
    const struct backend *vk = &vulkan_backend;
    struct bindings b = {0};
    struct instr p[4];
    const uint32_t n = make(p);
    struct error err = {0};
    struct rng rng;

    rng_init(&rng, 3, 0);
    for (int i = 0; i < DRAW; i++)
        values[i] = (float) rng_normal(&rng);
    memcpy(values + DRAW, draw, sizeof(draw));
    memcpy(values + QUERIES, queries, sizeof(queries));
    memcpy(values + SIZES, sizes, sizeof(sizes));
    memcpy(values + COEFS, sizes, sizeof(sizes));
    p[0].attr.noise = p[2].attr.noise = kind;
    assert_int_equal(vk->buffer_create(&b.arena, dev, sizeof(values)), 0);
    assert_int_equal(vk->buffer_write(b.arena, 0, values, sizeof(values)), 0);
    if (is_prepared)
        ok(vk->prepare(&b.prepared, dev, p, n, &b, &err), &err);
    for (uint32_t i = 0; i < n; i += is_prepared ? n : 1)
        assert_int_equal(vk->run(dev, p + i, is_prepared ? n : 1, &b),
                         is_prepared ? n : 1);
    if (is_prepared)
        assert_int_equal(b.prepared->list.n, 2);
    assert_int_equal(vk->buffer_read(b.arena, 0, out, sizeof(values)), 0);
    vk->release(b.prepared);
    vk->buffer_destroy(b.arena);
}

static void the_same_bytes_come_out(void **state)
{
    static float one[FLOATS], each[FLOATS];
    struct device *dev = open_vulkan();

    (void) state;
    for (uint8_t kind = 0; dev && kind < NOISE_KINDS; kind++) {
        run_all(each, dev, kind, false);
        run_all(one, dev, kind, true);
        assert_memory_equal(one, each, Z * sizeof(float));
    }
    if (dev)
        vulkan_backend.close(dev);
}

/*
 * A step of an adapter
 */

enum { N_RECORDS = 6, QUERIES_MAX = 3 };

struct side {
    struct base_model *base;
    struct scheme scheme;
    struct adapter *adapter;
    struct adapter_state *state;
    struct program_cache *programs;
    struct dataset *data;
    struct packing packing;
    struct microbatch micro;
    struct prober *prober;
};

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct side *s = user;
    return adapter_state_bind(out, s->state, slot, err);
}

static void side_open(struct side *s, const struct backend *backend,
                      struct device *dev, const struct recipe *r)
{
    static const char *const texts[N_RECORDS] = {"bees honey ",
                                                 "rain ",
                                                 "tea tea rain ",
                                                 "honey ",
                                                 "bees ",
                                                 "rain honey tea bees "};
    static struct record records[N_RECORDS];
    const uint32_t windows[N_RECORDS] = {0, 1, 2, 3, 4, 5};
    const int fd = tinyfile_create(1);
    struct error err = {0};

    memset(s, 0, sizeof(*s));
    for (int i = 0; i < N_RECORDS; i++)
        records[i] = (struct record){.id = i + 1,
                                     .kind = RECORD_TEXT,
                                     .text = {texts[i], strlen(texts[i])}};
    ok(base_model_open(&s->base, backend, dev, fd, &err), &err);
    close(fd);
    const struct model_config *m = &s->base->config;
    ok(recipe_scheme(&s->scheme, r, m, &err), &err);
    ok(adapter_create(&s->adapter, m, &s->scheme, NULL, &err), &err);
    ok(adapter_begin(s->adapter->data, m, &s->scheme, 3), &err);
    for (size_t i = 0; i < adapter_floats(s->adapter); i++)
        s->adapter->data[i] += 0.03F * (float) ((i * 7919) % 13) - 0.18F;
    const struct adapter_state_params state = {
        .backend = backend,
        .dev = dev,
        .config = m,
        .scheme = &s->scheme,
        .is_forward = true,
        .n_moments = (uint8_t) r->zo_update,
    };
    ok(adapter_state_create(&s->state, &state, &err), &err);
    ok(adapter_state_write(s->state, ADAPTER_PART_VALUE, s->adapter->data),
       &err);
    ok(program_cache_create(&s->programs, s->base, bind_state, s), &err);
    const struct dataset_params d = {.records = records,
                                     .n_records = N_RECORDS,
                                     .subset = DATASET_TRAINED,
                                     .length = 64};
    ok(dataset_create(&s->data, &s->base->chat, &d, &err), &err);
    ok(packing_assign(&s->packing, s->data, windows, N_RECORDS, 64), &err);
    ok(microbatch_plan(&s->micro, s->base, r, &err), &err);
    const struct prober_params prober = {.base = s->base,
                                         .programs = s->programs,
                                         .state = s->state,
                                         .recipe = r,
                                         .scheme = &s->scheme,
                                         .micro = &s->micro};
    ok(prober_create(&s->prober, &prober, &err), &err);
}

static void side_close(struct side *s)
{
    prober_destroy(s->prober);
    program_cache_destroy(s->programs);
    adapter_state_destroy(s->state);
    adapter_destroy(s->adapter);
    packing_finish(&s->packing);
    dataset_destroy(s->data);
    base_model_close(s->base);
}

// Values after two steps by the same numbers.
static float *moved(struct side *s)
{
    static const float g[2][QUERIES_MAX] = {{2, -1, 0.5F}, {-0.3F, 0.7F, 1}};
    float *values = calloc(adapter_floats(s->adapter), sizeof(*values));
    struct error err = {0};

    assert_non_null(values);
    for (uint32_t i = 0; i < 2; i++)
        ok(prober_move(s->prober, 5 + i, 0.25F, g[i], &err), &err);
    ok(adapter_state_read(s->state, ADAPTER_PART_VALUE, values), &err);
    return values;
}

static void compare(const char *recipe, struct device *dev)
{
    const struct device_params params = {.tier = "c", .threads = 1};
    struct device *cpu;
    struct side here, there;
    struct recipe r;
    struct error err = {0};
    float g[QUERIES_MAX];
    double loss;

    recipe_init(&r);
    ok(recipe_parse(&r,
                    "rank=4 alpha=8 length=64 batch=6 patience=1000 "
                    "precision=f32",
                    &err),
       &err);
    ok(recipe_parse(&r, recipe, &err), &err);
    ok(cpu_backend.open(&cpu, &params, &err), &err);
    side_open(&here, &cpu_backend, cpu, &r);
    side_open(&there, &vulkan_backend, dev, &r);
    ok(prober_look(g, &loss, here.prober, 5, &here.packing, here.data, NULL,
                   &err),
       &err);
    ok(prober_look(g, &loss, there.prober, 5, &there.packing, there.data, NULL,
                   &err),
       &err);
    for (uint32_t c = 0; c < prober_copies(&r); c++) {
        const double want = prober_losses(here.prober)[c];
        const double got = prober_losses(there.prober)[c];
        // Vulkan may round operands to f16 where the CPU rounds to bf16.
        if (!(fabs(got - want) < (r.precision == PRECISION_F32 ? 1e-5 : 1e-2)))
            fail_msg("%s: copy %u is %.9g, not %.9g", recipe, c, got, want);
    }
    float *want = moved(&here), *got = moved(&there);
    assert_memory_not_equal(want, here.adapter->data,
                            adapter_floats(here.adapter) * sizeof(*want));
    assert_memory_equal(want, got,
                        adapter_floats(here.adapter) * sizeof(*want));
    free(want);
    free(got);
    side_close(&here);
    side_close(&there);
    cpu_backend.close(cpu);
}

// Sums of directions, and what momentum makes of them, to the last bit.
static void steps_are_those_of_the_cpu(void **state)
{
    static const char *const recipes[] = {
        "method=prge queries=3 sweep=dual",
        "method=mezo queries=3",
        "method=prge queries=3 sweep=single noise=rademacher",
        "method=fzoo queries=3 sweep=dual sparse=0.5",
        "method=prge queries=2 sweep=dual zo_update=momentum",
        "method=mezo queries=1 scheme=norms",
        "method=prge queries=3 sweep=dual precision=bf16",
    };

    struct device *dev = open_vulkan();

    (void) state;
    if (!dev)
        return;
    for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++)
        compare(recipes[i], dev);
    vulkan_backend.close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_that_is_read_once_is_made_there),
        cmocka_unit_test(the_same_bytes_come_out),
        cmocka_unit_test(steps_are_those_of_the_cpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
