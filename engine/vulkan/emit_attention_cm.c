// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_attention.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_product.h"

// Attention by cooperative matrices of f16 with f32 sums. The forward pass
// rounds rows on their way into shared memory; gradients, which read them more
// often and need factors, have them rounded to scratch first.

enum { PREP_THREADS = 128, UNITS_MAX = 1024 };

// Of a workgroup: subgroups, how many of them share rows, and rows of the other
// side that it takes at a time.
struct cm_tile {
    uint32_t subgroups, parts, step;
};

// Are tiles of 64 rows too few for a large device?
static bool is_small(const struct instr *in)
{
    const struct op_attr *a = &in->attr;
    const int64_t n_seq = vk_rows(&in->in[1]) / a->length;

    return n_seq * vk_ceil(a->length, 64) * a->n_heads < VK_ATTENTION_CM_GROUPS;
}

// What is asked for, else what the rule says.
static bool takes_64(const struct instr *in, bool by_rule)
{
    return in->kernel == VK_ATTENTION_64 ||
           (by_rule && in->kernel != VK_ATTENTION_32);
}

// The rules for tiles, as measured on an H200 with heads of 64 and 128: many
// small steps where there are many workgroups, and else what ends a workgroup
// soon.
static struct cm_tile forward_tile(const struct device *dev,
                                   const struct instr *in)
{
    const bool is_long =
        dev->traits.subgroup == 32 && is_small(in) && in->attr.head_dim <= 64;

    return (struct cm_tile){4, 1, takes_64(in, is_long) ? 64 : 32};
}

static bool has_halves(const struct device *dev, const struct instr *in)
{
    return in->attr.head_dim % (2 * dev->traits.coopmat_n) == 0;
}

static struct cm_tile queries_tile(const struct device *dev,
                                   const struct instr *in)
{
    const bool is_large = dev->traits.subgroup == 32;
    const uint32_t parts =
        takes_64(in, is_large && is_small(in)) && has_halves(dev, in) ? 2 : 1;

    return (struct cm_tile){4, parts, is_large ? 32 : 16};
}

static struct cm_tile keys_tile(const struct device *dev,
                                const struct instr *in)
{
    const uint32_t parts = has_halves(dev, in) ? 2 : 1;
    const bool is_large = dev->traits.subgroup == 32;

    if (takes_64(in, is_large && in->attr.head_dim <= 64 && parts == 2))
        return (struct cm_tile){4 * parts, parts, is_large ? 64 : 32};
    return (struct cm_tile){4, parts, is_large ? 32 : 16};
}

static uint32_t rows_of(const struct device *dev, const struct cm_tile *t)
{
    return t->subgroups / t->parts * dev->traits.coopmat_m;
}

// As attention_cm.glsl and the shaders have it.
static bool fits(const struct device *dev, const struct op_attr *a,
                 const struct cm_tile *t, uint32_t n_weights)
{
    const struct vk_traits *d = &dev->traits;
    const uint32_t rows = rows_of(dev, t);
    const uint32_t quads = 2 * t->step * (a->head_dim / 8 + 1) +
                           n_weights * rows * (t->step / 8 + 1) + t->step +
                           rows + t->subgroups;

    return 16 * quads <= d->shared_bytes &&
           t->subgroups * d->subgroup <= d->max_workgroup;
}

static bool has_shaders(void)
{
    return vk_shader_is_built(VK_SHADER_attention_cm_f16) &&
           vk_shader_is_built(VK_SHADER_attention_cm_back_queries) &&
           vk_shader_is_built(VK_SHADER_attention_prep_f16);
}

