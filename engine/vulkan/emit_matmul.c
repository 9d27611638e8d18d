// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_product.h"

#include "engine/vulkan/vk_kernels.h"

#include <string.h>

// Bits of FLAGS in shaders/lib/gemm.glsl.
enum product_flag {
    PRODUCT_TRANS_A = 1,
    PRODUCT_TRANS_B = 2,
    PRODUCT_HAS_D = 4,
    PRODUCT_HAS_C = 8,
    PRODUCT_HAS_LIVE = 16,
    PRODUCT_A_BY_4 = 32,
    PRODUCT_B_BY_4 = 64,
    PRODUCT_D_BY_4 = 128,
    PRODUCT_Y_BY_4 = 256,
    PRODUCT_IS_PART = 512,
};

struct product_push {
    VkDeviceAddress y, a, b, scales, mins, d, c, live;
    uint32_t m, n, k;
    float alpha;
    uint32_t k_each;
};

enum family {
    FAMILY_REG, // no shared memory
};

// How a product is done.
struct way {
    enum family family;
    uint32_t threads;
    uint32_t tm, tn; // sums of a thread
    uint32_t across; // threads along N
    uint32_t parts;  // of K, summed by another dispatch
    uint32_t k_each; // a multiple of 32
};

static uint32_t groups_of(uint32_t n, uint32_t each)
{
    return (n + each - 1) / each;
}

// The one place where families are chosen: by the device, then by sizes.
static struct way pick_family(const struct device *dev,
                              const struct vk_product *p)
{
    (void) dev;
    struct way w = {.family = FAMILY_REG,
                    .threads = 64,
                    .tm = 4,
                    .tn = 4,
                    .across = 8,
                    .parts = 1,
                    .k_each = p->k};

    return w;
}

static bool is_by_4(VkDeviceAddress at, uint32_t cols)
{
    return at % 16 == 0 && cols % 4 == 0;
}

bool vk_weight_by_4(const struct vk_weight *w, uint32_t cols)
{
    if (w->dtype == DTYPE_f32)
        return is_by_4(w->data, cols);
    if (w->dtype == DTYPE_f16 || w->dtype == DTYPE_bf16)
        return w->data % 8 == 0 && cols % 4 == 0;
    return true; // whole blocks
}

uint32_t vk_weight_code(enum dtype dtype)
{
    switch ((int) dtype) {
    case DTYPE_f16:
        return 1;
    case DTYPE_bf16:
        return 2;
    case DTYPE_q8_0:
        return 3;
    case DTYPE_q4_0:
        return 4;
    case DTYPE_q4_k:
        return 5;
    case DTYPE_q6_k:
        return 6;
    default:
        return 0;
    }
}

static uint32_t flags_of(const struct vk_product *p, bool is_part)
{
    const uint32_t b_cols = p->trans_b ? p->k : p->n;
    uint32_t f = 0;

    f |= p->trans_a ? PRODUCT_TRANS_A : 0;
    f |= p->trans_b ? PRODUCT_TRANS_B : 0;
    f |= p->d ? PRODUCT_HAS_D : 0;
    f |= p->c && !is_part ? PRODUCT_HAS_C : 0;
    f |= p->live ? PRODUCT_HAS_LIVE : 0;
    f |= is_by_4(p->a, p->trans_a ? p->m : p->k) ? PRODUCT_A_BY_4 : 0;
    f |= vk_weight_by_4(&p->b, b_cols) ? PRODUCT_B_BY_4 : 0;
    f |= p->d && is_by_4(p->d, b_cols) ? PRODUCT_D_BY_4 : 0;
    f |= is_by_4(p->y, p->n) && is_by_4(p->c, p->n) ? PRODUCT_Y_BY_4 : 0;
    f |= is_part ? PRODUCT_IS_PART : 0;
    return f;
}

static struct product_push push_of(const struct vk_product *p,
                                   const struct way *w)
{
    return (struct product_push){
        .y = w->parts > 1 ? p->scratch : p->y,
        .a = p->a,
        .b = p->b.data,
        .scales = p->b.scales,
        .mins = p->b.mins,
        .d = p->d,
        .c = p->c,
        .live = p->live,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .alpha = p->alpha,
        .k_each = w->k_each,
    };
}

