// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_bfloat16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "pock.glsl"

// Gradients of attention by cooperative matrices of bf16 with f32 sums;
// attention_back.comp says of what. q, k, v and dout were rounded before.
// Sequences are whole tiles of 64, heads multiples of 16.
//
// A workgroup has a tile of 64 queries (keys, where OF_KEYS is defined) of one
// head, each of its four subgroups 16 of them, on its own.

layout(local_size_x = 128) in;
layout(constant_id = 0) const uint DIM = 64; // of a head
layout(constant_id = 1) const bool BY_HEAD = false;

layout(push_constant) uniform Push {
    F32 da, db;             // dq; dk and dv
    InUvec4 q, k, v, dout;  // bf16
    InF32 o, grad;          // of queries: for delta
    F32 lse, delta;         // (T,H)
    InI32 start;
    uint len;
    uint n_heads;
    uint n_kv_heads;
    uint window;
    float scale;
    uint tiles;
};

const uint DEPTH = DIM / 16;
const uint PITCH = 17;  // quads of 64 floats, and one against conflicts
const uint PITCH16 = 9; // of 64 bf16
shared uvec4 lds[4 * 2 * 16 * PITCH];

#define MatA coopmat<bfloat16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define MatB coopmat<bfloat16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define Sums coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>

uint room = gl_SubgroupID * 2 * 16 * PITCH; // of this subgroup
uint row = gl_SubgroupInvocationID / 2;     // this thread's, and half of it
uint side = gl_SubgroupInvocationID % 2;

void sync()
{
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}

// 16 rows from `first` of head `h` of x (T,heads*DIM).
void load_rows(out MatA m[DEPTH], InUvec4 x, uint first, uint heads, uint h)
{
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        coopMatLoad(m[d], x.v, (first * heads * DIM + h * DIM + d * 16) / 8,
                    heads * DIM / 8, gl_CooperativeMatrixLayoutRowMajor);
}

// Products of these rows with 64 rows of x from `from`, to shared memory.
void multiply(MatA m[DEPTH], InUvec4 x, uint from, uint heads, uint h, uint to)
{
    [[unroll]] for (uint j = 0; j < 4; j++) {
        Sums s = Sums(0.0);
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            MatB b;
            coopMatLoad(b, x.v, ((from + j * 16) * heads * DIM + h * DIM + d * 16) / 8,
                        heads * DIM / 8, gl_CooperativeMatrixLayoutColumnMajor);
            s = coopMatMulAdd(m[d], b, s);
        }
        coopMatStore(s, lds, room + to * 16 * PITCH + j * 4, PITCH,
                     gl_CooperativeMatrixLayoutRowMajor);
    }
}

// Adds what 16 x 64 weights in shared memory make of 64 rows of x.
void add_weighted(inout Sums sums[DEPTH], uint from_lds, InUvec4 x, uint from, uint heads,
                  uint h)
{
    [[unroll]] for (uint j = 0; j < 4; j++) {
        MatA a;
        coopMatLoad(a, lds, room + from_lds * 16 * PITCH + j * 2, PITCH16,
                    gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            MatB b;
            coopMatLoad(b, x.v, ((from + j * 16) * heads * DIM + h * DIM + d * 16) / 8,
                        heads * DIM / 8, gl_CooperativeMatrixLayoutRowMajor);
            sums[d] = coopMatMulAdd(a, b, sums[d]);
        }
    }
}

void store(Sums sums[DEPTH], F32 to, uint first, uint heads, uint h)
{
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        coopMatStore(sums[d], to.v, first * heads * DIM + h * DIM + d * 16, heads * DIM,
                     gl_CooperativeMatrixLayoutRowMajor);
}

vec4 four(uint from_lds, uint i)
{
    return uintBitsToFloat(lds[room + (from_lds * 16 + row) * PITCH + side * 8 + i]);
}

uint pair(float a, float b)
{
    uvec2 u = floatBitsToUint(vec2(a, b));
    u = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    return u.x | u.y << 16;
}

// This thread's 32 weights as bf16, over what stood there.
void put(uint to, vec4 w[8])
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        lds[room + to * 16 * PITCH + row * PITCH16 + side * 4 + i] =
            uvec4(pair(w[2 * i].x, w[2 * i].y), pair(w[2 * i].z, w[2 * i].w),
                  pair(w[2 * i + 1].x, w[2 * i + 1].y), pair(w[2 * i + 1].z, w[2 * i + 1].w));
}

int first_seen(uint t)
{
    int from = start.v[t];
    return window > 0 ? max(from, int(t) - int(window) + 1) : from;
}

