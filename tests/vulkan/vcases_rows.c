// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

// Sums of some thousand f32 in another order: 1e-6 of the result, more where
// terms cancel.
static const double sums = 5e-6;

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

void vcases_rows(void)
{
    rmsnorm(1, 1, 1);
    rmsnorm(3, 1, 50);
    rmsnorm(5, 4, 33);
    rmsnorm(70, 1, 2048);
    rmsnorm(9, 1, 5001);
    rmsnorm(600, 3, 64);
    dot_columns(0, 45);
    dot_columns(1, 3);
    dot_columns(700, 70);
    dot_columns(40000, 31);
    subtoken_dot(7, 3, 5);
    subtoken_dot(20, 2, 384);
}
