// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Operands, as functions that emit dispatches take them apart
 *
 * Shaders count values and rows in 32 bits: vk_values() refuses what does not
 * fit, so that nothing is cut off.
 */

#include "engine/vulkan/vk_emit.h"

static inline int64_t vk_cols(const struct operand *o)
{
    return o->ne[3];
}

static inline int64_t vk_rows(const struct operand *o)
{
    return o->ne[0] * o->ne[1] * o->ne[2];
}

static inline int64_t vk_count(const struct operand *o)
{
    return vk_rows(o) * vk_cols(o);
}

static inline size_t vk_operand_bytes(const struct operand *o)
{
    return (size_t) vk_rows(o) *
           dtype_row_bytes((enum dtype) o->dtype, o->ne[3]);
}

// The values of an operand; fails when a shader cannot count them.
uint32_t vk_values(struct vk_emit *e, const struct operand *o);

// y (T): the sums of squares of the rows of x (T,C), which is input 0.
void vk_emit_row_squares_of(struct vk_emit *e, VkDeviceAddress y,
                            const struct operand *x);

static inline uint32_t vk_ceil(uint64_t n, uint64_t by)
{
    return (uint32_t) ((n + by - 1) / by);
}

// Are all of these multiples of 16, so that values can be read by fours?
static inline bool vk_by_four(const VkDeviceAddress *a, int n)
{
    VkDeviceAddress all = 0;

    for (int i = 0; i < n; i++)
        all |= a[i];
    return all % 16 == 0;
}

static inline uint32_t vk_float_bits(float x)
{
    union {
        float f;
        uint32_t u;
    } both = {.f = x};

    return both.u;
}