bool vk_attention_by_matrices(const struct device *dev, const struct instr *in)
{
    enum { NVIDIA = 0x10de };
    const struct op_attr *a = &in->attr;
    const struct vk_traits *t = &dev->traits;
    const bool is_back = in->op == OP_attention_back;
    // The others' subgroups may have more than one size.
    const bool is_known =
        (t->vendor == NVIDIA && t->subgroup == 32) ||
        (t->type == VK_PHYSICAL_DEVICE_TYPE_CPU && t->subgroup == 8);

    if (in->kernel == VK_ATTENTION_PLAIN || !t->has_coopmat ||
        !t->has_subgroup_sum || !is_known ||
        t->coopmat_m * t->coopmat_n != 8 * t->subgroup || t->coopmat_m > 16 ||
        t->coopmat_n > 16 || t->coopmat_k > 16 || !has_shaders())
        return false;
    if (a->precision != PRECISION_BF16 || a->cap != 0 ||
        a->length < 2 * t->coopmat_m || a->head_dim % 16 != 0 ||
        a->head_dim > 128 || a->n_heads * (a->head_dim / 8) > UNITS_MAX)
        return false;
    const struct cm_tile forward = forward_tile(dev, in);
    const struct cm_tile queries = queries_tile(dev, in);
    const struct cm_tile keys = keys_tile(dev, in);
    return is_back ? fits(dev, a, &queries, 1) && fits(dev, a, &keys, 2)
                   : fits(dev, a, &forward, 1);
}

static void run(struct vk_emit *e, enum vk_shader shader,
                const struct cm_tile *t, const void *push, size_t push_bytes,
                uint32_t heads, bool by_head)
{
    const struct op_attr *a = &e->in->attr;
    const struct vk_traits *d = &e->dev->traits;
    const uint32_t rows = rows_of(e->dev, t);
    const uint32_t n_seq =
        (uint32_t) (vk_rows(&e->in->in[1]) / (int64_t) a->length);
    const uint32_t specs[] = {t->subgroups * d->subgroup,
                              d->subgroup,
                              d->coopmat_m,
                              d->coopmat_n,
                              d->coopmat_k,
                              a->head_dim,
                              t->step,
                              t->parts,
                              a->length % rows == 0,
                              by_head};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = shader,
                       .specs = specs,
                       .n_specs = shader == VK_SHADER_attention_cm_f16 ? 9 : 10,
                       .push = push,
                       .push_bytes = push_bytes,
                       .groups = {n_seq, heads, vk_ceil(a->length, rows)},
                       .work = (double) n_seq * a->length * a->length * heads,
                   });
}

struct forward_push {
    VkDeviceAddress o, lse, q, k, v, start;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t window;
    float scale;
    uint32_t tiles;
};

void vk_emit_attention_cm(struct vk_emit *e, float scale)
{
    const struct op_attr *a = &e->in->attr;
    const struct cm_tile tile = forward_tile(e->dev, e->in);
    const struct forward_push push = {
        .o = vk_out(e, 0),
        .lse = vk_out(e, 1),
        .q = vk_in(e, 0),
        .k = vk_in(e, 1),
        .v = vk_in(e, 2),
        .start = vk_in(e, 3),
        .length = a->length,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .window = a->window,
        .scale = scale,
        .tiles = vk_ceil(a->length, rows_of(e->dev, &tile)),
    };

    run(e, VK_SHADER_attention_cm_f16, &tile, &push, sizeof(push), a->n_heads,
        false);
}

// Of scratch: numbers of queries, then q, k, v and dout. Matrices of the last
// rows may begin in them and end behind.
struct back_scratch {
    size_t q, k, v, dout, bytes;
};

static struct back_scratch scratch_of(const struct instr *in)
{
    const size_t rows = (size_t) vk_rows(&in->in[1]);
    const size_t wide = (size_t) in->attr.n_heads * in->attr.head_dim * 2;
    const size_t narrow = (size_t) in->attr.n_kv_heads * in->attr.head_dim * 2;
    struct back_scratch s = {.q = rows * in->attr.n_heads * 16};

    s.dout = s.q + rows * wide;
    s.k = s.dout + rows * wide;
    s.v = s.k + rows * narrow;
    s.bytes = s.v + rows * narrow + 16 * wide;
    return s;
}

size_t vk_attention_cm_scratch(const struct instr *in)
{
    return (scratch_of(in).bytes + 255) & ~(size_t) 255;
}

struct prep_push {
    VkDeviceAddress q, k, v, dout, o, lse, start, q16, k16, v16, dout16, stats;
    uint32_t rows, length, window;
};

struct back_push {
    VkDeviceAddress da, db, q, k, v, dout, stats;
    uint32_t rows;
    uint32_t length;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    float scale;
    uint32_t tiles;
};

