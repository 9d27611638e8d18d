// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_packs.h"
#include "engine/vulkan/vk_product.h"

#include <string.h>

// Products by cooperative matrices. Operands are rounded to 16 bits: a by a
// pass of its own (cm_pack.comp), the weight on its way into shared memory;
// sums are f32. f16, with a factor for each row of a so that no gradient
// vanishes; or bf16 where weights are and the device has it.

// Bits of FLAGS in gemm_cm.comp.
enum cm_flag {
    CM_HAS_C = 1,
    CM_HAS_SCALES = 2,
    CM_HAS_LIVE = 4,
    CM_BY_4 = 8,
    CM_IS_PART = 16,
    CM_HAS_LOW = 32,
};

struct cm_push {
    VkDeviceAddress a, w, scales, mins, y, c, row_scales, live;
    uint32_t m, n, k;
    uint32_t a_rows;
    uint32_t ldw;
    float alpha;
    uint32_t group;
    uint32_t k_each;
    VkDeviceAddress low_a, low_b;
    uint32_t low_k;
    float low_alpha;
};

// Of a workgroup: threads, its part of y and how deep, and a subgroup's part.
struct cm_tile {
    uint32_t threads, bm, bn, bk, wm, wn;
};

struct cm_way {
    enum vk_shader shader;
    struct cm_tile tile;
    bool is_bf16;
    uint32_t a_rows; // m, in whole tiles
    uint32_t parts;  // of k
    uint32_t k_each;
    size_t scales_at, pack_bytes; // of packed rows, and behind their factors
    size_t parts_at, bytes;       // of scratch
};

// [type][is_back]
struct cm_shader {
    enum dtype dtype;
    bool is_bf16;
    enum vk_shader shaders[2];
};
static const struct cm_shader cm_shaders[] = {
    {DTYPE_bf16, true, {VK_SHADER_gemm_cm_bf16, VK_SHADER_gemm_cm_bf16_back}},
    {DTYPE_f16, false, {VK_SHADER_gemm_cm_f16, VK_SHADER_gemm_cm_f16_back}},
    {DTYPE_bf16,
     false,
     {VK_SHADER_gemm_cm_bf16_as_f16, VK_SHADER_gemm_cm_bf16_as_f16_back}},
    {DTYPE_q8_0, false, {VK_SHADER_gemm_cm_q8_0, VK_SHADER_gemm_cm_q8_0_back}},
    {DTYPE_q4_0, false, {VK_SHADER_gemm_cm_q4_0, VK_SHADER_gemm_cm_q4_0_back}},
    {DTYPE_q4_k, false, {VK_SHADER_gemm_cm_q4_k, VK_SHADER_gemm_cm_q4_k_back}},
    {DTYPE_q6_k, false, {VK_SHADER_gemm_cm_q6_k, VK_SHADER_gemm_cm_q6_k_back}},
};

static size_t round_up(size_t n)
{
    return (n + 255) / 256 * 256;
}

static const struct cm_shader *shader_for(const struct device *dev,
                                          const struct vk_product *p)
{
    for (size_t i = 0; i < sizeof(cm_shaders) / sizeof(cm_shaders[0]); i++) {
        const struct cm_shader *s = &cm_shaders[i];
        if (s->dtype == p->b.dtype &&
            vk_shader_is_built(s->shaders[!p->trans_b]) &&
            (!s->is_bf16 || dev->traits.has_coopmat_bf16))
            return s;
    }
    return NULL;
}

static bool has_blocks(const struct vk_product *p)
{
    return p->b.dtype != DTYPE_f16 && p->b.dtype != DTYPE_bf16;
}

// The rules for tiles, as measured on an H200: large ones as long as there are
// enough of them, for they move the least; four subgroups of 32 x 32 else.
// Weights in blocks are decoded once for each tile: the higher the better.
// Where some of its 132 cores would have two large tiles and most have one,
// half as many high ones take 0.83 of the time, and little ones 0.8 where few
// are large.
static uint8_t tile_by_rules(const struct vk_product *p)
{
    if (has_blocks(p) && vk_ceil(p->m, 256) * vk_ceil(p->n, 128) >= 256)
        return VK_PRODUCT_CM_256;
    const uint32_t tiles = vk_ceil(p->m, 128) * vk_ceil(p->n, 128);
    if (tiles > 132 && tiles <= 192 && p->k < 4096)
        return VK_PRODUCT_CM_256;
    if (tiles <= 64 && p->m >= 2048 && p->k < 1024)
        return VK_PRODUCT_CM_64;
    return tiles > 48 || p->k >= 8192 ? VK_PRODUCT_CM_128 : VK_PRODUCT_CM_64;
}

static bool has_own_tile(const struct vk_product *p)
{
    return p->family >= VK_PRODUCT_CM_64 && p->family <= VK_PRODUCT_CM_256;
}

