// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_product.h"

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_prepare.h"

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
    PRODUCT_IS_COPIES = 1024,
};

struct product_push {
    VkDeviceAddress y, a, b, scales, mins, d, c, live;
    uint32_t m, n, k;
    float alpha;
    uint32_t k_each;
};

// How a product is done.
struct way {
    enum vk_shader shader;
    uint32_t specs[VK_SPECS_MAX]; // those behind 0: threads, 1: type, 2: flags
    uint32_t n_specs;
    uint32_t threads;
    uint32_t tile_m, tile_n; // of a workgroup
    uint32_t parts;          // of K, summed by another dispatch
    uint32_t k_each;
};

enum {
    FEW = 16, // rows or columns that the shapes of LoRA and decoding have
    LDS_BYTES = 20 << 10,
    LDS_THREADS = 256,
};

// Workgroups that keep a device busy. Vulkan does not tell how many cores one
// has; what a large one needs costs others little.
static uint32_t enough_groups(const struct device *dev)
{
    return dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? 256 : 16;
}

// Cuts K where there are few tiles, into parts of `least` or more.
static void cut_k(struct way *w, const struct vk_product *p, uint32_t enough,
                  uint32_t least)
{
    const uint32_t tiles = vk_ceil(p->m, w->tile_m) * vk_ceil(p->n, w->tile_n);
    const uint32_t wanted = vk_ceil(enough, tiles);
    const uint32_t most = p->copies > 0 ? 1 : p->k / least;

    w->parts = wanted < most ? wanted : most;
    w->k_each = p->k;
    if (w->parts > 1)
        w->k_each = (vk_ceil(p->k, w->parts) + 31) / 32 * 32;
    w->parts = vk_ceil(p->k, w->k_each);
}

static uint32_t fitting(uint32_t n, uint32_t least, uint32_t most)
{
    uint32_t size = least;

    while (size < n && size < most)
        size *= 2;
    return size;
}

// Few rows or columns, operands along K: what LoRA makes of tokens, and
// decoding.
static struct way way_of_dots(const struct device *dev,
                              const struct vk_product *p)
{
    const bool is_small = dev->traits.has_few_registers;
    const uint32_t most = is_small ? 16 : 64; // sums of a thread
    // Wide loads where a load of four values is narrow.
    const bool by_16 = !is_small && p->trans_b && !p->d &&
                       p->b.dtype != DTYPE_f32 && p->k % 16 == 0;
    uint32_t rm, rn, threads;

    if (p->n <= FEW) {
        rn = fitting(p->n, 4, is_small ? 4 : 16);
        rm = most / rn < 8 ? most / rn : 8;
        while (rm > 1 && p->m / rm < 128)
            rm /= 2;
    } else {
        rn = p->n / 4 < 65535 ? 4 : 8; // what every device has
        rm = fitting(p->m, 1, most / rn < 8 ? most / rn : 8);
    }
    threads = fitting(p->k / (by_16 ? 64 : 8), 32, by_16 ? 64 : 256);
    return (struct way){
        .shader = VK_SHADER_gemm_dots_f32,
        .specs = {rm, rn, by_16},
        .n_specs = 3,
        .threads = threads,
        .tile_m = rm,
        .tile_n = rn,
        .parts = 1,
        .k_each = p->k,
    };
}

