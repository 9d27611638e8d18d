// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_prepare.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/tensor/quant.h"
#include "engine/vulkan/vk_product.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Weights on the device
 *
 * The model's file stays the host's: what a program wants of it is copied when
 * the program is made ready, once, into the planes of struct vk_weight. Blocks
 * of memory hold many weights and are given back together.
 */

enum {
    BLOCK_BYTES = 32 << 20,
    // What is larger has a block of its own, as large as it is: what such ones
    // leave of a common one adds up to gigabytes.
    SHARED_BYTES = BLOCK_BYTES / 8,
};

struct vk_copied {
    struct vk_copied *next;
    size_t offset; // in the host's memory
    int64_t values;
    struct vk_weight weight;
};

struct vk_pool_block {
    struct vk_pool_block *next;
    struct vk_block block;
    size_t used;
};

struct vk_import {
    const unsigned char *data;
    struct vk_copied *weights;
    struct vk_pool_block *blocks;
};

// How a block of values lies in the file and in the planes.
struct layout {
    enum dtype stored; // on the device
    uint32_t data;     // bytes of a block in each plane
    uint32_t scales;
    uint32_t mins;
};

static struct layout layout_of(enum dtype type)
{
    static const struct layout layouts[DTYPE_COUNT] = {
        [DTYPE_f32] = {DTYPE_f32, 4, 0, 0},
        [DTYPE_i32] = {DTYPE_i32, 4, 0, 0},
        [DTYPE_f16] = {DTYPE_f16, 2, 0, 0},
        [DTYPE_bf16] = {DTYPE_bf16, 2, 0, 0},
        [DTYPE_q8_0] = {DTYPE_q8_0, 32, 2, 0},
        [DTYPE_q4_0] = {DTYPE_q4_0, 16, 2, 0},
        [DTYPE_q4_k] = {DTYPE_q4_k, sizeof(struct quant_q4_k), 0, 0},
        [DTYPE_q6_k] = {DTYPE_q6_k, 192, 16, 2},
    };

    if (layouts[type].data > 0)
        return layouts[type];
    return (struct layout){DTYPE_f16, 2 * dtype_infos[type].block, 0, 0};
}

enum dtype vk_stored_type(enum dtype dtype)
{
    return layout_of(dtype).stored;
}

static void split_q8_0(const void *from, int64_t n, unsigned char *data,
                       unsigned char *scales)
{
    const struct quant_q8_0 *b = from;

    for (int64_t i = 0; i < n; i++) {
        memcpy(data + 32 * i, b[i].q, 32);
        memcpy(scales + 2 * i, &b[i].d, 2);
    }
}

static void split_q4_0(const void *from, int64_t n, unsigned char *data,
                       unsigned char *scales)
{
    const struct quant_q4_0 *b = from;

    for (int64_t i = 0; i < n; i++) {
        memcpy(data + 16 * i, b[i].q, 16);
        memcpy(scales + 2 * i, &b[i].d, 2);
    }
}

static void split_q6_k(const void *from, int64_t n, unsigned char *data,
                       unsigned char *scales, unsigned char *mins)
{
    const struct quant_q6_k *b = from;

    for (int64_t i = 0; i < n; i++) {
        memcpy(data + 192 * i, b[i].q, 128);
        memcpy(data + 192 * i + 128, b[i].high, 64);
        memcpy(scales + 16 * i, b[i].scales, 16);
        memcpy(mins + 2 * i, &b[i].d, 2);
    }
}

static void round_to_f16(const void *from, int64_t n, enum dtype type,
                         unsigned char *data)
{
    const struct dtype_info *t = &dtype_infos[type];
    float values[QUANT_BLOCK_MAX];

    for (int64_t i = 0; i < n; i++) {
        quant_decode(type, values, (const char *) from + i * t->block_bytes,
                     t->block);
        for (uint32_t j = 0; j < t->block; j++) {
            const uint16_t h = half_from_f32(values[j]);
            memcpy(data + 2 * (i * t->block + j), &h, 2);
        }
    }
}

// Blocks [first, first + n) into staging memory, plane by plane.
static int copy_blocks(struct device *dev, const struct vk_block *to,
                       const size_t at[3], const struct layout *l,
                       enum dtype type, const void *from, int64_t first,
                       int64_t n)
{
    const size_t bytes[3] = {l->data, l->scales, l->mins};
    unsigned char *planes[3] = {NULL, NULL, NULL};
    const char *blocks =
        (const char *) from + first * dtype_infos[type].block_bytes;

    // All places first: taking one may flush the ones before.
    if (vk_copies_reserve(dev, (size_t) n * (l->data + l->scales + l->mins)) <
        0)
        return -EIO;
    for (int i = 0; i < 3; i++) {
        if (bytes[i] == 0)
            continue;
        planes[i] = vk_copy_in_place(dev, to, at[i] + (size_t) first * bytes[i],
                                     (size_t) n * bytes[i]);
        if (!planes[i])
            return -EIO;
    }
    if (type == DTYPE_q8_0)
        split_q8_0(blocks, n, planes[0], planes[1]);
    else if (type == DTYPE_q4_0)
        split_q4_0(blocks, n, planes[0], planes[1]);
    else if (type == DTYPE_q6_k)
        split_q6_k(blocks, n, planes[0], planes[1], planes[2]);
    else if (l->stored == type)
        memcpy(planes[0], blocks, (size_t) n * l->data);
    else
        round_to_f16(blocks, n, type, planes[0]);
    return 0;
}

