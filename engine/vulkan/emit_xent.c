// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_operands.h"
#include "engine/vulkan/vk_product.h"

/*
 * The loss
 *
 * Logits of a whole batch are larger than all else, so they exist for a chunk
 * of tokens at a time, and become their own gradients: the product with the
 * head's weight, which is frozen, follows at once. Rows without weight are left
 * out before anything is computed: the device makes a list of the others, and
 * products skip what lies behind its end.
 */

enum { THREADS = 256, COPY_THREADS = 64 };

struct xent {
    struct vk_product logits, dx; // of a chunk
    uint32_t rows, cols, vocab;
    uint32_t chunk, n_chunks;
    bool has_dx;
    // Of scratch, in bytes.
    size_t list, live, nll, x, z, d, product, bytes;
};

// How much memory the logits of a chunk may take.
static size_t budget_of(const struct device *dev)
{
    enum { MIB = 1 << 20 };
    const uint32_t heap = dev->memory.memoryTypes[dev->local.index].heapIndex;
    const size_t bytes = (size_t) (dev->memory.memoryHeaps[heap].size / 64);

    // A CPU that plays a device has a cache.
    if (dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        return MIB;
    if (bytes < 32 * (size_t) MIB)
        return 32 * (size_t) MIB;
    return bytes < 1024 * (size_t) MIB ? bytes : 1024 * (size_t) MIB;
}

static uint32_t chunk_of(const struct device *dev, uint32_t rows,
                         uint32_t vocab)
{
    const size_t fits = budget_of(dev) / (vocab * sizeof(float));

    if (fits >= rows)
        return rows;
    return fits < 64 ? 32 : (uint32_t) (fits / 64 * 64);
}

static size_t take(size_t *used, size_t values)
{
    const size_t at = *used;

    *used += (values * sizeof(float) + 255) & ~(size_t) 255;
    return at;
}

static struct xent shape_of(const struct device *dev, const struct instr *in)
{
    const struct operand *w = &in->in[1];
    struct xent x = {
        .rows = (uint32_t) vk_rows(&in->in[0]),
        .cols = (uint32_t) vk_cols(&in->in[0]),
        .vocab = (uint32_t) vk_rows(w),
        .has_dx = in->out[2].region != REGION_NONE,
    };

    x.chunk = chunk_of(dev, x.rows, x.vocab);
    x.n_chunks = (x.rows + x.chunk - 1) / x.chunk;
    x.logits = (struct vk_product){
        .b = {.dtype = vk_stored_type((enum dtype) w->dtype)},
        .m = x.chunk,
        .n = x.vocab,
        .k = x.cols,
        .alpha = 1,
        .trans_b = true,
        .precision = in->attr.precision,
    };
    x.dx = x.logits;
    x.dx.n = x.cols;
    x.dx.k = x.vocab;
    x.dx.trans_b = false;
    const size_t a = vk_product_scratch(dev, &x.logits);
    const size_t b = x.has_dx ? vk_product_scratch(dev, &x.dx) : 0;
    x.list = take(&x.bytes, x.rows);
    x.live = take(&x.bytes, x.n_chunks);
    x.nll = take(&x.bytes, x.rows);
    x.x = take(&x.bytes, (size_t) x.chunk * x.cols);
    x.z = take(&x.bytes, (size_t) x.chunk * x.vocab);
    x.d = take(&x.bytes, x.has_dx ? (size_t) x.chunk * x.cols : 0);
    x.product = take(&x.bytes, (a > b ? a : b) / sizeof(float));
    return x;
}

size_t vk_xent_scratch(const struct device *dev, const struct instr *in)
{
    return shape_of(dev, in).bytes;
}

// Where things are.
struct places {
    VkDeviceAddress list, live, nll, x, z, d; // of all rows, or of the chunk
    VkDeviceAddress targets, weights;
};

static void emit_list(struct vk_emit *e, const struct xent *x,
                      const struct places *at)
{
    const uint32_t threads = THREADS;
    const struct {
        VkDeviceAddress targets, weights, list, live, nll;
        uint32_t rows, vocab, chunk, n_chunks;
    } push = {at->targets, at->weights, at->list, at->live,   at->nll,
              x->rows,     x->vocab,    x->chunk, x->n_chunks};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_xent_list_f32,
                       .specs = &threads,
                       .n_specs = 1,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {1, 1, 1},
                       .work = x->rows,
                   });
}