// Many rows, few columns: what LoRA makes of tokens.
static struct way way_of_thin(const struct device *dev,
                              const struct vk_product *p)
{
    enum { THREADS = 256, ROW_LANES = 4, ENOUGH = 128, SHARED = 40 << 10 };
    const uint32_t shared =
        dev->traits.shared_bytes < SHARED ? dev->traits.shared_bytes : SHARED;
    const uint32_t few = p->n <= 8 ? 8 : 16;
    const uint32_t step = THREADS / ROW_LANES * 4;
    const uint32_t step_bytes = step / 4 * (few + 1) * 16;
    const bool is_small = dev->traits.has_few_registers;
    uint32_t rows = few == 8 ? 4 : 2, depth = 1;

    // Sums of all threads lie there at the end.
    while (rows * few * THREADS * sizeof(float) > shared)
        rows /= 2;
    while (rows > 1 && p->m / (rows * ROW_LANES) < ENOUGH)
        rows /= 2;
    while (!is_small && depth * rows < 4 && depth * 2 * step_bytes <= shared &&
           depth * step < p->k)
        depth *= 2;
    return (struct way){
        .shader = VK_SHADER_gemm_thin_f32,
        .specs = {few, rows, depth, !is_small},
        .n_specs = 4,
        .threads = THREADS,
        .tile_m = rows * ROW_LANES,
        .tile_n = few,
        .parts = 1,
        .k_each = p->k,
    };
}

// Few rows or columns, the wide operand along y: LoRA's gradients.
static struct way way_of_outer(const struct device *dev,
                               const struct vk_product *p, bool is_tall)
{
    enum { LANES = 8 };
    const bool is_small = dev->traits.has_few_registers;
    const uint32_t few =
        fitting(is_tall ? p->n : p->m, 4, is_small ? FEW / 2 : FEW);
    struct way w = {
        .shader = VK_SHADER_gemm_outer_f32,
        .specs = {few, LANES, is_tall, is_small && few > 4 ? 1 : 4},
        .n_specs = 4,
        .threads = 256,
        .tile_m = is_tall ? LANES * 4 : few,
        .tile_n = is_tall ? few : LANES * 4,
    };

    // They are larger than those of tiles.
    cut_k(&w, p, enough_groups(dev) / 2, 256);
    return w;
}

static struct way way_of_lds(const struct device *dev,
                             const struct vk_product *p)
{
    const bool is_large = p->family == VK_PRODUCT_LDS_128 ||
                          (p->family != VK_PRODUCT_LDS_64 &&
                           (uint64_t) vk_ceil(p->m, 128) * vk_ceil(p->n, 128) >=
                               enough_groups(dev));
    // Where shaders become a CPU's code, large ones take long to compile.
    const bool is_cpu = dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const uint32_t across = is_large && !is_cpu ? 16 : 8;
    const uint32_t tn = is_cpu ? 4 : 8;
    struct way w = {
        .shader = VK_SHADER_gemm_lds_f32,
        .specs = {8, tn, across, 16, is_cpu ? 1 : 8},
        .n_specs = 5,
        .threads = across * across,
        .tile_m = across * 8,
        .tile_n = across * tn,
    };

    cut_k(&w, p, enough_groups(dev), 512);
    return w;
}

static struct way way_of_reg(const struct device *dev,
                             const struct vk_product *p)
{
    const uint32_t tn = p->n >= 64 && !dev->traits.has_few_registers ? 8 : 4;
    struct way w = {
        .shader = VK_SHADER_gemm_reg_f32,
        .specs = {4, tn, 8},
        .n_specs = 3,
        .threads = 64,
        .tile_m = 32,
        .tile_n = tn * 8,
    };

    cut_k(&w, p, enough_groups(dev), 512);
    return w;
}

// Are these tiles, of 64 sums a thread, ones that it can take?
static bool has_lds(const struct vk_traits *t)
{
    return t->shared_bytes >= LDS_BYTES && t->max_workgroup >= LDS_THREADS &&
           !t->has_few_registers;
}

// Is shared memory faster than reading again? On phones and Apple's it is not.
static bool likes_lds(const struct vk_traits *t)
{
    enum { AMD = 0x1002, NVIDIA = 0x10de, INTEL = 0x8086 };

    return t->type != VK_PHYSICAL_DEVICE_TYPE_CPU &&
           (t->vendor == AMD || t->vendor == NVIDIA || t->vendor == INTEL) &&
           has_lds(t);
}

static bool is_lds(const struct vk_product *p)
{
    return p->family == VK_PRODUCT_LDS || p->family == VK_PRODUCT_LDS_64 ||
           p->family == VK_PRODUCT_LDS_128;
}