static struct cm_tile tile_for(const struct device *dev,
                               const struct vk_product *p)
{
    const uint32_t lanes = dev->traits.subgroup;
    // Small, large and high, for subgroups of 32 and of 8.
    const struct cm_tile tiles[2][3] = {
        {{128, 64, 64, 64, 32, 32},
         {256, 128, 128, 64, 64, 32},
         {256, 256, 128, 32, 64, 64}},
        {{4 * lanes, 16, 32, 32, 8, 16},
         {4 * lanes, 16, 32, 64, 8, 16},
         {4 * lanes, 32, 16, 32, 8, 16}},
    };
    const uint8_t family = has_own_tile(p) ? p->family
                           : lanes < 32    ? VK_PRODUCT_CM_64
                                           : tile_by_rules(p);

    return tiles[lanes < 32][family - VK_PRODUCT_CM_64];
}

static uint32_t shared_bytes(const struct device *dev, const struct cm_tile *t,
                             bool is_back)
{
    const struct vk_traits *d = &dev->traits;
    const uint32_t a = t->bm * (t->bk / 8 + 1);
    const uint32_t w =
        is_back ? t->bk * (t->bn / 8 + 1) : t->bn * (t->bk / 8 + 1);
    const uint32_t out =
        t->threads / d->subgroup * d->coopmat_m * (t->wn / 4 + 1);

    return 16 * (a + w > out ? a + w : out);
}

enum { NVIDIA = 0x10de };

bool vk_product_knows_cm(const struct device *dev)
{
    const struct vk_traits *t = &dev->traits;

    return t->has_coopmat &&
           (t->vendor == NVIDIA || t->type == VK_PHYSICAL_DEVICE_TYPE_CPU);
}

// What was asked for, or else what the rules say: no others, whose subgroups
// may have more than one size, and no CPU.
static bool is_wanted(const struct device *dev, const struct vk_product *p)
{
    if (p->family == VK_PRODUCT_CM)
        return true;
    if (has_own_tile(p))
        return vk_product_knows_cm(dev);
    return p->family < VK_PRODUCT_REG && dev->traits.vendor == NVIDIA;
}

// Whether they take a product, by all but addresses.
static bool takes(const struct device *dev, const struct vk_product *p)
{
    const struct vk_traits *t = &dev->traits;
    const uint32_t width = p->trans_b ? p->k : p->n; // of a line of b

    if (!t->has_coopmat || p->trans_a || p->d || p->copies > 0 ||
        width % (has_blocks(p) ? 32 : 8) != 0 || !is_wanted(dev, p))
        return false;
    if (!op_rounds(p->precision, p->m, p->n, p->k) || p->m > 60000)
        return false;
    if ((t->subgroup != 8 && t->subgroup != 32) || t->coopmat_m > 16 ||
        t->coopmat_n > 16 || t->coopmat_k > 32 || !shader_for(dev, p) ||
        !vk_shader_is_built(VK_SHADER_cm_pack_f32))
        return false;
    const struct cm_tile tile = tile_for(dev, p);
    return shared_bytes(dev, &tile, !p->trans_b) <= t->shared_bytes &&
           tile.threads <= t->max_workgroup;
}

// Cuts k where there are few tiles for a large device, as long as parts are
// deep: they are written and read once more.
static void cut_k(struct cm_way *w, const struct device *dev,
                  const struct vk_product *p)
{
    const uint32_t tiles =
        vk_ceil(p->m, w->tile.bm) * vk_ceil(p->n, w->tile.bn);
    const uint32_t enough =
        dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? 96 : 4;
    const uint32_t most = p->k / 2048;
    const uint32_t wanted = tiles < enough ? vk_ceil(enough, tiles) : 1;
    const uint32_t parts = wanted < most ? wanted : most;

    w->k_each = parts > 1
                    ? vk_ceil(vk_ceil(p->k, parts), w->tile.bk) * w->tile.bk
                    : p->k;
    w->parts = vk_ceil(p->k, w->k_each);
}

static struct cm_way way_for(const struct device *dev,
                             const struct vk_product *p)
{
    const struct cm_shader *s = shader_for(dev, p);
    struct cm_way w = {
        .shader = s->shaders[!p->trans_b],
        .tile = tile_for(dev, p),
        .is_bf16 = s->is_bf16,
    };

    w.a_rows = vk_ceil(p->m, w.tile.bm) * w.tile.bm;
    cut_k(&w, dev, p);
    w.scales_at = round_up((size_t) vk_ceil(p->k, w.tile.bk) * w.tile.bk *
                           w.a_rows * sizeof(uint16_t));
    w.pack_bytes = w.scales_at + round_up((size_t) w.a_rows * sizeof(float));
    w.parts_at = p->has_packs ? 0 : w.pack_bytes;
    w.bytes = w.parts_at;
    if (w.parts > 1)
        w.bytes += (size_t) w.parts * p->m * p->n * sizeof(float);
    return w;
}

