// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Matrix product by cooperative matrices of a whole workgroup
// (gemm_args.glsl says of what): BM x BN of y, BK deep at a time. The driver
// moves the tiles; what is outside w or y is clamped away by their layouts.
//
// Defines: WEIGHT (W_...), OPERAND_BF16, BACK (w is read as (k,n)).

#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#include "gemm_args.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 256;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 256;
layout(constant_id = 3) const uint BK = 64;
layout(constant_id = 5) const uint AHEAD = 0;
layout(constant_id = 6) const uint UNROLL = 4;

#define CLAMP gl_CooperativeMatrixClampModeConstantNV
#define SCOPE gl_ScopeWorkgroup
#define MAT_A coopmat<OPERAND, SCOPE, BM, BK, gl_MatrixUseA>
#define MAT_B coopmat<OPERAND, SCOPE, BK, BN, gl_MatrixUseB>
#define MAT_C coopmat<float, SCOPE, BM, BN, gl_MatrixUseAccumulator>

#if WEIGHT == W_Q8_0
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer
Blocks
{
    int8_t q[32];
};
OPERAND decode(const in Blocks b, const in uint block[2], const in uint in_[2])
{
    const float16_t d =
        Halves(args.w_scales).at[block[0] * (args.ldw >> 5) + block[1]];
    return OPERAND(float16_t(b.q[in_[1]]) * d);
}
#elif WEIGHT == W_Q4_0
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer
Blocks
{
    uint8_t q[16];
};
OPERAND decode(const in Blocks b, const in uint block[2], const in uint in_[2])
{
    const float16_t d =
        Halves(args.w_scales).at[block[0] * (args.ldw >> 5) + block[1]];
    const uint j = in_[1];
    const uint q = (uint(b.q[j & 15]) >> ((j & 16) >> 2)) & 15;
    return OPERAND((float16_t(q) - 8.0hf) * d);
}
#endif

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer
Weights
{
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    OPERAND at[];
#else
    uint8_t at[];
#endif
};

#if WEIGHT == W_F16 || WEIGHT == W_BF16
#define BLOCK 1
#define DECODE
#else
#define BLOCK 32
#define DECODE , decode
#endif

float finish(const in uint r, const in uint col, const in float sum,
             const in uint m0, const in uint n0)
{
    const uint row = m0 + r;
    float factor = args.alpha;
    float add = 0.0;
    if (row < args.m && n0 + col < args.n) {
        if (!is_null(args.scale))
            factor *= Floats(args.scale).at[row];
        if (!is_null(args.c))
            add = Floats(args.c).at[row * args.ldc + n0 + col];
    }
    return sum * factor + add;
}

#define LOAD_A(to, k0)                                                       \
    coopMatLoadTensorNV(to, Operands(args.a).at, 0,                          \
                        sliceTensorLayoutNV(la, m0, BM, k0, BK))
#define STEP(la, lw, k0)                                                     \
    {                                                                        \
        MAT_A a;                                                             \
        MAT_B b;                                                             \
        LOAD_A(a, k0);                                                       \
        LOAD_W(b, lw, k0);                                                   \
        sum = coopMatMulAdd(a, b, sum);                                      \
    }
#ifdef BACK
#define LOAD_W(to, lw, k0)                                                   \
    coopMatLoadTensorNV(to, Weights(args.w).at, 0,                           \
                        sliceTensorLayoutNV(lw, k0, BK, n0, BN) DECODE)
#else
#define LOAD_W(to, lw, k0)                                                   \
    coopMatLoadTensorNV(to, Weights(args.w).at, 0,                           \
                        sliceTensorLayoutNV(lw, n0, BN, k0, BK),             \
                        turned DECODE)
#endif

void main()
{
    const uvec2 tile = tile_of(gl_WorkGroupID.x, (args.m + BM - 1) / BM,
                               (args.n + BN - 1) / BN);
    const uint m0 = tile.x * BM, n0 = tile.y * BN;
    const uint first = gl_WorkGroupID.y * args.k_split & ~63u;
    const uint end = min(args.k, first + args.k_split);

    const uint lda = args.lda & ~63u;
    tensorLayoutNV<2> la = createTensorLayoutNV(2);
    la = setTensorLayoutDimensionNV(la, (args.m + BM - 1) / BM * BM, lda);
    la = setTensorLayoutStrideNV(la, lda, 1);

    // w as stored: rows of `width` values
#ifdef BACK
    const uint rows = args.k, width = args.n;
    const bool is_whole = n0 + BN <= width && end % BK == 0;
#else
    const uint rows = args.n, width = args.k;
    const bool is_whole = n0 + BN <= rows && end % BK == 0;
#endif
    const uint ldw = (args.ldw & ~15u) / BLOCK;
    tensorLayoutNV<2> lw = createTensorLayoutNV(2);
    tensorLayoutNV<2, CLAMP> lw_clamped = createTensorLayoutNV(2, CLAMP);
#if BLOCK > 1
    lw = setTensorLayoutBlockSizeNV(lw, 1, BLOCK);
    lw_clamped = setTensorLayoutBlockSizeNV(lw_clamped, 1, BLOCK);
#endif
    lw = setTensorLayoutDimensionNV(lw, rows, width);
    lw_clamped = setTensorLayoutDimensionNV(lw_clamped, rows, width);
    lw = setTensorLayoutStrideNV(lw, ldw, 1);
    lw_clamped = setTensorLayoutStrideNV(lw_clamped, ldw, 1);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);

    MAT_C sum = MAT_C(0.0);
    if (AHEAD != 0 && is_whole) {
        MAT_A a, next_a;
        MAT_B b, next_b;
        LOAD_A(a, first);
        LOAD_W(b, lw, first);
        for (uint k0 = first + BK; k0 < end; k0 += BK) {
            LOAD_A(next_a, k0);
            LOAD_W(next_b, lw, k0);
            sum = coopMatMulAdd(a, b, sum);
            a = next_a;
            b = next_b;
        }
        sum = coopMatMulAdd(a, b, sum);
    } else if (is_whole) {
        uint k0 = first;
        for (; k0 + UNROLL * BK <= end; k0 += UNROLL * BK)
            [[unroll]] for (uint i = 0; i < UNROLL; i++)
                STEP(la, lw, k0 + i * BK);
        for (; k0 < end; k0 += BK)
            STEP(la, lw, k0);
    } else {
        for (uint k0 = first; k0 < end; k0 += BK)
            STEP(la, lw_clamped, k0);
    }

    tensorLayoutNV<2, CLAMP> ly = createTensorLayoutNV(2, CLAMP);
    ly = setTensorLayoutDimensionNV(ly, args.m, args.n);
    if (args.k_split < args.k) {
        ly = setTensorLayoutStrideNV(ly, args.n, 1);
        coopMatStoreTensorNV(sum, Results(args.y).at,
                             gl_WorkGroupID.y * args.m * args.n,
                             sliceTensorLayoutNV(ly, m0, BM, n0, BN));
        return;
    }
    coopMatPerElementNV(sum, sum, finish, m0, n0);
    ly = setTensorLayoutStrideNV(ly, args.ldy, 1);
    coopMatStoreTensorNV(sum, Results(args.y).at, 0,
                         sliceTensorLayoutNV(ly, m0, BM, n0, BN));
}
