// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_noise.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/noise.h"
#include "engine/base/noise_table.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_product.h"

#include <errno.h>
#include <stdlib.h>

// Learning without gradients: copies of what learns, their products, and steps
// along the same directions.

enum {
    NOISE_THREADS = 128,
    COPIES_THREADS = 128,
    COPIES_DEPTH = 64,   // values of a row of b that a thread keeps,
    COPIES_SHALLOW = 16, // and of few registers
    COPIES_GROUPS = 256, // that keep a large device busy
    COPIES_ROWS = 8,     // that a thread has at a time, as in gemm_copies.comp
};

// Bits of FLAGS in gemm_copies.comp.
enum copies_flag {
    COPIES_HAS_C = 1,
    COPIES_A_BY_4 = 2,
    COPIES_B_BY_4 = 4,
    COPIES_IS_PERTURBED = 8,
    COPIES_IS_RADEMACHER = 16,
};

/*
 * The cubics, which lie on the device from when they are first asked for
 */

static int create_table(struct device *dev, struct error *err)
{
    struct vk_block *b = fault_calloc(1, sizeof(*b));
    int rc;

    if (!b)
        return error_set(err, -ENOMEM, "no memory for a program");
    rc = vk_block_create(b, dev, sizeof(noise_cubics), &dev->local);
    if (rc < 0) {
        free(b);
        return error_set(err, rc, "no memory on %.60s for a table",
                         dev->traits.name);
    }
    dev->noise = b;
    rc = vk_copy_in(dev, b, 0, noise_cubics, sizeof(noise_cubics));
    if (rc < 0) {
        vk_noise_table_destroy(dev);
        return error_set(err, rc, "%.60s failed", dev->traits.name);
    }
    return 0;
}

void vk_noise_table_destroy(struct device *dev)
{
    if (!dev->noise)
        return;
    vk_block_destroy(dev->noise, dev);
    free(dev->noise);
    dev->noise = NULL;
}

static VkDeviceAddress table_of(struct vk_emit *e)
{
    if (e->rc >= 0 && !e->dev->noise)
        e->rc = create_table(e->dev, e->err);
    return e->dev->noise ? e->dev->noise->address : 0;
}

/*
 * Noise
 */

struct vk_noise vk_noise_of(struct vk_emit *e)
{
    return (struct vk_noise){
        .cubics = table_of(e),
        .draw = vk_in(e, 1),
        .queries = vk_in(e, 2),
        .sizes = vk_in(e, 3),
        .limits = e->in->n_in > 4 ? vk_in(e, 4) : 0,
    };
}

struct noise_push {
    VkDeviceAddress y, c;
    struct vk_noise noise;
    uint32_t n;
    uint32_t stream;
    uint32_t n_queries;
    uint32_t groups;
};

// As in noise.comp.
enum noise_way { NOISE_COPIES, NOISE_SUM, NOISE_ADDED };

// Of `e->in`: to y.
static void noise(struct vk_emit *e, enum noise_way way, VkDeviceAddress y)
{
    const struct op_attr *attr = &e->in->attr;
    const uint32_t n = vk_values(e, &e->in->in[0]);
    const uint32_t specs[] = {NOISE_THREADS, way,
                              attr->noise == NOISE_RADEMACHER};
    const struct noise_push push = {
        .y = y,
        .c = vk_in(e, 0),
        .noise = vk_noise_of(e),
        .n = n,
        .stream = attr->stream,
        .n_queries = (uint32_t) vk_count(&e->in->in[2]),
        .groups = vk_ceil(n, NOISE_THREADS * 4),
    };
    struct vk_dispatch d = {
        .shader = VK_SHADER_noise_f32,
        .specs = specs,
        .n_specs = 3,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) n * push.n_queries,
    };

    // Copies are counted in 32 bits, too.
    (void) vk_values(e, &e->in->out[0]);
    vk_linear(d.groups, (uint64_t) push.groups *
                            (way == NOISE_COPIES ? push.n_queries : 1));
    vk_dispatch(e, &d);
}

void vk_emit_perturb(struct vk_emit *e)
{
    noise(e, NOISE_COPIES, vk_out(e, 0));
}

void vk_emit_noise_sum(struct vk_emit *e)
{
    noise(e, NOISE_SUM, vk_out(e, 0));
}

void vk_emit_noise_added(struct vk_emit *e)
{
    const struct instr *later = e->in;

    e->in = e->fold;
    noise(e, NOISE_ADDED, vk_in(e, 0));
    e->in = later;
}

