// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Operands of products, as struct vk_product describes them:
//
//     y (M,N) = alpha * op(a) (M,K) (op(b) + op(d)) (K,N) + c (M,N)
//
// Workgroup (x, y, z) has a tile of columns, of rows, and a part of K; or, of
// products that are one behind the other in memory, the number of its own. b of
// those is turned, a is not.

#include "dequant.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint B_TYPE = 0;
layout(constant_id = 2) const uint FLAGS = 0;

// Bits of FLAGS, as enum product_flag of vk_product.c.
const bool TRANS_A = (FLAGS & 1) != 0;
const bool TRANS_B = (FLAGS & 2) != 0;
const bool HAS_D = (FLAGS & 4) != 0;
const bool HAS_C = (FLAGS & 8) != 0;
const bool HAS_LIVE = (FLAGS & 16) != 0;
// Four neighbours in memory may be taken at once.
const bool A_BY_4 = (FLAGS & 32) != 0;
const bool B_BY_4 = (FLAGS & 64) != 0;
const bool D_BY_4 = (FLAGS & 128) != 0;
const bool Y_BY_4 = (FLAGS & 256) != 0;
// What is written are sums of a part of K, without alpha and c.
const bool IS_PART = (FLAGS & 512) != 0;
const bool IS_COPIES = (FLAGS & 1024) != 0;

layout(push_constant) uniform Push {
    F32 y;
    InF32 a;
    InU32 b, scales, mins;
    InF32 d, c;
    InU32 live; // rows of y from live.v[0] on need not be written
    uint m, n, k;
    float alpha;
    uint k_each; // of a part; a multiple of 4
};

uint copy()
{
    return IS_COPIES ? gl_WorkGroupID.z : 0;
}

// Values [at, at + 4) of a line of `x` that begins at `line` and ends at `end`.
vec4 line_4(InF32 x, bool by_4, uint line, uint at, uint end)
{
    if (by_4)
        return at < end ? InVec4(x).v[(line + at) >> 2] : vec4(0);
    vec4 v = vec4(0);
    for (uint i = 0; i < 4; i++)
        if (at + i < end)
            v[i] = x.v[line + at + i];
    return v;
}

vec4 weight_4(uint line, uint at, uint end)
{
    vec4 v = vec4(0);
    if (B_BY_4) {
        if (at < end)
            v = dequant(B_TYPE, b, scales, mins, line + at);
    } else {
        for (uint i = 0; i < 4; i++)
            if (at + i < end)
                v[i] = weight_value(B_TYPE, b, line + at + i);
    }
    if (HAS_D)
        v += line_4(d, D_BY_4, line, at, end);
    return v;
}

// Four values along k, or along the other side, of op(a) and op(b); 0 where
// there are none, and from `end` of k on.
vec4 a_along_k(uint row, uint at, uint end)
{
    return row < m ? line_4(a, A_BY_4, (copy() * m + row) * k, at, end) : vec4(0);
}

vec4 a_along_m(uint row, uint at, uint end)
{
    return at < end ? line_4(a, A_BY_4, at * m, row, m) : vec4(0);
}

vec4 b_along_k(uint col, uint at, uint end)
{
    return col < n ? weight_4((copy() * n + col) * k, at, end) : vec4(0);
}

vec4 b_along_n(uint col, uint at, uint end)
{
    return at < end ? weight_4(at * n, col, n) : vec4(0);
}

uint first_k()
{
    return IS_COPIES ? 0 : gl_WorkGroupID.z * k_each;
}

uint last_k()
{
    return min(k, first_k() + k_each);
}

// What is added to y there: to be asked for all at once, before anything is
// stored, because c may be y and no compiler knows better.
float before(uint row, uint col)
{
    return HAS_C && !IS_PART && row < m && col < n ? c.v[(copy() * m + row) * n + col] : 0.0;
}

vec4 before_4(uint row, uint col)
{
    if (!HAS_C || IS_PART)
        return vec4(0);
    if (Y_BY_4)
        return row < m && col < n ? InVec4(c).v[((copy() * m + row) * n + col) >> 2] : vec4(0);
    return vec4(before(row, col), before(row, col + 1), before(row, col + 2), before(row, col + 3));
}

void put(uint row, uint col, float sum, float added)
{
    if (row >= m || col >= n)
        return;
    uint at = (copy() * m + row) * n + col;
    if (IS_PART)
        y.v[gl_WorkGroupID.z * m * n + at] = sum;
    else
        y.v[at] = alpha * sum + added;
}

// Columns [col, col + 4) of a row.
void put_4(uint row, uint col, vec4 sum, vec4 added)
{
    if (!Y_BY_4) {
        for (uint i = 0; i < 4; i++)
            put(row, col + i, sum[i], added[i]);
        return;
    }
    if (row >= m || col >= n)
        return;
    uint at = ((copy() * m + row) * n + col) >> 2;
    if (IS_PART)
        Vec4(y).v[((gl_WorkGroupID.z * m * n) >> 2) + at] = sum;
    else
        Vec4(y).v[at] = alpha * sum + added;
}
