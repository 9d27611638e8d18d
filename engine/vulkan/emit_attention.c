// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

#include "engine/base/error.h"

#include <errno.h>
#include <math.h>

enum {
    TILE = 64,      // rows of a workgroup, as in attention.glsl
    HEAD_MAX = 256, // values of a head
};

static float scale_of(const struct op_attr *a)
{
    return a->alpha > 0 ? a->alpha : 1.0f / sqrtf((float) a->head_dim);
}

static bool check_head(struct vk_emit *e)
{
    const uint32_t dim = e->in->attr.head_dim;

    if (dim <= HEAD_MAX)
        return true;
    if (e->rc >= 0)
        e->rc = error_set(e->err, -ENOTSUP,
                          "%s: heads have %u values, more than %d, the most "
                          "that Vulkan shaders take",
                          op_infos[e->in->op].name, dim, HEAD_MAX);
    return false;
}

// What tiles take as specialisation constants.
static void tile_specs(uint32_t specs[2], const struct vk_emit *e,
                       const VkDeviceAddress *addresses, int n)
{
    const uint32_t dim = e->in->attr.head_dim;

    specs[0] = vk_ceil(dim, 64);
    specs[1] = dim % 4 == 0 && vk_by_four(addresses, n);
}

struct attention_push {
    VkDeviceAddress o, lse, q, k, v, start;
    uint32_t rows;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t dim;
    uint32_t window;
    float scale;
    float cap;
    uint32_t tiles;
};

void vk_emit_attention(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[0]);
    const struct attention_push push = {
        .o = vk_out(e, 0),
        .lse = vk_out(e, 1),
        .q = vk_in(e, 0),
        .k = vk_in(e, 1),
        .v = vk_in(e, 2),
        .start = vk_in(e, 3),
        .rows = rows,
        .length = a->length,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .dim = a->head_dim,
        .window = a->window,
        .scale = scale_of(a),
        .cap = a->cap,
        .tiles = vk_ceil(a->length, TILE),
    };
    const VkDeviceAddress all[] = {push.o, push.q, push.k, push.v};
    uint32_t specs[2];

    (void) vk_values(e, &e->in->in[0]);
    if (!check_head(e))
        return;
    tile_specs(specs, e, all, 4);
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_attention_f32,
                       .specs = specs,
                       .n_specs = 2,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {rows / a->length * push.tiles, a->n_heads, 1},
                       .work = (double) rows * a->length * a->n_heads,
                   });
}

struct back_push {
    VkDeviceAddress da, db, dout, q, k, v, o, lse, delta, start;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t dim;
    uint32_t window;
    float scale;
    float cap;
    uint32_t tiles;
};

static struct back_push back_push_of(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;

    return (struct back_push){
        .da = vk_out(e, 0),
        .dout = vk_in(e, 0),
        .q = vk_in(e, 1),
        .k = vk_in(e, 2),
        .v = vk_in(e, 3),
        .o = vk_in(e, 4),
        .lse = vk_in(e, 5),
        .delta = vk_scratch(e),
        .start = vk_in(e, 6),
        .length = a->length,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .dim = a->head_dim,
        .window = a->window,
        .scale = scale_of(a),
        .cap = a->cap,
        .tiles = vk_ceil(a->length, TILE),
    };
}

void vk_emit_attention_back(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[1]);
    const VkDeviceAddress dk = vk_out(e, 1);
    const VkDeviceAddress dv = vk_out(e, 2);
    struct back_push push = back_push_of(e);
    const VkDeviceAddress all[] = {push.da, push.q,    push.k, push.v,
                                   push.o,  push.dout, dk,     dv};
    uint32_t specs[2];

    (void) vk_values(e, &e->in->in[1]);
    if (!check_head(e))
        return;
    tile_specs(specs, e, all, 8);
    struct vk_dispatch d = {
        .shader = VK_SHADER_attention_back_queries,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
        .groups = {rows / a->length * push.tiles, a->n_heads, 1},
        .work = (double) rows * a->length * a->n_heads,
    };
    vk_dispatch(e, &d);
    if (!dk && !dv)
        return;
    push.da = dk;
    push.db = dv;
    d.shader = VK_SHADER_attention_back_keys;
    d.groups[1] = a->n_kv_heads;
    vk_dispatch(e, &d);
}

// delta (T,H)
size_t vk_scratch_attention_back(const struct device *dev,
                                 const struct instr *in)
{
    (void) dev;
    return (size_t) (vk_rows(&in->in[1]) * in->attr.n_heads) * sizeof(float);
}

struct cached_push {
    VkDeviceAddress o, q, k, v, pos;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t dim;
    uint32_t window;
    float scale;
    float cap;
};

void vk_emit_attention_cached(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[0]);
    const struct cached_push push = {
        .o = vk_out(e, 0),
        .q = vk_in(e, 0),
        .k = vk_in(e, 1),
        .v = vk_in(e, 2),
        .pos = vk_in(e, 3),
        .length = (uint32_t) vk_rows(&e->in->in[1]),
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .dim = a->head_dim,
        .window = a->window,
        .scale = scale_of(a),
        .cap = a->cap,
    };
    const VkDeviceAddress all[] = {push.k, push.v};
    uint32_t specs[2] = {4, a->head_dim % 4 == 0 && vk_by_four(all, 2)};

    (void) vk_values(e, &e->in->in[1]);
    if (!check_head(e))
        return;
    while (specs[0] < a->head_dim)
        specs[0] *= 2;
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_attention_cached_f32,
                       .specs = specs,
                       .n_specs = 2,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {rows, a->n_heads, 1},
                       .work = (double) rows * a->n_heads * push.length,
                   });
}
