// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Weights as vk_emit.h lays them out, four values at once: `at` is the number
// of the first one in the whole tensor, a multiple of 4. Of one type only, when
// the type is a specialisation constant.

// As weight_code() of vk_product.c has them.
const uint TYPE_F32 = 0;
const uint TYPE_F16 = 1;
const uint TYPE_BF16 = 2;
const uint TYPE_Q8_0 = 3;
const uint TYPE_Q4_0 = 4;
const uint TYPE_Q4_K = 5;
const uint TYPE_Q6_K = 6;

layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer InUvec2 {
    uvec2 v[];
};

// Small scales are subnormal as f16, which not every device has.
float half_value(uint h)
{
    uint rest = h & 0x7fffu;
    float x = rest < 0x400u ? float(rest) * 5.9604644775390625e-8
                            : uintBitsToFloat((rest << 13) + (112u << 23));
    return (h & 0x8000u) != 0 ? -x : x;
}

uint half_at(InU32 from, uint i)
{
    return from.v[i >> 1] >> ((i & 1u) * 16u) & 0xffffu;
}

vec4 signed_bytes(uint w)
{
    ivec4 q = ivec4(int(w << 24), int(w << 16), int(w << 8), int(w)) >> 24;
    return vec4(q);
}

vec4 dequant_f32(InU32 data, uint at)
{
    return InVec4(data).v[at >> 2];
}

vec4 dequant_f16(InU32 data, uint at)
{
    uvec2 w = InUvec2(data).v[at >> 2];
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
}

vec4 dequant_bf16(InU32 data, uint at)
{
    uvec2 w = InUvec2(data).v[at >> 2];
    return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}

vec4 dequant_q8_0(InU32 data, InU32 scales, uint at)
{
    return half_value(half_at(scales, at >> 5)) * signed_bytes(data.v[at >> 2]);
}

// Low nibbles of a block are its first half.
vec4 dequant_q4_0(InU32 data, InU32 scales, uint at)
{
    uint w = data.v[(at >> 5) * 4u + (at >> 2 & 3u)] >> (at >> 4 & 1u) * 4u;
    uvec4 q = uvec4(w, w >> 8, w >> 16, w >> 24) & 15u;
    return half_value(half_at(scales, at >> 5)) * (vec4(q) - 8.0);
}

// Byte i of the twelve bytes of scales of a q4_k.
uint scale_byte(InU32 data, uint block, uint i)
{
    return data.v[block + 1u + (i >> 2)] >> (i & 3u) * 8u & 0xffu;
}

// Of a piece of 32 values: x = by.x * q - by.y
vec2 scales_q4_k(InU32 data, uint block, uint piece)
{
    uint dm = data.v[block];
    uint s, t;
    if (piece < 4u) {
        s = scale_byte(data, block, piece) & 63u;
        t = scale_byte(data, block, piece + 4u) & 63u;
    } else {
        uint both = scale_byte(data, block, piece + 4u);
        s = (both & 15u) | scale_byte(data, block, piece - 4u) >> 6 << 4;
        t = both >> 4 | scale_byte(data, block, piece) >> 6 << 4;
    }
    return vec2(half_value(dm & 0xffffu) * float(s), half_value(dm >> 16) * float(t));
}

vec4 dequant_q4_k(InU32 data, uint at)
{
    uint block = (at >> 8) * 36u;
    uint piece = at >> 5 & 7u;
    vec2 by = scales_q4_k(data, block, piece);
    uint w = data.v[block + 4u + (piece >> 1) * 8u + (at >> 2 & 7u)] >> (piece & 1u) * 4u;
    uvec4 q = uvec4(w, w >> 8, w >> 16, w >> 24) & 15u;
    return by.x * vec4(q) - by.y;
}

// Of a group of 16 values.
float scale_q6_k(InU32 scales, InU32 mins, uint at)
{
    uint group = at >> 4;
    int s = int(scales.v[group >> 2] << (24u - (group & 3u) * 8u)) >> 24;
    return half_value(half_at(mins, at >> 8)) * float(s);
}

vec4 dequant_q6_k(InU32 data, InU32 scales, InU32 mins, uint at)
{
    uint block = (at >> 8) * 48u;
    uint piece = at >> 5 & 7u;
    uint word = at >> 2 & 7u;
    uint low = data.v[block + (piece >> 2) * 16u + (piece & 1u) * 8u + word] >> (piece >> 1 & 1u) * 4u;
    uint high = data.v[block + 32u + (piece >> 2) * 8u + word] >> (piece & 3u) * 2u;
    uint w = (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
    vec4 q = vec4(uvec4(w, w >> 8, w >> 16, w >> 24) & 0xffu) - 32.0;
    return scale_q6_k(scales, mins, at) * q;
}

vec4 dequant(uint type, InU32 data, InU32 scales, InU32 mins, uint at)
{
    if (type == TYPE_F32)
        return dequant_f32(data, at);
    if (type == TYPE_F16)
        return dequant_f16(data, at);
    if (type == TYPE_BF16)
        return dequant_bf16(data, at);
    if (type == TYPE_Q8_0)
        return dequant_q8_0(data, scales, at);
    if (type == TYPE_Q4_0)
        return dequant_q4_0(data, scales, at);
    if (type == TYPE_Q4_K)
        return dequant_q4_k(data, at);
    return dequant_q6_k(data, scales, mins, at);
}

// Sixteen values, four in a column of the matrix; `at` is a multiple of 16.

uvec4 words_4(InU32 data, uint word)
{
    return InUvec4(data).v[word >> 2];
}

mat4 dequant_16_f16(InU32 data, uint at)
{
    uvec4 w = words_4(data, at >> 1);
    uvec4 x = words_4(data, (at >> 1) + 4u);
    return mat4(vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y)), vec4(unpackHalf2x16(w.z), unpackHalf2x16(w.w)),
                vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y)), vec4(unpackHalf2x16(x.z), unpackHalf2x16(x.w)));
}

