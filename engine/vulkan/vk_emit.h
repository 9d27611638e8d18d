// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * From an instruction to dispatches
 *
 * Each row of vk_kernels.def names a function that writes the dispatches of
 * one instruction. It runs once, when a program is made ready; what it writes
 * runs at every step.
 *
 * Dispatches of one instruction follow one another as if each waited for the
 * one before it, unless vk_parallel() says otherwise. Between instructions the
 * backend looks at what they read and write, and may let those of neighbours
 * run in another order where it makes no difference (vk_waves.h).
 */

#include "engine/vulkan/vk_device.h"

struct vk_list;    // of dispatches, see vk_prepare.h
struct vk_hazards; // what was read and written since the last wait
struct vk_packs;   // see vk_packs.h
struct vk_adamw;   // see vk_adamw.h
struct vk_spans;   // what an instruction reads and writes, see vk_prepare.h

// A weight on the device. Blocks of quantised types lie apart in planes, so
// that every load is aligned:
//
//   f32, f16, bf16  as in the file, row by row
//   q8_0            32 int8 of a block, row by row; scales: f16 of each block
//   q4_0            16 bytes of a block, in the file's order; scales likewise
//   q4_k            as in the file: blocks of 144 bytes
//   q6_k            192 bytes of a block (low, then high bits); scales: 16 int8
//                   of a block, then for all blocks; mins: f16 of each block
//   others          f16, rounded when they were copied
struct vk_weight {
    enum dtype dtype; // as it lies on the device
    VkDeviceAddress data;
    VkDeviceAddress scales;
    VkDeviceAddress mins;
};

struct vk_emit {
    struct device *dev;
    const struct instr *in;
    const struct instr *fold; // an earlier one that `in` does as well, or NULL
    const struct bindings *bindings;
    struct vk_list *list;
    struct vk_hazards *hazards;
    struct vk_spans *spans; // of `in`
    struct vk_packs *packs;
    struct vk_adamw *adamw;
    uint32_t instr;   // its number
    bool must_wait;   // the next dispatch, for all before
    bool is_first;    // the next dispatch is the instruction's first
    bool is_parallel; // with the one before it, in the same instruction
    int rc;           // the first failure; what follows does nothing
    struct error *err;
};

// Addresses of operands; 0 where there is none. Not of weights that may be
// quantised: those by vk_weight_of().
VkDeviceAddress vk_in(struct vk_emit *e, int i);
VkDeviceAddress vk_out(struct vk_emit *e, int i);
VkDeviceAddress vk_scratch(struct vk_emit *e);
// Input i, be it a weight, or a state or value (then f32, as it lies).
struct vk_weight vk_weight_of(struct vk_emit *e, int i);

struct vk_dispatch {
    enum vk_shader shader;
    const uint32_t *specs; // specialisation constants 0, 1, ...
    uint32_t n_specs;
    const void *push; // at most VK_PUSH_BYTES, as the shader lays them out
    size_t push_bytes;
    uint32_t groups[3]; // 0: none, nothing is dispatched
    double work;        // in any unit that is fair within a shader; 0: groups
};
void vk_dispatch(struct vk_emit *e, const struct vk_dispatch *d);
// `n` workgroups in a line, which shaders count by linear_group(): as many as
// needed of 1,024 each, since x may not exceed 65,535 everywhere. The last line
// may be too long.
void vk_linear(uint32_t groups[3], uint64_t n);
// The next dispatch does not wait for the one before it.
void vk_parallel(struct vk_emit *e);
// The instruction's next dispatch, its first, reads or writes that memory,
// which is none of its operands.
void vk_touch(struct vk_emit *e, VkDeviceAddress at, size_t bytes,
              bool is_write);
