// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Sixteen neighbouring weights at a time: fetched as stored (struct fetched),
// later decoded into two quads of 16-bit values. `where` is where the two
// quads go within 16 or 32 values.

#if WEIGHT == W_F16 || WEIGHT == W_BF16
#define FETCH_SPAN 16
struct fetched
{
    uvec4 low;
    uvec4 high;
};
#elif WEIGHT == W_Q8_0
#define FETCH_SPAN 16
struct fetched
{
    uvec4 q;
    float16_t d;
};
#elif WEIGHT == W_Q4_0
// Eight bytes: values 0-7 and 16-23, or 8-15 and 24-31, of a block of 32.
#define FETCH_SPAN 32
struct fetched
{
    uvec2 q;
    float16_t d;
};
#endif

// The unit-th sixteen of row `row`.
fetched fetch_weights(uint row, uint unit)
{
    fetched f;
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    const uint at = (row * args.ldw >> 3) + 2 * unit;
    f.low = Quads(args.w).at[at];
    f.high = Quads(args.w).at[at + 1];
#elif WEIGHT == W_Q8_0
    f.q = Quads(args.w).at[(row * args.ldw >> 4) + unit];
    f.d = Halves(args.w_scales).at[(row * args.ldw >> 5) + (unit >> 1)];
#elif WEIGHT == W_Q4_0
    f.q = Pairs(args.w).at[(row * args.ldw >> 4) + unit];
    f.d = Halves(args.w_scales).at[(row * args.ldw >> 5) + (unit >> 1)];
#endif
    return f;
}

#if WEIGHT == W_Q8_0 || WEIGHT == W_Q4_0
// 1024 + b as two halves from two bytes b of x, 0 to 255.
f16vec2 biased_bytes(uint x, uint shift)
{
    const uint two = x >> shift;
    return unpackFloat2x16((two & 0xffu) | ((two & 0xff00u) << 8) |
                           0x64006400u);
}

uint scaled_pair(f16vec2 biased, float16_t bias, float16_t d)
{
#ifdef OPERAND_BF16
    const vec2 v = vec2(biased - f16vec2(bias)) * float(d);
    const uvec2 u = floatBitsToUint(v);
    const uvec2 r = u + 0x7fffu + ((u >> 16) & 1u);
    return (r.x >> 16) | (r.y & 0xffff0000u);
#else
    return packFloat2x16((biased - f16vec2(bias)) * f16vec2(d));
#endif
}

uvec2 scaled_bytes(uint x, float16_t bias, float16_t d)
{
    return uvec2(scaled_pair(biased_bytes(x, 0), bias, d),
                 scaled_pair(biased_bytes(x, 16), bias, d));
}
#endif

uvec4 decode_low(fetched f)
{
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    return f.low;
#elif WEIGHT == W_Q8_0
    const uvec4 q = f.q ^ 0x80808080u;
    return uvec4(scaled_bytes(q.x, 1152.0hf, f.d),
                 scaled_bytes(q.y, 1152.0hf, f.d));
#elif WEIGHT == W_Q4_0
    const uvec2 q = f.q & 0x0f0f0f0fu;
    return uvec4(scaled_bytes(q.x, 1032.0hf, f.d),
                 scaled_bytes(q.y, 1032.0hf, f.d));
#endif
}

uvec4 decode_high(fetched f)
{
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    return f.high;
#elif WEIGHT == W_Q8_0
    const uvec4 q = f.q ^ 0x80808080u;
    return uvec4(scaled_bytes(q.z, 1152.0hf, f.d),
                 scaled_bytes(q.w, 1152.0hf, f.d));
#elif WEIGHT == W_Q4_0
    const uvec2 q = (f.q >> 4) & 0x0f0f0f0fu;
    return uvec4(scaled_bytes(q.x, 1032.0hf, f.d),
                 scaled_bytes(q.y, 1032.0hf, f.d));
#endif
}

// Where the two quads of a unit begin, in values of their row.
uvec2 places_of(uint unit)
{
#if WEIGHT == W_Q4_0
    const uint first = (unit >> 1) * 32 + (unit & 1) * 8;
    return uvec2(first, first + 16);
#else
    return uvec2(unit * 16, unit * 16 + 8);
#endif
}
