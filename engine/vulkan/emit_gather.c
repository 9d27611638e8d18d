// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_product.h"

// Operators that read the rows of a weight: embed, row_ratio.

enum { EMBED_THREADS = 128, RATIO_THREADS = 64 };

void vk_emit_embed(struct vk_emit *e)
{
    const struct operand *w = &e->in->in[1];
    const struct vk_weight from = vk_weight_of(e, 1);
    const struct {
        VkDeviceAddress y, tokens, w, scales, mins;
        uint32_t rows, cols, vocab;
    } push = {
        vk_out(e, 0),
        vk_in(e, 0),
        from.data,
        from.scales,
        from.mins,
        (uint32_t) vk_rows(e->in->out),
        (uint32_t) vk_cols(w),
        (uint32_t) vk_rows(w),
    };
    const bool by_4 = vk_weight_by_4(&from, push.cols) && push.y % 16 == 0;
    const uint32_t specs[] = {EMBED_THREADS, vk_weight_code(from.dtype), by_4};
    const uint64_t quads = (uint64_t) push.rows * ((push.cols + 3) / 4);
    struct vk_dispatch d = {
        .shader = VK_SHADER_embed_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_linear(d.groups, (quads + EMBED_THREADS - 1) / EMBED_THREADS);
    vk_dispatch(e, &d);
}

void vk_emit_row_ratio(struct vk_emit *e)
{
    const struct operand *a = &e->in->in[0];
    const struct operand *w = &e->in->in[1];
    const struct vk_weight from = vk_weight_of(e, 1);
    const struct {
        VkDeviceAddress y, a, w, scales, mins, b;
        uint32_t rows, cols, rank;
        float alpha;
    } push = {
        vk_out(e, 0),
        vk_in(e, 0),
        from.data,
        from.scales,
        from.mins,
        vk_in(e, 2),
        (uint32_t) vk_rows(w),
        (uint32_t) vk_cols(w),
        (uint32_t) vk_rows(a),
        e->in->attr.alpha,
    };
    const bool by_4 = vk_weight_by_4(&from, push.cols) && push.a % 16 == 0 &&
                      push.cols % 4 == 0;
    const uint32_t specs[] = {RATIO_THREADS, vk_weight_code(from.dtype), by_4};
    struct vk_dispatch d = {
        .shader = VK_SHADER_row_ratio_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) push.rows * push.cols * (push.rank + 1),
    };

    vk_linear(d.groups, push.rows);
    vk_dispatch(e, &d);
}
