// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Loshchilov & Hutter, arXiv 1711.05101. p, m, v, g (n).
//
// Where the gradient is clipped, every workgroup adds up the squares of all of
// it by itself, in the same order; of a large one, SQUARES has made `partials`
// sums before.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool SQUARES = false;
layout(constant_id = 2) const bool BY_FOUR = true; // the address of g permits it

#include "reduce.glsl"

layout(push_constant) uniform Push {
    F32 p, m, v;
    InF32 g;
    InF32 hyper; // enum adamw_hyper
    F32 sums;    // of squares of g
    uint n;
    uint each; // values of a workgroup
    uint partials; // 0: none
    float rate;
};

const uint LR = 0;
const uint BETA1 = 1;
const uint BETA2 = 2;
const uint EPS = 3;
const uint DECAY = 4;
const uint CORRECT1 = 5;
const uint CORRECT2 = 6;
const uint CLIP = 7;

// Of g from `from`, a multiple of 4, to `to`.
float squares(uint from, uint to)
{
    uint id = gl_LocalInvocationID.x;
    uint rest = BY_FOUR ? from + (to - from) / 4 * 4 : from;
    float sum = 0.0;

    for (uint i = from / 4 + id; i < rest / 4; i += gl_WorkGroupSize.x) {
        vec4 x = InVec4(g).v[i];
        sum += dot(x, x);
    }
    for (uint i = rest + id; i < to; i += gl_WorkGroupSize.x)
        sum += g.v[i] * g.v[i];
    return sum_of_all(sum);
}

// What the gradient is multiplied with.
float factor()
{
    float clip = hyper.v[CLIP];
    float sum = 0.0;

    if (!(clip > 0.0))
        return 1.0;
    if (partials == 0) {
        sum = squares(0, n);
    } else {
        for (uint i = gl_LocalInvocationID.x; i < partials;
             i += gl_WorkGroupSize.x)
            sum += sums.v[i];
        sum = sum_of_all(sum);
    }
    float norm = sqrt(sum);
    return norm > clip ? clip / norm : 1.0;
}

void update(uint i, float f)
{
    float gi = f * g.v[i];
    float mi = hyper.v[BETA1] * m.v[i] + (1.0 - hyper.v[BETA1]) * gi;
    float vi = hyper.v[BETA2] * v.v[i] + (1.0 - hyper.v[BETA2]) * gi * gi;
    float step_ = mi / hyper.v[CORRECT1] /
                  (sqrt(vi / hyper.v[CORRECT2]) + hyper.v[EPS]);

    p.v[i] -= rate * hyper.v[LR] * (step_ + hyper.v[DECAY] * p.v[i]);
    m.v[i] = mi;
    v.v[i] = vi;
}

void main()
{
    uint from = linear_group() * each;
    uint to = min(from + each, n);

    if (from >= n)
        return;
    if (SQUARES) {
        float sum = hyper.v[CLIP] > 0.0 ? squares(from, to) : 0.0;
        if (gl_LocalInvocationID.x == 0)
            sums.v[linear_group()] = sum;
        return;
    }
    float f = factor();
    for (uint i = from + gl_LocalInvocationID.x; i < to; i += gl_WorkGroupSize.x)
        update(i, f);
}
