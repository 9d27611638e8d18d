// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The device's own clock
 *
 * While one is attached to a device, instructions run one after another, and
 * timestamps stand where one ends and the next begins. Where a submission
 * begins, so does time: what the host does between them does not count.
 */

#include "engine/vulkan/vk_device.h"

// Does it have one?
bool vk_clock_exists(const struct device *dev);
// `ns` (count) is zeroed and borrowed until vk_clock_detach().
int vk_clock_attach(struct device *dev, uint64_t *ns, uint32_t count);
void vk_clock_detach(struct device *dev);
static inline bool vk_clock_runs(const struct device *dev)
{
    return dev->clock != NULL;
}

// Around what a submission is made of: it begins, a dispatch of `instr` comes
// next, it ends. Nothing without a clock.
void vk_clock_begin(struct device *dev, VkCommandBuffer cmd);
void vk_clock_next(struct device *dev, VkCommandBuffer cmd, uint32_t instr);
void vk_clock_end(struct device *dev, VkCommandBuffer cmd);
// Must all that was submitted be waited for, and collected, before another
// submission?
bool vk_clock_is_full(const struct device *dev);
void vk_clock_collect(struct device *dev);
// What the host took for an instruction of the CPU.
void vk_clock_add(struct device *dev, uint32_t instr, uint64_t ns);
