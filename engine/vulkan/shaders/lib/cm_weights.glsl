// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Weights for cooperative matrices, a unit at a time: fetched as stored, later
// decoded into quads of eight 16-bit values. WEIGHT is a code of dequant.glsl.

#define W_F16 1
#define W_BF16 2
#define W_Q8_0 3
#define W_Q4_0 4
#define W_Q4_K 5
#define W_Q6_K 6

#if WEIGHT == W_F16 || WEIGHT == W_BF16
#define UNIT 8
#else
#define UNIT 16
#endif

struct fetched {
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    uvec4 v;
#elif WEIGHT == W_Q8_0
    uvec4 q;
    float16_t d;
#elif WEIGHT == W_Q4_0
    // Eight bytes: values 0-7 and 16-23, or 8-15 and 24-31, of a block of 32.
    uvec2 q;
    float16_t d;
#elif WEIGHT == W_Q4_K
    uvec4 q;
    uint high; // nibbles
    vec2 d;    // factor, and what is taken off
#elif WEIGHT == W_Q6_K
    uvec4 q; // bytes
    float d;
#endif
};

#if WEIGHT == W_Q4_K
// Factor and offset of piece `piece` (32 values) of the block at quad `at`.
vec2 q4_k_scales(uint at, uint piece)
{
    uvec4 head = Quads(w).v[at];
    vec2 dm = unpackHalf2x16(head.x);
    uint i = (piece & 3u) * 8u;
    uint s, t;
    if (piece < 4u) {
        s = head.y >> i & 63u;
        t = head.z >> i & 63u;
    } else {
        s = (head.w >> i & 15u) | (head.y >> i & 0xc0u) >> 2;
        t = (head.w >> i >> 4 & 15u) | (head.z >> i & 0xc0u) >> 2;
    }
    return vec2(dm.x * float(s), dm.y * float(t));
}
#endif

#if WEIGHT == W_Q6_K
// Sixteen values of 0 to 63 of the block at quad `at`, from `group` * 16 on.
uvec4 q6_k_bytes(uint at, uint group_)
{
    uint piece = group_ >> 1;
    uvec4 low = Quads(w).v[at + (piece >> 2) * 4 + (piece & 1u) * 2 + (group_ & 1u)];
    uvec4 high = Quads(w).v[at + 8 + (piece >> 2) * 2 + (group_ & 1u)];
    return (low >> (piece >> 1 & 1u) * 4 & 0x0f0f0f0fu) | (high >> (piece & 3u) * 2 & 0x03030303u) << 4;
}
#endif

// Unit `unit` of line `line`.
fetched fetch_weights(uint line, uint unit)
{
    fetched f;
#if WEIGHT == W_F16 || WEIGHT == W_BF16
    f.v = Quads(w).v[(line * ldw >> 3) + unit];
#elif WEIGHT == W_Q8_0
    f.q = Quads(w).v[(line * ldw >> 4) + unit];
    f.d = Halves(scales).v[(line * ldw >> 5) + (unit >> 1)];
#elif WEIGHT == W_Q4_0
    f.q = Pairs(w).v[(line * ldw >> 4) + unit];
    f.d = Halves(scales).v[(line * ldw >> 5) + (unit >> 1)];
#elif WEIGHT == W_Q4_K
    uint block = (line * (ldw >> 8) + (unit >> 4)) * 9;
    uint piece = unit >> 1 & 7u;
    f.q = Quads(w).v[block + 1 + (piece >> 1) * 2 + (unit & 1u)];
    f.high = piece & 1u;
    f.d = q4_k_scales(block, piece);
#elif WEIGHT == W_Q6_K
    uint block = line * (ldw >> 8) + (unit >> 4);
    uint s = Words(scales).v[block * 4 + (unit >> 2 & 3u)];
    f.q = q6_k_bytes(block * 12, unit & 15u);
    f.d = float(Halves(mins).v[block]) * float(int(s << (24 - (unit & 3u) * 8)) >> 24);
#endif
    return f;
}

