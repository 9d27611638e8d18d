// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Tiles of attention by cooperative matrices of a subgroup: f16 operands, f32
// sums. A workgroup has rows of one side (queries, or keys) of one head, each
// subgroup (or PARTS of them) TM of these, and walks over tiles of STEP rows of
// the other side, which pass through shared memory. Rows there are 16 bytes
// longer than their values, so that the eight rows of a matrix load lie in
// different banks.
//
// Which thread holds what of a matrix is the driver's affair: a matrix of
// places is loaded once, and says it.

#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_vote : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 128;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint TM = 16;
layout(constant_id = 3) const uint TN = 16;
layout(constant_id = 4) const uint TK = 16;
layout(constant_id = 5) const uint DIM = 64;  // of a head
layout(constant_id = 6) const uint STEP = 64; // rows of the other side
layout(constant_id = 7) const uint PARTS = 1; // subgroups that share rows
layout(constant_id = 8) const bool IS_WHOLE = true; // sequences are whole tiles

const uint SUBGROUPS = WG / SUBGROUP;
const uint ROWS = SUBGROUPS / PARTS * TM; // of a workgroup
const uint QUADS = DIM / 8;               // of eight f16, in a row
const uint PITCH = QUADS + 1;
const uint TILE = STEP * PITCH;
const uint EACH = (STEP * QUADS + WG - 1) / WG; // quads of a tile, of a thread
const uint ELEMENTS = TM * TN / SUBGROUP;
const uint DEPTH_K = DIM / TK;
const uint W_PITCH = STEP / 8 + 1; // of weights

#define MAT_A coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MAT_B coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>

const float LOG2_E = 1.44269504;
const float LN_2 = 0.693147181;

// Two tiles of the other side, and WEIGHTS matrices of weights.
shared uvec4 tiles[2 * TILE];
shared uvec4 weights[WEIGHTS * ROWS * W_PITCH];

// Of a matrix of sums: where this thread's elements are.
uint place_of[ELEMENTS];
#define ROW_OF(i) (place_of[i] / TN)
#define COL_OF(i) (place_of[i] % TN)

#define id gl_LocalInvocationIndex
uint block = gl_SubgroupID / PARTS; // of TM rows

void sync()
{
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}

void find_places()
{
    SUMS m;

    for (uint i = id; i < TM * TN / 4; i += WG)
        tiles[i] = floatBitsToUint(vec4(4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3));
    barrier();
    coopMatLoad(m, tiles, 0, TN / 4, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint i = 0; i < ELEMENTS; i++)
        place_of[i] = uint(m[i]);
    barrier();
}

uvec4 half8(vec4 a, vec4 b)
{
    return uvec4(packFloat2x16(f16vec2(a.xy)), packFloat2x16(f16vec2(a.zw)),
                 packFloat2x16(f16vec2(b.xy)), packFloat2x16(f16vec2(b.zw)));
}

// A MAT_B of a tile: rows from `row` on as columns, or as they are.
#define LOAD_ROWS_AS_COLUMNS(b, tile, row, d)                                        \
    coopMatLoad(b, tiles, (tile) *TILE + (row) *PITCH + (d) * (TK / 8), PITCH, \
                gl_CooperativeMatrixLayoutColumnMajor)
#define LOAD_ROWS(b, tile, row, d)                                                   \
    coopMatLoad(b, tiles, (tile) *TILE + (row) *PITCH + (d) * (TN / 8), PITCH, \
                gl_CooperativeMatrixLayoutRowMajor)
