// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 256 };

int vk_pipelines_create(struct device *dev, struct error *err)
{
    dev->pipelines = fault_calloc(BUCKETS, sizeof(*dev->pipelines));
    if (!dev->pipelines)
        return error_set(err, -ENOMEM, "no memory for a Vulkan device");
    vk_cache_load(dev);
    return 0;
}

void vk_pipelines_destroy(struct device *dev)
{
    if (!dev->pipelines)
        return;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        struct vk_pipeline *p = dev->pipelines[i];
        while (p) {
            struct vk_pipeline *next = p->next;
            dev->vk.DestroyPipeline(dev->device, p->handle, NULL);
            free(p);
            p = next;
        }
    }
    free(dev->pipelines);
    dev->pipelines = NULL;
    vk_cache_save(dev);
    dev->vk.DestroyPipelineCache(dev->device, dev->cache, NULL);
}

static uint32_t bucket_of(enum vk_shader shader, const uint32_t *specs,
                          uint32_t n)
{
    uint32_t h = 2166136261u ^ (uint32_t) shader;

    for (uint32_t i = 0; i < n; i++)
        h = (h ^ specs[i]) * 16777619u;
    return (h ^ h >> 15) % BUCKETS;
}

static VkResult create(struct vk_pipeline *p, struct device *dev)
{
    const struct vk_api *vk = &dev->vk;
    const struct vk_shader_info *s = &vk_shaders[p->shader];
    VkSpecializationMapEntry entries[VK_SPECS_MAX];
    const VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = s->bytes,
        .pCode = s->code,
    };
    VkShaderModule handle;

    VkResult r = vk->CreateShaderModule(dev->device, &module, NULL, &handle);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < p->n_specs; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
    const VkSpecializationInfo specs = {
        .mapEntryCount = p->n_specs,
        .pMapEntries = entries,
        .dataSize = p->n_specs * sizeof(uint32_t),
        .pData = p->specs,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = handle,
                  .pName = "main",
                  .pSpecializationInfo = &specs},
        .layout = dev->layout,
    };
    r = vk->CreateComputePipelines(dev->device, dev->cache, 1, &info, NULL,
                                   &p->handle);
    vk->DestroyShaderModule(dev->device, handle, NULL);
    return r;
}

int vk_pipeline_get(struct vk_pipeline **out, struct device *dev,
                    enum vk_shader shader, const uint32_t *specs, uint32_t n,
                    struct error *err)
{
    struct vk_pipeline **head = &dev->pipelines[bucket_of(shader, specs, n)];
    const size_t bytes = n * sizeof(*specs);

    for (struct vk_pipeline *p = *head; p; p = p->next)
        if (p->shader == shader && p->n_specs == n &&
            (n == 0 || memcmp(p->specs, specs, bytes) == 0)) {
            *out = p;
            return 0;
        }
    struct vk_pipeline *p = fault_calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, -ENOMEM, "no memory for a shader");
    p->shader = (uint16_t) shader;
    p->n_specs = (uint8_t) n;
    if (n > 0)
        memcpy(p->specs, specs, bytes);
    const VkResult r = create(p, dev);
    if (r < 0) {
        free(p);
        return error_set(err, vk_errno(r), "%.60s did not take shader %s: %s",
                         dev->traits.name, vk_shaders[shader].name,
                         vk_result_text(r));
    }
    p->next = *head;
    *head = p;
    dev->n_pipelines++;
    *out = p;
    return 0;
}
