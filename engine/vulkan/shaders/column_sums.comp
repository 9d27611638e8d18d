// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// y (slices,C): of each slice of rows, the sum of a, or a * b, or a * b * r of
// the row. A workgroup takes COLS columns of a slice; its threads first add up
// every STEP-th row each. Nothing is done if r (C) is something already, where
// FACTORS is 1 and r is given.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FACTORS = 1;

const uint COLS = 32;

layout(push_constant) uniform Push {
    F32 y;
    InF32 a, b; // (rows,C)
    InF32 r;    // (rows), or (C)
    uint rows;
    uint cols;
    uint each; // rows of a slice
};

shared float room[gl_WorkGroupSize.x];
shared uint n_set;

bool is_set()
{
    if (gl_LocalInvocationID.x == 0)
        n_set = 0;
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < cols; i += gl_WorkGroupSize.x)
        if (r.v[i] != 0.0)
            atomicAdd(n_set, 1);
    barrier();
    return n_set > 0;
}

void main()
{
    const uint STEP = gl_WorkGroupSize.x / COLS;
    uint id = gl_LocalInvocationID.x;
    uint col = gl_WorkGroupID.x * COLS + id % COLS;
    uint slice = gl_WorkGroupID.y;
    uint end = min(rows, (slice + 1) * each);
    float sum = 0.0;

    if (FACTORS == 1 && is_some(uvec2(r)) && is_set())
        return;
    if (col < cols)
        for (uint t = slice * each + id / COLS; t < end; t += STEP) {
            float v = a.v[t * cols + col];
            if (FACTORS > 1)
                v *= b.v[t * cols + col];
            if (FACTORS > 2)
                v *= r.v[t];
            sum += v;
        }
    room[id] = sum;
    for (uint n = STEP / 2; n > 0; n /= 2) {
        barrier();
        if (id < n * COLS)
            room[id] += room[id + n * COLS];
    }
    barrier();
    if (id < COLS && col < cols)
        y.v[slice * cols + col] = room[id];
}
