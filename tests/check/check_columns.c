// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Kernels that treat a matrix column by column, or measure its rows.

static const struct {
    int64_t rows, cols;
} shapes[] = {{1, 1}, {1, 7}, {3, 8}, {2, 31}, {5, 64}, {70, 257}, {3, 20000}};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

int check_scale_columns(KERNEL_scale_columns((*ref)),
                        KERNEL_scale_columns((*fn)), const char *isa,
                        bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *x = check_random(rows * cols, 3.0f);
        const float *w = check_random(cols, 1.0f);
        float *want = check_room(rows * cols);
        ref(want, x, w, rows, cols, NULL);
        for (int i = 0; i < CHECK_POOLS + 1; i++) {
            float *y = i == CHECK_POOLS ? check_copy(x, rows * cols)
                                        : check_room(rows * cols);
            fn(y, i == CHECK_POOLS ? y : x, w, rows, cols,
               check_pools[i % CHECK_POOLS]);
            ok &= check_same(want, y, rows * cols, "scale_columns_%s", isa);
        }
    }
    (void) bench;
    return !ok;
}

int check_add_columns(KERNEL_add_columns((*ref)), KERNEL_add_columns((*fn)),
                      const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *x = check_random(rows * cols, 3.0f);
        const float *bias = check_random(cols, 1.0f);
        float *want = check_room(rows * cols);
        ref(want, x, bias, rows, cols, NULL);
        for (int i = 0; i < CHECK_POOLS + 1; i++) {
            float *y = i == CHECK_POOLS ? check_copy(x, rows * cols)
                                        : check_room(rows * cols);
            fn(y, i == CHECK_POOLS ? y : x, bias, rows, cols,
               check_pools[i % CHECK_POOLS]);
            ok &= check_same(want, y, rows * cols, "add_columns_%s", isa);
        }
    }
    (void) bench;
    return !ok;
}

// Value by value, and back again.
int check_split(KERNEL_split((*ref)), KERNEL_split((*fn)), const char *isa,
                bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t n[2] = {shapes[s].cols, 1 + shapes[s].cols / 2};
        const int64_t cols = n[0] + n[1];
        const float *x = check_random(rows * cols, 1.0f);
        float *y[2] = {check_room(rows * n[0]), check_room(rows * n[1])};
        fn(y[0], y[1], x, rows, n[0], n[1], NULL);
        for (int64_t i = 0; i < rows * cols; i++) {
            const int64_t t = i / cols, at = i % cols;
            ok &= x[i] == (at < n[0] ? y[0][t * n[0] + at]
                                     : y[1][t * n[1] + at - n[0]]);
        }
        float *one = check_room(rows * n[1]);
        ref(NULL, one, x, rows, n[0], n[1], NULL);
        ok &= check_same(y[1], one, rows * n[1], "split_%s of one", isa);
    }
    (void) bench;
    return !ok;
}

int check_join(KERNEL_join((*ref)), KERNEL_join((*fn)), const char *isa,
               bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t n[2] = {shapes[s].cols, 1 + shapes[s].cols / 2};
        const float *a = check_random(rows * n[0], 1.0f);
        const float *b = check_random(rows * n[1], 1.0f);
        float *y = check_room(rows * (n[0] + n[1]));
        float *back[2] = {check_room(rows * n[0]), check_room(rows * n[1])};
        fn(y, a, b, rows, n[0], n[1], NULL);
        split_c(back[0], back[1], y, rows, n[0], n[1], NULL);
        ok &= check_same(a, back[0], rows * n[0], "join_%s", isa) &&
              check_same(b, back[1], rows * n[1], "join_%s", isa);
    }
    (void) ref;
    (void) bench;
    return !ok;
}

int check_dot_columns(KERNEL_dot_columns((*ref)), KERNEL_dot_columns((*fn)),
                      const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].cols;
        const float *a = check_random(rows * cols, 1.0f);
        const float *b = check_random(rows * cols, 1.0f);
        float *want = check_room(cols);
        ref(want, a, b, rows, cols, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *w = check_room(cols);
            fn(w, a, b, rows, cols, check_pools[i]);
            // Short sums in floats: 32 products of at most 1.
            ok &=
                check_close(want, w, cols, 1.0f, 3e-6f, "dot_columns_%s", isa);
        }
    }
    if (bench) {
        const float *x = check_random(256 * 384, 1.0f);
        float *w = check_room(384);
        char name[64];
        snprintf(name, sizeof(name), "dot_columns_%s", isa);
        CHECK_BENCH(name, 2 * 256 * 384, 8 * 256 * 384,
                    fn(w, x, x, 256, 384, NULL));
    }
    return !ok;
}