static void prepare(struct vk_emit *e, const struct back_push *to)
{
    const struct op_attr *a = &e->in->attr;
    const uint32_t specs[] = {PREP_THREADS, a->head_dim, a->n_heads,
                              a->n_kv_heads};
    const struct prep_push push = {
        .q = vk_in(e, 1),
        .k = vk_in(e, 2),
        .v = vk_in(e, 3),
        .dout = vk_in(e, 0),
        .o = vk_in(e, 4),
        .lse = vk_in(e, 5),
        .start = vk_in(e, 6),
        .q16 = to->q,
        .k16 = to->k,
        .v16 = to->v,
        .dout16 = to->dout,
        .stats = to->stats,
        .rows = to->rows,
        .length = a->length,
        .window = a->window,
    };

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_attention_prep_f16,
                       .specs = specs,
                       .n_specs = 4,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {to->rows, 1, 1},
                       .work = (double) to->rows *
                               (a->n_heads + a->n_kv_heads) * a->head_dim,
                   });
}

void vk_emit_attention_back_cm(struct vk_emit *e, float scale,
                               const struct vk_attention_keys *keys)
{
    const struct op_attr *a = &e->in->attr;
    const struct back_scratch s = scratch_of(e->in);
    const struct cm_tile of_queries = queries_tile(e->dev, e->in);
    const struct cm_tile of_keys = keys_tile(e->dev, e->in);
    struct back_push push = {
        .q = keys->scratch + s.q,
        .k = keys->scratch + s.k,
        .v = keys->scratch + s.v,
        .dout = keys->scratch + s.dout,
        .stats = keys->scratch,
        .rows = (uint32_t) vk_rows(&e->in->in[1]),
        .length = a->length,
        .n_heads = a->n_heads,
        .n_kv_heads = a->n_kv_heads,
        .scale = scale,
    };

    prepare(e, &push);
    push.da = keys->dk;
    push.db = keys->dv;
    push.tiles = vk_ceil(a->length, rows_of(e->dev, &of_keys));
    run(e, VK_SHADER_attention_cm_back_keys, &of_keys, &push, sizeof(push),
        keys->by_head ? a->n_heads : a->n_kv_heads, keys->by_head);
    push.da = vk_out(e, 0);
    push.db = 0;
    push.tiles = vk_ceil(a->length, rows_of(e->dev, &of_queries));
    vk_parallel(e);
    run(e, VK_SHADER_attention_cm_back_queries, &of_queries, &push,
        sizeof(push), a->n_heads, false);
}

uint32_t vk_attention_kernels(struct backend_kernel *out,
                              const struct device *dev)
{
    if (!vk_product_knows_cm(dev))
        return 0;
    out[0] = (struct backend_kernel){"plain", VK_ATTENTION_PLAIN, true};
    out[1] = (struct backend_kernel){"step32", VK_ATTENTION_32, true};
    out[2] = (struct backend_kernel){"step64", VK_ATTENTION_64, true};
    return 3;
}

static bool is_same(const struct cm_tile *x, const struct cm_tile *y)
{
    return x->subgroups == y->subgroups && x->parts == y->parts &&
           x->step == y->step;
}

static bool has_same_tiles(const struct device *dev, const struct instr *a,
                           const struct instr *b)
{
    const struct cm_tile x[] = {forward_tile(dev, a), queries_tile(dev, a),
                                keys_tile(dev, a)};
    const struct cm_tile y[] = {forward_tile(dev, b), queries_tile(dev, b),
                                keys_tile(dev, b)};

    return a->op == OP_attention
               ? is_same(&x[0], &y[0])
               : is_same(&x[1], &y[1]) && is_same(&x[2], &y[2]);
}

bool vk_attention_offers(const struct device *dev, const struct instr *in)
{
    const bool is_plain = in->kernel == VK_ATTENTION_PLAIN;
    struct instr usual = *in;

    usual.kernel = 0;
    // Where the rules do without matrices, they are not to be had.
    if (!vk_attention_by_matrices(dev, &usual) ||
        (!is_plain && (!vk_attention_by_matrices(dev, in) ||
                       has_same_tiles(dev, in, &usual))))
        return false;
    return in->op == OP_attention || vk_scratch_attention_back(dev, in) <=
                                         vk_scratch_attention_back(dev, &usual);
}
