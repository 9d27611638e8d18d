// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/device.h"

#include "engine/base/devname.h"
#include "engine/base/error.h"
#include "engine/rates.h"
#include "engine/selftest.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

// Of each measurement by which "auto" chooses.
static const double MEASURE_S = 0.1;

// NULL: this build does not have it.
static const struct backend *const backends[] = {
    [DEVNAME_AUTO] = NULL,
    [DEVNAME_CPU] = &cpu_backend,
#ifdef POCK_VULKAN
    [DEVNAME_VULKAN] = &vulkan_backend,
#else
    [DEVNAME_VULKAN] = NULL,
#endif
};

static int open_one(struct device_opened *out, enum devname_kind kind,
                    const struct device_params *params, struct error *err)
{
    struct selftest tested;
    int rc;

    out->backend = backends[kind];
    if (!out->backend)
        return error_set(err, -ENOTSUP,
                         "this pockd was built without Vulkan: rebuild it with "
                         "libvulkan-dev and glslang-tools, or use the CPU");
    if ((rc = out->backend->open(&out->dev, params, err)) < 0) {
        out->dev = NULL;
        return rc;
    }
    // The C kernels are what others are compared with.
    if (kind == DEVNAME_CPU)
        return 0;
    if ((rc = selftest_run(&tested, out->backend, out->dev, err)) < 0)
        device_close(out);
    return rc;
}

const char *device_lacks(const struct backend *backend,
                         const struct device *dev)
{
    // What a plain llama takes. Others of a model or a recipe are found out
    // when a program is compiled.
    static const enum op needed[] = {
        OP_embed,
        OP_rmsnorm,
        OP_rmsnorm_dx,
        OP_matmul,
        OP_rope,
        OP_attention,
        OP_attention_back,
        OP_swiglu,
        OP_swiglu_back,
        OP_add,
        OP_rows,
        OP_xent,
        OP_adamw,
        OP_accumulate,
        OP_zero,
        OP_kv_store,
        OP_attention_cached,
    };
    struct backend_kernel k[BACKEND_KERNELS_MAX];

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (backend->kernels(k, dev, needed[i]) == 0)
            return op_infos[needed[i]].name;
    return NULL;
}

// Without a node of one there is no need to load drivers, which is slow and
// takes memory.
static bool has_gpu_node(void)
{
    static const char *const nodes[] = {"/dev/dri/renderD*", "/dev/nvidiactl",
                                        "/dev/kgsl-3d0", "/dev/mali0",
                                        "/dev/dxg"};
    glob_t found = {0};
    bool is_there = false;

    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        if (glob(nodes[i], i > 0 ? GLOB_APPEND : 0, NULL, &found) == 0)
            is_there = true;
    globfree(&found);
    return is_there;
}

// 1: the GPU is faster than the CPU at what training mostly does.
static int compare(char *why, size_t size, struct device_opened *gpu,
                   struct device_opened *cpu, struct error *err)
{
    const char *lacks = device_lacks(gpu->backend, gpu->dev);
    struct rates of_gpu, of_cpu;
    int rc;

    if (lacks)
        return error_set(err, -ENOTSUP, "%.120s cannot compute %s",
                         gpu->backend->describe(gpu->dev), lacks);
    if ((rc = rates_measure(&of_gpu, gpu->backend, gpu->dev, MEASURE_S, err)) <
            0 ||
        (rc = rates_measure(&of_cpu, cpu->backend, cpu->dev, MEASURE_S, err)) <
            0)
        return rc;
    (void) snprintf(why, size, "products: %.120s %.3g GFLOP/s, the CPU %.3g",
                    gpu->backend->describe(gpu->dev), of_gpu.flops / 1e9,
                    of_cpu.flops / 1e9);
    return of_gpu.flops > of_cpu.flops;
}

static int open_auto(struct device_opened *out,
                     const struct device_params *params, struct error *err)
{
    struct device_params any = *params;
    struct device_opened gpu = {0};
    struct error why = {0};
    int rc = open_one(out, DEVNAME_CPU, params, err);

    if (rc < 0)
        return rc;
    if (!backends[DEVNAME_VULKAN] || !has_gpu_node()) {
        (void) snprintf(out->why, sizeof(out->why), "there is no GPU here%s",
                        backends[DEVNAME_VULKAN]
                            ? ""
                            : " that this build could use: it has no Vulkan");
        return 0;
    }
    any.tier = NULL;
    rc = open_one(&gpu, DEVNAME_VULKAN, &any, &why);
    if (rc == 0)
        rc = compare(out->why, sizeof(out->why), &gpu, out, &why);
    if (rc == -EINTR)
        (void) snprintf(out->why, sizeof(out->why),
                        "told to stop before the GPU was compared with it");
    else if (rc < 0)
        (void) snprintf(out->why, sizeof(out->why), "%.300s", why.text);
    // No driver for what is there: as if it were not.
    out->is_refused = rc < 0 && rc != -ENODEV && rc != -EINTR;
    if (rc <= 0) {
        device_close(&gpu);
        return 0;
    }
    memcpy(gpu.why, out->why, sizeof(gpu.why));
    device_close(out);
    *out = gpu;
    return 0;
}

int device_open(struct device_opened *out, const char *name,
                const struct device_params *params, struct error *err)
{
    struct device_params p = *params;
    struct devname d;
    int rc = devname_parse(&d, name, err);

    *out = (struct device_opened){0};
    if (rc < 0)
        return rc;
    if (d.kind == DEVNAME_AUTO)
        return open_auto(out, params, err);
    if (d.kind != DEVNAME_CPU || d.which)
        p.tier = d.which;
    return open_one(out, d.kind, &p, err);
}

void device_close(struct device_opened *d)
{
    if (d->dev)
        d->backend->close(d->dev);
    *d = (struct device_opened){0};
}
