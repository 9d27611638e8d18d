// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Which of the machine's Vulkan devices is used.

#include "engine/vulkan/vk_api.h"

#include <stdbool.h>

enum { VK_FOUND_MAX = 16 };

struct vk_found {
    VkPhysicalDevice physical;
    VkPhysicalDeviceType type;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    const char *lacks; // a feature without which it cannot be used; NULL: none
};

// How many there are, usable or not.
int vk_found_list(struct vk_found out[VK_FOUND_MAX], const struct vk_api *vk);
// `which`: NULL or "": the best GPU, never a CPU that plays one; "cpu": such
// a CPU; a number of the list; or a part of the name.
int vk_choose(struct vk_found *out, const struct vk_api *vk, const char *which,
              struct error *err);
