// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_shaders.h"

#include "engine/vulkan/shaders/shader_code.gen.h"

const struct vk_shader_info vk_shaders[VK_SHADER_COUNT] = {
#define VK_SHADER(name, needs) {#name, #needs, name##_spv, sizeof(name##_spv)},
    VK_SHADERS(VK_SHADER)
#undef VK_SHADER
};

uint32_t vk_shaders_hash(void)
{
    uint32_t h = 2166136261u;

    for (int i = 0; i < VK_SHADER_COUNT; i++)
        for (size_t j = 0; j < vk_shaders[i].bytes / 4; j++)
            h = (h ^ vk_shaders[i].code[j]) * 16777619u;
    return h;
}
