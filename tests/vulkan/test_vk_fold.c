// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Products that are done as one, and rows that are packed once: which, and that
// the sums are those of each by itself.

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/tensor/quant.h"
#include "engine/vulkan/vk_device.h"
#include "engine/vulkan/vk_fold.h"
#include "engine/vulkan/vk_prepare.h"
#include "engine/vulkan/vk_product.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    M = 70, // no whole tile
    K = 96,
    N = 80,
    RANK = 8,
    // Places in the arena, in values.
    X = 0,
    DY = X + M * K,
    Z = DY + M * N,
    DZ = Z + M * RANK,
    Y = DZ + M * RANK,
    Y2 = Y + M * N,
    DX = Y2 + M * N,
    LOW_A = DX + M * K,
    LOW_B = LOW_A + RANK * K,
    SCRATCH = LOW_B + N * RANK,
    ARENA = SCRATCH + (1 << 18),
    WEIGHTS = N * K, // f16
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

static struct operand weight(void)
{
    return (struct operand){
        .region = REGION_WEIGHT,
        .dtype = DTYPE_f16,
        .rank = 2,
        .ne = {1, 1, N, K},
    };
}

static struct instr product(struct operand y, struct operand a,
                            struct operand b, bool trans_b, float alpha)
{
    return (struct instr){
        .op = OP_matmul,
        .n_in = 2,
        .n_out = 1,
        .kernel = b.region == REGION_WEIGHT ? VK_PRODUCT_CM : 0,
        .attr = {.trans_b = trans_b,
                 .alpha = alpha,
                 .precision = PRECISION_BF16},
        .in = {a, b},
        .out = {y},
    };
}

static struct instr plus(struct instr in, struct operand c)
{
    in.in[in.n_in++] = c;
    return in;
}

// Two linears of the same rows with an adapter, then backwards; the last
// product is of rows that took the place of others.
static uint32_t make(struct instr *p)
{
    const struct operand x = at(X, M, K), dy = at(DY, M, N), w = weight();
    const struct operand z = at(Z, M, RANK), dz = at(DZ, M, RANK);
    const struct operand a = at(LOW_A, RANK, K), b = at(LOW_B, N, RANK);
    const struct operand y = at(Y, M, N), y2 = at(Y2, M, N), dx = at(DX, M, K);
    uint32_t n = 0;

    p[n++] = product(y, x, w, true, 1); // 0, with 2
    p[n++] = product(z, x, a, true, 1);
    p[n++] = plus(product(y, z, b, true, 2), y);
    p[n++] = plus(product(y2, x, w, true, 1), dy); // 3, with 4
    p[n++] = plus(product(y2, z, b, true, -1), y2);
    p[n++] = product(dz, dy, b, false, 2);
    p[n++] = plus(product(dx, dz, a, false, 1), x); // 6, with 7
    p[n++] = plus(product(dx, dy, w, false, 1), dx);
    p[n++] = product(x, dy, w, false, 0.5f);
    p[n++] = product(y, x, w, true, 1); // of the new x
    return n;
}

static struct device nvidia(void)
{
    return (struct device){
        .traits = {.type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                   .vendor = 0x10de,
                   .subgroup = 32,
                   .has_coopmat = true,
                   .coopmat_m = 16,
                   .coopmat_n = 16,
                   .coopmat_k = 16,
                   .shared_bytes = 48 << 10,
                   .max_workgroup = 1024},
    };
}

static bool is_built(void)
{
    const bool is = vk_shader_is_built(VK_SHADER_gemm_cm_f16);

    if (!is)
        print_message("# skipped: this build has no cooperative matrices\n");
    return is;
}

