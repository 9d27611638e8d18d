// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Operands that were packed
 *
 * Products by cooperative matrices read rows that a dispatch before has packed
 * into 16 bits. Q, K and V read the same rows, so what was packed stays in
 * memory of the prepared program until other rows need the place, or somebody
 * writes to those that it was made of. Which it is, is known when the program
 * is prepared.
 */

#include "engine/vulkan/vk_emit.h"

struct vk_packs;

struct vk_pack {
    VkDeviceAddress a; // f32 (m,k)
    uint32_t m, k;
    uint32_t depth;  // of a panel
    uint32_t a_rows; // m, in whole tiles
    bool is_bf16;
};

// `bytes`: of the largest. 0: none is created, *out is NULL.
int vk_packs_create(struct vk_packs **out, struct device *dev, size_t bytes,
                    struct error *err);
void vk_packs_destroy(struct vk_packs *p); // accepts NULL
// Where it is (true), or where the next dispatch must put it (false).
bool vk_pack_find(VkDeviceAddress *at, struct vk_emit *e,
                  const struct vk_pack *pack);
// Somebody has written there.
void vk_packs_forget(struct vk_packs *p, VkDeviceAddress from,
                     VkDeviceAddress to);
