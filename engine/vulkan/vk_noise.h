// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Noise of an instruction, as shaders/lib/noise.glsl asks for it
 */

#include "engine/vulkan/vk_emit.h"

struct vk_noise {
    VkDeviceAddress cubics; // of engine/base/noise_table.h
    VkDeviceAddress draw, queries;
    VkDeviceAddress sizes, limits;
};

// Of `e->in`, which is perturb or noise_sum.
struct vk_noise vk_noise_of(struct vk_emit *e);

// Can `later` make the noise of `first`, its input 1, by itself? By their
// forms; where things are matters, too.
bool vk_noise_folds(const struct device *dev, const struct instr *first,
                    const struct instr *later);
// vk_emit_accumulate() where it does.
void vk_emit_noise_added(struct vk_emit *e);

// The device's copy of those, if there is one.
void vk_noise_table_destroy(struct device *dev);
