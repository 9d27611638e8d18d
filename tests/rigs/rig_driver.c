// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/rigs/rig_driver.h"

#include "engine/base/error.h"
#include "engine/vulkan/vk_features.h"

#include <errno.h>
#include <string.h>

enum { STATS_MAX = 64 };

static bool has_statistics(const struct device *dev)
{
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR has = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 f =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &has};
    dev->vk.GetPhysicalDeviceFeatures2(dev->physical, &f);
    return has.pipelineExecutableInfo;
}

static int create_device(struct rig_driver *d, const struct device *dev,
                         struct error *err)
{
    const float priority = 0;
    struct vk_features f;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR statistics = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = &f.core,
        .pipelineExecutableInfo = VK_TRUE,
    };
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = dev->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const char *extensions[VK_EXTENSIONS_MAX + 1];

    vk_features_init(&f, &dev->vk, dev->physical, &dev->traits);
    memcpy(extensions, f.extensions, sizeof(f.extensions));
    extensions[f.n_extensions] =
        VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = d->tells ? (const void *) &statistics : &f.core,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = f.n_extensions + d->tells,
        .ppEnabledExtensionNames = extensions,
    };
    const VkResult r =
        dev->vk.CreateDevice(dev->physical, &info, NULL, &d->device);
    if (r < 0)
        return error_set(err, vk_errno(r), "%.60s did not open twice: %s",
                         dev->traits.name, vk_result_text(r));
    return 0;
}

static int load(struct rig_driver *d, const struct device *dev,
                struct error *err)
{
    PFN_vkVoidFunction f;

#define RIG_FUNCTION(name)                                         \
    f = dev->vk.GetDeviceProcAddr(d->device, "vk" #name);          \
    if (!f && (d->tells || !strstr(#name, "Executable")))          \
        return error_set(err, -ENODEV, "there is no vk%s", #name); \
    memcpy(&d->name, &f, sizeof(f));
#include "tests/rigs/functions.def"
#undef RIG_FUNCTION
    return 0;
}

int rig_driver_open(struct rig_driver *out, const struct device *dev,
                    struct error *err)
{
    const VkPushConstantRange range = {.stageFlags =
                                           VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = VK_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    int rc;

    memset(out, 0, sizeof(*out));
    out->tells = has_statistics(dev);
    if ((rc = create_device(out, dev, err)) < 0 ||
        (rc = load(out, dev, err)) < 0)
        return rc;
    const VkResult r =
        out->CreatePipelineLayout(out->device, &layout, NULL, &out->layout);
    return r < 0 ? error_set(err, vk_errno(r), "no pipeline layout: %s",
                             vk_result_text(r))
                 : 0;
}

void rig_driver_close(struct rig_driver *d)
{
    if (!d->DestroyDevice)
        return;
    d->DestroyPipelineLayout(d->device, d->layout, NULL);
    d->DestroyDevice(d->device, NULL);
    memset(d, 0, sizeof(*d));
}

static double value_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double) s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double) s->value.u64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        return s->value.f64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_MAX_ENUM_KHR:
        break;
    }
    return -1;
}

// Drivers call the same thing by different names, and some of it in parts.
static void sort_in(struct rig_stats *out, const char *said, double value)
{
#define RIG_STAT(id)
#define RIG_STAT_NAME(id, name)  \
    if (strcmp(said, name) == 0) \
        out->id = out->id < 0 ? value : out->id + value;
#include "tests/rigs/stats.def"
#undef RIG_STAT
#undef RIG_STAT_NAME
}

static VkResult read_statistics(struct rig_stats *out,
                                const struct rig_driver *d,
                                const VkPipelineExecutableInfoKHR *executable,
                                FILE *raw)
{
    VkPipelineExecutableStatisticKHR list[STATS_MAX];
    uint32_t n = STATS_MAX;

    for (uint32_t i = 0; i < n; i++)
        list[i] = (VkPipelineExecutableStatisticKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    const VkResult r =
        d->GetPipelineExecutableStatisticsKHR(d->device, executable, &n, list);
    for (uint32_t i = 0; r >= 0 && i < n; i++) {
        sort_in(out, list[i].name, value_of(&list[i]));
        if (raw)
            (void) fprintf(raw, "#     %s = %g\n", list[i].name,
                           value_of(&list[i]));
    }
    return r;
}

static VkResult create(VkPipeline *out, const struct rig_driver *d,
                       const struct vk_pipeline *p)
{
    const struct vk_shader_info *s = &vk_shaders[p->shader];
    VkSpecializationMapEntry entries[VK_SPECS_MAX];
    const VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = s->bytes,
        .pCode = s->code,
    };
    VkShaderModule handle;

    VkResult r = d->CreateShaderModule(d->device, &module, NULL, &handle);
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
    const VkPipelineCreateFlags tell =
        VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT | (d->tells ? tell : 0),
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = handle,
                  .pName = "main",
                  .pSpecializationInfo = &specs},
        .layout = d->layout,
    };
    r = d->CreateComputePipelines(d->device, VK_NULL_HANDLE, 1, &info, NULL,
                                  out);
    d->DestroyShaderModule(d->device, handle, NULL);
    return r;
}

int rig_driver_measure(struct rig_stats *out, const struct rig_driver *d,
                       const struct vk_pipeline *p, FILE *raw,
                       struct error *err)
{
    VkPipelineExecutablePropertiesKHR executables[4];
    uint32_t n = 4;
    VkPipeline pipeline;

#define RIG_STAT(id) out->id = -1;
#define RIG_STAT_NAME(id, name)
#include "tests/rigs/stats.def"
#undef RIG_STAT
#undef RIG_STAT_NAME
    VkResult r = create(&pipeline, d, p);
    if (r < 0)
        return error_set(err, vk_errno(r), "not compiled: %s",
                         vk_result_text(r));
    if (!d->tells)
        goto out;
    const VkPipelineInfoKHR info = {.sType =
                                        VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR,
                                    .pipeline = pipeline};
    for (uint32_t i = 0; i < n; i++)
        executables[i] = (VkPipelineExecutablePropertiesKHR){
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    r = d->GetPipelineExecutablePropertiesKHR(d->device, &info, &n,
                                              executables);
    for (uint32_t i = 0; r >= 0 && i < n; i++) {
        const VkPipelineExecutableInfoKHR executable = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
            .pipeline = pipeline,
            .executableIndex = i,
        };
        r = read_statistics(out, d, &executable, raw);
    }

out:
    d->DestroyPipeline(d->device, pipeline, NULL);
    return r < 0 ? error_set(err, vk_errno(r), "no statistics: %s",
                             vk_result_text(r))
                 : 0;
}
