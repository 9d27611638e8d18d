// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_attention.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

#include "engine/base/error.h"

#include <errno.h>
#include <math.h>

enum {
    TILE = 64,      // rows of a workgroup, as in attention.glsl
    HEAD_MAX = 256, // values of a head
    // Workgroups that keep a device busy, or it is worth a dispatch more.
    MANY_GROUPS = 512,
    SPLITS_MAX = 32,
    SPLIT_KEYS = 128, // of the cache, for a workgroup at least
    HEADS_THREADS = 256,
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

// Columns of a head are of as many workgroups as chunks of 64 that a thread has
// no registers for; each finds the scores.
static uint32_t parts_of(const struct device *dev, uint32_t dim)
{
    return dev->traits.has_few_registers ? vk_ceil(dim, 64) : 1;
}

// What tiles take as specialisation constants.
static void tile_specs(uint32_t specs[2], const struct vk_emit *e,
                       const VkDeviceAddress *addresses, int n)
{
    const uint32_t dim = e->in->attr.head_dim;

    specs[0] = vk_ceil(vk_ceil(dim, 64), parts_of(e->dev, dim));
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
    uint32_t zero; // see attention.glsl
};

void vk_emit_attention(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[0]);
    const bool is_small = e->dev->traits.has_few_registers;
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
    if (vk_attention_by_matrices(e->dev, e->in)) {
        vk_emit_attention_cm(e, push.scale);
        return;
    }
    tile_specs(specs, e, all, 4);
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = is_small ? VK_SHADER_attention_few
                                          : VK_SHADER_attention_f32,
                       .specs = specs,
                       .n_specs = 2,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {rows / a->length * push.tiles, a->n_heads,
                                  parts_of(e->dev, a->head_dim)},
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
    uint32_t zero; // see attention.glsl
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

// Keys are few to a device, and their gradients are found by query head.
static bool is_by_head(const struct device *dev, const struct instr *in)
{
    const struct op_attr *a = &in->attr;
    const int64_t n_seq = vk_rows(&in->in[1]) / a->length;
    const int64_t enough = vk_attention_by_matrices(dev, in)
                               ? VK_ATTENTION_CM_GROUPS
                               : MANY_GROUPS;

    return a->n_heads > a->n_kv_heads &&
           n_seq * vk_ceil(a->length, TILE) * a->n_kv_heads < enough;
}

// Of the scratch: delta (T,H); by head, then gradients of keys and of values
// (T,H*D).
static size_t delta_bytes(const struct instr *in)
{
    const int64_t n = vk_rows(&in->in[1]) * in->attr.n_heads;

    return ((size_t) n * sizeof(float) + 63) & ~(size_t) 63;
}

static size_t by_head_bytes(const struct instr *in)
{
    return ((size_t) vk_count(&in->in[1]) * sizeof(float) + 63) & ~(size_t) 63;
}

static size_t plain_back_bytes(const struct device *dev, const struct instr *in)
{
    const size_t bytes =
        delta_bytes(in) + (is_by_head(dev, in) ? 2 * by_head_bytes(in) : 0);
    return (bytes + 255) & ~(size_t) 255;
}

size_t vk_scratch_attention_back(const struct device *dev,
                                 const struct instr *in)
{
    return plain_back_bytes(dev, in) + (vk_attention_by_matrices(dev, in)
                                            ? vk_attention_cm_scratch(in)
                                            : 0);
}

struct heads_push {
    VkDeviceAddress da, db, a, b;
    uint32_t n;
    uint32_t group;
    uint32_t dim;
};

static void add_heads(struct vk_emit *e, VkDeviceAddress a, VkDeviceAddress b)
{
    const uint32_t specs[] = {HEADS_THREADS};
    const struct heads_push push = {
        .da = vk_out(e, 1),
        .db = vk_out(e, 2),
        .a = a,
        .b = b,
        .n = vk_values(e, &e->in->in[2]),
        .group = e->in->attr.n_heads / e->in->attr.n_kv_heads,
        .dim = e->in->attr.head_dim,
    };
    struct vk_dispatch d = {
        .shader = VK_SHADER_attention_heads_f32,
        .specs = specs,
        .n_specs = 1,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_linear(d.groups, vk_ceil(push.n, HEADS_THREADS));
    vk_dispatch(e, &d);
}

// All three gradients, where all are wanted: by cooperative matrices.
static bool emit_back_cm(struct vk_emit *e, const struct back_push *push,
                         bool by_head)
{
    struct vk_attention_keys keys = {
        .dk = vk_out(e, 1),
        .dv = vk_out(e, 2),
        .by_head = by_head,
        .scratch = push->delta + plain_back_bytes(e->dev, e->in),
    };

    if (!vk_attention_by_matrices(e->dev, e->in) || !push->da || !keys.dk ||
        !keys.dv)
        return false;
    if (by_head) {
        keys.dk = push->delta + delta_bytes(e->in);
        keys.dv = keys.dk + by_head_bytes(e->in);
    }
    vk_emit_attention_back_cm(e, push->scale, &keys);
    if (by_head)
        add_heads(e, keys.dk, keys.dv);
    return true;
}

// What a dispatch of attention_back_keys finds.
enum { FIND_K = 1, FIND_V = 2, FIND_BOTH = 3 };

// Are the sums of dk and dv together more than what a thread's registers hold?
// By what compilers made of them: tests/rigs.
static bool is_apart(const struct device *dev, uint32_t dim)
{
    enum { AMD = 0x1002, NVIDIA = 0x10de, INTEL = 0x8086, QUALCOMM = 0x5143 };

    if (dev->traits.has_few_registers)
        return true;
    switch (dev->traits.vendor) {
    case AMD:
    case NVIDIA:
    case INTEL:
        return false;
    case QUALCOMM:
        return dim > 64;
    default:
        return dim > 128;
    }
}

void vk_emit_attention_back(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[1]);
    const VkDeviceAddress dk = vk_out(e, 1);
    const VkDeviceAddress dv = vk_out(e, 2);
    const bool by_head = is_by_head(e->dev, e->in);
    const bool is_small = e->dev->traits.has_few_registers;
    struct back_push push = back_push_of(e);
    const VkDeviceAddress all[] = {push.da, push.q,    push.k, push.v,
                                   push.o,  push.dout, dk,     dv};
    uint32_t specs[4] = {0, 0, by_head, FIND_BOTH};

    (void) vk_values(e, &e->in->in[1]);
    if (!check_head(e))
        return;
    if (emit_back_cm(e, &push, by_head))
        return;
    tile_specs(specs, e, all, 8);
    struct vk_dispatch d = {
        .shader = is_small ? VK_SHADER_attention_back_few_queries
                           : VK_SHADER_attention_back_queries,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
        .groups = {rows / a->length * push.tiles, a->n_heads,
                   parts_of(e->dev, a->head_dim)},
        .work = (double) rows * a->length * a->n_heads,
    };
    vk_dispatch(e, &d);
    if (!dk && !dv)
        return;
    push.da = dk;
    push.db = dv;
    if (by_head) {
        push.da = dk ? push.delta + delta_bytes(e->in) : 0;
        push.db =
            dv ? push.delta + delta_bytes(e->in) + by_head_bytes(e->in) : 0;
    }
    d.shader = is_small ? VK_SHADER_attention_back_few_keys
                        : VK_SHADER_attention_back_keys;
    d.n_specs = 4;
    d.groups[1] = by_head ? a->n_heads : a->n_kv_heads;
    if (is_apart(e->dev, a->head_dim)) {
        specs[3] = FIND_K;
        vk_dispatch(e, &d);
        specs[3] = FIND_V;
        vk_parallel(e);
    }
    vk_dispatch(e, &d);
    if (by_head)
        add_heads(e, push.da, push.db);
}

struct cached_push {
    VkDeviceAddress o, q, k, v, pos, parts;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t dim;
    uint32_t window;
    float scale;
    float cap;
    uint32_t splits;
};

// In how many parts what a row sees is looked at.
static uint32_t splits_of(const struct instr *in)
{
    const struct op_attr *a = &in->attr;
    const int64_t length = vk_rows(&in->in[1]);
    const int64_t seen =
        a->window > 0 && a->window < length ? a->window : length;
    const int64_t useful = (seen + SPLIT_KEYS - 1) / SPLIT_KEYS;
    const int64_t wanted = MANY_GROUPS / (vk_rows(&in->in[0]) * a->n_heads);
    const int64_t n = wanted < useful ? wanted : useful;

    if (n < 2)
        return 1;
    return n < SPLITS_MAX ? (uint32_t) n : SPLITS_MAX;
}

size_t vk_scratch_attention_cached(const struct device *dev,
                                   const struct instr *in)
{
    const struct op_attr *a = &in->attr;
    const size_t n = splits_of(in);

    (void) dev;
    return n < 2 ? 0
                 : n * (size_t) vk_rows(&in->in[0]) * a->n_heads *
                       (a->head_dim + 2) * sizeof(float);
}

static struct cached_push cached_push_of(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;

    return (struct cached_push){
        .o = vk_out(e, 0),
        .q = vk_in(e, 0),
        .k = vk_in(e, 1),
        .v = vk_in(e, 2),
        .pos = vk_in(e, 3),
        .parts = vk_scratch(e),
        .length = (uint32_t) vk_rows(&e->in->in[1]),
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .dim = a->head_dim,
        .window = a->window,
        .scale = scale_of(a),
        .cap = a->cap,
        .splits = splits_of(e->in),
    };
}

void vk_emit_attention_cached(struct vk_emit *e)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[0]);
    const struct cached_push push = cached_push_of(e);
    const VkDeviceAddress all[] = {push.q, push.k, push.v};
    uint32_t specs[2] = {4, a->head_dim % 4 == 0 && vk_by_four(all, 3)};

    (void) vk_values(e, &e->in->in[1]);
    if (!check_head(e))
        return;
    while (specs[0] < a->head_dim)
        specs[0] *= 2;
    struct vk_dispatch d = {
        .shader = VK_SHADER_attention_cached_f32,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
        .groups = {rows, a->n_heads, push.splits},
        .work = (double) rows * a->n_heads * push.length,
    };
    vk_dispatch(e, &d);
    if (push.splits == 1)
        return;
    d.shader = VK_SHADER_attention_cached_join;
    d.groups[2] = 1;
    d.work = (double) rows * a->n_heads * push.splits;
    vk_dispatch(e, &d);
}