#ifdef OF_QUERIES
// First key tile that any of 16 queries sees.
uint first_tile(uint base, int from)
{
    [[unroll]] for (uint i = 2; i < 32; i *= 2)
        from = min(from, subgroupShuffleXor(from, i));
    return base + uint(max(from - int(base), 0)) / 64 * 64;
}

float find_delta(uint t, uint h)
{
    uint at = t * n_heads * DIM + h * DIM + side * (DIM / 2);
    float sum = 0.0;

    for (uint i = 0; i < DIM / 2; i++)
        sum += o.v[at + i] * grad.v[at + i];
    float other = subgroupShuffleXor(sum, 1);
    return side == 0 ? sum + other : other + sum;
}

void main()
{
    uint base = gl_WorkGroupID.x / tiles * len;
    uint first = base + gl_WorkGroupID.x % tiles * 64 + gl_SubgroupID * 16;
    uint h = gl_WorkGroupID.y;
    uint g = h / (n_heads / n_kv_heads);
    uint t = first + row;
    int from = first_seen(t);
    float l = lse.v[t * n_heads + h];
    float own = find_delta(t, h);
    MatA query[DEPTH], dy[DEPTH];
    Sums sums[DEPTH];

    if (side == 0)
        delta.v[t * n_heads + h] = own;
    load_rows(query, q, first, n_heads, h);
    load_rows(dy, dout, first, n_heads, h);
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        sums[d] = Sums(0.0);
    for (uint u = first_tile(base, from); u <= first + 15; u += 64) {
        multiply(query, k, u, n_kv_heads, g, 0);
        multiply(dy, v, u, n_kv_heads, g, 1);
        sync();
        vec4 w[8];
        [[unroll]] for (uint i = 0; i < 8; i++) {
            vec4 s = four(0, i) * scale, dp = four(1, i);
            [[unroll]] for (uint j = 0; j < 4; j++) {
                int key = int(u + side * 32 + i * 4 + j);
                float p = key <= int(t) && key >= from ? exp(s[j] - l) : 0.0;
                w[i][j] = p * (dp[j] - own) * scale;
            }
        }
        sync();
        put(0, w);
        sync();
        add_weighted(sums, 0, k, u, n_kv_heads, g);
        sync();
    }
    store(sums, da, first, n_heads, h);
}
#endif

#ifdef OF_KEYS
MatA keys[DEPTH], values[DEPTH];
Sums dk[DEPTH], dv[DEPTH];

// What 64 queries of head h, from `t0` on, leave to these 16 keys.
void add_queries(uint first, uint t0, uint h)
{
    uint u = first + row;

    multiply(keys, q, t0, n_heads, h, 0);
    multiply(values, dout, t0, n_heads, h, 1);
    sync();
    vec4 w[8], dw[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        vec4 s = four(0, i) * scale, dp = four(1, i);
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint t = t0 + side * 32 + i * 4 + j;
            bool is_seen = u <= t && int(u) >= first_seen(t);
            float p = is_seen ? exp(s[j] - lse.v[t * n_heads + h]) : 0.0;
            w[i][j] = p;
            dw[i][j] = p * (dp[j] - delta.v[t * n_heads + h]) * scale;
        }
    }
    sync();
    put(0, w);
    put(1, dw);
    sync();
    add_weighted(dv, 0, dout, t0, n_heads, h);
    add_weighted(dk, 1, q, t0, n_heads, h);
    sync();
}

void main()
{
    uint base = gl_WorkGroupID.x / tiles * len;
    uint tile = base + gl_WorkGroupID.x % tiles * 64;
    uint first = tile + gl_SubgroupID * 16;
    uint group = n_heads / n_kv_heads;
    uint g = BY_HEAD ? gl_WorkGroupID.y / group : gl_WorkGroupID.y;
    uint h = BY_HEAD ? gl_WorkGroupID.y : g * group;
    uint end = BY_HEAD ? h + 1 : h + group;

    load_rows(keys, k, first, n_kv_heads, g);
    load_rows(values, v, first, n_kv_heads, g);
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        dk[d] = dv[d] = Sums(0.0);
    for (; h < end; h++)
        for (uint t = tile; t < base + len; t += 64)
            add_queries(first, t, h);
    uint heads = BY_HEAD ? n_heads : n_kv_heads;
    uint own = BY_HEAD ? gl_WorkGroupID.y : g;
    store(dk, da, first, heads, own);
    store(dv, db, first, heads, own);
}
#endif