#ifdef OPERAND_BF16
uint operand_pair(vec2 v)
{
    return uint(bfloat16BitsToUintEXT(bfloat16_t(v.x))) | uint(bfloat16BitsToUintEXT(bfloat16_t(v.y))) << 16;
}
#else
uint operand_pair(vec2 v)
{
    return packFloat2x16(f16vec2(v));
}
#endif

// 1024 + b of two neighbouring bytes b of x.
f16vec2 biased_bytes(uint x)
{
    return unpackFloat2x16((x & 0xffu) | (x & 0xff00u) << 8 | 0x64006400u);
}

#if WEIGHT == W_Q8_0 || WEIGHT == W_Q4_0
uvec2 scaled_bytes(uint x, float16_t bias, float16_t d)
{
    f16vec2 low = biased_bytes(x) - f16vec2(bias);
    f16vec2 high = biased_bytes(x >> 16) - f16vec2(bias);
#ifdef OPERAND_BF16
    return uvec2(operand_pair(vec2(low) * float(d)), operand_pair(vec2(high) * float(d)));
#else
    return uvec2(packFloat2x16(low * d), packFloat2x16(high * d));
#endif
}
#elif WEIGHT == W_Q4_K || WEIGHT == W_Q6_K
// d * (byte - bias) - off of four bytes.
uvec2 scaled_bytes(uint x, float bias, float d, float off)
{
    vec2 low = vec2(biased_bytes(x) - f16vec2(1024.0hf)) - bias;
    vec2 high = vec2(biased_bytes(x >> 16) - f16vec2(1024.0hf)) - bias;
    return uvec2(operand_pair(low * d - off), operand_pair(high * d - off));
}
#endif

#ifdef OPERAND_BF16
uint of_f16(uint x)
{
    return operand_pair(unpackHalf2x16(x));
}
#endif
uint of_bf16(uint x)
{
    return operand_pair(clamp(uintBitsToFloat(uvec2(x << 16, x & 0xffff0000u)), -65504.0, 65504.0));
}

// Quad `i` of a unit.
uvec4 decode(fetched f, uint i)
{
#if WEIGHT == W_F16
#ifdef OPERAND_BF16
    return uvec4(of_f16(f.v.x), of_f16(f.v.y), of_f16(f.v.z), of_f16(f.v.w));
#else
    return f.v;
#endif
#elif WEIGHT == W_BF16
#ifdef OPERAND_BF16
    return f.v;
#else
    return uvec4(of_bf16(f.v.x), of_bf16(f.v.y), of_bf16(f.v.z), of_bf16(f.v.w));
#endif
#elif WEIGHT == W_Q8_0
    uvec2 q = (i == 0 ? f.q.xy : f.q.zw) ^ 0x80808080u;
    return uvec4(scaled_bytes(q.x, 1152.0hf, f.d), scaled_bytes(q.y, 1152.0hf, f.d));
#elif WEIGHT == W_Q4_0
    uvec2 q = f.q >> i * 4 & 0x0f0f0f0fu;
    return uvec4(scaled_bytes(q.x, 1032.0hf, f.d), scaled_bytes(q.y, 1032.0hf, f.d));
#elif WEIGHT == W_Q4_K
    uvec2 q = (i == 0 ? f.q.xy : f.q.zw) >> f.high * 4 & 0x0f0f0f0fu;
    return uvec4(scaled_bytes(q.x, 0.0, f.d.x, f.d.y), scaled_bytes(q.y, 0.0, f.d.x, f.d.y));
#elif WEIGHT == W_Q6_K
    uvec2 q = i == 0 ? f.q.xy : f.q.zw;
    return uvec4(scaled_bytes(q.x, 32.0, f.d, 0.0), scaled_bytes(q.y, 32.0, f.d, 0.0));
#endif
}

// Where quad `i` of a unit begins in its line, in quads.
uint place_of(uint unit, uint i)
{
#if UNIT == 8
    return unit;
#elif WEIGHT == W_Q4_0
    return (unit >> 1) * 4 + (unit & 1u) + i * 2;
#else
    return unit * 2 + i;
#endif
}
