// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// What products by cooperative matrices are called with.
//
//   y (m,n) = alpha * scale[row] * sum over k of a (m,k) op(w) (k,n) + c (m,n)
//             + low_alpha * low_a (m,low_k) op(low_b)
//
// a: 16-bit, as cm_pack.comp leaves it: panels of BK columns, each with
// `a_rows` rows, zeros beyond m and k. w: as vk_emit.h has it, lines of `ldw`
// values; forward reads it as (n,k), backward (BACK) as (k,n). low_a and low_b,
// if there are such, in f32, low_b turned as w; low_k is at most LOW_K.

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#ifdef OPERAND_BF16
#extension GL_EXT_bfloat16 : require
#define OPERAND bfloat16_t
#else
#define OPERAND float16_t
#endif

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Quads {
    uvec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pairs {
    uvec2 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words {
    uint v[];
};
layout(buffer_reference, std430, buffer_reference_align = 2) readonly buffer Halves {
    float16_t v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Operands {
    OPERAND v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Floats {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Results {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Results4 {
    vec4 v[];
};

layout(push_constant, std430) uniform Push {
    uvec2 a, w, scales, mins, y, c;
    uvec2 row_scales; // of a
    uvec2 live;       // rows of y from Words(live).v[0] on need not be written
    uint m, n, k;
    uint a_rows;
    uint ldw;
    float alpha;
    uint group;  // tile rows that are worked on together
    uint k_each; // of a part of the sum, a multiple of BK
    uvec2 low_a, low_b;
    uint low_k;
    float low_alpha;
};

// Tiles in an order in which neighbours share operands: all columns of `group`
// tile rows, column by column. x: tile row, y: tile column.
uvec2 tile_of(uint id, uint tiles_m, uint tiles_n)
{
    uint per_group = group * tiles_n;
    uint first = id / per_group * group;
    uint rows = min(tiles_m - first, group);
    uint in_group = id % per_group;
    return uvec2(first + in_group % rows, in_group / rows);
}
