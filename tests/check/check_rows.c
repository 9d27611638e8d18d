// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Kernels that go over a tensor row by row.

static const struct {
    int64_t rows, cols;
} shapes[] = {{1, 1}, {1, 7}, {3, 8}, {2, 31}, {5, 64}, {70, 257}, {3, 20000}};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

int check_embed(KERNEL_embed((*ref)), KERNEL_embed((*fn)), const char *isa,
                bool bench)
{
    const int64_t vocab = 11;
    const int64_t rows = 9;
    const int64_t cols = 768;
    bool ok = true;

    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_weight((enum dtype) type))
            continue;
        const void *w = check_weights((enum dtype) type, vocab, cols);
        int32_t *tokens = check_ints(rows, 0, (int32_t) vocab);
        float *want = check_room(rows * cols);
        tokens[3] = -1;
        tokens[4] = (int32_t) vocab;
        ref(want, tokens, w, (enum dtype) type, rows, cols, vocab, NULL);
        for (int64_t i = 0; i < 2 * cols; i++)
            ok &= want[3 * cols + i] == 0.0f;
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(rows * cols);
            fn(y, tokens, w, (enum dtype) type, rows, cols, vocab,
               check_pools[i]);
            ok &= check_same(want, y, rows * cols, "embed_%s", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_rmsnorm(KERNEL_rmsnorm((*ref)), KERNEL_rmsnorm((*fn)),
                  const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *x = check_random(rows * cols, 3.0f);
        const float *w = check_random(cols, 1.0f);
        float *want = check_room(rows * cols);
        float *want_r = check_room(rows);
        ref(want, want_r, x, w, rows, cols, 1e-5f, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(rows * cols);
            float *r = i == 2 ? NULL : check_room(rows);
            fn(y, r, x, w, rows, cols, 1e-5f, check_pools[i]);
            ok &= check_close(want, y, rows * cols, 0.1f, 2e-6f,
                              "rmsnorm_%s cols=%lld", isa, (long long) cols);
            if (r)
                ok &= check_close(want_r, r, rows, 0.0f, 1e-6f,
                                  "rmsnorm_%s rstd", isa);
        }
    }
    if (bench) {
        const float *x = check_random(256 * 384, 1.0f);
        float *y = check_room(256 * 384);
        char name[64];
        snprintf(name, sizeof(name), "rmsnorm_%s", isa);
        CHECK_BENCH(name, 0, 8 * 256 * 384,
                    fn(y, NULL, x, x, 256, 384, 1e-5f, NULL));
    }
    return !ok;
}

int check_rmsnorm_dx(KERNEL_rmsnorm_dx((*ref)), KERNEL_rmsnorm_dx((*fn)),
                     const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *x = check_random(rows * cols, 1.0f);
        const float *dy = check_random(rows * cols, 1.0f);
        const float *w = check_random(cols, 1.0f);
        const float *r = check_random(rows, 2.0f);
        float *want = check_room(rows * cols);
        ref(want, dy, x, w, r, rows, cols, NULL);
        for (int i = 0; i < CHECK_POOLS + 1; i++) {
            float *dx = i == CHECK_POOLS ? check_copy(dy, rows * cols)
                                         : check_room(rows * cols);
            fn(dx, i == CHECK_POOLS ? dx : dy, x, w, r, rows, cols,
               check_pools[i % CHECK_POOLS]);
            ok &= check_close(want, dx, rows * cols, 1.0f, 2e-6f,
                              "rmsnorm_dx_%s cols=%lld", isa, (long long) cols);
        }
    }
    (void) bench;
    return !ok;
}

