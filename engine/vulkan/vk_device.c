// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_choose.h"
#include "engine/vulkan/vk_features.h"
#include "engine/vulkan/vk_host.h"
#include "engine/vulkan/vk_noise.h"
#include "engine/vulkan/vk_profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The memory type that has all of `must` and most of `wish`, in order of the
// driver, which lists the fastest first.
static int find_type(struct vk_memory_type *out, const struct device *dev,
                     VkMemoryPropertyFlags must, VkMemoryPropertyFlags wish)
{
    int best = -1;
    int best_score = -1;

    for (uint32_t i = 0; i < dev->memory.memoryTypeCount; i++) {
        const VkMemoryPropertyFlags f =
            dev->memory.memoryTypes[i].propertyFlags;
        const VkMemoryPropertyFlags odd =
            VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
            VK_MEMORY_PROPERTY_PROTECTED_BIT |
            VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD;
        if ((f & must) != must || (f & odd))
            continue;
        const int score = __builtin_popcount(f & wish);
        if (score > best_score) {
            best = (int) i;
            best_score = score;
        }
    }
    if (best < 0)
        return -ENOTSUP;
    const VkMemoryPropertyFlags f = dev->memory.memoryTypes[best].propertyFlags;
    out->index = (uint32_t) best;
    // Memory that the host can see but not cache is slow to read: not mapped.
    out->is_mapped = (f & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) &&
                     (f & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) &&
                     (f & VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    out->is_coherent = f & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    return 0;
}

static int find_types(struct device *dev, struct error *err)
{
    VkPhysicalDeviceMemoryProperties2 m = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                       VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const bool is_apart =
        dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ||
        fault_hit(FAULT_DRIVER);

    dev->vk.GetPhysicalDeviceMemoryProperties2(dev->physical, &m);
    dev->memory = m.memoryProperties;
    if (find_type(&dev->local, dev, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                  is_apart ? 0 : seen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT) <
            0 ||
        find_type(&dev->staging, dev, seen,
                  VK_MEMORY_PROPERTY_HOST_CACHED_BIT) < 0)
        return error_set(err, -ENOTSUP,
                         "%.60s has no memory of the kinds that are needed",
                         dev->traits.name);
    if (is_apart)
        dev->local.is_mapped = false;
    dev->staging.is_mapped = true;
    return 0;
}

static int find_family(struct device *dev, struct error *err)
{
    VkQueueFamilyProperties2 families[16];
    uint32_t n = 16;
    int best = -1;

    for (uint32_t i = 0; i < n; i++)
        families[i] = (VkQueueFamilyProperties2){
            .sType = VK_STRUCTURE_TYPE_QUEUE_FAMILY_PROPERTIES_2};
    dev->vk.GetPhysicalDeviceQueueFamilyProperties2(dev->physical, &n,
                                                    families);
    for (uint32_t i = 0; i < n; i++) {
        const VkQueueFlags f = families[i].queueFamilyProperties.queueFlags;
        if (!(f & VK_QUEUE_COMPUTE_BIT))
            continue;
        // One of compute alone does not stand in the way of the screen's.
        if (best < 0 || !(f & VK_QUEUE_GRAPHICS_BIT)) {
            best = (int) i;
            if (!(f & VK_QUEUE_GRAPHICS_BIT))
                break;
        }
    }
    if (best < 0)
        return error_set(err, -ENOTSUP, "%.60s cannot compute",
                         dev->traits.name);
    dev->family = (uint32_t) best;
    dev->timestamp_bits =
        families[best].queueFamilyProperties.timestampValidBits;
    return 0;
}

static int create_device(struct device *dev, struct error *err)
{
    struct vk_features f;
    const float priority = 0;

    vk_features_init(&f, &dev->vk, dev->physical, &dev->traits);
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = dev->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceQueueGlobalPriorityCreateInfoKHR low = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR,
        .globalPriority = VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &f.core,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = f.n_extensions,
        .ppEnabledExtensionNames = f.extensions,
    };
    if (f.has_priority &&
        vk_queue_offers_low(&dev->vk, dev->physical, dev->family))
        queue.pNext = &low;
    VkResult r = dev->vk.CreateDevice(dev->physical, &info, NULL, &dev->device);
    if (r == VK_ERROR_NOT_PERMITTED_KHR && queue.pNext) {
        queue.pNext = NULL;
        r = dev->vk.CreateDevice(dev->physical, &info, NULL, &dev->device);
    }
    if (r < 0)
        return error_set(err, vk_errno(r), "%.60s did not open: %s",
                         dev->traits.name, vk_result_text(r));
    dev->traits.has_low_priority = queue.pNext != NULL;
    return vk_api_load_device(&dev->vk, dev->device, err);
}

