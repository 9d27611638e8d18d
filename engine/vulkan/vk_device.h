// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A Vulkan device, from the inside of the backend
 *
 * One queue, one pipeline layout (128 bytes of push constants, no
 * descriptors): kernels find their operands by address
 * (VK_KHR_buffer_device_address), so no tensor is too large for a binding.
 */

#include "engine/backend.h"
#include "engine/vulkan/vk_api.h"
#include "engine/vulkan/vk_shaders.h"

enum {
    VK_PUSH_BYTES = 128, // what every driver has
    VK_SPECS_MAX = 12,   // specialisation constants 0, 1, ... of a shader
    VK_FLIGHTS = 2,      // submissions that may be on their way
};

// What the device is, and can do beyond what every kernel needs.
struct vk_traits {
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    VkPhysicalDeviceType type;
    uint32_t vendor;
    uint32_t driver; // version
    uint32_t api;
    uint32_t subgroup;      // its usual size
    bool has_subgroup_sum;  // and subgroups add what their threads have
    uint32_t shared_bytes;  // of a workgroup
    uint32_t max_workgroup; // invocations
    uint32_t max_groups;    // in x; y and z take 65,535 at least
    float timestamp_ns;
    bool has_few_registers; // 64 of a thread, no more: Mali's
    bool has_low_priority;  // of the queue, by the driver's word
    bool has_f16;           // arithmetic
    bool has_storage16;
    bool has_coopmat; // VK_KHR_cooperative_matrix, f16 with f32 sums
    bool has_coopmat_bf16;
    bool has_coopmat2; // VK_NV_cooperative_matrix2, all that gemm_cm2 uses
    uint32_t coopmat_m, coopmat_n, coopmat_k;
    uint8_t uuid[VK_UUID_SIZE]; // of its pipeline cache
};

struct vk_memory_type {
    uint32_t index;
    bool is_mapped;   // the host sees it
    bool is_coherent; // and need not flush
};

struct vk_flight {
    VkCommandPool pool;
    VkCommandBuffer cmd;
    uint64_t value; // of the timeline when it is done; 0: free
    double predicted_ns;
    uint64_t submitted_ns;
};

struct vk_pipeline;
struct vk_copies;
struct vk_host;
struct vk_block;
struct vk_profile;
struct vk_clock;

struct device {
    struct vk_api vk;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    uint32_t timestamp_bits; // of the queue; 0: it has none
    struct vk_traits traits;
    VkPhysicalDeviceMemoryProperties memory;
    struct vk_memory_type local;   // where tensors live
    struct vk_memory_type staging; // what the host writes and reads
    VkPipelineLayout layout;
    VkPipelineCache cache;
    struct vk_pipeline **pipelines; // chained by hash
    uint32_t n_pipelines;
    VkSemaphore timeline;
    uint64_t value; // last one that a submission signals
    uint64_t done;  // last one that was seen
    uint64_t done_ns;
    struct vk_flight flights[VK_FLIGHTS];
    struct vk_copies *copies;
    struct vk_lent *lent;       // memory of the host's side, see vk_lend()
    struct vk_host *host;       // NULL: the CPU does not see its memory
    struct vk_profile *profile; // NULL: off
    struct vk_block *noise;     // table of noise.h; NULL: nobody asked for it
    struct vk_clock *clock;     // NULL: nobody looks at it
    const atomic_bool *stop;
    const atomic_int *manners; // enum manners; NULL: nobody else uses it
    int behaves;               // as what of them it does now; -1: none yet
    double slice_most_ns;      // whatever manners allow; 0: no limit
    size_t used_bytes;         // of device memory, now and at most
    size_t peak_bytes;
    double slice_ns;    // how long a submission may take
    uint32_t gap;       // percent of a slice that is left to others behind it
    uint32_t depth;     // submissions in flight, at most VK_FLIGHTS
    uint64_t switch_ns; // an empty submission, and waiting for it
    bool is_lost;
    int cache_fd;       // of compiled shaders, borrowed; -1: none
    size_t cache_bytes; // that were read from it
    char notice[160];   // see backend.notice
    char text[320];
    char identity[384];
};

// Chooses a device by what its owner said, see device_params.tier of
// vulkan_backend, and opens it.
int vk_device_open(struct device *dev, const char *which, struct error *err);
void vk_device_close(struct device *dev);

// Slices, gaps and depth for who uses the device now. True: they have changed,
// and what is on its way is to be waited for first.
bool vk_behave(struct device *dev);

/*
 * Memory
 */
struct vk_block {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceAddress address;
    unsigned char *mapped; // NULL: not the host's to see
    size_t bytes;
    bool is_counted; // among the device's own memory
};
// -ENOMEM when there is none, or the device cannot give it in one piece.
int vk_block_create(struct vk_block *out, struct device *dev, size_t bytes,
                    const struct vk_memory_type *type);
void vk_block_destroy(struct vk_block *b, struct device *dev);

struct vk_import; // a view of host memory and what was copied of it

struct buffer {
    struct device *dev;
    struct vk_block block;    // zero of an import
    struct vk_import *import; // NULL: plain memory
    size_t bytes;
};

/*
 * Copies between host and device
 *
 * Writes gather in staging memory and go along with the next submission, in
 * front of its work; reads wait for the device.
 */
int vk_copies_create(struct device *dev, struct error *err);
void vk_copies_destroy(struct device *dev);
int vk_copy_in(struct device *dev, const struct vk_block *to, size_t offset,
               const void *data, size_t bytes);
// Room in staging memory for what is then to be copied: at most
// vk_copy_room() bytes at once. NULL when the device failed.
void *vk_copy_in_place(struct device *dev, const struct vk_block *to,
                       size_t offset, size_t bytes);
size_t vk_copy_room(void);
// Memory that copies need not go through staging memory from. NULL: there is
// none, or the device sees all of the host's.
void *vk_lend(struct device *dev, size_t bytes);
void vk_take_back(struct device *dev, void *data);
// So many bytes of staging memory will be there, in several pieces.
int vk_copies_reserve(struct device *dev, size_t bytes);
int vk_copy_zero(struct device *dev, const struct vk_block *to);
int vk_copy_out(struct device *dev, const struct vk_block *from, size_t offset,
                void *data, size_t bytes);
// Is anything waiting to be written?
bool vk_copies_wait(const struct device *dev);
// Into a command buffer that runs next: what waits to be written.
void vk_copies_record(struct device *dev, VkCommandBuffer cmd);
// The memory behind is free again: nothing that was recorded is on its way.
void vk_copies_done(struct device *dev);

/*
 * Submissions
 */
// A command buffer to record, waiting for a free one. -EIO: the device failed.
int vk_begin(struct vk_flight **out, struct device *dev);
int vk_submit(struct device *dev, struct vk_flight *f);
// Until all that was submitted is done.
int vk_wait_all(struct device *dev);
int vk_wait(struct device *dev, struct vk_flight *f);
// Submit what waits to be copied, and wait.
int vk_flush(struct device *dev);

/*
 * Pipelines
 */
struct vk_pipeline {
    struct vk_pipeline *next;
    VkPipeline handle;
    uint16_t shader; // enum vk_shader
    uint8_t n_specs;
    uint32_t specs[VK_SPECS_MAX];
    double ns_per_work; // seen so far; 0: never ran
};
int vk_pipeline_get(struct vk_pipeline **out, struct device *dev,
                    enum vk_shader shader, const uint32_t *specs, uint32_t n,
                    struct error *err);
int vk_pipelines_create(struct device *dev, struct error *err);
void vk_pipelines_destroy(struct device *dev);
