// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/backend.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_attention.h"
#include "engine/vulkan/vk_clock.h"
#include "engine/vulkan/vk_host.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_prepare.h"
#include "engine/vulkan/vk_product.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct vk_kernel kernels[OP_COUNT] = {
#define VK_KERNEL(op, emit, scratch) [OP_##op] = {emit, scratch},
#include "engine/vulkan/vk_kernels.def"
#undef VK_KERNEL
};

const struct vk_kernel *vk_kernel_of(enum op op)
{
    return kernels[op].emit ? &kernels[op] : NULL;
}

static int vulkan_open(struct device **out, const struct device_params *params,
                       struct error *err)
{
    struct device *dev = fault_calloc(1, sizeof(*dev));

    if (!dev)
        return error_set(err, -ENOMEM, "no memory for a Vulkan device");
    dev->stop = params->stop;
    dev->manners = params->manners;
    dev->slice_most_ns = params->slice_us * 1e3;
    dev->cache_fd = params->has_cache ? params->cache_fd : -1;
    const int rc = vk_device_open(dev, params->tier, err);
    if (rc < 0) {
        vk_device_close(dev);
        free(dev);
        return rc;
    }
    *out = dev;
    return 0;
}

static void vulkan_close(struct device *dev)
{
    if (!dev)
        return;
    vk_device_close(dev);
    free(dev);
}

static const char *vulkan_describe(const struct device *dev)
{
    return dev->text;
}

static const char *vulkan_identify(const struct device *dev)
{
    return dev->identity;
}

static const char *vulkan_notice(const struct device *dev)
{
    return dev->notice;
}

static uint32_t vulkan_threads(const struct device *dev)
{
    (void) dev;
    return 1;
}

static uint64_t vulkan_peak_bytes(const struct device *dev)
{
    return dev->peak_bytes;
}

static bool is_product(enum op op)
{
    return op == OP_matmul || op == OP_matmul_delta || op == OP_matmul_lora ||
           op == OP_matmul_kept;
}

static bool is_attention(enum op op)
{
    return op == OP_attention || op == OP_attention_back;
}

static uint32_t vulkan_kernels(struct backend_kernel out[BACKEND_KERNELS_MAX],
                               const struct device *dev, enum op op)
{
    uint32_t n = 0;

    if (dev->host)
        out[n++] = (struct backend_kernel){.name = BACKEND_KERNEL_HOST,
                                           .number = VK_KERNEL_CPU};
    if (is_product(op))
        n += vk_matmul_kernels(out + n, dev);
    if (is_attention(op))
        n += vk_attention_kernels(out + n, dev);
    if (vk_kernel_of(op))
        out[n++] = (struct backend_kernel){.name = "vulkan",
                                           .number = VK_KERNEL_VULKAN};
    return n;
}

static bool vulkan_offers(const struct device *dev, const struct instr *in)
{
    const enum op op = (enum op) in->op;

    return in->kernel <= VK_KERNEL_CPU ||
           (is_product(op) && vk_matmul_offers(dev, in)) ||
           (is_attention(op) && vk_attention_offers(dev, in));
}

static int vulkan_buffer_create(struct buffer **out, struct device *dev,
                                size_t bytes)
{
    int rc;

    struct buffer *buf = fault_calloc(1, sizeof(*buf));
    if (!buf)
        return -ENOMEM;
    buf->dev = dev;
    buf->bytes = bytes;
    if ((rc = vk_block_create(&buf->block, dev, bytes, &dev->local)) < 0)
        goto error;
    if ((rc = vk_copy_zero(dev, &buf->block)) < 0) {
        vk_block_destroy(&buf->block, dev);
        goto error;
    }
    *out = buf;
    return 0;

error:
    free(buf);
    return rc;
}

static int vulkan_buffer_import(struct buffer **out, struct device *dev,
                                const void *data, size_t bytes)
{
    return vk_import_create(out, dev, data, bytes);
}

static void vulkan_buffer_destroy(struct buffer *buf)
{
    if (!buf)
        return;
    // Nothing may still write to it.
    (void) vk_flush(buf->dev);
    if (buf->import) {
        vk_import_destroy(buf);
        return;
    }
    vk_block_destroy(&buf->block, buf->dev);
    free(buf);
}

