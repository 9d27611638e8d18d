// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "cm_args.glsl"
#include "cm_weights.glsl"

// Matrix product by cooperative matrices of a subgroup (cm_args.glsl says of
// what). A workgroup makes BM x BN of y, each subgroup WM x WN of it. Tiles of
// a and w, BK deep, pass through shared memory: while one is multiplied the
// next is on its way into registers. Rows there are 16 bytes longer than their
// values, so that the eight rows of a matrix load lie in different banks.
//
// Workgroup (x, y): a tile, and a part of the sum.
// Defines: WEIGHT, OPERAND_BF16, BACK (w is read as (k,n)).

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 256;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint WM = 64;
layout(constant_id = 5) const uint WN = 32;
layout(constant_id = 6) const uint FLAGS = 0;
layout(constant_id = 7) const uint TM = 16;
layout(constant_id = 8) const uint TN = 16;
layout(constant_id = 9) const uint TK = 16;
layout(constant_id = 10) const uint SUBGROUP = 32;

// Bits of FLAGS, as enum cm_flag of emit_matmul_cm.c.
const bool HAS_C = (FLAGS & 1) != 0;
const bool HAS_SCALES = (FLAGS & 2) != 0; // of rows
const bool HAS_LIVE = (FLAGS & 4) != 0;
const bool BY_4 = (FLAGS & 8) != 0;     // rows of y and c begin at quads
const bool IS_PART = (FLAGS & 16) != 0; // without alpha and c
const bool HAS_LOW = (FLAGS & 32) != 0;

// A quad is eight operands, or four sums.
const uint A_PITCH = BK / 8 + 1;
const uint A_QUADS = BM * A_PITCH;
#ifdef BACK
const uint W_LINES = BK;
const uint W_WIDTH = BN;
#else
const uint W_LINES = BN;
const uint W_WIDTH = BK;
#endif
const uint W_PITCH = W_WIDTH / 8 + 1;
const uint IN_QUADS = A_QUADS + W_LINES * W_PITCH;

// Sums leave through shared memory, TM rows of each subgroup at a time.
const uint OUT_PITCH = WN / 4 + 1;
const uint OUT_QUADS = WG / SUBGROUP * TM * OUT_PITCH;
const uint LDS_QUADS = IN_QUADS > OUT_QUADS ? IN_QUADS : OUT_QUADS;
shared uvec4 lds[LDS_QUADS];

// What a thread moves: units of a tile.
const uint A_PER_ROW = BK / 8;
const uint A_UNITS = BM * A_PER_ROW;
const uint A_EACH = (A_UNITS + WG - 1) / WG;
const uint W_PER_LINE = W_WIDTH / UNIT;
const uint W_UNITS = W_LINES * W_PER_LINE;
const uint W_EACH = (W_UNITS + WG - 1) / WG;
const uint OUT_EACH = TM * WN / 4 / SUBGROUP;

const uint FRAGS_M = WM / TM;
const uint FRAGS_N = WN / TN;
#define MAT_A coopmat<OPERAND, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MAT_B coopmat<OPERAND, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define MAT_C coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>

uvec4 next_a[A_EACH];
fetched next_w[W_EACH];
MAT_C sums[FRAGS_M][FRAGS_N];

// Row and unit in it of the u-th of a tile. Eight threads that load at once meet
// few lines of memory, and storing at once (units of two quads) few banks twice.
uvec2 spread(uint u, uint per_row, uint quads)
{
    if (quads == 2 && per_row > 4)
        return uvec2(u / (2 * per_row) * 2 + u / 4 % 2, u / 8 % (per_row / 4) * 4 + u % 4);
    return uvec2(u / per_row, u % per_row);
}

void fetch_a(uint m0, uint k0)
{
    uint base = (k0 / BK * a_rows + m0) * A_PER_ROW;

    [[unroll]] for (uint i = 0; i < A_EACH; i++) {
        uint u = i * WG + gl_LocalInvocationIndex;
        uvec2 at = spread(u, A_PER_ROW, 1);
        if (A_UNITS % WG == 0 || u < A_UNITS)
            next_a[i] = Quads(a).v[base + at.x * A_PER_ROW + at.y];
    }
}

