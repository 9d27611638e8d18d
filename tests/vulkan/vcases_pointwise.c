// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

// Sizes with tails behind the last four, and more than a line of workgroups.
static const int64_t sizes[][2] = {{1, 1}, {3, 50}, {130, 64}, {5, 1001}};

// Nothing but + and *: the device may contract, and round once less.
static const double exact = 2e-7;

static void same(enum op op, int n_in, int n_out, float alpha, double tolerance,
                 float scale)
{
    for (int i = 0; i < 4; i++) {
        const struct operand o = vcase_f32(sizes[i][0], sizes[i][1]);
        struct vcase c = {
            .name = op_infos[op].name,
            .in = {.op = (uint8_t) op,
                   .n_in = (uint8_t) n_in,
                   .n_out = (uint8_t) n_out,
                   .attr.alpha = alpha},
            .tolerance = tolerance,
        };
        for (int k = 0; k < n_in; k++) {
            c.in.in[k] = o;
            c.scale[k] = scale;
        }
        for (int k = 0; k < n_out; k++)
            c.in.out[k] = o;
        vcase_run(&c);
    }
}

// Where only one of two gradients is asked for.
static void one_gradient(enum op op, int which)
{
    const struct operand o = vcase_f32(7, 33);
    struct vcase c = {
        .name = "one gradient",
        .in = {.op = (uint8_t) op, .n_in = 3, .n_out = 2, .in = {o, o, o}},
        .tolerance = 1e-6,
    };

    c.in.out[which] = o;
    vcase_run(&c);
}

static void columns(enum op op, int64_t rows, int64_t cols)
{
    struct operand row = vcase_f32(1, cols);
    const struct operand o = vcase_f32(rows, cols);

    row.rank = 1;
    vcase_run(&(struct vcase){
        .name = op_infos[op].name,
        .in = {.op = (uint8_t) op,
               .n_in = 2,
               .n_out = 1,
               .in = {o, row},
               .out = {o}},
        .tolerance = exact,
    });
}

static void spread(int64_t rows, int64_t groups, int64_t size)
{
    vcase_run(&(struct vcase){
        .name = "subtoken_spread",
        .in = {.op = OP_subtoken_spread,
               .n_in = 2,
               .n_out = 1,
               .in = {vcase_f32(rows, groups), vcase_f32(1, size)},
               .out = {vcase_f32(rows, groups * size)}},
        .tolerance = exact,
    });
}

void vcases_pointwise(void)
{
    const struct operand many = vcase_f32(3000, 1001);

    same(OP_add, 2, 1, 0, exact, 1);
    same(OP_accumulate, 2, 1, 0, exact, 1);
    same(OP_zero, 1, 1, 0, exact, 1);
    same(OP_scale, 1, 1, -0.7f, exact, 1);
    // Drivers may err by 3 + 2 |x| units in the last place of exp(x).
    same(OP_soft_cap, 1, 1, 30, 2e-6, 40);
    same(OP_soft_cap, 1, 1, 5, 2e-6, 0.5f);
    same(OP_soft_cap_back, 2, 1, 2, 1e-6, 1);
    same(OP_swiglu, 2, 1, 0, 2e-6, 3);
    same(OP_swiglu_back, 3, 2, 0, 2e-6, 3);
    same(OP_geglu, 2, 1, 0, 2e-6, 3);
    same(OP_geglu_back, 3, 2, 0, 2e-6, 3);
    same(OP_swiglu_back, 3, 2, 0, 2e-6, 100);
    same(OP_geglu_back, 3, 2, 0, 2e-6, 100);
    one_gradient(OP_swiglu_back, 0);
    one_gradient(OP_geglu_back, 1);
    columns(OP_scale_columns, 1, 40);
    columns(OP_scale_columns, 5, 33);
    columns(OP_add_columns, 70, 1024);
    columns(OP_add_columns, 3, 2);
    spread(5, 3, 7);
    spread(9, 16, 32);
    vcase_run(&(struct vcase){
        .name = "add, two lines of workgroups",
        .in = {.op = OP_add,
               .n_in = 2,
               .n_out = 1,
               .in = {many, many},
               .out = {many}},
        .tolerance = exact,
    });
}
