// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include <stdlib.h>

// Early and late tokens, in no order: the last turn of many is what counts.
static const int32_t positions[9] = {0,    1,     2,      77,     4095,
                                     8191, 40000, 131071, 1000003};

static void rope(const char *name, int64_t rows, uint32_t n_heads,
                 struct op_attr attr, bool has_slower)
{
    const struct operand x = vcase_f32(rows, (int64_t) n_heads * attr.head_dim);
    struct operand s = vcase_f32(1, attr.rope_dims / 2);
    float slower[128];
    int32_t pos[64];

    for (int i = 0; i < 64; i++)
        pos[i] = positions[i % 9] + i / 9;
    for (int i = 0; i < 128; i++)
        slower[i] = 0.7f + 0.37f * (float) i;
    s.rank = 1;
    attr.n_heads = n_heads;
    for (int sign = 1; sign >= -1; sign -= 2) {
        attr.rope_sign = (int8_t) sign;
        vcase_run(&(struct vcase){
            .name = name,
            .in = {.op = OP_rope,
                   .n_in = has_slower ? 3 : 2,
                   .n_out = 1,
                   .attr = attr,
                   .in = {x, vcase_i32(rows), s},
                   .out = {x}},
            .data = {NULL, pos, slower},
            .tolerance = 5e-7,
        });
    }
}

void vcases_rope(void)
{
    struct op_attr a = {.head_dim = 64,
                        .rope_dims = 64,
                        .rope_base = 10000,
                        .rope_mode = ROPE_PAIRS};

    rope("pairs", 9, 3, a, false);
    a.rope_mode = ROPE_HALVES;
    rope("halves", 9, 1, a, false);
    a.rope_dims = 20;
    rope("part of a head", 5, 2, a, false);
    a.rope_dims = 0;
    rope("nothing turns", 5, 2, a, false);
    a = (struct op_attr){.head_dim = 128,
                         .rope_dims = 128,
                         .rope_base = 500000,
                         .rope_slower = 4,
                         .rope_gain = 1.19f};
    rope("slower, gain", 30, 8, a, false);
    rope("slower by pair", 30, 8, a, true);
    a.head_dim = a.rope_dims = 256;
    a.rope_base = 1000000;
    a.rope_slower = a.rope_gain = 0;
    rope("wide heads", 9, 2, a, true);
}
