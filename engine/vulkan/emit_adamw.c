// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

enum {
    ADAMW_THREADS = 256,
    ADAMW_EACH = 2048,       // values that a workgroup updates
    ADAMW_ALONE = 128 << 10, // values whose squares each of them adds up
    ADAMW_PARTIALS = 256,    // sums of squares of larger tensors
};

struct adamw_push {
    VkDeviceAddress p, m, v, g, hyper, sums;
    uint32_t n;
    uint32_t each;
    uint32_t partials;
    float rate;
};

static void dispatch(struct vk_emit *e, uint32_t is_squares,
                     const struct adamw_push *push, double work)
{
    const uint32_t specs[] = {ADAMW_THREADS, is_squares, push->g % 16 == 0};
    struct vk_dispatch d = {
        .shader = VK_SHADER_adamw_f32,
        .specs = specs,
        .n_specs = 3,
        .push = push,
        .push_bytes = sizeof(*push),
        .work = work,
    };

    vk_linear(d.groups, vk_ceil(push->n, push->each));
    vk_dispatch(e, &d);
}

// Values of each partial sum of squares, by fours.
static uint32_t partial_of(uint32_t n)
{
    return vk_ceil(vk_ceil(n, ADAMW_PARTIALS), 4) * 4;
}

void vk_emit_adamw(struct vk_emit *e)
{
    const float rate = e->in->attr.alpha;
    const uint32_t n = vk_values(e, &e->in->in[0]);
    struct adamw_push push = {
        .p = vk_in(e, 0),
        .m = vk_in(e, 1),
        .v = vk_in(e, 2),
        .g = vk_in(e, 3),
        .hyper = vk_in(e, 4),
        .n = n,
        .rate = rate != 0 ? rate : 1,
    };
    // A value that is updated costs as much as eight whose squares are added.
    double work = 8.0 * n;

    if (n > ADAMW_ALONE) {
        push.sums = vk_scratch(e);
        push.each = partial_of(n);
        dispatch(e, 1, &push, n);
        push.partials = vk_ceil(n, push.each);
    } else {
        work += (double) n * vk_ceil(n, ADAMW_EACH);
    }
    push.each = ADAMW_EACH;
    dispatch(e, 0, &push, work);
}

size_t vk_scratch_adamw(const struct device *dev, const struct instr *in)
{
    (void) dev;
    return vk_count(&in->in[0]) > ADAMW_ALONE ? ADAMW_PARTIALS * sizeof(float)
                                              : 0;
}
