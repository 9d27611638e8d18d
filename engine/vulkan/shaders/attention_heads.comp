// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// da and db (T,G*D), if any: sums over the query heads of each key-value head
// of a and b (T,H*D).

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 da, db;
    InF32 a, b;
    uint n; // T*G*D
    uint group; // H / G
    uint dim;
};

void main()
{
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint from = i / dim * group * dim + i % dim;
    float x = 0.0;
    float y = 0.0;

    if (i >= n)
        return;
    for (uint h = 0; h < group; h++) {
        if (is_some(uvec2(da)))
            x += a.v[from + h * dim];
        if (is_some(uvec2(db)))
            y += b.v[from + h * dim];
    }
    if (is_some(uvec2(da)))
        da.v[i] = x;
    if (is_some(uvec2(db)))
        db.v[i] = y;
}