// Lines and columns of w beyond its end are read as the last ones: what they
// add is multiplied by the zeros of a, or not stored.
void fetch_w(uint n0, uint k0)
{
#ifdef BACK
    uint lines = k, width = n, l0 = k0, c0 = n0;
#else
    uint lines = n, width = k, l0 = n0, c0 = k0;
#endif
    [[unroll]] for (uint i = 0; i < W_EACH; i++) {
        uint u = i * WG + gl_LocalInvocationIndex;
        uvec2 at = spread(u, W_PER_LINE, UNIT / 8);
        uint line = min(l0 + at.x, lines - 1);
        uint unit = min(c0 / UNIT + at.y, width / UNIT - 1);
        if (W_UNITS % WG == 0 || u < W_UNITS)
            next_w[i] = fetch_weights(line, unit);
    }
}

void store_tile()
{
    [[unroll]] for (uint i = 0; i < A_EACH; i++) {
        uint u = i * WG + gl_LocalInvocationIndex;
        uvec2 at = spread(u, A_PER_ROW, 1);
        if (A_UNITS % WG == 0 || u < A_UNITS)
            lds[at.x * A_PITCH + at.y] = next_a[i];
    }
    [[unroll]] for (uint i = 0; i < W_EACH; i++) {
        uint u = i * WG + gl_LocalInvocationIndex;
        uvec2 at = spread(u, W_PER_LINE, UNIT / 8);
        if (W_UNITS % WG == 0 || u < W_UNITS)
            [[unroll]] for (uint j = 0; j < UNIT / 8; j++)
                lds[A_QUADS + at.x * W_PITCH + place_of(at.y, j)] = decode(next_w[i], j);
    }
}

