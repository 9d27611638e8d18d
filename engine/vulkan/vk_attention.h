// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Attention by cooperative matrices, for emit_attention.c to choose.

#include "engine/vulkan/vk_emit.h"

// Workgroups with which they keep a large device busy.
enum { VK_ATTENTION_CM_GROUPS = 128 };

// Does the device have them, and do they take this OP_attention or
// OP_attention_back?
bool vk_attention_by_matrices(const struct device *dev, const struct instr *in);

void vk_emit_attention_cm(struct vk_emit *e, float scale);

// Of OP_attention_back: bytes of scratch beside what the plain kernels take.
size_t vk_attention_cm_scratch(const struct instr *in);

// Where gradients of keys and values go, and what lies in scratch.
struct vk_attention_keys {
    VkDeviceAddress dk, dv; // (T,G*D); by head: (T,H*D)
    bool by_head;
    VkDeviceAddress scratch; // vk_attention_cm_scratch() bytes
};
void vk_emit_attention_back_cm(struct vk_emit *e, float scale,
                               const struct vk_attention_keys *keys);
