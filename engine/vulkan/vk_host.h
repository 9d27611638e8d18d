// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Instructions of a Vulkan program that the CPU runs
 *
 * Where the host sees the device's memory (phones, laptops with one memory), an
 * instruction may run on the CPU between two submissions, in place, without a
 * copy: because the times that were measured say so, or because it has no
 * kernel for Vulkan. Weights are read where the model's file is mapped.
 */

#include "engine/vulkan/vk_prepare.h"

struct vk_host;       // the CPU of a device
struct vk_host_views; // memory of one program, as the CPU sees it

// NULL where the host does not see the device's memory.
int vk_host_create(struct vk_host **out, const struct device *dev,
                   struct error *err);
void vk_host_destroy(struct vk_host *h); // accepts NULL

bool vk_host_supports(const struct vk_host *h, const struct instr *in);
size_t vk_host_scratch(const struct vk_host *h, const struct instr *in);

int vk_host_views_create(struct vk_host_views **out, struct vk_host *h,
                         const struct instr *instrs, uint32_t count,
                         const struct bindings *b);
void vk_host_views_destroy(struct vk_host_views *v); // accepts NULL
// With nothing on its way to the device. 1, or 0 when `stop` was raised.
int vk_host_run(struct vk_host_views *v, const struct instr *in);
