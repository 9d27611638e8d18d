// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require

// Rows of a (m,k) in f32 as operands of 16 bits for gemm_cm.comp: panels of BK
// columns with `a_rows` rows each, zeros beyond m and k. As f16 a row is
// divided by a power of two, so that its largest value is in [8192, 16384):
// nothing overflows, and only what is 2^27 times smaller is rounded to less
// than 11 bits. As bf16 it is not divided.
//
// LANES threads make a row. A row of infinities or NaN stays one.

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG = 128; // a power of two
layout(constant_id = 1) const uint BK = 32;
layout(constant_id = 2) const bool IS_BF16 = false;
layout(constant_id = 3) const bool BY_4 = true; // rows of a begin at quads
layout(constant_id = 4) const uint LANES = 128; // a power of two, WG at most

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Floats {
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Floats4 {
    vec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer Quads {
    uvec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer Scales {
    float v[];
};
layout(push_constant, std430) uniform Push {
    Floats a;
    Quads to;
    Scales row_scales;
    uint m, k, a_rows;
};

shared float largest[WG];

vec4 four(uint row, uint col)
{
    vec4 v = vec4(0);
    if (row >= m || col >= k)
        return v;
    if (BY_4)
        return Floats4(a).v[(row * k + col) / 4];
    for (uint i = 0; i < 4 && col + i < k; i++)
        v[i] = a.v[row * k + col + i];
    return v;
}

float largest_of_row(uint row)
{
    uint t = gl_LocalInvocationID.x;
    uint lane = t % LANES;
    vec4 most = vec4(0);

    for (uint col = lane * 4; col < k; col += LANES * 4)
        most = max(most, abs(four(row, col)));
    largest[t] = max(max(most.x, most.y), max(most.z, most.w));
    for (uint half_ = LANES / 2; half_ > 0; half_ /= 2) {
        barrier();
        if (lane < half_)
            largest[t] = max(largest[t], largest[t + half_]);
    }
    barrier();
    return largest[t - lane];
}

uvec2 to_bf16(vec4 x)
{
    uvec4 u = floatBitsToUint(x);
    uvec4 r = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    r = mix(r, u >> 16 | 64u, isnan(x));
    return r.xz | r.yw << 16;
}

uvec2 to_f16(vec4 x)
{
    return uvec2(packFloat2x16(f16vec2(x.xy)), packFloat2x16(f16vec2(x.zw)));
}

void main()
{
    uint lane = gl_LocalInvocationID.x % LANES;
    uint row = gl_WorkGroupID.x * (WG / LANES) + gl_LocalInvocationID.x / LANES;
    float down = 1.0;

    if (!IS_BF16) {
        float most = largest_of_row(row);
        int e = clamp(int(floatBitsToUint(most) >> 23 & 0xffu) - 127 - 13, -126, 126);
        if (most == 0.0)
            e = 0;
        down = uintBitsToFloat(uint(127 - e) << 23);
        if (lane == 0 && row < a_rows)
            row_scales.v[row] = uintBitsToFloat(uint(127 + e) << 23);
    }
    uint panels = (k + BK - 1) / BK;
    for (uint q = lane; q < panels * (BK / 8) && row < a_rows; q += LANES) {
        vec4 low = four(row, q * 8) * down, high = four(row, q * 8 + 4) * down;
        uvec4 v = IS_BF16 ? uvec4(to_bf16(low), to_bf16(high)) : uvec4(to_f16(low), to_f16(high));
        to.v[(q / (BK / 8) * a_rows + row) * (BK / 8) + q % (BK / 8)] = v;
    }
}
