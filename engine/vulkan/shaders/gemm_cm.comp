// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Matrix product by cooperative matrices of a subgroup (gemm_args.glsl says of
// what). A workgroup makes BM x BN of y, each subgroup WM x WN of it. Tiles of
// a and w, BK deep, pass through shared memory: while one is multiplied the
// next is on its way into registers. Rows there are 16 bytes longer than their
// values, so that the eight rows of a matrix load lie in different banks.
//
// Defines: WEIGHT (W_...), OPERAND_BF16, BACK (w is read as (k,n)).

#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "gemm_args.glsl"
#include "gemm_weights.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 256;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint WM = 64;
layout(constant_id = 5) const uint WN = 32;
layout(constant_id = 6) const uint BUFFERS = 1;
layout(constant_id = 7) const uint TM = 16;
layout(constant_id = 8) const uint TN = 16;
layout(constant_id = 9) const uint TK = 16;
layout(constant_id = 10) const uint SUBGROUP = 32;
layout(constant_id = 11) const uint AHEAD = 1;

// A quad is 8 values of 16 bits.
const uint A_PITCH = BK / 8 + 1;
const uint A_QUADS = BM * A_PITCH;
#ifdef BACK
const uint W_ROWS = BK;
const uint W_WIDTH = BN;
#else
const uint W_ROWS = BN;
const uint W_WIDTH = BK;
#endif
const uint W_PITCH = W_WIDTH / 8 + 1;
const uint W_QUADS = W_ROWS * W_PITCH;
const uint BUFFER_QUADS = A_QUADS + W_QUADS;

// Results leave through shared memory, TM rows of each subgroup at a time.
const uint OUT_PITCH = WN / 4 + 1;
const uint OUT_QUADS = WG / SUBGROUP * TM * OUT_PITCH;
const uint IN_QUADS = BUFFERS * BUFFER_QUADS;
const uint LDS_QUADS = IN_QUADS > OUT_QUADS ? IN_QUADS : OUT_QUADS;
shared uvec4 lds[LDS_QUADS];

const uint A_UNITS = BM * BK / 8;
const uint A_EACH = (A_UNITS + WG - 1) / WG;
const uint W_UNITS = W_ROWS * W_WIDTH / 16;
const uint W_EACH = (W_UNITS + WG - 1) / WG;
const uint FRAGS_M = WM / TM;
const uint FRAGS_N = WN / TN;

// The tiles on their way.
uvec4 next_a[AHEAD][A_EACH];
fetched next_w[AHEAD][W_EACH];

#define MAT_A coopmat<OPERAND, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MAT_B coopmat<OPERAND, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define MAT_C coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>

// Rows and columns of w beyond its end are read as the last ones: what they
// add is multiplied by the zeros of a, or not stored.
void fetch_tile(uint set, uint m0, uint n0, uint k0)
{
    const uint tid = gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0; i < A_EACH; i++) {
        const uint u = i * WG + tid;
        const uint row = u / (BK / 8);
        if (A_UNITS % WG == 0 || u < A_UNITS)
            next_a[set][i] = Quads(args.a).at[((m0 + row) * args.lda + k0) / 8 +
                                         u % (BK / 8)];
    }
#ifdef BACK
    const uint rows = args.k, width = args.n, r0 = k0, c0 = n0;
#else
    const uint rows = args.n, width = args.k, r0 = n0, c0 = k0;
#endif
    [[unroll]] for (uint i = 0; i < W_EACH; i++) {
        const uint u = i * WG + tid;
        const uint row = min(r0 + u / (W_WIDTH / 16), rows - 1);
        const uint unit = min(c0 / 16 + u % (W_WIDTH / 16), width / 16 - 1);
        if (W_UNITS % WG == 0 || u < W_UNITS)
            next_w[set][i] = fetch_weights(row, unit);
    }
}

void store_tile(uint set, uint base)
{
    const uint tid = gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0; i < A_EACH; i++) {
        const uint u = i * WG + tid;
        if (A_UNITS % WG == 0 || u < A_UNITS)
            lds[base + u / (BK / 8) * A_PITCH + u % (BK / 8)] = next_a[set][i];
    }
    [[unroll]] for (uint i = 0; i < W_EACH; i++) {
        const uint u = i * WG + tid;
        const uint row = u / (W_WIDTH / 16);
        const uvec2 to = places_of(u % (W_WIDTH / 16)) / 8;
        const uint at = base + A_QUADS + row * W_PITCH;
        if (W_UNITS % WG == 0 || u < W_UNITS) {
            lds[at + to.x] = decode_low(next_w[set][i]);
            lds[at + to.y] = decode_high(next_w[set][i]);
        }
    }
}

MAT_C sums[FRAGS_M][FRAGS_N];

