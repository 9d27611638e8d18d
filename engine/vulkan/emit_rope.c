// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

#include "engine/base/error.h"

#include <errno.h>
#include <math.h>

enum { ROPE_THREADS = 256, ROPE_DIMS_MAX = 256, ROPE_POWERS = 7 };

struct rope_push {
    VkDeviceAddress y, x, pos, slower;
    uint32_t powers[ROPE_POWERS][2];
    uint32_t first[2];
    float gain;
    uint32_t rows;
    uint32_t n_heads;
    uint32_t head_dim;
    uint32_t dims;
};

// Fixed point, 48 bits of 64 behind the point; low word first.
static bool fixed_of(uint32_t out[2], double x)
{
    const double scaled = x * 0x1p48;

    if (!(scaled >= 0 && scaled < 0x1p63))
        return false;
    const uint64_t bits = (uint64_t) (scaled + 0.5);
    out[0] = (uint32_t) bits;
    out[1] = (uint32_t) (bits >> 32);
    return true;
}

// How far pairs turn from a token to the next: the first one, and how that
// changes from pair to pair.
static bool find_turns(struct rope_push *push, const struct op_attr *a)
{
    const double slow = a->rope_slower > 0 ? a->rope_slower : 1;
    bool is_fine = a->rope_dims <= ROPE_DIMS_MAX &&
                   fixed_of(push->first, 1 / (6.283185307179586 * slow));

    for (int k = 0; k < ROPE_POWERS; k++) {
        const double by = -2.0 * (1 << k) / a->rope_dims;
        const bool is_used = 2u << k <= a->rope_dims;
        is_fine = is_fine &&
                  (!is_used ||
                   fixed_of(push->powers[k], pow((double) a->rope_base, by)));
    }
    return is_fine;
}

void vk_emit_rope(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t specs[] = {ROPE_THREADS, a->rope_mode == ROPE_PAIRS,
                              a->rope_sign<0, e->in->n_in> 2};
    struct rope_push push = {
        .y = vk_out(e, 0),
        .x = vk_in(e, 0),
        .pos = vk_in(e, 1),
        .slower = e->in->n_in > 2 ? vk_in(e, 2) : 0,
        .gain = a->rope_gain > 0 ? a->rope_gain : 1,
        .rows = (uint32_t) vk_rows(&e->in->in[0]),
        .n_heads = a->n_heads,
        .head_dim = a->head_dim,
        .dims = a->rope_dims,
    };
    struct vk_dispatch d = {
        .shader = VK_SHADER_rope_f32,
        .specs = specs,
        .n_specs = 4,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = vk_values(e, &e->in->in[0]),
    };

    if (!find_turns(&push, a)) {
        e->rc = error_set(e->err, -ENOTSUP,
                          "rope: %u values of a head turn, by base %g and "
                          "slower %g, which Vulkan shaders do not count",
                          a->rope_dims, (double) a->rope_base,
                          (double) a->rope_slower);
        return;
    }
    vk_linear(d.groups, push.rows);
    vk_dispatch(e, &d);
}
