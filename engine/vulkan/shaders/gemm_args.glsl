// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// What the matrix products of cooperative matrices are called with.
//
//   y (m,n) = alpha * scale[row] * sum over k of a (m,k) op(w) (k,n) + c (m,n)
//
// a: 16-bit, rows `lda` apart, padded with zeros to whole tiles in both
// directions by pack_rows.comp. w: as stored, its rows `ldw` elements apart;
// forward reads it as (n,k), backward as (k,n). Addresses are multiples of 16.

#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#ifdef OPERAND_BF16
#extension GL_EXT_bfloat16 : require
#define OPERAND bfloat16_t
#else
#define OPERAND float16_t
#endif

#define W_F16  0
#define W_BF16 1
#define W_Q8_0 2
#define W_Q4_0 3

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly
#ifdef VOLATILE
volatile
#endif
buffer Quads
{
    uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer
Pairs
{
    uvec2 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 2) readonly buffer
Halves
{
    float16_t at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer
Operands
{
    OPERAND at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer
Floats
{
    float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Results
{
    float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Results4
{
    vec4 at[];
};

layout(push_constant, scalar) uniform Args
{
    uvec2 a;
    uvec2 w;
    uvec2 w_scales; // the second plane of quantised weights
    uvec2 y;
    uvec2 c;     // or 0
    uvec2 scale; // or 0: all 1
    uint m;
    uint n;
    uint k;
    uint lda;
    uint ldw;
    uint ldy;
    uint ldc;
    float alpha;
    uint group;   // tile rows that are worked on together
    uint k_split; // of the sum in one slice; y is (slices,m,n) then
}
args;

bool is_null(uvec2 address)
{
    return (address.x | address.y) == 0;
}

// Tiles in an order in which neighbours share operands: all columns of `group`
// tile rows, column by column. x: tile row, y: tile column.
uvec2 tile_of(uint id, uint tiles_m, uint tiles_n)
{
    const uint per_group = args.group * tiles_n;
    const uint first = id / per_group * args.group;
    const uint rows = min(tiles_m - first, args.group);
    const uint in_group = id % per_group;
    return uvec2(first + in_group % rows, in_group / rows);
}
