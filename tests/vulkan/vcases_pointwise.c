// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

static void add(int64_t rows, int64_t cols)
{
    const struct operand o = vcase_f32(rows, cols);

    vcase_run(&(struct vcase){
        .name = "add",
        .in = {.op = OP_add, .n_in = 2, .n_out = 1, .in = {o, o}, .out = {o}},
    });
}

void vcases_pointwise(void)
{
    add(1, 1);
    add(3, 50);
    add(130, 64);
    add(300, 1000);
}
