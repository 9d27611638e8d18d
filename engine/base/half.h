// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Half precision
 *
 * IEEE binary16 and bfloat16 as bits in a uint16_t, to and from float. Rounds
 * to nearest, ties to even; subnormals are kept; NaN stays NaN (made quiet),
 * and what is too large becomes infinity. Plain integer code: it gives the
 * same bits with every compiler and instruction set.
 */

#include <stdint.h>
#include <string.h>

static inline float half_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t) (h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t mantissa = h & 0x3ffu;
    uint32_t u;
    float f;

    if (exponent == 0x1f) {
        u = 0x7f800000u | mantissa << 13;
        if (mantissa)
            u |= 0x400000u;
    } else if (exponent != 0) {
        u = (exponent + 112) << 23 | mantissa << 13;
    } else if (mantissa != 0) {
        // A subnormal: move its leading one to the implicit place.
        int shift = __builtin_clz(mantissa) - 21;
        u = (uint32_t) (113 - shift) << 23 | ((mantissa << shift) & 0x3ffu)
                                                 << 13;
    } else {
        u = 0;
    }
    u |= sign;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint16_t half_from_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    uint16_t sign = (uint16_t) ((u >> 16) & 0x8000u);
    u &= 0x7fffffffu;

    if (u > 0x7f800000u)
        return (uint16_t) (sign | 0x7e00u | ((u >> 13) & 0x1ffu));
    if (u >= 0x47800000u) // 65536 and above
        return (uint16_t) (sign | 0x7c00u);
    uint32_t exponent = u >> 23;
    if (exponent < 102) // below half of the smallest subnormal
        return sign;
    // The value is `mantissa` * 2^-drop units of the result's last place. In
    // both cases a carry out of the mantissa lands in the exponent, correctly.
    uint32_t drop = exponent < 113 ? 126 - exponent : 13;
    uint32_t mantissa = (u & 0x7fffffu) | 0x800000u;
    uint32_t h = mantissa >> drop;
    uint32_t rest = mantissa & ((1u << drop) - 1);
    uint32_t middle = 1u << (drop - 1);
    if (exponent >= 113)
        h += (exponent - 113) << 10;
    if (rest > middle || (rest == middle && (h & 1)))
        h++;
    return (uint16_t) (sign | h);
}

static inline float bf16_to_f32(uint16_t b)
{
    uint32_t u = (uint32_t) b << 16;
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint16_t bf16_from_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t) (u >> 16 | 0x40u);
    u += 0x7fffu + ((u >> 16) & 1u);
    return (uint16_t) (u >> 16);
}
