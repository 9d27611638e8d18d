// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Operators that reduce rows of C values each: a workgroup a row.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint OP = 0;
layout(constant_id = 2) const bool BY_FOUR = true; // addresses and C permit it

#include "reduce.glsl"

const uint NORM = 0;    // y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps)
const uint NORM_DX = 1; // y = rstd * (w dy - x * mean(w dy x) * rstd^2)
const uint SQUARES = 2; // y[row] = sum of x^2
const uint DOT = 3;     // y[row] = scale * sum of x w

layout(push_constant) uniform Push {
    F32 y;      // (rows,C), or (rows)
    InF32 x;    // (rows,C)
    InF32 w;    // (C)
    InF32 dy;   // (rows,C); may be where y is
    F32 rstd;   // (rows); written by NORM, if any
    uint rows;
    uint cols;
    float eps;
    float scale;
};

vec4 load(InF32 from, uint at)
{
    return BY_FOUR ? InVec4(from).v[at / 4] : vec4(from.v[at], 0, 0, 0);
}

void store(uint at, vec4 x)
{
    if (BY_FOUR)
        Vec4(y).v[at / 4] = x;
    else
        y.v[at] = x.x;
}

// What values i .. add to the sum of their row, which begins at `from`.
float term(uint from, uint i)
{
    vec4 xi = load(x, from + i);

    if (OP == NORM || OP == SQUARES)
        return dot(xi, xi);
    if (OP == DOT)
        return dot(xi, load(w, i));
    return dot(load(dy, from + i) * load(w, i), xi);
}

void main()
{
    const uint EACH = BY_FOUR ? 4 : 1;
    uint first = gl_LocalInvocationID.x * EACH;
    uint step_ = gl_WorkGroupSize.x * EACH;
    uint row = linear_group();
    uint from = row * cols;
    float part = 0.0;

    if (row >= rows)
        return;
    for (uint i = first; i < cols; i += step_)
        part += term(from, i);
    float sum = sum_of_all(part);
    if (OP == SQUARES || OP == DOT) {
        if (gl_LocalInvocationID.x == 0)
            y.v[row] = OP == DOT ? scale * sum : sum;
        return;
    }
    float r = OP == NORM ? 1.0 / sqrt(sum / float(cols) + eps) : rstd.v[row];
    float pull = sum * r * r / float(cols);
    for (uint i = first; i < cols; i += step_) {
        vec4 xi = load(x, from + i);
        if (OP == NORM)
            store(from + i, xi * r * load(w, i));
        else
            store(from + i,
                  r * (load(w, i) * load(dy, from + i) - xi * pull));
    }
    if (OP == NORM && gl_LocalInvocationID.x == 0 && is_some(uvec2(rstd)))
        rstd.v[row] = r;
}
