// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 450
#extension GL_GOOGLE_include_directive : require
#include "pock.glsl"

// Su et al., arXiv 2104.09864. x, y (T,H*D)  pos (T): a workgroup a token,
// which first finds the cosine and sine of each angle. y may be x.
//
// Angles of late tokens are many turns, of which only the last part counts: f32
// would lose it. They are integers here, of 2^-48 turns, and sine and cosine
// are of at most an eighth of a turn, where short series are exact enough;
// drivers promise little of their own.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool PAIRS = false; // (2i, 2i+1) turn together
layout(constant_id = 2) const bool BACK = false;
layout(constant_id = 3) const bool HAS_SLOWER = false;

const uint HALF_MAX = 128;

layout(push_constant) uniform Push {
    F32 y;
    InF32 x;
    InI32 pos;
    InF32 slower;     // (R/2)
    uvec2 powers[7];  // base^(-2/R) to the 1, 2, 4 .. 64, of 2^-48
    uvec2 first;      // turns of pair 0 from one token to the next, of 2^-48
    float gain;
    uint rows;
    uint n_heads;
    uint head_dim;
    uint dims; // R
};

shared vec2 turns[HALF_MAX]; // cosine, sine

// (low, high) words; 16 bits before the point, 48 behind it.
uvec2 multiply(uvec2 a, uvec2 b)
{
    uint h0, l0, h1, l1, h2, l2, h3, l3, c0, c1, c2, c3;

    umulExtended(a.x, b.x, h0, l0);
    umulExtended(a.x, b.y, h1, l1);
    umulExtended(a.y, b.x, h2, l2);
    umulExtended(a.y, b.y, h3, l3);
    uint w1 = uaddCarry(h0, l1, c0);
    w1 = uaddCarry(w1, l2, c1);
    uint w2 = uaddCarry(h1, h2, c2);
    w2 = uaddCarry(w2, l3, c3);
    uint w3 = h3 + c2 + c3;
    w2 = uaddCarry(w2, c0 + c1, c2);
    w3 += c2;
    return uvec2(w1 >> 16 | w2 << 16, w2 >> 16 | w3 << 16);
}

uvec2 shift_right(uvec2 a, uint n)
{
    if (n >= 64)
        return uvec2(0);
    if (n >= 32)
        return uvec2(a.y >> (n - 32), 0);
    return n == 0 ? a : uvec2(a.x >> n | a.y << (32 - n), a.y >> n);
}

uvec2 shift_left(uvec2 a, uint n)
{
    if (n >= 64)
        return uvec2(0);
    if (n >= 32)
        return uvec2(0, a.x << (n - 32));
    return n == 0 ? a : uvec2(a.x << n, a.y << n | a.x >> (32 - n));
}

// a / s, s = m 2^(e - 23): long division of a 2^24 by m, byte by byte.
uvec2 divide(uvec2 a, float s)
{
    uint bits = floatBitsToUint(s);
    uint m = bits & 0x7fffffu | 0x800000u;
    int e = int(bits >> 23 & 0xffu) - 127;
    uvec2 quotient = uvec2(0);
    uint rest = 0;

    for (int i = 10; i >= 0; i--) {
        uint byte_ = i < 3 ? 0 : i < 7 ? a.x >> (i - 3) * 8 : a.y >> (i - 7) * 8;
        rest = rest << 8 | byte_ & 0xffu;
        quotient = uvec2(quotient.x << 8 | rest / m,
                         quotient.y << 8 | quotient.x >> 24);
        rest %= m;
    }
    return e >= -1 ? shift_right(quotient, uint(1 + e))
                   : shift_left(quotient, uint(-1 - e));
}

// Cosine and sine of 2^-32 turns.
vec2 turn_of(uint t)
{
    uint quarter = t + 0x20000000u >> 30;
    float a = float(int(t - (quarter << 30))) * 1.4629180792671596e-9;
    float s = a * a;
    float sine = a * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s *
                     (-1.0 / 5040.0 + s * (1.0 / 362880.0)))));
    float cosine = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s *
                   (1.0 / 40320.0 - s * (1.0 / 3628800.0)))));
    vec2 r = (quarter & 1u) != 0 ? vec2(-sine, cosine) : vec2(cosine, sine);

    return (quarter & 2u) != 0 ? -r : r;
}

// Of pair i of a token.
vec2 pair_turn(int at, uint i)
{
    uvec2 step_ = first;
    uint low, high;

    [[unroll]] for (uint k = 0; k < 7; k++)
        if ((i >> k & 1u) != 0)
            step_ = multiply(step_, powers[k]);
    if (HAS_SLOWER)
        step_ = divide(step_, slower.v[i]);
    uint n = uint(abs(at));
    umulExtended(n, step_.x, high, low);
    high += n * step_.y;
    vec2 r = turn_of(high << 16 | low >> 16);
    return gain * ((at < 0) != BACK ? vec2(r.x, -r.y) : r);
}

void main()
{
    uint t = linear_group();
    uint id = gl_LocalInvocationID.x;
    uint half_ = dims / 2;
    uint rest = head_dim - dims;

    if (t >= rows)
        return;
    for (uint i = id; i < half_; i += gl_WorkGroupSize.x)
        turns[i] = pair_turn(pos.v[t], i);
    barrier();
    for (uint j = id; j < n_heads * half_; j += gl_WorkGroupSize.x) {
        uint i = j % half_;
        uint from = (t * n_heads + j / half_) * head_dim;
        uint i0 = from + (PAIRS ? 2 * i : i);
        uint i1 = from + (PAIRS ? 2 * i + 1 : i + half_);
        vec2 v = vec2(x.v[i0], x.v[i1]);
        y.v[i0] = v.x * turns[i].x - v.y * turns[i].y;
        y.v[i1] = v.x * turns[i].y + v.y * turns[i].x;
    }
    for (uint j = id; j < n_heads * rest; j += gl_WorkGroupSize.x) {
        uint at = (t * n_heads + j / rest) * head_dim + dims + j % rest;
        y.v[at] = x.v[at];
    }
}
