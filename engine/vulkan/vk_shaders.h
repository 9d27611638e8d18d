// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Shaders of this build
 *
 * The rows of engine/vulkan/shaders/meson.build.
 */

#include "engine/vulkan/shaders/shaders.gen.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vk_shader {
#define VK_SHADER(name, needs) VK_SHADER_##name,
    VK_SHADERS(VK_SHADER)
#undef VK_SHADER
        VK_SHADER_COUNT
};

struct vk_shader_info {
    const char *name;
    const char *needs; // "plain", "cm", ...: see that file
    const uint32_t *code;
    size_t bytes;
};

extern const struct vk_shader_info vk_shaders[VK_SHADER_COUNT];

// Cooperative matrices want a newer compiler than Debian 12's: where it was
// not there when this was built, their shaders are not either.
static inline bool vk_shader_is_built(enum vk_shader s)
{
    return vk_shaders[s].code[0] != 0;
}

// Of all code: what was timed or cached with other shaders is not true of
// these.
uint32_t vk_shaders_hash(void);
