// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/backend.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/fpmode.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/cpu_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct device {
    // Number i + 1 of instr.kernel is tier i; the last one is the best.
    struct cpu_tier tiers[CPU_TIERS_MAX];
    struct cpu_kernels kernels[CPU_TIERS_MAX];
    uint32_t n_tiers;
    struct pool *pool;
    const atomic_bool *stop;
    char text[64];
    char identity[128];
};

struct buffer {
    unsigned char *data;
    size_t bytes;
    bool is_borrowed;
};

static void init_tiers(struct device *dev, unsigned flags)
{
    char brand[64];
    char list[48];

    dev->n_tiers = cpu_tiers(dev->tiers, flags);
    for (uint32_t i = 0; i < dev->n_tiers; i++)
        cpu_kernels_init(&dev->kernels[i], dev->tiers[i].flags);
    cpuinfo_brand(brand, sizeof(brand));
    cpu_tier_list(list, sizeof(list), flags);
    (void) snprintf(dev->identity, sizeof(dev->identity), "cpu %s: %s",
                    *brand ? brand : "of no name", list);
}

static int cpu_open(struct device **out, const struct device_params *params,
                    struct error *err)
{
    const unsigned have = cpuinfo_detect();
    const char *tier = params->tier ? params->tier : getenv("POCK_CPU");
    unsigned flags = have;
    char list[64];
    uint32_t threads = params->threads ? params->threads : cpuinfo_usable();

    if (tier && *tier &&
        (cpu_tier_flags(&flags, tier) < 0 || (flags & ~have))) {
        cpu_tier_list(list, sizeof(list), have);
        return error_set(err, -EINVAL,
                         "CPU tier \"%.32s\" is not available: this build has "
                         "%s for this machine",
                         tier, list);
    }
    if (threads > POOL_THREADS_MAX)
        threads = POOL_THREADS_MAX;

    struct device *dev = fault_calloc(1, sizeof(*dev));
    if (!dev)
        return error_set(err, -ENOMEM, "no memory for a CPU device");
    init_tiers(dev, flags);
    dev->stop = params->stop;
    snprintf(dev->text, sizeof(dev->text), "cpu %s, %u thread%s",
             cpu_tier_name(flags), threads, threads == 1 ? "" : "s");
    int rc = pool_create(&dev->pool, threads);
    if (rc < 0) {
        free(dev);
        return error_set(err, rc, "cannot start %u threads: %s", threads,
                         strerror(-rc));
    }
    *out = dev;
    return 0;
}

static void cpu_close(struct device *dev)
{
    if (!dev)
        return;
    pool_destroy(dev->pool);
    free(dev);
}

static const char *cpu_describe(const struct device *dev)
{
    return dev->text;
}

static const char *cpu_identify(const struct device *dev)
{
    return dev->identity;
}

static uint32_t cpu_threads(const struct device *dev)
{
    return pool_threads(dev->pool);
}

// Where the kernel of an operator is in struct cpu_kernels.
static const size_t slots[OP_COUNT] = {
#define OP(name, ...) offsetof(struct cpu_kernels, name),
#include "engine/ir/ops.def"
#undef OP
};

static bool is_same_kernel(const struct cpu_kernels *a,
                           const struct cpu_kernels *b, enum op op)
{
    return memcmp((const char *) a + slots[op], (const char *) b + slots[op],
                  sizeof(void (*)(void))) == 0;
}

// A tier that adds nothing for the operator is not a way of its own.
static uint32_t cpu_kernels_of(struct backend_kernel out[BACKEND_KERNELS_MAX],
                               const struct device *dev, enum op op)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < dev->n_tiers; i++)
        if (i == 0 ||
            !is_same_kernel(&dev->kernels[i - 1], &dev->kernels[i], op))
            out[n++] = (struct backend_kernel){.name = dev->tiers[i].name,
                                               .number = (uint8_t) (i + 1)};
    return n;
}

