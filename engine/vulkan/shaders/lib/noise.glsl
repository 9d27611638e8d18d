// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Noise, as engine/base/noise.h defines it, bit by bit: sums and products are
// `precise`, so that none is contracted.

#include "philox.glsl"

struct Noise {
    InVec4 cubics; // of engine/base/noise_table.h
    InI32 draw;    // (4): seed and step, low words first
    InI32 queries; // of each direction
    InF32 sizes;   // of each
    InF32 limits;  // of each stream, or none: where |c| is above, it is 0
    uint stream;   // of the tensor
};

shared vec4 noise_cubics[96];

// By all threads of a workgroup, before noise is asked for.
void prepare_noise(Noise from)
{
    for (uint i = gl_LocalInvocationID.x; i < 96; i += gl_WorkGroupSize.x)
        noise_cubics[i] = from.cubics.v[i];
    barrier();
}

// Exponent and two bits choose the cubic, the other bits its argument.
float gaussian_of(uint bits)
{
    uint f = floatBitsToUint(float(int(bits >> 9 << 1 | 1u)));
    vec4 c = noise_cubics[(f >> 21) - (127u << 2)];
    precise float t = float(int(f & 0x1fffffu)) * (1.0 / 2097152.0);
    precise float z = c.w * t;
    z = z + c.z;
    z = z * t;
    z = z + c.y;
    z = z * t;
    z = z + c.x;
    return uintBitsToFloat(floatBitsToUint(z) ^ bits << 31);
}

// Values 4 * quad .. of direction `i`.
vec4 noise_4(Noise from, bool is_rademacher, uint i, uint quad)
{
    uvec2 seed = uvec2(from.draw.v[0], from.draw.v[1]);
    uvec2 step_ = uvec2(from.draw.v[2], from.draw.v[3]);
    uint block = is_rademacher ? quad / 32 : quad;
    uvec4 words = philox(uvec4(block, from.stream, uint(from.queries.v[i]) | step_.y << 16, step_.x),
                         uvec2(seed.x, seed.y ^ 0x7A65726Fu));
    vec4 z;

    for (uint k = 0; k < 4; k++)
        if (is_rademacher)
            z[k] = (words[quad % 32 / 8] >> (quad % 8 * 4 + k) & 1u) != 0 ? 1.0 : -1.0;
        else
            z[k] = gaussian_of(words[k]);
    return z;
}

// The same, 0 where |c| is above the limit.
vec4 noise_of(Noise from, bool is_rademacher, uint i, uint quad, vec4 c)
{
    vec4 z = noise_4(from, is_rademacher, i, quad);

    if (is_some(uvec2(from.limits))) {
        float limit = from.limits.v[from.stream];
        for (uint k = 0; k < 4; k++)
            if (!(abs(c[k]) <= limit))
                z[k] = 0.0;
    }
    return z;
}
