// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"
#include "math.glsl"

// Operators that look at one value of each operand: a thread takes four of
// them. y may lie where a or b does.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint OP = 0;
layout(constant_id = 2) const bool BY_FOUR = true; // all addresses permit it

const uint ADD = 0;           // y = a + b
const uint SCALE = 1;         // y = alpha * a
const uint ZERO = 2;          // y = 0
const uint SOFT_CAP = 3;      // y = alpha * tanh(a / alpha)
const uint SOFT_CAP_BACK = 4; // y = a * (1 - (b / alpha)^2)
const uint SWIGLU = 5;        // y = silu(a) * b
const uint GEGLU = 6;         // y = gelu(a) * b
const uint SWIGLU_BACK = 7;   // a dy, b gate, c up: y dgate, z dup, if any
const uint GEGLU_BACK = 8;
const uint SCALE_COLUMNS = 9; // y = a * b, b one row
const uint ADD_COLUMNS = 10;  // y = a + b, b one row
const uint SPREAD = 11;       // y = each value of a times all of b

layout(push_constant) uniform Push {
    F32 y, z;
    InF32 a, b, c;
    uint n;
    uint cols; // of b, where it is one row
    float alpha;
};

vec4 load(InF32 from, uint at)
{
    vec4 x = vec4(0);

    if (BY_FOUR && at + 4 <= n)
        return InVec4(from).v[at / 4];
    for (uint j = 0; j < 4; j++)
        if (at + j < n)
            x[j] = from.v[at + j];
    return x;
}

vec4 load_columns(uint at)
{
    vec4 x;

    if (BY_FOUR && cols % 4 == 0)
        return InVec4(b).v[at % cols / 4];
    for (uint j = 0; j < 4; j++)
        x[j] = b.v[(at + j) % cols];
    return x;
}

vec4 load_spread(uint at)
{
    vec4 x = vec4(0);

    for (uint j = 0; j < 4; j++)
        if (at + j < n)
            x[j] = a.v[(at + j) / cols];
    return x;
}

void store(F32 to, uint at, vec4 x)
{
    if (BY_FOUR && at + 4 <= n) {
        Vec4(to).v[at / 4] = x;
        return;
    }
    for (uint j = 0; j < 4; j++)
        if (at + j < n)
            to.v[at + j] = x[j];
}

vec4 tanh_of(vec4 x)
{
    return vec4(tanh_of(x.x), tanh_of(x.y), tanh_of(x.z), tanh_of(x.w));
}

vec4 sigmoid(vec4 x)
{
    return 1.0 / (1.0 + exp(min(-x, 88.0)));
}

// gelu(g) = g * sigmoid(z), z = 2 k (g + c g^3): Hendrycks & Gimpel, arXiv
// 1606.08415. Beyond 20 the sigmoid is 0 or 1, and the cube may be none.
const float GELU_2K = 1.5957691216057308; // 2 sqrt(2 / pi)
const float GELU_C = 0.044715;

vec4 gelu_z(vec4 g)
{
    g = clamp(g, -20.0, 20.0);
    return GELU_2K * (g + GELU_C * g * g * g);
}

vec4 gelu_slope(vec4 g)
{
    g = clamp(g, -20.0, 20.0);
    return GELU_2K * (1.0 + 3.0 * GELU_C * g * g);
}

// With f(g) = g s, s = sigmoid(z(g)): f' = s + g s (1 - s) z'
void gated_back(uint at)
{
    vec4 dy = load(a, at);
    vec4 g = load(b, at);
    vec4 up = load(c, at);
    vec4 s = sigmoid(OP == SWIGLU_BACK ? g : gelu_z(g));
    vec4 slope = OP == SWIGLU_BACK ? vec4(1) : gelu_slope(g);

    if (is_some(uvec2(y)))
        store(y, at, dy * up * s * (1.0 + g * (1.0 - s) * slope));
    if (is_some(uvec2(z)))
        store(z, at, dy * g * s);
}

vec4 result(uint at)
{
    vec4 x;

    if (OP == ZERO)
        return vec4(0);
    if (OP == SPREAD)
        return load_spread(at) * load_columns(at);
    x = load(a, at);
    if (OP == SCALE)
        return alpha * x;
    if (OP == SOFT_CAP)
        return alpha * tanh_of(x / alpha);
    if (OP == SCALE_COLUMNS)
        return x * load_columns(at);
    if (OP == ADD_COLUMNS)
        return x + load_columns(at);
    vec4 w = load(b, at);
    if (OP == ADD)
        return x + w;
    if (OP == SOFT_CAP_BACK)
        return x * (1.0 - w / alpha * (w / alpha));
    if (OP == SWIGLU)
        return x * sigmoid(x) * w;
    return x * sigmoid(gelu_z(x)) * w;
}

void main()
{
    uint at = 4 * (linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);

    if (at >= n)
        return;
    if (OP == SWIGLU_BACK || OP == GEGLU_BACK)
        gated_back(at);
    else
        store(y, at, result(at));
}
