// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include "engine/vulkan/vk_emit.h"

// One row of vk_kernels.def.
struct vk_kernel {
    void (*emit)(struct vk_emit *e);
    size_t (*scratch)(const struct device *dev, const struct instr *in);
};
// NULL where the operator does not run on Vulkan.
const struct vk_kernel *vk_kernel_of(enum op op);

#define VK_KERNEL(op, emit, scratch) void emit(struct vk_emit *e);
#include "engine/vulkan/vk_kernels.def"
#undef VK_KERNEL

// What the rows name.
size_t vk_matmul_scratch(const struct device *dev, const struct instr *in);
size_t vk_matmul_lora_scratch(const struct device *dev, const struct instr *in);
size_t vk_xent_scratch(const struct device *dev, const struct instr *in);
size_t vk_scratch_adamw(const struct device *dev, const struct instr *in);
size_t vk_scratch_attention_back(const struct device *dev,
                                 const struct instr *in);
size_t vk_scratch_attention_cached(const struct device *dev,
                                   const struct instr *in);
size_t vk_scratch_choose_rows(const struct device *dev, const struct instr *in);
size_t vk_scratch_dot_columns(const struct device *dev, const struct instr *in);
size_t vk_scratch_rmsnorm_dw(const struct device *dev, const struct instr *in);
size_t vk_scratch_row_squares(const struct device *dev, const struct instr *in);
size_t vk_scratch_subtoken_mean(const struct device *dev,
                                const struct instr *in);
