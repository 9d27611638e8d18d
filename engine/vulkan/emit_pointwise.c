// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"

// Workgroups of this many threads, one element each.
enum { POINTWISE_THREADS = 128 };

static int64_t count_of(const struct operand *o)
{
    return o->ne[0] * o->ne[1] * o->ne[2] * o->ne[3];
}

void vk_emit_add(struct vk_emit *e)
{
    const uint32_t specs[] = {POINTWISE_THREADS};
    const uint32_t n = (uint32_t) count_of(&e->in->out[0]);
    const struct {
        VkDeviceAddress y, a, b;
        uint32_t n;
    } push = {vk_out(e, 0), vk_in(e, 0), vk_in(e, 1), n};

    struct vk_dispatch d = {
        .shader = VK_SHADER_add_f32,
        .specs = specs,
        .n_specs = 1,
        .push = &push,
        .push_bytes = sizeof(push),
    };
    vk_linear(d.groups, (n + POINTWISE_THREADS - 1) / POINTWISE_THREADS);
    vk_dispatch(e, &d);
}