static int cpu_buffer_create(struct buffer **out, struct device *dev,
                             size_t bytes)
{
    if (fault_hit(FAULT_ALLOC))
        return -ENOMEM;
    struct buffer *buf = fault_calloc(1, sizeof(*buf));
    if (!buf)
        return -ENOMEM;
    // Fresh pages of the system are zero, and cost nothing until touched.
    buf->bytes = bytes;
    buf->data = mmap(NULL, bytes > 0 ? bytes : 1, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buf->data == MAP_FAILED) {
        free(buf);
        return -ENOMEM;
    }
    // Kernels walk through megabytes in strides: large pages save lookups.
    (void) madvise(buf->data, bytes, MADV_HUGEPAGE);
    *out = buf;
    return 0;
}

static int cpu_buffer_import(struct buffer **out, struct device *dev,
                             const void *data, size_t bytes)
{
    struct buffer *buf = fault_calloc(1, sizeof(*buf));
    if (!buf)
        return -ENOMEM;
    // Never written: the compiler makes no instruction that writes a weight.
    buf->data = (unsigned char *) (uintptr_t) data;
    buf->bytes = bytes;
    buf->is_borrowed = true;
    *out = buf;
    return 0;
}

static void cpu_buffer_destroy(struct buffer *buf)
{
    if (!buf)
        return;
    if (!buf->is_borrowed)
        munmap(buf->data, buf->bytes > 0 ? buf->bytes : 1);
    free(buf);
}

unsigned char *cpu_buffer_data(struct buffer *buf)
{
    return buf->data;
}

static bool is_inside(const struct buffer *buf, size_t offset, size_t bytes)
{
    return offset <= buf->bytes && bytes <= buf->bytes - offset;
}

static int cpu_buffer_write(struct buffer *buf, size_t offset, const void *data,
                            size_t bytes)
{
    if (buf->is_borrowed)
        return -EROFS;
    if (!is_inside(buf, offset, bytes))
        return -ERANGE;
    if (bytes > 0)
        memcpy(buf->data + offset, data, bytes);
    return 0;
}

static int cpu_buffer_read(struct buffer *buf, size_t offset, void *data,
                           size_t bytes)
{
    if (!is_inside(buf, offset, bytes))
        return -ERANGE;
    if (bytes > 0)
        memcpy(data, buf->data + offset, bytes);
    return 0;
}

static size_t cpu_scratch(const struct device *dev, const struct instr *in)
{
    return cpu_scratch_bytes(in, pool_threads(dev->pool));
}

static int cpu_run(struct device *dev, const struct instr *instrs,
                   uint32_t count, const struct bindings *b)
{
    struct cpu_run r = {.pool = dev->pool};
    const uint64_t fpmode = fpmode_flush();
    uint32_t i = 0;

    for (; i < count; i++) {
        if (dev->stop && !instrs[i].is_tail && atomic_load(dev->stop))
            break;
        const uint8_t kernel = instrs[i].kernel;
        r.kernels = &dev->kernels[kernel > 0 && kernel <= dev->n_tiers
                                      ? kernel - 1u
                                      : dev->n_tiers - 1u];
        pool_limit(dev->pool, instrs[i].threads);
        cpu_run_resolve(&r, &instrs[i], b);
        // What only reads its inputs may give up and begin again later.
        const bool may_end = !instrs[i].is_tail && cpu_run_is_pure(&r);
        pool_watch(dev->pool, may_end ? dev->stop : NULL);
        cpu_run_instr(&r);
        if (pool_gave_up(dev->pool))
            break;
    }
    fpmode_restore(fpmode);
    return (int) i;
}

const struct backend cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .identify = cpu_identify,
    .threads = cpu_threads,
    .kernels = cpu_kernels_of,
    .buffer_create = cpu_buffer_create,
    .buffer_import = cpu_buffer_import,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_write = cpu_buffer_write,
    .buffer_read = cpu_buffer_read,
    .supports = cpu_supports,
    .scratch_bytes = cpu_scratch,
    .run = cpu_run,
};
