// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Rows of a chunk of the list: to[i] = from[list[i]], or when they go back
// to[list[i]] = from[i]. A workgroup a row.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool GOES_BACK = false;

layout(push_constant) uniform Push {
    F32 to;
    InF32 from;
    InU32 list, live;
    uint rows, cols; // of the chunk
};

void main()
{
    uint i = linear_group();
    if (i >= rows || i >= live.v[0])
        return;
    uint t = list.v[i];
    uint at = (GOES_BACK ? t : i) * cols;
    uint source = (GOES_BACK ? i : t) * cols;
    for (uint j = gl_LocalInvocationID.x; j < cols; j += gl_WorkGroupSize.x)
        to.v[at + j] = from.v[source + j];
}
