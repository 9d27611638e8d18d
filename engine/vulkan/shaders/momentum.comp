// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// m = beta * m + g; p -= rate * (m + decay * p). Nothing is contracted, so that
// the same bytes come out as of the C kernel.

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push {
    F32 p, m;
    InF32 g;
    InF32 hyper; // enum adamw_hyper
    uint n;
};

const uint LR = 0;
const uint BETA1 = 1;
const uint DECAY = 4;

void main()
{
    uint i = linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;

    if (i >= n)
        return;
    precise float kept = hyper.v[BETA1] * m.v[i];
    precise float mi = kept + g.v[i];
    precise float shrink = hyper.v[DECAY] * p.v[i];
    precise float step_ = mi + shrink;
    step_ = hyper.v[LR] * step_;
    precise float pi = p.v[i] - step_;
    m.v[i] = mi;
    p.v[i] = pi;
}
