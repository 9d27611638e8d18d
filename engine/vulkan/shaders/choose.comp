// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Which rows of a product stand for all of them, and with what factors: WTA-CRS
// as engine/cpu/choose.c does it, Liu et al., arXiv 2305.15265. One workgroup,
// whose threads have a run of rows each.
//
// Winners are those with p > (sum of the others' p) / (draws that are left to
// them): each of them lowers that bound, so that it is found by repetition. A
// draw k takes the row where the sum of the others' p passes (k + u) / draws of
// all of it, u random, so how many draws end before a row follows from that sum
// alone.

layout(local_size_x = 256) in;

const uint THREADS = 256;

#include "philox.glsl"
#include "reduce.glsl"

layout(push_constant) uniform Push {
    I32 rows;      // (N)
    F32 factors;   // (N)
    F32 p;         // (T): squares of lengths; then p
    InF32 norms;   // (T)
    InI32 draw;    // (4): seed, and place in the run, low words first
    uint stream;
    uint n_chosen; // N
    uint n_rows;   // T
};

shared float sum_before[THREADS + 1];
shared uint count_before[THREADS + 1];
shared uint last_row; // that may be drawn

#define id gl_LocalInvocationID.x

// Number k of the run, from [0, 1).
float uniform_of(uint k)
{
    uvec2 seed = uvec2(draw.v[0], draw.v[1]);
    uvec2 at = uvec2(draw.v[2], draw.v[3]);
    uvec2 own = uvec2(at.x << 11 ^ stream,
                      (at.y << 11 | at.x >> 21) ^ 0x40000000u);
    uvec4 words = philox(uvec4(k / 2, 0, own), seed);

    return float((k % 2 == 0 ? words.x : words.z) >> 8) * 5.9604644775390625e-8;
}

uint from_row()
{
    return min(n_rows, id * ((n_rows + THREADS - 1) / THREADS));
}

uint to_row()
{
    return min(n_rows, (id + 1) * ((n_rows + THREADS - 1) / THREADS));
}

// What all threads before had, into the rooms: one behind the other, so that
// nothing is exactly that, and no sum is below one before it.
void add_up_before(float sum, uint count)
{
    barrier();
    sum_before[id + 1] = sum;
    count_before[id + 1] = count;
    barrier();
    if (id == 0) {
        sum_before[0] = 0.0;
        count_before[0] = 0;
        for (uint i = 0; i < THREADS; i++) {
            sum_before[i + 1] += sum_before[i];
            count_before[i + 1] += count_before[i];
        }
    }
    barrier();
}

// Few enough have p > 0: all those, or all.
void take_all()
{
    bool is_all = n_chosen == n_rows;
    uint n = 0;

    for (uint t = from_row(); t < to_row(); t++)
        n += is_all || p.v[t] > 0.0 ? 1 : 0;
    add_up_before(0.0, n);
    n = count_before[id];
    for (uint t = from_row(); t < to_row(); t++)
        if (is_all || p.v[t] > 0.0) {
            rows.v[n] = int(t);
            factors.v[n++] = 1.0;
        }
    for (uint i = count_before[THREADS] + id; i < n_chosen; i += THREADS) {
        rows.v[i] = 0;
        factors.v[i] = 0.0;
    }
}

// What p of winners exceed.
float find_bound(float total)
{
    float before = uintBitsToFloat(0x7f7fffffu);
    float bound = total / float(n_chosen);
    uint n = 0;

    for (;;) {
        float rest = 0.0;
        float winners = 0.0;
        for (uint t = from_row(); t < to_row(); t++) {
            bool wins = p.v[t] > bound;
            winners += wins ? 1.0 : 0.0;
            rest += wins ? 0.0 : p.v[t];
        }
        rest = sum_of_all(rest);
        uint n_now = uint(sum_of_all(winners));
        if (n_now >= n_chosen) // by rounding: somebody must be left to draw
            return before;
        if (n_now <= n)
            return bound;
        n = n_now;
        before = bound;
        bound = min(bound, rest / float(n_chosen - n));
    }
}

// How many of n draws end before a sum of p.
uint draws_before(float sum, uint n, float left)
{
    float x = sum / left * float(n);
    uint k = min(uint(x), n);

    return k < n && float(k) + uniform_of(k) < x ? k + 1 : k;
}

void draw_rows(float total)
{
    float bound = find_bound(total);
    float sum = 0.0;
    uint n_winners = 0;
    uint last = 0; // of this thread's that may be drawn

    if (id == 0)
        last_row = 0;
    barrier();
    for (uint t = from_row(); t < to_row(); t++) {
        bool wins = p.v[t] > bound;
        n_winners += wins ? 1 : 0;
        sum += wins ? 0.0 : p.v[t];
        if (!wins && p.v[t] > 0.0)
            last = t;
    }
    atomicMax(last_row, last);
    add_up_before(sum, n_winners);
    float left = sum_before[THREADS];
    uint n_draws = n_chosen - count_before[THREADS];
    uint n = count_before[id];
    uint drawn = from_row() > last_row
                     ? n_draws
                     : draws_before(sum_before[id], n_draws, left);
    sum = sum_before[id];
    for (uint t = from_row(); t < to_row(); t++) {
        float pt = p.v[t];
        if (pt > bound) {
            rows.v[n + drawn] = int(t);
            factors.v[n + drawn] = 1.0;
            n++;
            continue;
        }
        // The last one must come to what the next thread begins with.
        sum = t == last ? sum_before[id + 1]
                        : min(sum + pt, sum_before[id + 1]);
        uint until =
            t >= last_row ? n_draws : draws_before(sum, n_draws, left);
        for (; drawn < until; drawn++) {
            rows.v[n + drawn] = int(t);
            factors.v[n + drawn] = left / (float(n_draws) * pt);
        }
    }
}

void main()
{
    float total = 0.0;
    float positive = 0.0;

    for (uint t = from_row(); t < to_row(); t++) {
        float x = sqrt(p.v[t]) * norms.v[t];
        x = x > 0.0 ? x : 0.0; // nor if it is no number
        p.v[t] = x;
        total += x;
        positive += x > 0.0 ? 1.0 : 0.0;
    }
    total = sum_of_all(total);
    uint n_positive = uint(sum_of_all(positive));
    if (n_positive > n_chosen)
        draw_rows(total);
    else
        take_all();
}