static void emit_zero(struct vk_emit *e, const struct xent *x,
                      const struct places *at)
{
    const uint32_t threads = COPY_THREADS;
    const struct {
        VkDeviceAddress dx, targets, weights;
        uint32_t rows, cols, vocab;
    } push = {vk_out(e, 2), at->targets, at->weights,
              x->rows,      x->cols,     x->vocab};
    struct vk_dispatch d = {
        .shader = VK_SHADER_xent_zero_f32,
        .specs = &threads,
        .n_specs = 1,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) x->rows * x->cols,
    };

    vk_linear(d.groups, x->rows);
    vk_parallel(e);
    vk_dispatch(e, &d);
}

// Rows of the list from `from` to `to`, or back.
static void emit_gather(struct vk_emit *e, const struct xent *x,
                        const struct places *at, VkDeviceAddress to,
                        VkDeviceAddress from, bool goes_back)
{
    const uint32_t specs[] = {COPY_THREADS, goes_back};
    const struct {
        VkDeviceAddress to, from, list, live;
        uint32_t rows, cols;
    } push = {to, from, at->list, at->live, x->chunk, x->cols};
    struct vk_dispatch d = {
        .shader = VK_SHADER_xent_gather_f32,
        .specs = specs,
        .n_specs = 2,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) x->chunk * x->cols,
    };

    vk_linear(d.groups, x->chunk);
    vk_dispatch(e, &d);
}

static void emit_rows(struct vk_emit *e, const struct xent *x,
                      const struct places *at)
{
    const float cap = e->in->attr.cap;
    const uint32_t specs[] = {THREADS, cap > 0, x->has_dx, x->vocab % 4 == 0};
    const struct {
        VkDeviceAddress z, nll, targets, weights, list, live;
        uint32_t rows, vocab;
        float cap;
    } push = {at->z,    at->nll,  at->targets, at->weights, at->list,
              at->live, x->chunk, x->vocab,    cap};
    struct vk_dispatch d = {
        .shader = VK_SHADER_xent_rows_f32,
        .specs = specs,
        .n_specs = 4,
        .push = &push,
        .push_bytes = sizeof(push),
        .work = (double) x->chunk * x->vocab,
    };

    vk_linear(d.groups, x->chunk);
    vk_dispatch(e, &d);
}

static void emit_loss(struct vk_emit *e, const struct xent *x,
                      const struct places *at)
{
    const uint32_t threads = THREADS;
    const struct {
        VkDeviceAddress loss, nll, weights;
        uint32_t rows;
    } push = {vk_out(e, 0), at->nll, at->weights, x->rows};

    vk_dispatch(e, &(struct vk_dispatch){
                       .shader = VK_SHADER_xent_loss_f32,
                       .specs = &threads,
                       .n_specs = 1,
                       .push = &push,
                       .push_bytes = sizeof(push),
                       .groups = {push.loss ? 1 : 0, 1, 1},
                       .work = x->rows,
                   });
}

static void emit_chunk(struct vk_emit *e, struct xent *x,
                       const struct places *at)
{
    emit_gather(e, x, at, at->x, vk_in(e, 0), false);
    x->logits.y = at->z;
    x->logits.a = at->x;
    x->logits.live = at->live;
    vk_emit_product(e, &x->logits);
    emit_rows(e, x, at);
    if (!x->has_dx)
        return;
    x->dx.y = at->d;
    x->dx.a = at->z;
    x->dx.live = at->live;
    vk_emit_product(e, &x->dx);
    emit_gather(e, x, at, vk_out(e, 2), at->d, true);
}

void vk_emit_xent(struct vk_emit *e)
{
    struct xent x = shape_of(e->dev, e->in);
    const VkDeviceAddress scratch = vk_scratch(e);
    const VkDeviceAddress nll = vk_out(e, 1);
    struct places at = {
        .list = scratch + x.list,
        .live = scratch + x.live,
        .nll = nll ? nll : scratch + x.nll,
        .x = scratch + x.x,
        .z = scratch + x.z,
        .d = scratch + x.d,
        .targets = vk_in(e, 2),
        .weights = vk_in(e, 3),
    };

    x.logits.b = x.dx.b = vk_weight_of(e, 1);
    x.logits.scratch = x.dx.scratch = scratch + x.product;
    emit_list(e, &x, &at);
    if (x.has_dx)
        emit_zero(e, &x, &at);
    for (uint32_t i = 0; i < x.n_chunks; i++) {
        emit_chunk(e, &x, &at);
        at.list += x.chunk * sizeof(uint32_t);
        at.live += sizeof(uint32_t);
    }
    emit_loss(e, &x, &at);
}
