// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include <stdlib.h>

static void adamw(int64_t rows, int64_t cols, float clip, float alpha)
{
    // lr, beta1, beta2, eps, decay, 1 - beta1^t, 1 - beta2^t, clip
    const float hyper[ADAMW_HYPERS] = {1e-2f, 0.9f, 0.999f,   1e-8f,
                                       0.1f,  0.4f, 0.00599f, clip};
    const struct operand p = vcase_f32(rows, cols);
    struct operand h = vcase_f32(1, ADAMW_HYPERS);
    float *squares = malloc((size_t) (rows * cols) * sizeof(*squares));

    if (!squares)
        abort();
    for (int64_t i = 0; i < rows * cols; i++)
        squares[i] = 1e-3f * (float) (i % 101);
    h.rank = 1;
    vcase_run(&(struct vcase){
        .name = clip > 0 ? "clipped" : "not clipped",
        .in = {.op = OP_adamw,
               .n_in = 5,
               .n_out = 3,
               .attr.alpha = alpha,
               .in = {p, p, p, p, h},
               .out = {p, p, p}},
        .scale = {1, 0.1f, 1, 1},
        .data = {NULL, NULL, squares, NULL, hyper},
        .tolerance = 2e-6,
    });
    free(squares);
}

void vcases_adamw(void)
{
    adamw(1, 1, 0, 0);
    adamw(8, 400, 0, 0);
    adamw(8, 401, 1, 0);
    adamw(8, 512, 1e9f, 4); // not that long
    adamw(150, 2001, 1, 0);
    adamw(150, 2001, 0, 0.5f);
}
