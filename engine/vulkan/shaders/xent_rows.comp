// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Logits of a chunk of rows become losses, and the logits' gradients in their
// place:
//
//     nll = log(sum exp z) - z[target]
//     dz = weight * (softmax(z) - [v = target]) * slope of the cap
//
// A workgroup has a row. It reads it once for the maximum and the sum of
// exponentials, which go together (Milakov and Gimelshein, arXiv 1805.02867),
// and once more for the gradient.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 128;
layout(constant_id = 1) const bool HAS_CAP = false;
layout(constant_id = 2) const bool HAS_DX = false;
layout(constant_id = 3) const bool BY_4 = false;

layout(push_constant) uniform Push {
    F32 z;
    F32 nll;
    InI32 targets;
    InF32 weights;
    InU32 list, live;
    uint rows, vocab; // rows of the chunk
    float cap;
};

shared vec2 parts[THREADS]; // maximum, sum of exp(z - maximum)

float capped(float x)
{
    // Beyond that, tanh is 1 in single precision, and might overflow inside.
    return HAS_CAP ? cap * tanh(clamp(x / cap, -15.0, 15.0)) : x;
}

vec4 capped_4(vec4 x)
{
    return HAS_CAP ? cap * tanh(clamp(x / cap, -15.0, 15.0)) : x;
}

vec2 together(vec2 a, vec2 b)
{
    float most = max(a.x, b.x);
    return vec2(most, a.y * exp(a.x - most) + b.y * exp(b.x - most));
}

const float LEAST = -3.0e38;

// The maximum and the sum of this thread's part of the row.
vec2 part_of(uint at, uint thread)
{
    vec2 part = vec2(LEAST, 0);
    if (BY_4) {
        for (uint i = thread * 4; i < vocab; i += THREADS * 4) {
            vec4 x = capped_4(Vec4(z).v[(at + i) >> 2]);
            float most = max(max(max(x.x, x.y), max(x.z, x.w)), part.x);
            vec4 e = exp(x - most);
            part = vec2(most, part.y * exp(part.x - most) + ((e.x + e.y) + (e.z + e.w)));
        }
        return part;
    }
    for (uint i = thread; i < vocab; i += THREADS)
        part = together(part, vec2(capped(z.v[at + i]), 1));
    return part;
}

vec4 gradient(vec4 raw, vec2 all, float by)
{
    vec4 x = capped_4(raw);
    vec4 g = exp(x - all.x) * by;
    if (HAS_CAP)
        g *= 1.0 - x / cap * (x / cap);
    return g;
}

void main()
{
    uint thread = gl_LocalInvocationID.x;
    uint row = linear_group();

    if (row >= rows || row >= live.v[0])
        return;
    uint t = list.v[row];
    uint at = row * vocab;
    uint target = uint(targets.v[t]);
    parts[thread] = part_of(at, thread);
    barrier();
    for (uint half_of = THREADS / 2; half_of > 0; half_of /= 2) {
        if (thread < half_of)
            parts[thread] = together(parts[thread], parts[thread + half_of]);
        barrier();
    }
    vec2 all = parts[0];
    float raw = z.v[at + target];
    float chosen = capped(raw);
    if (thread == 0)
        nll.v[t] = all.x - chosen + log(all.y);
    if (!HAS_DX)
        return;
    // Everyone has read the target's logit, which is about to change.
    barrier();
    float weight = weights.v[t];
    float by = weight / all.y;
    if (BY_4) {
        for (uint i = thread * 4; i < vocab; i += THREADS * 4) {
            vec4 g = gradient(Vec4(z).v[(at + i) >> 2], all, by);
            if (i / 4 == target / 4)
                g[target % 4] = gradient(vec4(raw), all, by).x - weight * (HAS_CAP ? 1.0 - chosen / cap * (chosen / cap) : 1.0);
            Vec4(z).v[(at + i) >> 2] = g;
        }
        return;
    }
    for (uint i = thread; i < vocab; i += THREADS) {
        float g = gradient(vec4(z.v[at + i]), all, by).x;
        if (i == target)
            g -= weight * (HAS_CAP ? 1.0 - chosen / cap * (chosen / cap) : 1.0);
        z.v[at + i] = g;
    }
}