mat4 dequant_16_bf16(InU32 data, uint at)
{
    uvec4 w = words_4(data, at >> 1);
    uvec4 x = words_4(data, (at >> 1) + 4u);
    vec4 wl = uintBitsToFloat(w << 16), wh = uintBitsToFloat(w & 0xffff0000u);
    vec4 xl = uintBitsToFloat(x << 16), xh = uintBitsToFloat(x & 0xffff0000u);
    return mat4(wl.x, wh.x, wl.y, wh.y, wl.z, wh.z, wl.w, wh.w, xl.x, xh.x, xl.y, xh.y, xl.z, xh.z, xl.w, xh.w);
}

vec4 bytes(uint w)
{
    return vec4(uvec4(w, w >> 8, w >> 16, w >> 24) & 0xffu);
}

// Sixteen bytes, and those less `by`.
mat4 bytes_16(uvec4 w, float by)
{
    return mat4(bytes(w.x) - by, bytes(w.y) - by, bytes(w.z) - by, bytes(w.w) - by);
}

mat4 dequant_16_q8_0(InU32 data, InU32 scales, uint at)
{
    uvec4 w = words_4(data, at >> 2);
    float d = half_value(half_at(scales, at >> 5));
    return mat4(d * signed_bytes(w.x), d * signed_bytes(w.y), d * signed_bytes(w.z), d * signed_bytes(w.w));
}

mat4 dequant_16_q4_0(InU32 data, InU32 scales, uint at)
{
    uvec4 w = words_4(data, (at >> 5) * 4u) >> (at >> 4 & 1u) * 4u & 0x0f0f0f0fu;
    return half_value(half_at(scales, at >> 5)) * bytes_16(w, 8.0);
}

mat4 dequant_16_q4_k(InU32 data, uint at)
{
    uint block = (at >> 8) * 36u;
    uint piece = at >> 5 & 7u;
    vec2 by = scales_q4_k(data, block, piece);
    uvec4 w = words_4(data, block + 4u + (piece >> 1) * 8u + (at >> 2 & 4u)) >> (piece & 1u) * 4u & 0x0f0f0f0fu;
    mat4 q = bytes_16(w, 0.0);
    return mat4(by.x * q[0] - by.y, by.x * q[1] - by.y, by.x * q[2] - by.y, by.x * q[3] - by.y);
}

mat4 dequant_16_q6_k(InU32 data, InU32 scales, InU32 mins, uint at)
{
    uint block = (at >> 8) * 48u;
    uint piece = at >> 5 & 7u;
    uint word = at >> 2 & 4u;
    uvec4 low = words_4(data, block + (piece >> 2) * 16u + (piece & 1u) * 8u + word) >> (piece >> 1 & 1u) * 4u;
    uvec4 high = words_4(data, block + 32u + (piece >> 2) * 8u + word) >> (piece & 3u) * 2u;
    uvec4 w = (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
    return scale_q6_k(scales, mins, at) * bytes_16(w, 32.0);
}

mat4 dequant_16(uint type, InU32 data, InU32 scales, InU32 mins, uint at)
{
    if (type == TYPE_F16)
        return dequant_16_f16(data, at);
    if (type == TYPE_BF16)
        return dequant_16_bf16(data, at);
    if (type == TYPE_Q8_0)
        return dequant_16_q8_0(data, scales, at);
    if (type == TYPE_Q4_0)
        return dequant_16_q4_0(data, scales, at);
    if (type == TYPE_Q4_K)
        return dequant_16_q4_k(data, at);
    if (type == TYPE_Q6_K)
        return dequant_16_q6_k(data, scales, mins, at);
    return mat4(dequant_f32(data, at), dequant_f32(data, at + 4u), dequant_f32(data, at + 8u), dequant_f32(data, at + 12u));
}

// One value of a type without blocks, wherever it lies.
float weight_value(uint type, InU32 data, uint at)
{
    if (type == TYPE_F32)
        return uintBitsToFloat(data.v[at]);
    uint h = half_at(data, at);
    return type == TYPE_F16 ? half_value(h) : uintBitsToFloat(h << 16);
}
