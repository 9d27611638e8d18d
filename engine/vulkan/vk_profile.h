// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Where the time goes on a device, for developers
 *
 * POCK_VK_PROFILE=1: every dispatch waits for the one before it, and timestamps
 * stand around it; when the device is closed, a table by shader and shape goes
 * to standard error. POCK_VK_PROFILE=host: nothing changes, and the table says
 * what the thread that drives the device did, and between which of its doings
 * it was elsewhere.
 */

#include "engine/vulkan/vk_prepare.h"

struct vk_profile; // NULL where it is off, or the device has no timestamps

// What the host does.
enum vk_doing {
    VK_DOING_RECORD,
    VK_DOING_SUBMIT,
    VK_DOING_WAIT,
    VK_DOING_COPY_IN, // into staging memory
    VK_DOING_COPY_OUT,
    VK_DOING_COUNT
};
// vk_profile_begin()'s result goes to vk_profile_end(). 0: nobody counts.
uint64_t vk_profile_begin(const struct device *dev);
void vk_profile_end(struct device *dev, enum vk_doing doing, uint64_t begin);
void vk_profile_dispatch(struct device *dev, bool waits);
// Does every dispatch wait for the one before it?
bool vk_profile_is_serial(const struct device *dev);

void vk_profile_create(struct device *dev);
void vk_profile_destroy(struct device *dev); // prints
// Around a dispatch; before: it begins.
void vk_profile_mark(struct device *dev, VkCommandBuffer cmd,
                     const struct vk_item *item, bool before);
// When all that was submitted is done.
void vk_profile_collect(struct device *dev);
