// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

// Sums of some thousand f32 in another order: 1e-6 of the result, more where
// terms cancel.
static const double sums = 5e-6;

enum { ROWS_MAX = 5000 };

static const float zeros[40 * ROWS_MAX];

static struct operand vector(int64_t n)
{
    struct operand o = vcase_f32(1, n);

    o.rank = 1;
    return o;
}

static void rmsnorm(int64_t rows, int64_t runs, int64_t cols)
{
    const struct operand x = vcase_f32(rows, runs * cols);
    const struct operand w = vector(cols);
    const struct operand rstd = vector(rows * runs);
    struct vcase c = {
        .name = "rmsnorm",
        .in = {.op = OP_rmsnorm,
               .n_in = 2,
               .n_out = 2,
               .attr.eps = 1e-5f,
               .in = {x, w},
               .out = {x, rstd}},
        .tolerance = sums,
    };

    vcase_run(&c);
    c.name = "rmsnorm, no rstd";
    c.in.out[1] = (struct operand){0};
    vcase_run(&c);
    vcase_run(&(struct vcase){
        .name = "rmsnorm_dx",
        .in = {.op = OP_rmsnorm_dx,
               .n_in = 4,
               .n_out = 1,
               .in = {x, x, w, rstd},
               .out = {x}},
        .tolerance = sums,
    });
    vcase_run(&(struct vcase){
        .name = "rmsnorm_dw",
        .in = {.op = OP_rmsnorm_dw,
               .n_in = 3,
               .n_out = 1,
               .in = {x, x, rstd},
               .out = {w}},
        .tolerance = sums,
    });
}

static void dot_columns(int64_t rows, int64_t cols)
{
    const struct operand a = rows > 0 ? vcase_f32(rows, cols) : vector(cols);

    vcase_run(&(struct vcase){
        .name = "dot_columns",
        .in = {.op = OP_dot_columns,
               .n_in = 2,
               .n_out = 1,
               .in = {a, a},
               .out = {vector(cols)}},
        .tolerance = sums,
    });
}

static void subtoken_dot(int64_t rows, int64_t groups, int64_t size)
{
    vcase_run(&(struct vcase){
        .name = "subtoken_dot",
        .in = {.op = OP_subtoken_dot,
               .n_in = 2,
               .n_out = 1,
               .attr.alpha = 0.4f,
               .in = {vcase_f32(rows, groups * size), vector(size)},
               .out = {vcase_f32(rows, groups)}},
        .tolerance = sums,
    });
}

static void row_squares(int64_t rows, int64_t cols)
{
    struct vcase c = {
        .name = "row_squares",
        .in = {.op = OP_row_squares,
               .n_in = 1,
               .n_out = 1,
               .in = {vcase_f32(rows, cols), vector(rows)},
               .out = {vector(rows)}},
        .tolerance = sums,
    };

    vcase_run(&c);
    c.in.n_in = 2;
    vcase_run(&c);
    c.name = "row_squares of zeros";
    c.data[0] = zeros;
    vcase_run(&c);
}

static void subtoken_mean(int64_t rows, int64_t groups, int64_t size)
{
    struct vcase c = {
        .name = "subtoken_mean, the first",
        .in = {.op = OP_subtoken_mean,
               .n_in = 2,
               .n_out = 1,
               .in = {vcase_f32(rows, groups * size), vector(size)},
               .out = {vector(size)}},
        .data = {NULL, zeros},
        // Means of many numbers around 0 are small beside them.
        .tolerance = 1e-4,
    };

    vcase_run(&c);
    c.name = "subtoken_mean, not the first";
    c.data[1] = NULL;
    vcase_run(&c);
    c.name = "subtoken_mean of zeros";
    c.data[0] = c.data[1] = zeros;
    vcase_run(&c);
}

// Of every `few`-th row norms are as large as `most` and of others small; or 0.
static void choose_rows(const char *name, int64_t rows, int64_t n, int few,
                        float most, float others)
{
    const struct operand x = vcase_f32(rows, 40);
    static float norms[ROWS_MAX];

    for (int64_t i = 0; i < rows; i++)
        norms[i] = i % few == few - 1 ? most : others;
    vcase_run(&(struct vcase){
        .name = name,
        .in = {.op = OP_choose_rows,
               .n_in = 3,
               .n_out = 2,
               .attr = {.n_rows = (uint32_t) n, .stream = 9},
               .in = {x, vector(rows), vcase_i32(4)},
               .out = {vcase_f32(n, 40), vcase_i32(n)}},
        .data = {NULL, norms, (const int32_t[]){77, -5, 1234567890, 3}},
        .tolerance = 2e-5,
    });
}

static void choices(void)
{
    choose_rows("choose_rows", 1000, 100, 3, 1, 0.8f);
    choose_rows("choose_rows, alike", 300, 299, 1, 1, 0);
    choose_rows("choose_rows, winners", 1000, 300, 5, 50, 0.1f);
    choose_rows("choose_rows, one", 1000, 1, 5, 50, 0.1f);
    choose_rows("choose_rows, few positive", 1000, 300, 4, 1, 0);
    choose_rows("choose_rows, nothing positive", 100, 30, 4, 0, 0);
    choose_rows("choose_rows, all", 500, 500, 4, 1, 0);
    choose_rows("choose_rows, many", ROWS_MAX, 1000, 64, 30, 1);
    choose_rows("choose_rows, a few", 5, 3, 2, 1, 2);
}

void vcases_rows(void)
{
    rmsnorm(1, 1, 1);
    rmsnorm(3, 1, 50);
    rmsnorm(5, 4, 33);
    rmsnorm(5, 3, 36);
    rmsnorm(70, 1, 2048);
    rmsnorm(9, 1, 5001);
    rmsnorm(600, 3, 64);
    dot_columns(0, 45);
    dot_columns(1, 3);
    dot_columns(700, 70);
    dot_columns(40000, 31);
    subtoken_dot(7, 3, 5);
    subtoken_dot(20, 2, 384);
    row_squares(1, 5);
    row_squares(700, 40);
    subtoken_mean(3, 2, 5);
    subtoken_mean(600, 4, 70);
    choices();
}
