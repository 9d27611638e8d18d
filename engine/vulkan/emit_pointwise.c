// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_noise.h"
#include "engine/vulkan/vk_operands.h"

#include "engine/base/error.h"

#include <errno.h>

// Operators that look at a value, or at a row by its number, alone.

enum { POINTWISE_THREADS = 256, POINTWISE_EACH = 4 };

// As in pointwise.comp.
enum pointwise {
    POINTWISE_ADD,
    POINTWISE_SCALE,
    POINTWISE_ZERO,
    POINTWISE_SOFT_CAP,
    POINTWISE_SOFT_CAP_BACK,
    POINTWISE_SWIGLU,
    POINTWISE_GEGLU,
    POINTWISE_SWIGLU_BACK,
    POINTWISE_GEGLU_BACK,
    POINTWISE_SCALE_COLUMNS,
    POINTWISE_ADD_COLUMNS,
    POINTWISE_SPREAD,
};

uint32_t vk_values(struct vk_emit *e, const struct operand *o)
{
    const int64_t n = vk_count(o);

    if (n <= UINT32_MAX - (1 << 20))
        return (uint32_t) n;
    if (e->rc >= 0)
        e->rc = error_set(e->err, -EFBIG,
                          "%s: a tensor has %lld values, more than Vulkan "
                          "shaders count; use fewer tokens at a time",
                          op_infos[e->in->op].name, (long long) n);
    return 0;
}

struct pointwise_push {
    VkDeviceAddress y, z, a, b, c;
    uint32_t n;
    uint32_t cols; // of rows of a, where b is one row; of b, of spread
    float alpha;
};

static void pointwise(struct vk_emit *e, enum pointwise op,
                      struct pointwise_push push)
{
    const VkDeviceAddress all[] = {push.y, push.z, push.a, push.b, push.c};
    const uint32_t specs[] = {POINTWISE_THREADS, op, vk_by_four(all, 5)};
    struct vk_dispatch d = {
        .shader = VK_SHADER_pointwise_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_linear(d.groups, vk_ceil(push.n, POINTWISE_THREADS * POINTWISE_EACH));
    vk_dispatch(e, &d);
}

// y = f(a, b), with alpha
static void simple(struct vk_emit *e, enum pointwise op)
{
    const int n_in = e->in->n_in;

    pointwise(e, op,
              (struct pointwise_push){.y = vk_out(e, 0),
                                      .a = vk_in(e, 0),
                                      .b = n_in > 1 ? vk_in(e, 1) : 0,
                                      .n = vk_values(e, &e->in->out[0]),
                                      .alpha = e->in->attr.alpha});
}

void vk_emit_add(struct vk_emit *e)
{
    simple(e, POINTWISE_ADD);
}

void vk_emit_scale(struct vk_emit *e)
{
    simple(e, POINTWISE_SCALE);
}

void vk_emit_soft_cap(struct vk_emit *e)
{
    simple(e, POINTWISE_SOFT_CAP);
}

void vk_emit_soft_cap_back(struct vk_emit *e)
{
    simple(e, POINTWISE_SOFT_CAP_BACK);
}

void vk_emit_swiglu(struct vk_emit *e)
{
    simple(e, POINTWISE_SWIGLU);
}

void vk_emit_geglu(struct vk_emit *e)
{
    simple(e, POINTWISE_GEGLU);
}

// The storage of output 0, which has that of input 0, even if nobody reads it.
void vk_emit_accumulate(struct vk_emit *e)
{
    const VkDeviceAddress sum = vk_in(e, 0);

    if (e->fold) {
        vk_emit_noise_added(e);
        return;
    }
    pointwise(e, POINTWISE_ADD,
              (struct pointwise_push){.y = sum,
                                      .a = sum,
                                      .b = vk_in(e, 1),
                                      .n = vk_values(e, &e->in->in[0])});
}

void vk_emit_zero(struct vk_emit *e)
{
    pointwise(e, POINTWISE_ZERO,
              (struct pointwise_push){.y = vk_in(e, 0),
                                      .n = vk_values(e, &e->in->in[0])});
}

static void gated_back(struct vk_emit *e, enum pointwise op)
{
    pointwise(e, op,
              (struct pointwise_push){.y = vk_out(e, 0),
                                      .z = vk_out(e, 1),
                                      .a = vk_in(e, 0),
                                      .b = vk_in(e, 1),
                                      .c = vk_in(e, 2),
                                      .n = vk_values(e, &e->in->in[0])});
}

void vk_emit_swiglu_back(struct vk_emit *e)
{
    gated_back(e, POINTWISE_SWIGLU_BACK);
}

void vk_emit_geglu_back(struct vk_emit *e)
{
    gated_back(e, POINTWISE_GEGLU_BACK);
}

static void with_columns(struct vk_emit *e, enum pointwise op)
{
    pointwise(e, op,
              (struct pointwise_push){.y = vk_out(e, 0),
                                      .a = vk_in(e, 0),
                                      .b = vk_in(e, 1),
                                      .n = vk_values(e, &e->in->out[0]),
                                      .cols =
                                          (uint32_t) vk_count(&e->in->in[1])});
}

void vk_emit_scale_columns(struct vk_emit *e)
{
    with_columns(e, POINTWISE_SCALE_COLUMNS);
}

void vk_emit_add_columns(struct vk_emit *e)
{
    with_columns(e, POINTWISE_ADD_COLUMNS);
}

void vk_emit_subtoken_spread(struct vk_emit *e)
{
    with_columns(e, POINTWISE_SPREAD);
}
