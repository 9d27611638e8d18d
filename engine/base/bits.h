// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Bits
 *
 * Alignment, checked size arithmetic, and little-endian loads and stores for
 * bytes that come from files. The checked forms return false on overflow and
 * leave the result untouched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool bits_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

static inline bool bits_add(uint64_t *out, uint64_t a, uint64_t b)
{
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool bits_mul(uint64_t *out, uint64_t a, uint64_t b)
{
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

// The next multiple of `to`, a power of two. `x` must be at most
// UINT64_MAX - to; bits_align_checked() is for sizes that a file claims.
static inline uint64_t bits_align(uint64_t x, uint64_t to)
{
    return (x + to - 1) & ~(to - 1);
}

static inline bool bits_align_checked(uint64_t *out, uint64_t x, uint64_t to)
{
    uint64_t r;
    if (!bits_add(&r, x, to - 1))
        return false;
    *out = r & ~(to - 1);
    return true;
}

// Little-endian, at any address.
static inline uint16_t bits_load16(const void *p)
{
    const unsigned char *b = p;
    return (uint16_t) (b[0] | b[1] << 8);
}

static inline uint32_t bits_load32(const void *p)
{
    const unsigned char *b = p;
    return (uint32_t) bits_load16(b) | (uint32_t) bits_load16(b + 2) << 16;
}

static inline uint64_t bits_load64(const void *p)
{
    const unsigned char *b = p;
    return (uint64_t) bits_load32(b) | (uint64_t) bits_load32(b + 4) << 32;
}

static inline void bits_store32(void *p, uint32_t x)
{
    unsigned char *b = p;
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char) (x >> (8 * i));
}

static inline void bits_store64(void *p, uint64_t x)
{
    unsigned char *b = p;
    for (int i = 0; i < 8; i++)
        b[i] = (unsigned char) (x >> (8 * i));
}

static inline float bits_to_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline uint32_t bits_of_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}