// Room for a weight in a block of the import, or a new one.
static int take(struct vk_pool_block **out, size_t *offset, struct buffer *buf,
                size_t bytes, struct error *err)
{
    struct vk_import *import = buf->import;
    const bool is_shared = bytes <= SHARED_BYTES;
    int rc;

    for (struct vk_pool_block *b = import->blocks; b && is_shared; b = b->next)
        if (b->used + bytes <= b->block.bytes) {
            *out = b;
            *offset = b->used;
            b->used += bytes;
            return 0;
        }
    struct vk_pool_block *b = fault_calloc(1, sizeof(*b));
    if (!b)
        return error_set(err, -ENOMEM, "no memory for weights");
    rc = vk_block_create(&b->block, buf->dev, is_shared ? BLOCK_BYTES : bytes,
                         &buf->dev->local);
    if (rc < 0 && is_shared)
        rc = vk_block_create(&b->block, buf->dev, bytes, &buf->dev->local);
    if (rc < 0) {
        free(b);
        return error_set(err, rc,
                         "%.60s has no %zu MiB more for weights; other "
                         "programs use it, or the model is too large",
                         buf->dev->traits.name, bytes >> 20);
    }
    b->next = import->blocks;
    import->blocks = b;
    *out = b;
    *offset = 0;
    b->used = bytes;
    return 0;
}

static size_t align(size_t n)
{
    return (n + 255) & ~(size_t) 255;
}

static int copy_weight(struct vk_weight *out, struct buffer *buf, size_t from,
                       enum dtype type, int64_t values, struct error *err)
{
    const struct layout l = layout_of(type);
    const int64_t n = values / dtype_infos[type].block;
    const size_t planes[3] = {align((size_t) n * l.data),
                              align((size_t) n * l.scales),
                              align((size_t) n * l.mins)};
    struct vk_pool_block *b = NULL;
    size_t at[3] = {0, 0, 0};
    int rc;

    rc = take(&b, &at[0], buf, planes[0] + planes[1] + planes[2], err);
    if (rc < 0)
        return rc;
    at[1] = at[0] + planes[0];
    at[2] = at[1] + planes[1];
    const int64_t each =
        (int64_t) (vk_copy_room() / (l.data + l.scales + l.mins));
    for (int64_t i = 0; i < n; i += each)
        if (copy_blocks(buf->dev, &b->block, at, &l, type,
                        buf->import->data + from, i,
                        n - i < each ? n - i : each) < 0)
            return error_set(err, -EIO,
                             "%.60s failed while weights were copied",
                             buf->dev->traits.name);
    *out =
        (struct vk_weight){l.stored, b->block.address + at[0],
                           b->block.address + at[1], b->block.address + at[2]};
    return 0;
}

int vk_import_weight(struct vk_weight *out, struct buffer *buf, size_t offset,
                     const struct operand *o, struct error *err)
{
    const int64_t values = o->ne[0] * o->ne[1] * o->ne[2] * o->ne[3];
    int rc;

    for (struct vk_copied *c = buf->import->weights; c; c = c->next)
        if (c->offset == offset && c->values == values) {
            *out = c->weight;
            return 0;
        }
    struct vk_copied *c = fault_calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, -ENOMEM, "no memory for weights");
    rc = copy_weight(&c->weight, buf, offset, (enum dtype) o->dtype, values,
                     err);
    if (rc < 0) {
        free(c);
        return rc;
    }
    c->offset = offset;
    c->values = values;
    c->next = buf->import->weights;
    buf->import->weights = c;
    *out = c->weight;
    return 0;
}

int vk_import_create(struct buffer **out, struct device *dev, const void *data,
                     size_t bytes)
{
    struct buffer *buf = fault_calloc(1, sizeof(*buf));

    if (!buf)
        return -ENOMEM;
    buf->import = fault_calloc(1, sizeof(*buf->import));
    if (!buf->import) {
        free(buf);
        return -ENOMEM;
    }
    buf->import->data = data;
    buf->dev = dev;
    buf->bytes = bytes;
    *out = buf;
    return 0;
}

void vk_import_destroy(struct buffer *buf)
{
    struct vk_import *import = buf->import;

    while (import->weights) {
        struct vk_copied *next = import->weights->next;
        free(import->weights);
        import->weights = next;
    }
    while (import->blocks) {
        struct vk_pool_block *next = import->blocks->next;
        vk_block_destroy(&import->blocks->block, buf->dev);
        free(import->blocks);
        import->blocks = next;
    }
    free(import);
    free(buf);
}

const void *vk_import_data(const struct buffer *buf)
{
    return buf->import->data;
}