void vk_emit_momentum(struct vk_emit *e)
{
    enum { THREADS = 128 };
    const uint32_t specs[] = {THREADS};
    const struct {
        VkDeviceAddress p, m, g, hyper;
        uint32_t n;
    } push = {vk_in(e, 0), vk_in(e, 1), vk_in(e, 2), vk_in(e, 3),
              vk_values(e, &e->in->in[0])};
    struct vk_dispatch d = {
        .shader = VK_SHADER_momentum_f32,
        .specs = specs,
        .n_specs = 1,
        .push = &push,
        .push_bytes = sizeof(push),
    };

    vk_linear(d.groups, vk_ceil(push.n, THREADS));
    vk_dispatch(e, &d);
}

/*
 * Products of copies
 */

struct copies_push {
    VkDeviceAddress y, a, b, c;
    struct vk_noise noise;
    uint32_t m, n;
    uint32_t rows; // of a workgroup
    uint32_t stream;
    float alpha;
};

static struct vk_product product_of(const struct instr *in)
{
    const struct operand *y = &in->out[0];
    const uint32_t copies = in->attr.copies;

    return (struct vk_product){
        .b = {.dtype = DTYPE_f32},
        .m = (uint32_t) (vk_rows(y) / copies),
        .n = (uint32_t) vk_cols(y),
        .k = (uint32_t) vk_cols(&in->in[0]),
        .copies = copies,
        .alpha = in->attr.alpha,
        .trans_b = true,
        .precision = in->attr.precision,
        .family = in->kernel,
    };
}

static uint32_t depth_of(const struct device *dev)
{
    return dev->traits.has_few_registers ? COPIES_SHALLOW : COPIES_DEPTH;
}

// Rows of each workgroup: all of a copy's, so that its row of b is made once,
// unless there are too few of them.
static uint32_t rows_of(const struct vk_product *p)
{
    const uint64_t groups =
        (uint64_t) vk_ceil(p->n, COPIES_THREADS) * p->copies;
    const uint32_t wanted =
        groups < COPIES_GROUPS ? vk_ceil(COPIES_GROUPS, groups) : 1;

    return vk_ceil(vk_ceil(p->m, wanted), COPIES_ROWS) * COPIES_ROWS;
}

static void emit_short(struct vk_emit *e, const struct vk_product *p,
                       uint32_t flags, const struct vk_noise *noise,
                       uint32_t stream)
{
    const struct copies_push push = {
        .y = p->y,
        .a = p->a,
        .b = p->b.data,
        .c = p->c,
        .noise = *noise,
        .m = p->m,
        .n = p->n,
        .rows = rows_of(p),
        .stream = stream,
        .alpha = p->alpha,
    };
    const bool by_4 = p->k % 4 == 0;

    flags |= p->c ? COPIES_HAS_C : 0;
    flags |= by_4 && p->a % 16 == 0 ? COPIES_A_BY_4 : 0;
    flags |= by_4 && p->b.data % 16 == 0 ? COPIES_B_BY_4 : 0;
    const uint32_t specs[] = {COPIES_THREADS, p->k, flags};
    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_gemm_copies_f32,
                       .specs = specs,
                       .n_specs = 3,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {vk_ceil(p->n, COPIES_THREADS),
                                  vk_ceil(p->m, push.rows), p->copies},
                       .work = (double) p->m * p->n * p->copies,
                   });
}

void vk_emit_matmul_copies(struct vk_emit *e)
{
    const struct instr *in = e->in;
    struct vk_noise noise = {0};
    struct vk_product p = product_of(in);
    uint32_t flags = 0;

    p.y = vk_out(e, 0);
    p.a = vk_in(e, 0);
    p.b.data = vk_in(e, 1);
    p.c = in->n_in > 2 ? vk_in(e, 2) : 0;
    (void) vk_values(e, &in->in[0]);
    (void) vk_values(e, &in->in[1]);
    (void) vk_values(e, &in->out[0]);
    if (e->fold) {
        e->in = e->fold;
        flags = COPIES_IS_PERTURBED;
        if (e->fold->attr.noise == NOISE_RADEMACHER)
            flags |= COPIES_IS_RADEMACHER;
        noise = vk_noise_of(e);
        p.b.data = vk_in(e, 0);
        e->in = in;
    }
    if (p.k <= depth_of(e->dev))
        emit_short(e, &p, flags, &noise, e->fold ? e->fold->attr.stream : 0);
    else
        vk_emit_product(e, &p);
}

bool vk_noise_folds(const struct device *dev, const struct instr *first,
                    const struct instr *later)
{
    const int64_t k = vk_cols(&later->in[0]);

    if (first->op == OP_noise_sum)
        return later->op == OP_accumulate;
    return later->op == OP_matmul_copies && k <= depth_of(dev) && k % 4 == 0 &&
           vk_count(&first->in[2]) == later->attr.copies;
}