// The one place where families are chosen: by what was asked for, by sizes,
// then by the device.
static struct way pick_family(const struct device *dev,
                              const struct vk_product *p)
{
    const struct vk_traits *t = &dev->traits;
    const bool is_narrow = p->m <= FEW || p->n <= FEW;

    if (p->family == VK_PRODUCT_REG)
        return way_of_reg(dev, p);
    if (is_lds(p))
        return way_of_lds(dev, p);
    if (p->n <= FEW && p->m >= 64 && p->k >= 64 && !p->trans_a &&
        t->max_workgroup >= 256 && t->shared_bytes >= LDS_BYTES)
        return way_of_thin(dev, p);
    if (is_narrow && !p->trans_a && (p->trans_b || p->n <= FEW) && p->k >= 64 &&
        t->has_subgroup_sum)
        return way_of_dots(dev, p);
    if (is_narrow && !p->trans_b && t->max_workgroup >= 256 && p->k >= 64) {
        if (p->m <= FEW)
            return way_of_outer(dev, p, false);
        if (p->trans_a)
            return way_of_outer(dev, p, true);
    }
    return likes_lds(t) ? way_of_lds(dev, p) : way_of_reg(dev, p);
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
    f |= p->copies > 0 ? PRODUCT_IS_COPIES : 0;
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

static void emit_tiles(struct vk_emit *e, const struct vk_product *p,
                       const struct way *w)
{
    const struct product_push push = push_of(p, w);
    uint32_t specs[VK_SPECS_MAX] = {w->threads, vk_weight_code(p->b.dtype),
                                    flags_of(p, w->parts > 1)};

    memcpy(specs + 3, w->specs, w->n_specs * sizeof(*specs));
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = w->shader,
                       .specs = specs,
                       .n_specs = 3 + w->n_specs,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {vk_ceil(p->n, w->tile_n),
                                  vk_ceil(p->m, w->tile_m),
                                  p->copies > 0 ? p->copies : w->parts},
                       .work = (double) p->m * p->n * p->k *
                               (p->copies > 0 ? p->copies : 1),
                   });
}

// Adds what the parts of K gave.
void vk_emit_product_sum(struct vk_emit *e, const struct vk_product *p,
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

    vk_linear(d.groups, vk_ceil(p->m * p->n, THREADS));
    vk_dispatch(e, &d);
}

void vk_emit_product(struct vk_emit *e, const struct vk_product *p)
{
    if (vk_emit_product_cm(e, p))
        return;
    const struct way w = pick_family(e->dev, p);

    emit_tiles(e, p, &w);
    if (w.parts > 1)
        vk_emit_product_sum(e, p, w.parts);
}

size_t vk_product_scratch(const struct device *dev, const struct vk_product *p)
{
    const struct way w = pick_family(dev, p);
    const size_t plain =
        w.parts > 1 ? (size_t) w.parts * p->m * p->n * sizeof(float) : 0;
    const size_t cm = vk_product_scratch_cm(dev, p);

    return cm > plain ? cm : plain;
}

/*
 * The operators
 */

// All but addresses.
static struct vk_product shape_of(const struct instr *in)
{
    const struct operand *y = &in->out[0];
    const bool trans_a = in->op == OP_matmul && in->attr.trans_a;