static VkResult create_flight(struct vk_flight *f, const struct device *dev)
{
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = dev->family,
    };
    VkResult r = dev->vk.CreateCommandPool(dev->device, &pool, NULL, &f->pool);
    if (r < 0)
        return r;
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = f->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    return dev->vk.AllocateCommandBuffers(dev->device, &info, &f->cmd);
}

static VkResult create_objects(struct device *dev)
{
    const VkPushConstantRange range = {.stageFlags =
                                           VK_SHADER_STAGE_COMPUTE_BIT,
                                       .size = VK_PUSH_BYTES};
    const VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo semaphore =
        {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};

    dev->vk.GetDeviceQueue(dev->device, dev->family, 0, &dev->queue);
    VkResult r =
        dev->vk.CreatePipelineLayout(dev->device, &layout, NULL, &dev->layout);
    if (r < 0)
        return r;
    if ((r = dev->vk.CreateSemaphore(dev->device, &semaphore, NULL,
                                     &dev->timeline)) < 0)
        return r;
    for (int i = 0; i < VK_FLIGHTS; i++)
        if ((r = create_flight(&dev->flights[i], dev)) < 0)
            return r;
    return VK_SUCCESS;
}

static void describe(struct device *dev)
{
    const struct vk_traits *t = &dev->traits;

    (void) snprintf(dev->text, sizeof(dev->text), "vulkan %s%s", t->name,
                    t->has_coopmat2  ? ", cooperative matrices (workgroups)"
                    : t->has_coopmat ? ", cooperative matrices"
                                     : "");
    (void) snprintf(dev->identity, sizeof(dev->identity),
                    "vulkan %s, driver %u, shaders %08x", t->name, t->driver,
                    vk_shaders_hash());
}

// The median of some empty submissions.
static void measure_switch(struct device *dev)
{
    uint64_t ns[9];
    struct vk_flight *f;

    for (int i = 0; i < 9; i++) {
        const uint64_t begin = clock_monotonic_ns();
        if (vk_begin(&f, dev) < 0 || vk_submit(dev, f) < 0 ||
            vk_wait_all(dev) < 0)
            return;
        ns[i] = clock_monotonic_ns() - begin;
        for (int j = i; j > 0 && ns[j] < ns[j - 1]; j--) {
            const uint64_t t = ns[j];
            ns[j] = ns[j - 1];
            ns[j - 1] = t;
        }
    }
    dev->switch_ns = ns[4];
}

int vk_device_open(struct device *dev, const char *which, struct error *err)
{
    struct vk_found found;
    int rc;

    if ((rc = vk_api_open(&dev->vk, err)) < 0)
        return rc;
    if ((rc = vk_choose(&found, &dev->vk, which, err)) < 0)
        return rc;
    dev->physical = found.physical;
    vk_traits_init(&dev->traits, &dev->vk, dev->physical);
    if ((rc = find_types(dev, err)) < 0 || (rc = find_family(dev, err)) < 0 ||
        (rc = create_device(dev, err)) < 0)
        return rc;
    const VkResult r = create_objects(dev);
    if (r < 0)
        return error_set(err, vk_errno(r), "%.60s did not open: %s",
                         dev->traits.name, vk_result_text(r));
    dev->behaves = -1;
    (void) vk_behave(dev);
    describe(dev);
    if ((rc = vk_pipelines_create(dev, err)) < 0)
        return rc;
    vk_profile_create(dev);
    if ((rc = vk_host_create(&dev->host, dev, err)) < 0)
        return rc;
    if ((rc = vk_copies_create(dev, err)) < 0)
        return rc;
    measure_switch(dev);
    return 0;
}

void vk_device_close(struct device *dev)
{
    if (dev->device && dev->vk.DestroyDevice) {
        if (dev->vk.DeviceWaitIdle)
            (void) dev->vk.DeviceWaitIdle(dev->device);
        vk_profile_destroy(dev);
        vk_copies_destroy(dev);
        vk_noise_table_destroy(dev);
        vk_pipelines_destroy(dev);
        for (int i = 0; i < VK_FLIGHTS; i++)
            dev->vk.DestroyCommandPool(dev->device, dev->flights[i].pool, NULL);
        dev->vk.DestroySemaphore(dev->device, dev->timeline, NULL);
        dev->vk.DestroyPipelineLayout(dev->device, dev->layout, NULL);
        dev->vk.DestroyDevice(dev->device, NULL);
    }
    vk_host_destroy(dev->host);
    vk_api_close(&dev->vk);
}
