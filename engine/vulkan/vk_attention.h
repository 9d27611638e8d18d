// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// Attention by cooperative matrices, for emit_attention.c to choose.

#include "engine/vulkan/vk_emit.h"

// Workgroups with which they keep a large device busy.
enum { VK_ATTENTION_CM_GROUPS = 128 };

// Numbers of instr.kernel, beside those of products: the plain shaders, and
// matrices with few or many rows at a time.
enum vk_attention_kernel {
    VK_ATTENTION_PLAIN = 11,
    VK_ATTENTION_32 = 12,
    VK_ATTENTION_64 = 13,
};
// As those of products: what a timed table may choose of.
uint32_t vk_attention_kernels(struct backend_kernel *out,
                              const struct device *dev);
bool vk_attention_offers(const struct device *dev, const struct instr *in);

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
