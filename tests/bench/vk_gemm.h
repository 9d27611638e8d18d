// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <vulkan/vulkan.h>

// A device for shaders that are given addresses in push constants, and what a
// benchmark of them needs; for tests/bench/vk_gemm.c alone.

#define GPU_PUSH_MAX 128
#define GPU_SPEC_MAX 16

struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    VkCommandPool pool;
    VkQueryPool queries;
    VkPipelineLayout layout;
    VkPhysicalDeviceMemoryProperties memory;
    double ns_per_tick;
    uint32_t shared_bytes; // of a workgroup
    bool has_cm;
    bool has_cm2;
    bool has_bf16;
    bool has_statistics;
};

struct gpu_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t address;
    uint64_t size;
    void *mapped; // or NULL
};

struct gpu_kernel {
    VkShaderModule module;
    VkPipeline pipeline;
};

struct gpu_call {
    const struct gpu_kernel *kernel;
    uint32_t groups[3];
    const void *push;
    uint32_t push_size;
};

// 0, or -1 after a line on stderr, of all that return int.
int gpu_open(struct gpu *g, const char *name_part);
void gpu_close(struct gpu *g);
void gpu_print(const struct gpu *g);

int gpu_buffer_create(struct gpu *g, struct gpu_buffer *b, uint64_t size,
                      bool is_mapped);
void gpu_buffer_destroy(struct gpu *g, struct gpu_buffer *b);
int gpu_copy(struct gpu *g, struct gpu_buffer *to, uint64_t to_at,
             struct gpu_buffer *from, uint64_t from_at, uint64_t size);
int gpu_fill(struct gpu *g, struct gpu_buffer *b, uint32_t value);

int gpu_kernel_create(struct gpu *g, struct gpu_kernel *k, const char *path,
                      const uint32_t *spec, uint32_t n_spec);
void gpu_kernel_destroy(struct gpu *g, struct gpu_kernel *k);
void gpu_kernel_print(const struct gpu *g, const struct gpu_kernel *k);

// Runs the calls one behind the other, all of them `repeats` times. *ns: of
// one repetition.
int gpu_run(struct gpu *g, const struct gpu_call *calls, uint32_t n_calls,
            uint32_t repeats, double *ns);

// Numbers for operands: of an index, the same everywhere.
static inline uint32_t mixed(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

// About normal, of variance 1.
static inline float drawn(uint32_t i)
{
    const uint32_t x = mixed(i + 1), y = mixed(x);
    const float s = (float) (x & 0xffff) + (float) (x >> 16) +
                    (float) (y & 0xffff) + (float) (y >> 16) - 131070.0f;
    return s / 37837.0f;
}
