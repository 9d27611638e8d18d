// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Tensors that are updated by one dispatch get the bytes that each would get
 * from its own.
 */

#include "engine/vulkan/vk_waves.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Some are as large as two and three workgroups' share; two add up their
// squares in a dispatch before.
static const uint32_t sizes[] = {1,    2048,   2049,   7,  5000, 4096,
                                 4608, 140000, 132000, 12, 300,  64};
enum { N = sizeof(sizes) / sizeof(sizes[0]), FLOATS = 4 * 320000 };

struct rig {
    struct device *dev;
    struct buffer *arena;
    struct instr instrs[N];
    float *before, *after[2];
    size_t used; // bytes
};

static struct operand take(struct rig *r, uint32_t n)
{
    const struct operand o = {
        .region = REGION_ARENA,
        .dtype = DTYPE_f32,
        .rank = 1,
        .offset = r->used,
        .ne = {1, 1, 1, n},
    };

    r->used += (n * sizeof(float) + 63) & ~(size_t) 63;
    assert_true(r->used <= FLOATS * sizeof(float));
    return o;
}

static void fill(struct rig *r)
{
    const float hyper[ADAMW_HYPERS] = {1e-2f, 0.9f, 0.999f,   1e-8f,
                                       0.1f,  0.4f, 0.00599f, 1};
    const struct operand h = take(r, ADAMW_HYPERS);
    struct rng rng;

    rng_init(&rng, 5, 0);
    for (size_t i = 0; i < FLOATS; i++)
        r->before[i] = rng_uniform(&rng);
    memcpy((char *) r->before + h.offset, hyper, sizeof hyper);
    for (uint32_t i = 0; i < N; i++) {
        struct instr *in = &r->instrs[i];
        in->op = OP_adamw;
        in->n_in = 5;
        in->n_out = 3;
        in->is_tail = i > 0;
        in->attr.alpha = i % 3 == 1 ? 0.5f : 0;
        for (int k = 0; k < 4; k++)
            in->in[k] = take(r, sizes[i]);
        in->in[4] = h;
        for (int k = 0; k < 3; k++)
            in->out[k] = in->in[k];
        const size_t scratch = vulkan_backend.scratch_bytes(r->dev, in);
        if (scratch > 0)
            in->scratch = take(r, (uint32_t) (scratch / sizeof(float)));
    }
}

static bool open_rig(struct rig *r)
{
    const char *which = getenv("POCK_TEST_VULKAN");
    const struct device_params params = {.tier = which ? which : "cpu"};
    struct error err = {0};
    const int rc = vulkan_backend.open(&r->dev, &params, &err);

    if (rc == -ENODEV && !which)
        return false;
    if (rc < 0)
        fail_msg("%s", err.text);
    assert_int_equal(vulkan_backend.buffer_create(&r->arena, r->dev,
                                                  FLOATS * sizeof(float)),
                     0);
    r->before = calloc(FLOATS, sizeof(float));
    r->after[0] = calloc(FLOATS, sizeof(float));
    r->after[1] = calloc(FLOATS, sizeof(float));
    assert_true(r->before && r->after[0] && r->after[1]);
    fill(r);
    return true;
}

static void run(struct rig *r, struct prepared *p, float *after)
{
    const size_t bytes = FLOATS * sizeof(float);

    assert_int_equal(vulkan_backend.buffer_write(r->arena, 0, r->before, bytes),
                     0);
    assert_int_equal(vk_run(r->dev, p, 0, N), N);
    assert_int_equal(vulkan_backend.buffer_read(r->arena, 0, after, bytes), 0);
}

static void many_at_once_are_as_each_by_itself(void **state)
{
    const struct bindings b = {0};
    struct rig r = {0};
    struct bindings with = b;
    struct prepared *p;
    struct error err = {0};

    if (!open_rig(&r))
        skip();
    with.arena = r.arena;
    if (vk_prepare(&p, r.dev, r.instrs, N, &with, true, &err) < 0)
        fail_msg("%s", err.text);
    // All of them are one window, and what has no squares to wait for is one.
    assert_int_equal(p->waves->ends[0], N);
    assert_true(p->waves->n_joined >= 2);
    r.dev->slice_most_ns = 1;
    r.dev->behaves = -1;
    run(&r, p, r.after[0]);
    // As it is when times are known and short.
    for (uint32_t i = 0; i < p->list.n; i++)
        p->list.items[i].pipeline->ns_per_work = 1e-6;
    r.dev->slice_most_ns = 0;
    r.dev->behaves = -1;
    run(&r, p, r.after[1]);
    assert_memory_not_equal(r.after[0], r.before, FLOATS * sizeof(float));
    // Scratch too: the same sums.
    assert_memory_equal(r.after[0], r.after[1], FLOATS * sizeof(float));
    vk_release(p);
    vulkan_backend.buffer_destroy(r.arena);
    vulkan_backend.close(r.dev);
    free(r.before);
    free(r.after[0]);
    free(r.after[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_at_once_are_as_each_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
