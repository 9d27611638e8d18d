// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#include "pock.glsl"

// What attention_cm_back.comp reads: q, k, v and dout as f16 and, of each
// token and head, numbers (H,T) of 16 bytes:
//
//   lse in powers of two, dout.o / factor, factor, first key that is seen
//
// dout of a head is divided by the factor, a power of two that brings its
// largest value into [1/8, 1/4): gradients of any size keep their digits, and
// products with values up to some hundreds stay below 65,504.
//
// A workgroup makes a token.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 128;
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 2) const uint HEADS = 9;
layout(constant_id = 3) const uint KV_HEADS = 3;

layout(push_constant) uniform Push {
    InVec4 q, k, v, dout, o;
    InF32 lse;
    InI32 start;
    U32 q16, k16, v16, dout16; // of quads
    U32 stats;
    uint rows;
    uint len;
    uint window;
};

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer Quads {
    uvec4 v[];
};

const uint QUADS = DIM / 8;

shared float most[HEADS * QUADS];
shared float dots[HEADS * QUADS];
shared float down[HEADS];

uvec4 half8(vec4 a, vec4 b)
{
    return uvec4(packFloat2x16(f16vec2(a.xy)), packFloat2x16(f16vec2(a.zw)),
                 packFloat2x16(f16vec2(b.xy)), packFloat2x16(f16vec2(b.zw)));
}

void pack(InVec4 x, U32 to, uint t, uint quads)
{
    for (uint u = gl_LocalInvocationID.x; u < quads; u += WG) {
        uint at = t * quads + u;
        Quads(to).v[at] = half8(x.v[2 * at], x.v[2 * at + 1]);
    }
}

void put_stats(uint t, uint h)
{
    uint base = t / len * len;
    int from = max(start.v[t], int(base));
    float high = 0.0;
    float sum = 0.0;

    if (window > 0)
        from = max(from, int(t) - int(window) + 1);
    for (uint i = 0; i < QUADS; i++) {
        high = max(high, most[h * QUADS + i]);
        sum += dots[h * QUADS + i];
    }
    int e = clamp(int(floatBitsToUint(high) >> 23 & 0xffu) - 127 + 3, -126, 126);
    down[h] = uintBitsToFloat(uint(127 - e) << 23);
    Quads(stats).v[h * rows + t] =
        uvec4(floatBitsToUint(lse.v[t * HEADS + h] * 1.44269504), floatBitsToUint(sum * down[h]),
              uint(127 + e) << 23, uint(from));
}

void main()
{
    uint t = gl_WorkGroupID.x;

    for (uint u = gl_LocalInvocationID.x; u < HEADS * QUADS; u += WG) {
        uint at = 2 * (t * HEADS * QUADS + u);
        vec4 a = dout.v[at], b = dout.v[at + 1];
        vec4 m = max(abs(a), abs(b));
        most[u] = max(max(m.x, m.y), max(m.z, m.w));
        dots[u] = dot(a, o.v[at]) + dot(b, o.v[at + 1]);
    }
    pack(q, q16, t, HEADS * QUADS);
    pack(k, k16, t, KV_HEADS * QUADS);
    pack(v, v16, t, KV_HEADS * QUADS);
    barrier();
    for (uint h = gl_LocalInvocationID.x; h < HEADS; h += WG)
        put_stats(t, h);
    barrier();
    for (uint u = gl_LocalInvocationID.x; u < HEADS * QUADS; u += WG) {
        uint at = t * HEADS * QUADS + u;
        float by = down[u / QUADS];
        Quads(dout16).v[at] = half8(dout.v[2 * at] * by, dout.v[2 * at + 1] * by);
    }
}
