// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Vulkan, loaded when it is asked for
 *
 * Nothing links libvulkan: a machine without it runs all of pockd but this
 * backend.
 */

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include "engine/vulkan/vk_compat.h"

#include <stdbool.h>

struct error;

struct vk_api {
    void *library;
    VkInstance instance;
    bool validates; // the validation layer is there, as was asked
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define VK_GLOBAL(name)            PFN_vk##name name;
#define VK_INSTANCE(name)          PFN_vk##name name;
#define VK_INSTANCE_OPTIONAL(name) PFN_vk##name name;
#define VK_DEVICE(name)            PFN_vk##name name;
#include "engine/vulkan/vk_api.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_INSTANCE_OPTIONAL
#undef VK_DEVICE
};

// Loads the library and makes an instance of version 1.2 or later. -ENODEV
// when there is no library or no driver. POCK_VK_VALIDATE=1 in the environment
// turns the validation layer on, as far as it is installed.
int vk_api_open(struct vk_api *vk, struct error *err);
// Functions of a device, after vkCreateDevice().
int vk_api_load_device(struct vk_api *vk, VkDevice device, struct error *err);
// Accepts one that is zero or half open.
void vk_api_close(struct vk_api *vk);
// Messages of the validation layer so far, in this process.
unsigned vk_api_messages(void);

// An errno for a result that is no success; "out of device memory" for people.
int vk_errno(VkResult r);
const char *vk_result_text(VkResult r);
