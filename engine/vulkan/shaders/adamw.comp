// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Loshchilov & Hutter, arXiv 1711.05101. p, m, v, g (n).
//
// Where the gradient is clipped, every workgroup adds up the squares of all of
// it by itself, in the same order; of a large one, SQUARES has made `partials`
// sums before. One dispatch does many tensors, or one: both by the same code, so
// that the same bytes come out.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool SQUARES = false;
layout(constant_id = 2) const bool BY_FOUR = true; // the address of g permits it

#include "reduce.glsl"

struct Tensor {
    F32 p, m, v;
    InF32 g;
    InF32 hyper; // enum adamw_hyper
    F32 sums;    // of squares of g
    uint n;
    uint each;     // values of a workgroup
    uint part;     // values of a partial sum
    uint partials; // 0: none
    float rate;
    uint first;     // workgroup that updates, of the whole table
    uint first_sum; // that adds up
    uint unused;
};

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Table {
    Tensor of[];
};

layout(push_constant) uniform Push {
    Table table;
    uint count; // of tensors in it
    uint base;  // number of the first workgroup
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
float squares(InF32 g, uint from, uint to)
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
float factor(Tensor t)
{
    float clip = t.hyper.v[CLIP];
    float sum = 0.0;

    if (!(clip > 0.0))
        return 1.0;
    if (t.partials == 0) {
        sum = squares(t.g, 0, t.n);
    } else {
        for (uint i = gl_LocalInvocationID.x; i < t.partials;
             i += gl_WorkGroupSize.x)
            sum += t.sums.v[i];
        sum = sum_of_all(sum);
    }
    float norm = sqrt(sum);
    return norm > clip ? clip / norm : 1.0;
}

void update(Tensor t, uint i, float f)
{
    float gi = f * t.g.v[i];
    float mi = t.hyper.v[BETA1] * t.m.v[i] + (1.0 - t.hyper.v[BETA1]) * gi;
    float vi = t.hyper.v[BETA2] * t.v.v[i] + (1.0 - t.hyper.v[BETA2]) * gi * gi;
    float step_ = mi / t.hyper.v[CORRECT1] /
                  (sqrt(vi / t.hyper.v[CORRECT2]) + t.hyper.v[EPS]);

    t.p.v[i] -= t.rate * t.hyper.v[LR] * (step_ + t.hyper.v[DECAY] * t.p.v[i]);
    t.m.v[i] = mi;
    t.v.v[i] = vi;
}

uint first_of(uint i)
{
    return SQUARES ? table.of[i].first_sum : table.of[i].first;
}

// The last tensor that begins at this workgroup or before.
uint tensor_of(uint group)
{
    uint low = 0;
    uint high = count;

    while (high - low > 1) {
        uint middle = (low + high) / 2;
        if (first_of(middle) <= group)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void main()
{
    uint group = base + linear_group();
    Tensor t = table.of[tensor_of(group)];
    uint part = SQUARES ? group - t.first_sum : group - t.first;
    uint each = SQUARES ? t.part : t.each;
    uint from = part * each;
    uint to = min(from + each, t.n);

    if (from >= t.n)
        return;
    if (SQUARES) {
        float sum = t.hyper.v[CLIP] > 0.0 ? squares(t.g, from, to) : 0.0;
        if (gl_LocalInvocationID.x == 0)
            t.sums.v[part] = sum;
        return;
    }
    float f = factor(t);
    for (uint i = from + gl_LocalInvocationID.x; i < to; i += gl_WorkGroupSize.x)
        update(t, i, f);
}