void multiply_tile(uint wm, uint wn, uint depth)
{
    [[unroll]] for (uint k = 0; k < depth / TK; k++) {
        MAT_A fa[FRAGS_M];
        [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
            coopMatLoad(fa[i], lds, (wm + i * TM) * A_PITCH + k * (TK / 8), A_PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++) {
            MAT_B fb;
#ifdef BACK
            coopMatLoad(fb, lds, A_QUADS + k * TK * W_PITCH + (wn + j * TN) / 8, W_PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
#else
            coopMatLoad(fb, lds, A_QUADS + (wn + j * TN) * W_PITCH + k * (TK / 8), W_PITCH,
                        gl_CooperativeMatrixLayoutColumnMajor);
#endif
            [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
                sums[i][j] = coopMatMulAdd(fa[i], fb, sums[i][j]);
        }
    }
}

// The other product is LOW_K more of the same sum. Its rows get the factors of
// a, whose values they are about as large as; what is too large for f16 by then
// is infinite, and seen as such. LOW_SHIFT keeps that away: rows 64 times
// smaller, for columns 64 times larger, which those of an adapter bear.
const uint LOW_K = 16;
#ifdef OPERAND_BF16
const float LOW_SHIFT = 1.0;
#else
const float LOW_SHIFT = 64.0;
#endif

float low_row(uint row, uint i, float factor)
{
    return row < m && i < low_k ? Floats(low_a).v[row * low_k + i] * factor : 0.0;
}

float low_column(uint col, uint i)
{
    if (col >= n || i >= low_k)
        return 0.0;
#ifdef BACK
    return Floats(low_b).v[i * n + col] * LOW_SHIFT;
#else
    return Floats(low_b).v[col * low_k + i] * LOW_SHIFT;
#endif
}

void store_low_rows(uint m0)
{
    for (uint u = gl_LocalInvocationIndex; u < BM * (LOW_K / 8); u += WG) {
        uint row = m0 + u / (LOW_K / 8), i0 = u % (LOW_K / 8) * 8;
        float factor = low_alpha / (alpha * LOW_SHIFT);
        uvec4 v;
        if (HAS_SCALES && row < m)
            factor /= Floats(row_scales).v[row];
        [[unroll]] for (uint i = 0; i < 4; i++)
            v[i] = operand_pair(vec2(low_row(row, i0 + i * 2, factor), low_row(row, i0 + i * 2 + 1, factor)));
        lds[u / (LOW_K / 8) * A_PITCH + i0 / 8] = v;
    }
}

void store_low_columns(uint n0)
{
#ifdef BACK
    const uint per_line = BN / 8;
    const uint units = LOW_K * per_line;
#else
    const uint per_line = LOW_K / 8;
    const uint units = BN * per_line;
#endif
    for (uint u = gl_LocalInvocationIndex; u < units; u += WG) {
        uint line = u / per_line, at = u % per_line * 8;
        uvec4 v;
        [[unroll]] for (uint i = 0; i < 4; i++) {
#ifdef BACK
            v[i] = operand_pair(vec2(low_column(n0 + at + i * 2, line), low_column(n0 + at + i * 2 + 1, line)));
#else
            v[i] = operand_pair(vec2(low_column(n0 + line, at + i * 2), low_column(n0 + line, at + i * 2 + 1)));
#endif
        }
        lds[A_QUADS + line * W_PITCH + at / 8] = v;
    }
}

vec4 old_quad(uint row, uint col)
{
    vec4 v = vec4(0);
    if (!HAS_C || IS_PART || row >= m || col >= n)
        return v;
    if (BY_4)
        return Results4(c).v[(row * n + col) / 4];
    for (uint i = 0; i < 4 && col + i < n; i++)
        v[i] = Floats(c).v[row * n + col + i];
    return v;
}

void put_quad(uint row, uint col, vec4 v)
{
    uint at = ((IS_PART ? gl_WorkGroupID.y * m : 0) + row) * n + col;

    if (row >= m || col >= n)
        return;
    if (BY_4) {
        Results4(y).v[at / 4] = v;
        return;
    }
    for (uint i = 0; i < 4 && col + i < n; i++)
        Results(y).v[at + i] = v[i];
}

void put_sums(uint m0, uint n0)
{
    uint base = gl_SubgroupID * TM * OUT_PITCH;

    [[unroll]] for (uint i = 0; i < FRAGS_M; i++) {
        vec4 old[OUT_EACH];
        float factor[OUT_EACH];
        [[unroll]] for (uint e = 0; e < OUT_EACH; e++) {
            uint q = e * SUBGROUP + gl_SubgroupInvocationID;
            uint row = m0 + i * TM + q / (WN / 4);
            old[e] = old_quad(row, n0 + q % (WN / 4) * 4);
            factor[e] = IS_PART ? 1.0 : alpha;
            if (HAS_SCALES)
                factor[e] *= Floats(row_scales).v[row];
        }
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++)
            coopMatStore(sums[i][j], lds, base + j * (TN / 4), OUT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        subgroupMemoryBarrierShared();
        subgroupBarrier();
        [[unroll]] for (uint e = 0; e < OUT_EACH; e++) {
            uint q = e * SUBGROUP + gl_SubgroupInvocationID;
            vec4 sum = uintBitsToFloat(lds[base + q / (WN / 4) * OUT_PITCH + q % (WN / 4)]);
            put_quad(m0 + i * TM + q / (WN / 4), n0 + q % (WN / 4) * 4, sum * factor[e] + old[e]);
        }
        subgroupMemoryBarrierShared();
        subgroupBarrier();
    }
}

void main()
{
    uvec2 tile = tile_of(gl_WorkGroupID.x, (m + BM - 1) / BM, (n + BN - 1) / BN);
    uint m0 = tile.x * BM, n0 = tile.y * BN;
    uint wm = gl_SubgroupID / (BN / WN) * WM;
    uint wn = gl_SubgroupID % (BN / WN) * WN;
    uint first = gl_WorkGroupID.y * k_each;
    uint end = min(k, first + k_each);

    if (HAS_LIVE && m0 >= Words(live).v[0])
        return;
    [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++)
            sums[i][j] = MAT_C(0.0);

    fetch_a(m0, first);
    fetch_w(n0, first);
    if (HAS_LOW && first == 0) {
        store_low_rows(m0);
        store_low_columns(n0);
        barrier();
        multiply_tile(wm, wn, LOW_K);
        barrier();
    }
    store_tile();
    barrier();
    for (uint k0 = first + BK; k0 < end; k0 += BK) {
        fetch_a(m0, k0);
        fetch_w(n0, k0);
        multiply_tile(wm, wn, BK);
        barrier();
        store_tile();
        barrier();
    }
    multiply_tile(wm, wn, BK);
    barrier();
    put_sums(m0 + wm, n0 + wn);
}