// Returns where the rows are.
static VkDeviceAddress emit_pack(struct vk_emit *e, const struct vk_product *p,
                                 const struct cm_way *w)
{
    enum { THREADS = 128, MANY = 2048 };
    const bool by_4 = p->a % 16 == 0 && p->k % 4 == 0;
    // Of a row; fewer wait for less.
    const uint32_t lanes = p->m >= MANY ? 32 : THREADS;
    const uint32_t specs[] = {THREADS, w->tile.bk, w->is_bf16, by_4, lanes};
    VkDeviceAddress to = p->scratch;

    if (p->has_packs && vk_pack_find(&to, e,
                                     &(struct vk_pack){
                                         .a = p->a,
                                         .m = p->m,
                                         .k = p->k,
                                         .depth = w->tile.bk,
                                         .a_rows = w->a_rows,
                                         .is_bf16 = w->is_bf16,
                                     }))
        return to;
    const struct {
        VkDeviceAddress a, to, row_scales;
        uint32_t m, k, a_rows;
    } push = {p->a, to, to + w->scales_at, p->m, p->k, w->a_rows};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_cm_pack_f32,
                       .specs = specs,
                       .n_specs = 5,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {vk_ceil(w->a_rows, THREADS / lanes), 1, 1},
                       .work = (double) p->m * p->k,
                   });
    return to;
}

static uint32_t flags_of(const struct vk_product *p, const struct cm_way *w)
{
    const bool by_4 = p->n % 4 == 0 && p->y % 16 == 0 && p->c % 16 == 0;

    return (p->c ? CM_HAS_C : 0) | (w->is_bf16 ? 0 : CM_HAS_SCALES) |
           (p->live ? CM_HAS_LIVE : 0) | (by_4 ? CM_BY_4 : 0) |
           (w->parts > 1 ? CM_IS_PART : 0) | (p->low.k ? CM_HAS_LOW : 0);
}

static void emit_tiles(struct vk_emit *e, const struct vk_product *p,
                       const struct cm_way *w, VkDeviceAddress rows)
{
    enum { GROUP = 8 };
    const struct vk_traits *t = &e->dev->traits;
    const struct cm_tile *tile = &w->tile;
    const uint32_t specs[] = {tile->threads,  tile->bm,     tile->bn,
                              tile->bk,       tile->wm,     tile->wn,
                              flags_of(p, w), t->coopmat_m, t->coopmat_n,
                              t->coopmat_k,   t->subgroup};
    const struct cm_push push = {
        .a = rows,
        .w = p->b.data,
        .scales = p->b.scales,
        .mins = p->b.mins,
        .y = w->parts > 1 ? p->scratch + w->parts_at : p->y,
        .c = p->c,
        .row_scales = rows + w->scales_at,
        .live = p->live,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .a_rows = w->a_rows,
        .ldw = p->trans_b ? p->k : p->n,
        .alpha = p->alpha,
        .group = GROUP,
        .k_each = w->k_each,
        .low_a = p->low.a,
        .low_b = p->low.b,
        .low_k = p->low.k,
        .low_alpha = p->low.alpha,
    };

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = w->shader,
                       .specs = specs,
                       .n_specs = 11,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {vk_ceil(p->m, tile->bm) *
                                      vk_ceil(p->n, tile->bn),
                                  w->parts, 1},
                       .work = (double) p->m * p->n * p->k,
                   });
}

bool vk_emit_product_cm(struct vk_emit *e, const struct vk_product *p)
{
    if (!takes(e->dev, p) || p->b.data % 16 != 0 || p->b.scales % 4 != 0)
        return false;
    const struct cm_way w = way_for(e->dev, p);

    emit_tiles(e, p, &w, emit_pack(e, p, &w));
    if (w.parts > 1) {
        struct vk_product sum = *p;
        sum.scratch += w.parts_at;
        vk_emit_product_sum(e, &sum, w.parts);
    }
    return true;
}

size_t vk_product_scratch_cm(const struct device *dev,
                             const struct vk_product *p)
{
    return takes(dev, p) ? way_for(dev, p).bytes : 0;
}

size_t vk_product_packs_cm(const struct device *dev, const struct vk_product *p)
{
    return p->has_packs && takes(dev, p) ? way_for(dev, p).pack_bytes : 0;
}

bool vk_product_takes_cm(const struct device *dev, const struct vk_product *p)
{
    return takes(dev, p);
}

bool vk_product_same_cm(const struct device *dev, const struct vk_product *p,
                        const struct vk_product *q)
{
    if (!takes(dev, p) || !takes(dev, q))
        return false;
    const struct cm_tile x = tile_for(dev, p), y = tile_for(dev, q);
    return memcmp(&x, &y, sizeof(x)) == 0;
}