int check_rmsnorm_dw(KERNEL_rmsnorm_dw((*ref)), KERNEL_rmsnorm_dw((*fn)),
                     const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *x = check_random(rows * cols, 1.0f);
        const float *dy = check_random(rows * cols, 1.0f);
        const float *r = check_random(rows, 2.0f);
        float *want = check_room(cols);
        ref(want, dy, x, r, rows, cols, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *dw = check_room(cols);
            fn(dw, dy, x, r, rows, cols, check_pools[i]);
            ok &=
                check_close(want, dw, cols, 1.0f, 3e-6f, "rmsnorm_dw_%s", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_rope(KERNEL_rope((*ref)), KERNEL_rope((*fn)), const char *isa,
               bool bench)
{
    static const struct {
        int64_t rows, heads, dim, turned;
    } cases[] = {{1, 1, 2, 2},    {5, 3, 8, 8},   {7, 2, 64, 64},
                 {9, 2, 80, 32},  {3, 1, 22, 18}, {300, 6, 64, 64},
                 {2, 1, 256, 256}};
    bool ok = true;

    for (size_t c = 0; c < 4 * sizeof(cases) / sizeof(cases[0]); c++) {
        const int64_t rows = cases[c / 4].rows;
        const int64_t heads = cases[c / 4].heads;
        const int64_t dim = cases[c / 4].dim;
        const int64_t n = rows * heads * dim;
        // In two of four: frequencies divided, values multiplied.
        float *slower = c & 2 ? check_random(cases[c / 4].turned / 2, 1) : NULL;
        const float slow = c & 2 ? 8.0f : 1.0f;
        const float gain = c & 2 ? 1.19f : 1.0f;
        const enum rope_mode mode = c & 1 ? ROPE_PAIRS : ROPE_HALVES;
        const int sign = c & 2 ? 1 : -1;
        const float *x = check_random(n, 1.0f);
        const int32_t *pos = check_ints(rows, 0, 40000);
        float *want = check_room(n);
        for (int64_t i = 0; slower && i < cases[c / 4].turned / 2; i++)
            slower[i] += 1.5f;
        ref(want, x, pos, rows, heads, dim, cases[c / 4].turned, 1e4f, slower,
            slow, gain, mode, sign, NULL, NULL);
        for (int i = 0; i < CHECK_POOLS + 1; i++) {
            float *y = i == CHECK_POOLS ? check_copy(x, n) : check_room(n);
            fn(y, i == CHECK_POOLS ? y : x, pos, rows, heads, dim,
               cases[c / 4].turned, 1e4f, slower, slow, gain, mode, sign, NULL,
               check_pools[i % CHECK_POOLS]);
            // Angles are reduced in double: no error that grows with pos.
            ok &= check_close(want, y, n, 1.0f, 5e-7f, "rope_%s dim=%lld", isa,
                              (long long) dim);
        }
    }
    if (bench) {
        const int64_t n = 256 * 384;
        const float *x = check_random(n, 1.0f);
        const int32_t *pos = check_ints(256, 0, 512);
        float *y = check_room(n);
        char name[64];
        snprintf(name, sizeof(name), "rope_%s", isa);
        CHECK_BENCH(name, 0, 8 * n,
                    fn(y, x, pos, 256, 6, 64, 64, 1e4f, NULL, 1, 1, ROPE_PAIRS,
                       1, NULL, NULL));
    }
    return !ok;
}

int check_rows(KERNEL_rows((*ref)), KERNEL_rows((*fn)), const char *isa,
               bool bench)
{
    const int64_t cols = 13;
    const float *x = check_random(10 * cols, 1.0f);
    int32_t *index = check_ints(6, 0, 10);
    float *want = check_room(6 * cols);
    bool ok = true;

    index[2] = 10;
    index[3] = -1;
    ref(want, x, index, 6, 10, cols, NULL);
    for (int64_t i = 0; i < 6 * cols; i++) {
        const int32_t from = index[i / cols];
        ok &= want[i] ==
              (from < 0 || from >= 10 ? 0.0f : x[from * cols + i % cols]);
    }
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *y = check_room(6 * cols);
        fn(y, x, index, 6, 10, cols, check_pools[i]);
        ok &= check_same(want, y, 6 * cols, "rows_%s", isa);
    }
    (void) bench;
    return !ok;
}

int check_kv_store(KERNEL_kv_store((*ref)), KERNEL_kv_store((*fn)),
                   const char *isa, bool bench)
{
    const int64_t cols = 13;
    const float *x = check_random(4 * cols, 1.0f);
    const float *cache = check_random(8 * cols, 1.0f);
    int32_t *pos = check_ints(4, 0, 1);
    float *want = check_copy(cache, 8 * cols);
    bool ok = true;

    pos[0] = 7;
    pos[1] = -1;
    pos[2] = 8;
    pos[3] = 2;
    ref(want, x, pos, 4, cols, 8, NULL);
    ok &= check_same(want + 7 * cols, x, cols, "kv_store_c");
    ok &= check_same(want + 2 * cols, x + 3 * cols, cols, "kv_store_c");
    ok &= check_same(want, cache, 2 * cols, "kv_store_c");
    ok &= check_same(want + 3 * cols, cache + 3 * cols, 4 * cols, "kv_store_c");
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *c = check_copy(cache, 8 * cols);
        fn(c, x, pos, 4, cols, 8, check_pools[i]);
        ok &= check_same(want, c, 8 * cols, "kv_store_%s", isa);
    }
    (void) bench;
    return !ok;
}

// A gradient half way between two bf16s may go to either of them. That of a
// token's own target is large: 2^-8 of it, times a weight, for few tokens.
static bool check_rounded(const float *want, const float *got, int64_t n,
                          const char *name)
{
    int64_t apart = 0;

    for (int64_t i = 0; i < n; i++)
        apart += fabsf(want[i] - got[i]) > 1e-4f * (1.0f + fabsf(want[i]));
    if (apart > n / 100)
        printf("FAIL %s: %lld gradients are rounded otherwise\n", name,
               (long long) apart);
    return check_close(want, got, n, 1.0f, 0x1p-8f, "%s gradient", name) &&
           apart <= n / 100;
}

struct loss_case {
    int64_t rows, cols, vocab;
    enum dtype type;
    enum precision precision;
    float cap;
};

static bool xent_case(KERNEL_xent((*ref)), KERNEL_xent((*fn)), const char *isa,
                      const struct loss_case *c)
{
    struct instr in = {.op = OP_xent, .n_in = 4, .n_out = 3};
    const int64_t n = c->rows * c->cols;
    const float *x = check_random(n, 1.0f);
    const void *w = check_weights(c->type, c->vocab, c->cols);
    int32_t *targets = check_ints(c->rows, 0, (int32_t) c->vocab);
    float *weights = check_random(c->rows, 1.0f);
    float *want[3] = {check_room(1), check_room(c->rows), check_room(n)};
    float *first[2][3] = {{NULL}}; // with dx and without
    const int64_t count[3] = {1, c->rows, n};
    const enum precision precision = check_precision(isa, c->precision);
    bool ok = true;
    char name[96];

    in.in[0] = check_operand(DTYPE_f32, c->rows, c->cols);
    in.in[1] = check_operand(c->type, c->vocab, c->cols);
    in.out[2] = in.in[0];
    in.attr.precision = (uint8_t) c->precision;
    snprintf(name, sizeof(name), "xent_%s %lldx%lldx%lld%s", isa,
             (long long) c->rows, (long long) c->cols, (long long) c->vocab,
             c->precision == PRECISION_BF16 ? " bf16" : "");
    for (int64_t t = 0; t < c->rows; t += 1 + check_below(3))
        weights[t] = 0.0f;
    if (c->rows > 4) {
        targets[2] = -1;
        targets[3] = (int32_t) c->vocab;
        weights[3] = 1.0f;
    }
    ref(want[0], want[1], want[2], x, w, c->type, targets, weights, c->rows,
        c->cols, c->vocab, c->cap, precision, check_scratch(&in), NULL);
    // All outputs, each of them missing, and without dx with every pool.
    for (int i = 0; i < 2 * CHECK_POOLS + 2; i++) {
        float *got[3] = {check_room(1), check_room(c->rows), check_room(n)};
        const bool has_dx = i < CHECK_POOLS + 2;
        if (i >= CHECK_POOLS && has_dx)
            got[i - CHECK_POOLS] = NULL;
        if (!has_dx)
            got[2] = NULL;
        in.out[2].region = has_dx ? REGION_ARENA : REGION_NONE;
        fn(got[0], got[1], got[2], x, w, c->type, targets, weights, c->rows,
           c->cols, c->vocab, c->cap, c->precision, check_scratch(&in),
           check_pools[i % CHECK_POOLS]);
        for (int j = 0; j < 3; j++) {
            float **same = &first[!has_dx][j];
            *same = *same ? *same : got[j];
            if (got[j])
                ok &= check_same(*same, got[j], count[j], "%s out %d", name, j);
        }
    }
    for (int j = 0; j < 5; j++)
        ok &=
            j == 2 && precision == PRECISION_BF16
                ? check_rounded(want[j], first[0][j], count[j], name)
                : check_close(want[j % 3], first[j / 3][j % 3], count[j % 3],
                              1.0f, precision == PRECISION_BF16 ? 1e-4f : 5e-6f,
                              "%s out %d", name, j);
    return check_end(name) && ok;
}

int check_xent(KERNEL_xent((*ref)), KERNEL_xent((*fn)), const char *isa,
               bool bench)
{
    static const struct loss_case cases[] = {
        {1, 5, 3, DTYPE_f32, PRECISION_F32, 0},
        {9, 64, 100, DTYPE_f16, PRECISION_F32, 0},
        {40, 32, 257, DTYPE_q8_0, PRECISION_F32, 0},
        {17, 96, 1001, DTYPE_q4_0, PRECISION_F32, 0},
        {37, 20, 70000, DTYPE_bf16, PRECISION_F32, 0},
        {9, 64, 101, DTYPE_f32, PRECISION_F32, 3},
        {5, 32, 3000, DTYPE_q8_0, PRECISION_F32, 1.5f},
        // Without dx some chunks and parts of w, the last of each short.
        {270, 32, 2500, DTYPE_q8_0, PRECISION_F32, 0},
        {260, 32, 2049, DTYPE_q4_0, PRECISION_F32, 2},
    };
    bool ok = true;

    // The types of blocks: the head of a model may have any.
    for (int type = 0; type < DTYPE_COUNT; type++)
        if (dtype_infos[type].block > 1) {
            const struct loss_case c =
                {9, 256, 70, (enum dtype) type, (enum precision)(type % 2), 0};
            ok &= xent_case(ref, fn, isa, &c);
        }

    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        struct loss_case c = cases[i / 2];
        c.precision = (enum precision)(i % 2);
        ok &= xent_case(ref, fn, isa, &c);
    }
    (void) bench;
    return !ok;
}
