// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "math.glsl"

// o (T,H*D), q (T,H*D), caches (L,G*D), pos (T): row t sees rows 0 .. pos[t] of
// the cache, the latest `window` of them. A workgroup a row and head: threads
// take a key each of every THREADS, then columns of its values.

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint WIDTH = 128;    // power of two, >= dim
layout(constant_id = 1) const bool BY_FOUR = true; // all may be read so

const uint THREADS = 256;
const uint PARTS = THREADS / WIDTH; // threads that share a column

layout(push_constant) uniform Push {
    F32 o;
    InF32 q, k, v;
    InI32 pos;
    uint len; // L
    uint n_heads;
    uint n_kv_heads;
    uint dim;
    uint window;
    float scale;
    float cap;
};

#define id gl_LocalInvocationID.x
const float NOT_SEEN = -1e30;

shared vec4 query[WIDTH / 4];
shared float weights[THREADS];
shared float room[THREADS];

float score(uint at)
{
    float sum = 0.0;

    for (uint d = 0; d < dim; d += 4) {
        if (BY_FOUR) {
            sum += dot(query[d / 4], InVec4(k).v[(at + d) / 4]);
            continue;
        }
        for (uint j = 0; j < 4 && d + j < dim; j++)
            sum += query[d / 4][j] * k.v[at + d + j];
    }
    float z = scale * sum;
    return cap > 0.0 ? cap * tanh_of(z / cap) : z;
}

float highest(float x)
{
    barrier();
    room[id] = x;
    for (uint n = THREADS / 2; n > 0; n /= 2) {
        barrier();
        if (id < n)
            room[id] = max(room[id], room[id + n]);
    }
    barrier();
    return room[0];
}

// Of a tile of keys: sum and total with what was before. Each thread has the
// sum of one column over its share of the keys.
void add_values(inout float sum, uint first, uint n, uint at, uint stride)
{
    uint col = id % WIDTH;

    if (col < dim)
        for (uint u = id / WIDTH; u < n; u += PARTS)
            sum += weights[u] * v.v[(first + u) * stride + at + col];
}

void main()
{
    uint row = gl_WorkGroupID.x;
    uint head = gl_WorkGroupID.y;
    uint at = head / (n_heads / n_kv_heads) * dim;
    uint stride = n_kv_heads * dim;
    int last = min(pos.v[row], int(len) - 1);
    int first = window > 0 ? max(0, last - int(window) + 1) : 0;
    float high = NOT_SEEN;
    float total = 0.0; // of this thread's keys
    float sum = 0.0;   // of its column

    if (id < WIDTH)
        query[id / 4][id % 4] =
            id < dim ? q.v[(row * n_heads + head) * dim + id] : 0.0;
    barrier();
    for (int u = first; u <= last; u += int(THREADS)) {
        bool is_seen = u + int(id) <= last;
        float z = is_seen ? score(uint(u + int(id)) * stride + at) : NOT_SEEN;
        float higher = max(high, highest(z));
        float factor = exp(high - higher);
        float w = is_seen ? exp(z - higher) : 0.0;
        weights[id] = w;
        total = total * factor + w;
        sum *= factor;
        high = higher;
        barrier();
        add_values(sum, uint(u), min(THREADS, uint(last - u + 1)), at, stride);
    }
    barrier();
    weights[id] = total;
    room[id] = sum;
    for (uint n = THREADS / 2; n > 0; n /= 2) {
        barrier();
        if (id < n) {
            weights[id] += weights[id + n];
            if (n >= WIDTH)
                room[id] += room[id + n];
        }
    }
    barrier();
    if (id < dim)
        o.v[(row * n_heads + head) * dim + id] =
            weights[0] == 0.0 ? 0.0 : room[id] / weights[0];
}