static int64_t part_columns(uint8_t part, int64_t cols)
{
    return op_part_columns(part, cols);
}

static const uint8_t parts[] = {0, 0xff, 0x01, 0x80, 0x5a};

// Against indices that are looked up one by one.
int check_columns(KERNEL_columns((*ref)), KERNEL_columns((*fn)),
                  const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES * 5; s++) {
        const int64_t rows = shapes[s / 5].rows;
        const int64_t cols = shapes[s / 5].cols;
        const uint8_t part = parts[s % 5];
        const int64_t n = part_columns(part, cols);
        const float *x = check_random(rows * cols, 1.0f);
        float *want = check_room(rows * n);
        float *y = check_room(rows * n);
        int64_t at = 0;
        for (int64_t t = 0; t < rows; t++)
            for (int64_t i = 0; i < cols; i++)
                for (int e = 0; e < 8; e++)
                    if ((part == 0 || part >> e & 1) && i >= cols * e / 8 &&
                        i < cols * (e + 1) / 8)
                        want[at++] = x[t * cols + i];
        ok &= at == rows * n;
        fn(y, x, part, rows, cols, NULL);
        ok &= check_same(want, y, rows * n, "columns_%s", isa);
        ref(y, x, part, rows, cols, NULL);
        ok &= check_same(want, y, rows * n, "columns");
    }
    (void) bench;
    return !ok;
}

// Taking the columns again gives them back, and all others are zero.
int check_columns_back(KERNEL_columns_back((*ref)), KERNEL_columns_back((*fn)),
                       const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES * 5; s++) {
        const int64_t rows = shapes[s / 5].rows;
        const int64_t cols = shapes[s / 5].cols;
        const uint8_t part = parts[s % 5];
        const int64_t n = part_columns(part, cols);
        const float *dy = check_random(rows * n, 1.0f);
        float *want = check_room(rows * cols);
        float *dx = check_room(rows * cols);
        float *again = check_room(rows * n);
        double sum[2] = {0, 0};
        ref(want, dy, part, rows, cols, NULL);
        fn(dx, dy, part, rows, cols, NULL);
        ok &= check_same(want, dx, rows * cols, "columns_back_%s", isa);
        columns_c(again, dx, part, rows, cols, NULL);
        ok &= check_same(dy, again, rows * n, "columns_back_%s", isa);
        for (int64_t i = 0; i < rows * cols; i++)
            sum[0] += fabs((double) dx[i]);
        for (int64_t i = 0; i < rows * n; i++)
            sum[1] += fabs((double) dy[i]);
        ok &= fabs(sum[0] - sum[1]) <= 1e-9 * sum[1];
    }
    (void) bench;
    return !ok;
}

static bool check_ratio_of(enum dtype type, KERNEL_row_ratio((*ref)),
                           KERNEL_row_ratio((*fn)), const char *isa)
{
    const int64_t rows = 37, cols = 768, rank = 5;
    const void *w = check_weights(type, rows, cols);
    const float *a = check_random(rank * cols, 1.0f);
    float *b = check_random(rows * rank, 0.3f);
    float *want = check_room(rows);
    const struct instr in = {
        .op = OP_row_ratio,
        .in = {check_operand(DTYPE_f32, rank, cols),
               check_operand(type, rows, cols),
               check_operand(DTYPE_f32, rows, rank)},
        .n_in = 3,
    };
    void *scratch = check_scratch(&in);
    bool ok = true;

    memset(b + 3 * rank, 0, (size_t) rank * sizeof(*b));
    ref(want, a, w, type, b, rows, cols, rank, 0.7f, scratch, NULL);
    ok &= want[3] == 1.0f;
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *y = check_room(rows);
        fn(y, a, w, type, b, rows, cols, rank, 0.7f, scratch, check_pools[i]);
        ok &= check_close(want, y, rows, 0.1f, 2e-6f, "row_ratio_%s %s", isa,
                          dtype_infos[type].name);
    }
    return ok;
}

int check_row_ratio(KERNEL_row_ratio((*ref)), KERNEL_row_ratio((*fn)),
                    const char *isa, bool bench)
{
    bool ok = true;

    for (int type = 0; type < DTYPE_COUNT; type++)
        if (dtype_is_weight((enum dtype) type))
            ok &= check_ratio_of((enum dtype) type, ref, fn, isa);
    (void) bench;
    return !ok;
}
