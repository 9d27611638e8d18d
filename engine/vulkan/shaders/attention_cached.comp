// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "math.glsl"

// o (T,H*D), q (T,H*D), caches (L,G*D), pos (T): row t sees rows 0 .. pos[t] of
// the cache, the latest `window` of them. A workgroup a row and head, and, where
// those are few, one of `splits` parts of what the row sees; JOIN then makes one
// of the parts.
//
// Eight threads together multiply a key; then groups of threads that hold a row
// of values among them, four columns each, take a value in turn.

layout(local_size_x = 256) in;
layout(constant_id = 0) const uint WIDTH = 128;    // power of two, >= dim
layout(constant_id = 1) const bool BY_FOUR = true; // all may be read so

const uint THREADS = 256;
const uint LANES = 8;             // of a key
const uint COLS = WIDTH / 4;      // threads that hold a row of values
const uint PARTS = THREADS / COLS;
const uint SPLIT_MIN = 64;        // keys

layout(push_constant) uniform Push {
    F32 o;
    InF32 q, k, v;
    InI32 pos;
    F32 parts; // of each row, head, part: highest score, total, sums (D)
    uint len;  // L
    uint n_heads;
    uint n_kv_heads;
    uint dim;
    uint window;
    float scale;
    float cap;
    uint splits; // 1: parts are not used
};

#define id gl_LocalInvocationID.x
const float NOT_SEEN = -1e30;

#ifdef JOIN
// A workgroup a row and head.
void main()
{
    uint at = gl_WorkGroupID.x * n_heads + gl_WorkGroupID.y;
    uint from = at * splits * (dim + 2);
    float high = NOT_SEEN;
    float total = 0.0;
    float sum = 0.0;

    if (id >= dim)
        return;
    for (uint s = 0; s < splits; s++)
        high = max(high, parts.v[from + s * (dim + 2)]);
    for (uint s = 0; s < splits; s++) {
        uint part = from + s * (dim + 2);
        float factor = exp(parts.v[part] - high);
        total += factor * parts.v[part + 1];
        sum += factor * parts.v[part + 2 + id];
    }
    o.v[at * dim + id] = total == 0.0 ? 0.0 : sum / total;
}
#else
shared vec4 query[COLS];
shared float products[LANES][THREADS];
shared float weights[THREADS];
shared float room[THREADS];
shared vec4 sums[THREADS];

vec4 load(InF32 from, uint at, uint d)
{
    vec4 x = vec4(0);

    if (BY_FOUR)
        return d < dim ? InVec4(from).v[(at + d) / 4] : x;
    for (uint j = 0; j < 4; j++)
        if (d + j < dim)
            x[j] = from.v[at + d + j];
    return x;
}

// Of n keys from `first` on, that of this thread; and NOT_SEEN behind them.
float find_score(uint first, uint n, uint at, uint stride)
{
    barrier();
    for (uint u = id / LANES; u < n; u += THREADS / LANES) {
        float sum = 0.0;
        for (uint d = id % LANES * 4; d < dim; d += LANES * 4)
            sum += dot(query[d / 4], load(k, (first + u) * stride + at, d));
        products[id % LANES][u] = sum;
    }
    barrier();
    if (id >= n)
        return NOT_SEEN;
    float z = 0.0;
    for (uint l = 0; l < LANES; l++)
        z += products[l][id];
    z *= scale;
    return cap > 0.0 ? cap * tanh_of(z / cap) : z;
}

float highest(float x)
{
    room[id] = x;
    for (uint n = THREADS / 2; n > 0; n /= 2) {
        barrier();
        if (id < n)
            room[id] = max(room[id], room[id + n]);
    }
    barrier();
    return room[0];
}

// Into room[0] and the first COLS of sums.
void add_up(float total, vec4 sum)
{
    barrier();
    room[id] = total;
    sums[id] = sum;
    for (uint n = THREADS / 2; n > 0; n /= 2) {
        barrier();
        if (id < n) {
            room[id] += room[id + n];
            if (n >= COLS)
                sums[id] += sums[id + n];
        }
    }
    barrier();
}

void store_part(uint row, uint head, float high)
{
    uint at = row * n_heads + head;
    uint part = (at * splits + gl_WorkGroupID.z) * (dim + 2);
    float total = room[0];

    if (id >= dim)
        return;
    float sum = sums[id / 4][id % 4];
    if (splits == 1) {
        o.v[at * dim + id] = total == 0.0 ? 0.0 : sum / total;
        return;
    }
    parts.v[part + 2 + id] = sum;
    if (id == 0) {
        parts.v[part] = high;
        parts.v[part + 1] = total;
    }
}

void main()
{
    uint row = gl_WorkGroupID.x;
    uint head = gl_WorkGroupID.y;
    uint at = head / (n_heads / n_kv_heads) * dim;
    uint stride = n_kv_heads * dim;
    int last = min(pos.v[row], int(len) - 1);
    int first = window > 0 ? max(0, last - int(window) + 1) : 0;
    int each = max(int(SPLIT_MIN),
                   (last - first + int(splits)) / int(splits));
    float high = NOT_SEEN;
    float total = 0.0;   // of this thread's keys
    vec4 sum = vec4(0);  // of its columns

    first += int(gl_WorkGroupID.z) * each;
    last = min(last, first + each - 1);
    if (id < COLS)
        query[id] = load(q, (row * n_heads + head) * dim, 4 * id);
    for (int u = first; u <= last; u += int(THREADS)) {
        uint n = min(THREADS, uint(last - u + 1));
        float z = find_score(uint(u), n, at, stride);
        float higher = max(high, highest(z));
        float factor = exp(high - higher);
        float w = id < n ? exp(z - higher) : 0.0;
        weights[id] = w;
        total = total * factor + w;
        sum *= factor;
        high = higher;
        barrier();
        for (uint j = id / COLS; j < n; j += PARTS)
            sum += weights[j] *
                   load(v, (uint(u) + j) * stride + at, id % COLS * 4);
    }
    add_up(total, sum);
    store_part(row, head, high);
}
#endif
