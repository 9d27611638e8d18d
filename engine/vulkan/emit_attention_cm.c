// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_attention.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"

// Gradients of attention by cooperative matrices of bf16: operands are rounded
// to scratch, then attention_cm.comp runs on them. Only bf16 has the range of
// gradients without a factor for each row. The forward pass, which would have
// to find each score twice, is faster without them (H200, heads of 128, 512
// tokens: 192 against 368 us).

enum { TILE = 64, PACK_THREADS = 128 };

struct pack_push {
    VkDeviceAddress a, to, scales;
    uint32_t m, k, a_rows;
};

struct cm_push {
    VkDeviceAddress da, db, q, k, v, dout, o, grad, lse, delta, start;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t window;
    float scale;
    uint32_t tiles;
};

static size_t half_bytes(const struct operand *o)
{
    return ((size_t) vk_count(o) * 2 + 255) & ~(size_t) 255;
}

bool vk_attention_by_matrices(const struct device *dev, const struct instr *in)
{
    enum { NVIDIA = 0x10de };
    const struct op_attr *a = &in->attr;
    const struct vk_traits *t = &dev->traits;

    return a->precision == PRECISION_BF16 && t->vendor == NVIDIA &&
           t->has_coopmat_bf16 && t->subgroup == 32 && a->cap == 0 &&
           a->length % TILE == 0 && a->head_dim % 16 == 0 &&
           a->head_dim <= 128 &&
           vk_shader_is_built(VK_SHADER_attention_cm_queries) &&
           vk_shader_is_built(VK_SHADER_cm_pack_f32);
}

size_t vk_attention_cm_scratch(const struct instr *in)
{
    size_t bytes = 0;

    for (int i = 0; i < 4; i++)
        bytes += half_bytes(&in->in[i]);
    return bytes;
}

// Rounds input i to `to`, beside what was rounded before it.
static void pack(struct vk_emit *e, int i, VkDeviceAddress to, bool is_first)
{
    const struct operand *o = &e->in->in[i];
    const uint32_t rows = (uint32_t) vk_rows(o);
    const uint32_t cols = (uint32_t) (vk_count(o) / vk_rows(o));
    // One panel as wide as a row: rows stay rows.
    const uint32_t specs[] = {PACK_THREADS, cols, 1, 1};
    const struct pack_push push = {vk_in(e, i), to, 0, rows, cols, rows};

    if (!is_first)
        vk_parallel(e);
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_cm_pack_f32,
                       .specs = specs,
                       .n_specs = 4,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {rows, 1, 1},
                       .work = (double) rows * cols,
                   });
}

static struct cm_push push_of(const struct vk_emit *e, float scale)
{
    const struct op_attr *a = &e->in->attr;

    return (struct cm_push){
        .length = a->length,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .window = a->window,
        .scale = scale,
        .tiles = a->length / TILE,
    };
}

static void run(struct vk_emit *e, enum vk_shader shader,
                const struct cm_push *push, uint32_t heads, bool by_head)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t rows = (uint32_t) vk_rows(&e->in->in[1]);
    const uint32_t specs[] = {a->head_dim, by_head};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = shader,
                       .specs = specs,
                       .n_specs = 2,
                       .push = push,
                       .push_bytes = sizeof(*push),
                       .groups = {rows / TILE, heads, 1},
                       .work = (double) rows * a->length * heads,
                   });
}

void vk_emit_attention_back_cm(struct vk_emit *e, float scale,
                               const struct vk_attention_keys *keys)
{
    struct cm_push push = push_of(e, scale);

    push.da = vk_out(e, 0);
    push.o = vk_in(e, 4);
    push.grad = vk_in(e, 0);
    push.lse = vk_in(e, 5);
    push.start = vk_in(e, 6);
    push.delta = keys->delta;
    push.dout = keys->scratch;
    push.q = push.dout + half_bytes(&e->in->in[0]);
    push.k = push.q + half_bytes(&e->in->in[1]);
    push.v = push.k + half_bytes(&e->in->in[2]);
    pack(e, 0, push.dout, true);
    pack(e, 1, push.q, false);
    pack(e, 2, push.k, false);
    pack(e, 3, push.v, false);
    run(e, VK_SHADER_attention_cm_queries, &push, e->in->attr.n_heads, false);
    push.da = keys->dk;
    push.db = keys->dv;
    run(e, VK_SHADER_attention_cm_keys, &push,
        keys->by_head ? e->in->attr.n_heads : e->in->attr.n_kv_heads,
        keys->by_head);
}
