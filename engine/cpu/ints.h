// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Whole numbers: sizes of tensors and places in them
 */

#include <stddef.h>
#include <stdint.h>

#define INTS_INLINE static inline __attribute__((always_inline, unused))

INTS_INLINE int64_t min(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

INTS_INLINE int64_t max(int64_t x, int64_t y)
{
    return x > y ? x : y;
}

INTS_INLINE int64_t round_up(int64_t x, int64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

// How many parts of `unit` x has, of which the last may be shorter.
INTS_INLINE uint32_t parts(int64_t x, int64_t unit)
{
    return (uint32_t) ((x + unit - 1) / unit);
}

// Of two sizes in memory.
INTS_INLINE size_t larger(size_t x, size_t y)
{
    return x > y ? x : y;
}
