// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

static const enum dtype types[] = {
    DTYPE_f32,  DTYPE_f16,  DTYPE_bf16, DTYPE_q8_0, DTYPE_q4_0,
    DTYPE_q4_k, DTYPE_q6_k, DTYPE_q4_1, DTYPE_q5_k,
};
enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

static double tolerance(enum dtype t)
{
    if (t == DTYPE_q4_1 || t == DTYPE_q5_k)
        return 2e-3; // rounded to f16 when they are copied
    return 1e-9;
}

static void embed(enum dtype type, int64_t vocab, int64_t cols)
{
    const int32_t tokens[7] =
        {3, 0, -1, 9, (int32_t) vocab - 1, (int32_t) vocab, 3};

    vcase_run(&(struct vcase){
        .name = dtype_infos[type].name,
        .in = {.op = OP_embed,
               .n_in = 2,
               .n_out = 1,
               .in = {vcase_i32(7), vcase_weight(type, vocab, cols)},
               .out = {vcase_f32(7, cols)}},
        .data = {tokens},
        .tolerance = tolerance(type),
    });
}

static void row_ratio(enum dtype type, int64_t rows, int64_t cols, int64_t rank)
{
    vcase_run(&(struct vcase){
        .name = dtype_infos[type].name,
        .in = {.op = OP_row_ratio,
               .n_in = 3,
               .n_out = 1,
               .attr = {.alpha = 0.5f},
               .in = {vcase_f32(rank, cols), vcase_weight(type, rows, cols),
                      vcase_f32(rows, rank)},
               .out = {vcase_f32(1, rows)}},
        .tolerance = tolerance(type) > 1e-4 ? tolerance(type) : 0,
    });
}

static void zero_rows(void)
{
    static const float zeros[4 * 32];

    vcase_run(&(struct vcase){
        .name = "nothing",
        .in = {.op = OP_row_ratio,
               .n_in = 3,
               .n_out = 1,
               .attr = {.alpha = 1},
               .in = {vcase_f32(2, 32), vcase_weight(DTYPE_f32, 4, 32),
                      vcase_f32(4, 2)},
               .out = {vcase_f32(1, 4)}},
        .data = {NULL, zeros, zeros},
    });
}

void vcases_gather(void)
{
    for (int t = 0; t < N_TYPES; t++) {
        embed(types[t], 11, 512);
        row_ratio(types[t], 37, 512, 8);
    }
    for (int t = 0; t < 3; t++) {
        embed(types[t], 11, 45);
        row_ratio(types[t], 5, 45, 3);
    }
    embed(DTYPE_q8_0, 11, 96);
    row_ratio(DTYPE_q8_0, 300, 32, 1);
    zero_rows();
}
