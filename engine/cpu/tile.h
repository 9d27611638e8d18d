// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The inner loop of matrix products, for *_vec.c files.
 */

#include "engine/cpu/vec.h"

// Where the inner loop finds op(a): element (i, p) at a[i * row + p * step].
struct strip {
    const float *a;
    int64_t row;
    int64_t step;
};

// y (rows,vecs * LANES) = alpha * a b + c; the rows of b are ldb apart. Every
// index of acc is constant after unrolling; otherwise it would live in memory.
// Two pointers into a, because an address can be a sum of a register and at
// most twice another one.
ALWAYS_INLINE void tile(float *y, int64_t ldy, const float *c, int64_t ldc,
                        struct strip s, const float *b, int64_t ldb,
                        int64_t depth, float alpha, int rows, int vecs)
{
    vec acc[TILE_ROWS][TILE_VECS] = {{{0}}};
    const float *a0 = s.a;
    const float *a3 = rows > 3 ? s.a + 3 * s.row : s.a;

    for (; depth > 0; depth--, b += ldb) {
        vec v[TILE_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v[j] = vec_load(b + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                acc[i][j] +=
                    (i < 3 ? a0[i * s.row] : a3[(i - 3) * s.row]) * v[j];
        a0 += s.step;
        a3 += s.step;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++) {
            vec r = alpha * acc[i][j];
            if (c)
                r += vec_load(c + i * ldc + j * LANES);
            vec_store(y + i * ldy + j * LANES, r);
        }
}