static bool is_inside(const struct buffer *buf, size_t offset, size_t bytes)
{
    return offset <= buf->bytes && bytes <= buf->bytes - offset;
}

static int vulkan_buffer_write(struct buffer *buf, size_t offset,
                               const void *data, size_t bytes)
{
    if (buf->import)
        return -EROFS;
    if (!is_inside(buf, offset, bytes))
        return -ERANGE;
    return vk_copy_in(buf->dev, &buf->block, offset, data, bytes);
}

static int vulkan_buffer_read(struct buffer *buf, size_t offset, void *data,
                              size_t bytes)
{
    if (!is_inside(buf, offset, bytes))
        return -ERANGE;
    if (buf->import) {
        if (bytes > 0)
            memcpy(data, (const char *) vk_import_data(buf) + offset, bytes);
        return 0;
    }
    return vk_copy_out(buf->dev, &buf->block, offset, data, bytes);
}

static bool vulkan_supports(const struct device *dev, const struct instr *in)
{
    return kernels[in->op].emit || vk_host_supports(dev->host, in);
}

static size_t vulkan_scratch(const struct device *dev, const struct instr *in)
{
    const struct vk_kernel *k = vk_kernel_of((enum op) in->op);

    const size_t here = k && k->scratch ? k->scratch(dev, in) : 0;
    const size_t cpu = dev->host ? vk_host_scratch(dev->host, in) : 0;
    return here > cpu ? here : cpu;
}

static uint64_t vulkan_switch_ns(const struct device *dev)
{
    return dev->switch_ns;
}

static int vulkan_prepare(struct prepared **out, struct device *dev,
                          const struct instr *instrs, uint32_t count,
                          const struct bindings *b, struct error *err)
{
    return vk_prepare(out, dev, instrs, count, b, true, err);
}

static int vulkan_run(struct device *dev, const struct instr *instrs,
                      uint32_t count, const struct bindings *b)
{
    struct prepared *p = b->prepared;
    int rc;

    if (count == 0)
        return 0;
    if (p)
        return vk_run(dev, p, (uint32_t) (instrs - p->instrs), count);
    if ((rc = vk_prepare(&p, dev, instrs, count, b, false, NULL)) < 0)
        return rc;
    rc = vk_run(dev, p, 0, count);
    vk_release(p);
    return rc;
}

static int vulkan_time(struct device *dev, const struct instr *instrs,
                       uint32_t count, const struct bindings *b, uint64_t *ns)
{
    struct prepared *p;
    int rc;

    if (!vk_clock_exists(dev))
        return -ENOTSUP;
    if (count == 0)
        return 0;
    if ((rc = vk_prepare(&p, dev, instrs, count, b, false, NULL)) < 0)
        return rc;
    if ((rc = vk_clock_attach(dev, ns, count)) >= 0)
        rc = vk_run(dev, p, 0, count);
    vk_clock_detach(dev);
    vk_release(p);
    return rc;
}

const struct backend vulkan_backend = {
    .name = "vulkan",
    .open = vulkan_open,
    .close = vulkan_close,
    .describe = vulkan_describe,
    .identify = vulkan_identify,
    .notice = vulkan_notice,
    .threads = vulkan_threads,
    .peak_bytes = vulkan_peak_bytes,
    .kernels = vulkan_kernels,
    .buffer_create = vulkan_buffer_create,
    .buffer_import = vulkan_buffer_import,
    .buffer_destroy = vulkan_buffer_destroy,
    .buffer_write = vulkan_buffer_write,
    .buffer_read = vulkan_buffer_read,
    .host_alloc = vk_lend,
    .host_free = vk_take_back,
    .supports = vulkan_supports,
    .offers = vulkan_offers,
    .scratch_bytes = vulkan_scratch,
    .beside = 24,
    .prepare = vulkan_prepare,
    .release = vk_release,
    .switch_ns = vulkan_switch_ns,
    .run = vulkan_run,
    .time = vulkan_time,
};
