// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Where the time goes on a device, for developers: POCK_VK_PROFILE=1
 *
 * Every dispatch then waits for the one before it, and timestamps stand around
 * it; when the device is closed, a table by shader and shape goes to standard
 * error.
 */

#include "engine/vulkan/vk_prepare.h"

struct vk_profile; // NULL where it is off, or the device has no timestamps

void vk_profile_create(struct device *dev);
void vk_profile_destroy(struct device *dev); // prints
// Around a dispatch; before: it begins.
void vk_profile_mark(struct device *dev, VkCommandBuffer cmd,
                     const struct vk_item *item, bool before);
// When all that was submitted is done.
void vk_profile_collect(struct device *dev);