static void products_that_add_up_are_found(void **state)
{
    struct device dev = nvidia();
    struct instr p[16];
    uint32_t folds[16] = {0};
    const uint32_t n = make(p);

    (void) state;
    if (!is_built())
        return;
    vk_fold_find(folds, &dev, p, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(folds[i], i == 0 || i == 3 || i == 6 ? VK_FOLD_SKIP
                                   : i == 2                   ? 1
                                   : i == 4                   ? 1 + 3
                                   : i == 7                   ? 1 + 6
                                                              : 0);
}

// Each change makes that products must be done one by one.
static uint32_t found_after(void (*change)(struct instr *))
{
    struct device dev = nvidia();
    struct instr p[16];
    uint32_t folds[16] = {0}, n_folds = 0;

    (void) make(p);
    change(p);
    vk_fold_find(folds, &dev, p, 3);
    for (int i = 0; i < 3; i++)
        n_folds += folds[i] != 0;
    return n_folds;
}

static void nothing(struct instr *p)
{
    (void) p;
}

static void reads_between(struct instr *p)
{
    p[1].in[0] = at(Y, M, K);
}

static void writes_input_between(struct instr *p)
{
    p[1].out[0] = at(X + 5, M, RANK);
}

static void scratch_on_input(struct instr *p)
{
    p[2].scratch = at(X, 1, 16);
}

static void other_place(struct instr *p)
{
    p[2].out[0] = at(Y2, M, N);
}

static void on_cpu(struct instr *p)
{
    p[2].kernel = VK_KERNEL_CPU;
}

static void exact(struct instr *p)
{
    p[0].attr.precision = p[2].attr.precision = PRECISION_F32;
}

static void wide(struct instr *p)
{
    p[2].in[0] = at(Z, M, 24);
    p[2].in[1] = at(LOW_B, N, 24);
}

static void turned_otherwise(struct instr *p)
{
    p[2].attr.trans_b = false;
    p[2].in[1] = at(LOW_B, RANK, N);
}

static void what_would_be_wrong_is_left(void **state)
{
    static void (*const changes[])(struct instr *) = {
        reads_between,
        writes_input_between,
        scratch_on_input,
        other_place,
        on_cpu,
        exact,
        wide,
        turned_otherwise,
    };

    (void) state;
    if (!is_built())
        return;
    assert_int_equal(found_after(nothing), 2);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        assert_int_equal(found_after(changes[i]), 0);
}

struct rig {
    struct device *dev;
    struct buffer *arena, *model;
    float values[ARENA];
    uint16_t weights[WEIGHTS];
};

static void fill(struct rig *r)
{
    struct rng rng;

    rng_init(&rng, 3, 0);
    for (int i = 0; i < SCRATCH; i++)
        r->values[i] = (float) rng_normal(&rng) * (i < LOW_A ? 1.0f : 0.1f);
    for (int row = 0; row < N; row++) {
        float w[K];
        for (int i = 0; i < K; i++)
            w[i] = (float) rng_normal(&rng);
        quant_encode(DTYPE_f16, r->weights + (size_t) row * K, w, K);
    }
}

static void run(struct rig *r, float *out, bool is_prepared)
{
    const struct backend *vk = &vulkan_backend;
    const struct binding weights = {r->model, 0};
    struct bindings b = {.arena = r->arena, .weights = &weights};
    struct instr p[16];
    const uint32_t n = make(p);
    struct error err = {0};

    for (uint32_t i = 0; i < n; i++) {
        const size_t bytes = vk->scratch_bytes(r->dev, &p[i]);
        assert_true(bytes <= (ARENA - SCRATCH) * sizeof(float));
        if (bytes > 0)
            p[i].scratch = at(SCRATCH, 1, (int64_t) (bytes + 3) / 4);
    }
    assert_int_equal(vk->buffer_write(r->arena, 0, r->values,
                                      SCRATCH * sizeof(float)),
                     0);
    if (is_prepared)
        assert_int_equal(vk->prepare(&b.prepared, r->dev, p, n, &b, &err), 0);
    for (uint32_t i = 0; i < n; i += is_prepared ? n : 1)
        assert_int_equal(vk->run(r->dev, p + i, is_prepared ? n : 1, &b),
                         is_prepared ? n : 1);
    assert_int_equal(vk->buffer_read(r->arena, 0, out, SCRATCH * sizeof(float)),
                     0);
    vk->release(b.prepared);
}

static void sums_are_those_of_each(void **state)
{
    const char *which = getenv("POCK_TEST_VULKAN");
    const struct device_params params = {.tier = which ? which : "cpu"};
    struct rig *r = calloc(1, sizeof(*r));
    float *one = calloc(SCRATCH, sizeof(float));
    float *each = calloc(SCRATCH, sizeof(float));
    struct error err = {0};

    (void) state;
    assert_non_null(r);
    assert_non_null(one);
    assert_non_null(each);
    const int rc = vulkan_backend.open(&r->dev, &params, &err);
    if (rc < 0 || !r->dev->traits.has_coopmat) {
        print_message(
            "# skipped: no Vulkan device with cooperative matrices\n");
        if (rc >= 0)
            vulkan_backend.close(r->dev);
        free(r);
        free(one);
        free(each);
        return;
    }
    fill(r);
    assert_int_equal(vulkan_backend.buffer_create(&r->arena, r->dev,
                                                  sizeof(r->values)),
                     0);
    assert_int_equal(vulkan_backend.buffer_import(&r->model, r->dev, r->weights,
                                                  sizeof(r->weights)),
                     0);
    run(r, each, false);
    run(r, one, true);
    for (int i = 0; i < LOW_A; i++) {
        const float most = i >= Y && i < Y2 ? 200 : 60; // their largest, about
        assert_true(isfinite(one[i]));
        assert_true(fabsf(one[i] - each[i]) < 2e-3f * most);
    }
    vulkan_backend.buffer_destroy(r->model);
    vulkan_backend.buffer_destroy(r->arena);
    vulkan_backend.close(r->dev);
    free(r);
    free(one);
    free(each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_that_add_up_are_found),
        cmocka_unit_test(what_would_be_wrong_is_left),
        cmocka_unit_test(sums_are_those_of_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