static void emit_reg(struct vk_emit *e, const struct vk_product *p,
                     const struct way *w)
{
    const struct product_push push = push_of(p, w);
    const uint32_t specs[] = {w->threads,
                              vk_weight_code(p->b.dtype),
                              flags_of(p, w->parts > 1),
                              w->tm,
                              w->tn,
                              w->across};

    vk_dispatch(e,
                &(struct vk_dispatch){
                    .shader = VK_SHADER_gemm_reg_f32,
                    .specs = specs,
                    .n_specs = 6,
                    .push = &push,
                    .push_bytes = sizeof(push),
                    .groups = {groups_of(p->n, w->across * w->tn),
                               groups_of(p->m, w->threads / w->across * w->tm),
                               w->parts},
                    .work = (double) p->m * p->n * p->k,
                });
}

// Adds what the parts of K gave.
static void emit_sum(struct vk_emit *e, const struct vk_product *p,
                     uint32_t n_parts)
{
    enum { THREADS = 128 };
    const uint32_t specs[] = {THREADS, p->c ? 1 : 0};
    const struct {
        VkDeviceAddress y, parts, c;
        uint32_t n, n_parts;
        float alpha;
    } push = {p->y, p->scratch, p->c, p->m * p->n, n_parts, p->alpha};
    struct vk_dispatch d = {
        .shader = VK_SHADER_gemm_sum_f32,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) p->m * p->n * n_parts,
    };

    vk_linear(d.groups, groups_of(p->m * p->n, THREADS));
    vk_dispatch(e, &d);
}

void vk_emit_product(struct vk_emit *e, const struct vk_product *p)
{
    const struct way w = pick_family(e->dev, p);

    switch (w.family) {
    case FAMILY_REG:
        emit_reg(e, p, &w);
        break;
    }
    if (w.parts > 1)
        emit_sum(e, p, w.parts);
}

size_t vk_product_scratch(const struct device *dev, const struct vk_product *p)
{
    const struct way w = pick_family(dev, p);

    return w.parts > 1 ? (size_t) w.parts * p->m * p->n * sizeof(float) : 0;
}

/*
 * The operators
 */

static uint32_t rows_of(const struct operand *o)
{
    return (uint32_t) (o->ne[0] * o->ne[1] * o->ne[2]);
}

static uint32_t cols_of(const struct operand *o)
{
    return (uint32_t) o->ne[3];
}

// All but addresses.
static struct vk_product shape_of(const struct instr *in)
{
    const struct operand *y = &in->out[0];
    const bool trans_a = in->op == OP_matmul && in->attr.trans_a;

    return (struct vk_product){
        .b = {.dtype = vk_stored_type((enum dtype) in->in[1].dtype)},
        .m = rows_of(y),
        .n = cols_of(y),
        .k = trans_a ? rows_of(&in->in[0]) : cols_of(&in->in[0]),
        .alpha = in->attr.alpha,
        .trans_a = trans_a,
        .trans_b = in->op == OP_matmul_kept || in->attr.trans_b,
        .precision = in->attr.precision,
    };
}

// With d and c the inputs of these numbers, -1 where there is none.
static void emit(struct vk_emit *e, int d, int c)
{
    struct vk_product p = shape_of(e->in);

    p.y = vk_out(e, 0);
    p.a = vk_in(e, 0);
    p.b = vk_weight_of(e, 1);
    p.d = d >= 0 ? vk_in(e, d) : 0;
    p.c = c < e->in->n_in ? vk_in(e, c) : 0;
    p.scratch = vk_scratch(e);
    vk_emit_product(e, &p);
}

void vk_emit_matmul(struct vk_emit *e)
{
    emit(e, -1, 2);
}

void vk_emit_matmul_delta(struct vk_emit *e)
{
    emit(e, 2, 3);
}

// Gradients, which are nodes of their own, read what is kept.
void vk_emit_matmul_kept(struct vk_emit *e)
{
    emit(e, -1, 4);
}

size_t vk_matmul_scratch(const struct device *dev, const struct instr *in)
{
    const struct vk_product p = shape_of(in);

    return vk_product_scratch(dev, &p);
}