void multiply_tile(uint base, uint wm, uint wn)
{
    [[unroll]] for (uint k = 0; k < BK / TK; k++) {
        MAT_A a[FRAGS_M];
        [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
            coopMatLoad(a[i], lds,
                        base + (wm + i * TM) * A_PITCH + k * (TK / 8), A_PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++) {
            MAT_B b;
#ifdef BACK
            coopMatLoad(b, lds,
                        base + A_QUADS + k * TK * W_PITCH + (wn + j * TN) / 8,
                        W_PITCH, gl_CooperativeMatrixLayoutRowMajor);
#else
            coopMatLoad(b, lds,
                        base + A_QUADS + (wn + j * TN) * W_PITCH + k * (TK / 8),
                        W_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
#endif
            [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
                sums[i][j] = coopMatMulAdd(a[i], b, sums[i][j]);
        }
    }
}

// One quad of a row of y.
void put(uint row, uint col, vec4 sum)
{
    if (row >= args.m || col >= args.n)
        return;
    const float factor =
        args.alpha * (is_null(args.scale) ? 1.0 : Floats(args.scale).at[row]);
    vec4 v = sum * factor;
    const uint at = row * args.ldy + col;
    const uint at_c = row * args.ldc + col;
    if (((args.n | args.ldy | args.ldc) & 3) == 0) {
        if (!is_null(args.c))
            v += Results4(args.c).at[at_c / 4];
        Results4(args.y).at[at / 4] = v;
        return;
    }
    for (uint i = 0; i < 4 && col + i < args.n; i++) {
        if (!is_null(args.c))
            v[i] += Floats(args.c).at[at_c + i];
        Results(args.y).at[at + i] = v[i];
    }
}

void put_slice(uint slice, uint row, uint col, vec4 sum)
{
    if (row >= args.m || col >= args.n)
        return;
    const uint at = (slice * args.m + row) * args.n + col;
    if ((args.n & 3) == 0) {
        Results4(args.y).at[at / 4] = sum;
        return;
    }
    for (uint i = 0; i < 4 && col + i < args.n; i++)
        Results(args.y).at[at + i] = sum[i];
}

void put_sums(uint m0, uint n0, uint slice)
{
    const uint base = gl_SubgroupID * TM * OUT_PITCH;
    const uint lane = gl_SubgroupInvocationID;
    [[unroll]] for (uint i = 0; i < FRAGS_M; i++) {
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++)
            coopMatStore(sums[i][j], lds, base + j * (TN / 4), OUT_PITCH,
                         gl_CooperativeMatrixLayoutRowMajor);
        subgroupMemoryBarrierShared();
        subgroupBarrier();
        for (uint q = lane; q < TM * (WN / 4); q += SUBGROUP) {
            const uint row = q / (WN / 4);
            const uint col = q % (WN / 4);
            const vec4 v = uintBitsToFloat(lds[base + row * OUT_PITCH + col]);
            if (args.k_split < args.k)
                put_slice(slice, m0 + i * TM + row, n0 + col * 4, v);
            else
                put(m0 + i * TM + row, n0 + col * 4, v);
        }
        subgroupMemoryBarrierShared();
        subgroupBarrier();
    }
}

void main()
{
    const uvec2 tile = tile_of(gl_WorkGroupID.x, (args.m + BM - 1) / BM,
                               (args.n + BN - 1) / BN);
    const uint m0 = tile.x * BM, n0 = tile.y * BN;
    const uint wm = gl_SubgroupID / (BN / WN) * WM;
    const uint wn = gl_SubgroupID % (BN / WN) * WN;
    const uint first = gl_WorkGroupID.y * args.k_split;
    const uint end = min(args.k, first + args.k_split);

    [[unroll]] for (uint i = 0; i < FRAGS_M; i++)
        [[unroll]] for (uint j = 0; j < FRAGS_N; j++)
            sums[i][j] = MAT_C(0.0);

    // Tile i is in set i % AHEAD while it is on its way. What lies behind the
    // last tile is fetched once more instead, and not used.
    const uint n_tiles = (end - first + BK - 1) / BK;
    const uint last = first + (n_tiles - 1) * BK;
    [[unroll]] for (uint s = 0; s < AHEAD; s++)
        fetch_tile(s, m0, n0, min(first + s * BK, last));
    store_tile(0, 0);
    barrier();
    uint at = 0;
    for (uint i = 0; i < n_tiles; i += AHEAD)
        [[unroll]] for (uint s = 0; s < AHEAD; s++)
            if (i + s < n_tiles) {
                const uint next = BUFFERS == 1 ? at : BUFFER_QUADS - at;
                fetch_tile(s, m0, n0, min(first + (i + s + AHEAD) * BK, last));
                if (BUFFERS > 1 && AHEAD > 1)
                    store_tile((s + 1) % AHEAD, next);
                multiply_tile(at, wm, wn);
                if (BUFFERS == 1)
                    barrier();
                if (BUFFERS == 1 || AHEAD == 1)
                    store_tile((s + 1) % AHEAD, next);
                barrier();
                at = next;
            }
    put_sums(m0 + wm, n0 + wn, gl_WorkGroupID.y);
}