    return (struct vk_product){
        .b = {.dtype = vk_stored_type((enum dtype) in->in[1].dtype)},
        .m = (uint32_t) vk_rows(y),
        .n = (uint32_t) vk_cols(y),
        .k = trans_a ? (uint32_t) vk_rows(&in->in[0])
                     : (uint32_t) vk_cols(&in->in[0]),
        .alpha = in->attr.alpha,
        .trans_a = trans_a,
        .trans_b = in->op == OP_matmul_kept || in->attr.trans_b,
        .precision = in->attr.precision,
        .family = in->kernel,
        .has_packs = true,
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
    // Shaders count all of them in 32 bits.
    (void) vk_values(e, &e->in->in[0]);
    (void) vk_values(e, &e->in->in[1]);
    (void) vk_values(e, &e->in->out[0]);
    vk_emit_product(e, &p);
}

// Of two products that are one: is the first one the large one?
static bool is_large_first(const struct instr *first, const struct instr *later)
{
    return shape_of(first).k > shape_of(later).k;
}

bool vk_product_folds(const struct device *dev, const struct instr *first,
                      const struct instr *later)
{
    const bool is_first = is_large_first(first, later);
    const struct vk_product large = shape_of(is_first ? first : later);
    const struct instr *small = is_first ? later : first;
    const struct vk_product low = shape_of(small);

    return low.k <= FEW && !low.trans_a && low.trans_b == large.trans_b &&
           low.b.dtype == DTYPE_f32 && low.precision == large.precision &&
           low.family <= VK_KERNEL_VULKAN && large.alpha != 0 &&
           vk_product_takes_cm(dev, &large);
}

// y = first's sum + later's, of which one adapts the other.
static void emit_folded(struct vk_emit *e)
{
    const struct instr *first = e->fold, *later = e->in;
    const bool is_first = is_large_first(first, later);

    e->in = is_first ? later : first;
    const struct vk_low low = {
        .a = vk_in(e, 0),
        .b = vk_in(e, 1),
        .k = shape_of(e->in).k,
        .alpha = e->in->attr.alpha,
    };
    e->in = is_first ? first : later;
    struct vk_product p = shape_of(e->in);
    p.a = vk_in(e, 0);
    p.b = vk_weight_of(e, 1);
    p.scratch = vk_scratch(e);
    p.low = low;
    e->in = first;
    p.c = first->n_in > 2 ? vk_in(e, 2) : 0;
    e->in = later;
    p.y = vk_out(e, 0);
    (void) vk_values(e, &first->in[0]);
    (void) vk_values(e, &first->in[1]);
    (void) vk_values(e, &later->in[0]);
    (void) vk_values(e, &later->in[1]);
    (void) vk_values(e, &later->out[0]);
    vk_emit_product(e, &p);
}

void vk_emit_matmul(struct vk_emit *e)
{
    if (e->fold)
        emit_folded(e);
    else
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

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t vk_matmul_scratch(const struct device *dev, const struct instr *in)
{
    const struct vk_product p = shape_of(in);

    return vk_product_scratch(dev, &p);
}

/*
 * y = a b^T + alpha * (a p^T) q^T + c, as three products. The first two do not
 * wait for each other.
 */
struct lora {
    struct vk_product base, low, high;
    size_t low_scratch, scratch, bytes; // where things are, behind a p^T
};

static size_t align(size_t n)
{
    return (n + 255) & ~(size_t) 255;
}

static struct lora lora_of(const struct device *dev, const struct instr *in)
{
    struct lora l = {.base = shape_of(in)};

    l.base.alpha = 1;
    l.base.trans_b = true;
    l.low = l.high = l.base;
    // Those of an adapter have sides for which there are rules.
    if (l.base.family != VK_PRODUCT_CM)
        l.low.family = l.high.family = 0;
    l.low.b.dtype = (enum dtype) in->in[2].dtype;
    l.low.n = l.high.k = (uint32_t) vk_rows(&in->in[2]);
    l.high.b.dtype = (enum dtype) in->in[3].dtype;
    l.high.alpha = in->attr.alpha;
    const size_t base = vk_product_scratch(dev, &l.base);
    const size_t high = vk_product_scratch(dev, &l.high);
    l.low_scratch = align((size_t) l.low.m * l.low.n * sizeof(float));
    l.scratch = l.low_scratch + align(vk_product_scratch(dev, &l.low));
    l.bytes = l.scratch + (base > high ? base : high);
    return l;
}

size_t vk_matmul_packs(const struct device *dev, const struct instr *in)
{
    if (in->op == OP_matmul_lora) {
        const struct lora l = lora_of(dev, in);
        return larger(vk_product_packs_cm(dev, &l.base),
                      larger(vk_product_packs_cm(dev, &l.low),
                             vk_product_packs_cm(dev, &l.high)));
    }
    if (in->op != OP_matmul && in->op != OP_matmul_kept)
        return 0;
    const struct vk_product p = shape_of(in);
    return vk_product_packs_cm(dev, &p);
}

void vk_emit_matmul_lora(struct vk_emit *e)
{
    struct lora l = lora_of(e->dev, e->in);
    const VkDeviceAddress scratch = vk_scratch(e);

    l.low.a = l.base.a = vk_in(e, 0);
    l.base.b = vk_weight_of(e, 1);
    l.low.b = vk_weight_of(e, 2);
    l.high.b = vk_weight_of(e, 3);
    l.low.y = l.high.a = scratch;
    l.low.scratch = scratch + l.low_scratch;
    l.base.scratch = l.high.scratch = scratch + l.scratch;
    l.base.c = e->in->n_in > 4 ? vk_in(e, 4) : 0;
    l.base.y = l.high.y = l.high.c = vk_out(e, 0);
    (void) vk_values(e, &e->in->in[1]);
    (void) vk_values(e, &e->in->out[0]);
    vk_emit_product(e, &l.low);
    vk_parallel(e);
    vk_emit_product(e, &l.base);
    vk_emit_product(e, &l.high);
}

size_t vk_matmul_lora_scratch(const struct device *dev, const struct instr *in)
{
    return lora_of(dev, in).bytes;
}

/*
 * What may be chosen of
 */

uint32_t vk_matmul_kernels(struct backend_kernel *out, const struct device *dev)
{
    const struct vk_traits *t = &dev->traits;
    uint32_t n = 0;

    out[n++] = (struct backend_kernel){"reg", VK_PRODUCT_REG, true};
    if (has_lds(t))
        out[n++] = (struct backend_kernel){"lds64", VK_PRODUCT_LDS_64, true};
    if (has_lds(t) && t->type != VK_PHYSICAL_DEVICE_TYPE_CPU)
        out[n++] = (struct backend_kernel){"lds128", VK_PRODUCT_LDS_128, true};
    if (!vk_product_knows_cm(dev))
        return n;
    out[n++] = (struct backend_kernel){"cm64", VK_PRODUCT_CM_64, true};
    out[n++] = (struct backend_kernel){"cm128", VK_PRODUCT_CM_128, true};
    out[n++] = (struct backend_kernel){"cm256", VK_PRODUCT_CM_256, true};
    return n;
}

static bool is_same_way(const struct device *dev, const struct vk_product *p,
                        const struct vk_product *q)
{
    if (vk_product_takes_cm(dev, p) || vk_product_takes_cm(dev, q))
        return vk_product_same_cm(dev, p, q);
    const struct way x = pick_family(dev, p), y = pick_family(dev, q);
    return x.shader == y.shader && x.n_specs == y.n_specs &&
           memcmp(x.specs, y.specs, x.n_specs * sizeof(*x.specs)) == 0 &&
           x.parts == y.parts;
}

bool vk_matmul_offers(const struct device *dev, const struct instr *in)
{
    const struct vk_kernel *k = vk_kernel_of((enum op) in->op);
    struct instr usual = *in;

    usual.kernel = 0;
    struct vk_product p = shape_of(in), q = shape_of(&usual);
    if (in->op == OP_matmul_lora)
        p.trans_b = q.trans_b = true;
    // Narrow ones, and those that are done with another one, have their own.
    if (p.m <= FEW || p.n <= FEW || p.k <= FEW)
        return false;
    if (is_lds(&p) && !has_lds(&dev->traits))
        return false;
    if (p.family >= VK_PRODUCT_CM_64 && !vk_product_takes_cm(dev, &p))
        return false;
    return !is_same_way(dev, &p, &q) &&
           k->scratch(dev, in) <= k->scratch(dev, &usual);
}
