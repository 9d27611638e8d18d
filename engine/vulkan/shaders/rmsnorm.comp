// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Operators that reduce rows of C values each: a workgroup a row.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint OP = 0;

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

void main()
{
    uint row = linear_group();
    uint from = row * cols;
    float part = 0.0;

    if (row >= rows)
        return;
    for (uint i = gl_LocalInvocationID.x; i < cols; i += gl_WorkGroupSize.x) {
        float xi = x.v[from + i];
        if (OP == NORM || OP == SQUARES)
            part += xi * xi;
        else if (OP == DOT)
            part += xi * w.v[i];
        else
            part += dy.v[from + i] * w.v[i] * xi;
    }
    float sum = sum_of_all(part);
    if (OP == SQUARES || OP == DOT) {
        if (gl_LocalInvocationID.x == 0)
            y.v[row] = OP == DOT ? scale * sum : sum;
        return;
    }
    float r = OP == NORM ? 1.0 / sqrt(sum / float(cols) + eps) : rstd.v[row];
    float pull = sum * r * r / float(cols);
    for (uint i = gl_LocalInvocationID.x; i < cols; i += gl_WorkGroupSize.x) {
        float xi = x.v[from + i];
        if (OP == NORM)
            y.v[from + i] = xi * r * w.v[i];
        else
            y.v[from + i] = r * (w.v[i] * dy.v[from + i] - xi * pull);
    }
    if (OP == NORM && gl_LocalInvocationID.x == 0 && is_some(uvec2(rstd)))
        rstd.v[row] = r;
}
