// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// What a device can do, and what of it is turned on.

#include "engine/vulkan/vk_device.h"

enum { VK_EXTENSIONS_MAX = 8 };

// A chain for vkCreateDevice(); points into itself, so it stays where it is.
struct vk_features {
    VkPhysicalDeviceFeatures2 core;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV coopmat2;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
    const char *extensions[VK_EXTENSIONS_MAX];
    uint32_t n_extensions;
    bool has_priority;
};

void vk_features_init(struct vk_features *out, const struct vk_api *vk,
                      VkPhysicalDevice d, const struct vk_traits *t);
void vk_traits_init(struct vk_traits *out, const struct vk_api *vk,
                    VkPhysicalDevice d);
bool vk_queue_offers_low(const struct vk_api *vk, VkPhysicalDevice d,
                         uint32_t family);
