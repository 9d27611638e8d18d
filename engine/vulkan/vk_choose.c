// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_choose.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Why a device cannot be used; NULL: it can.
static const char *what_it_lacks(const struct vk_api *vk, VkPhysicalDevice d,
                                 uint32_t api)
{
    VkPhysicalDeviceVulkan12Features f12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures2 f =
        {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f12};

    if (api < VK_API_VERSION_1_2)
        return "Vulkan 1.2";
    vk->GetPhysicalDeviceFeatures2(d, &f);
    if (!f12.bufferDeviceAddress || fault_hit(FAULT_DRIVER))
        return "bufferDeviceAddress";
    if (!f12.timelineSemaphore)
        return "timelineSemaphore";
    if (!f12.vulkanMemoryModel)
        return "vulkanMemoryModel";
    return NULL;
}

int vk_found_list(struct vk_found out[VK_FOUND_MAX], const struct vk_api *vk)
{
    VkPhysicalDevice devices[VK_FOUND_MAX];
    uint32_t n = VK_FOUND_MAX;

    if (vk->EnumeratePhysicalDevices(vk->instance, &n, devices) < 0)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceProperties2 p = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
        vk->GetPhysicalDeviceProperties2(devices[i], &p);
        out[i].physical = devices[i];
        out[i].type = p.properties.deviceType;
        (void) snprintf(out[i].name, sizeof(out[i].name), "%s",
                        p.properties.deviceName);
        out[i].lacks = what_it_lacks(vk, devices[i], p.properties.apiVersion);
    }
    return (int) n;
}

static int rank_of(const struct vk_found *f)
{
    static const VkPhysicalDeviceType types[] = {
        VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU,
        VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
        VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    };
    for (int i = 0; i < 3; i++)
        if (f->type == types[i])
            return i + 1;
    return 0;
}

static bool contains(const char *text, const char *part)
{
    const size_t n = strlen(part);

    for (; *text; text++)
        if (strncasecmp(text, part, n) == 0)
            return true;
    return false;
}

static bool is_asked_for(const struct vk_found *f, int i, const char *which)
{
    char *end;

    if (!which || !*which)
        return rank_of(f) > 0;
    if (strcmp(which, "cpu") == 0)
        return f->type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const unsigned long number = strtoul(which, &end, 10);
    if (isdigit((unsigned char) *which) && *end == '\0')
        return number == (unsigned long) i;
    return contains(f->name, which);
}

int vk_choose(struct vk_found *out, const struct vk_api *vk, const char *which,
              struct error *err)
{
    struct vk_found found[VK_FOUND_MAX];
    const int n = vk_found_list(found, vk);
    const struct vk_found *best = NULL;
    const struct vk_found *lacking = NULL;

    for (int i = 0; i < n; i++) {
        if (!is_asked_for(&found[i], i, which))
            continue;
        if (found[i].lacks)
            lacking = &found[i];
        else if (!best || rank_of(&found[i]) > rank_of(best))
            best = &found[i];
    }
    if (best) {
        *out = *best;
        return 0;
    }
    if (lacking)
        return error_set(err, -ENOTSUP, "%.60s cannot be used: it lacks %s",
                         lacking->name, lacking->lacks);
    if (n > 0 && which && *which)
        return error_set(err, -ENODEV,
                         "no Vulkan device is called \"%.32s\" here: "
                         "\"pockctl doctor\" lists them",
                         which);
    return error_set(err, -ENODEV, "Vulkan has no GPU here");
}
