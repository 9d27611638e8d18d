// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * A program made ready: its dispatches, and where the device must wait
 */

#include "engine/vulkan/vk_emit.h"

struct vk_item {
    struct vk_pipeline *pipeline; // NULL: an instruction of the CPU
    uint32_t groups[3];
    uint32_t instr;
    uint8_t op;
    double work;
    bool waits; // for all dispatches before it
    uint8_t push_bytes;
    unsigned char push[VK_PUSH_BYTES];
};

struct vk_list {
    struct vk_item *items;
    uint32_t n;
    uint32_t size;
};

/*
 * What an instruction reads and writes, in bytes of the device. Weights do not
 * count: nobody writes them.
 */
struct vk_span {
    VkDeviceAddress from, to;
};

// With what another one does that is folded into it, and vk_touch().
enum {
    VK_READS_MAX = 2 * OP_INPUTS_MAX + 4,
    VK_WRITES_MAX = OP_OUTPUTS_MAX + 6,
};

struct vk_spans {
    struct vk_span reads[VK_READS_MAX];
    struct vk_span writes[VK_WRITES_MAX];
    uint32_t n_reads, n_writes;
    struct vk_span first_writes; // of `writes`, what its first dispatch wrote
};
// `fold`: the other one, or NULL.
void vk_spans_of(struct vk_spans *out, const struct instr *in,
                 const struct instr *fold, const struct bindings *b);
// What an instruction waits for that does y and comes behind one that does x:
// one writes what the other reads or writes.
enum vk_order {
    VK_ORDER_NONE,
    VK_ORDER_FIRST, // its first dispatch
    VK_ORDER_ALL,
};
enum vk_order vk_spans_order(const struct vk_spans *x,
                             const struct vk_spans *y);

struct vk_waves;

struct prepared {
    struct device *dev;
    const struct instr *instrs; // borrowed
    uint32_t n_instrs;
    struct vk_list list;
    struct vk_host_views *host; // NULL: the CPU runs nothing of it
    struct vk_packs *packs;     // NULL: none is needed
    struct vk_adamw *adamw;     // NULL: nothing learns
    uint32_t *first;            // item of each instruction, n_instrs + 1
    struct vk_waves *waves;     // the same, side by side where it goes
};

// Numbers of instr.kernel, beside 0, which is Vulkan's where there is one.
enum { VK_KERNEL_VULKAN = 1, VK_KERNEL_CPU = 2 };

// `folds`: instructions may be done with later ones, see vk_fold.h; then they
// run in order, all of them, whatever stops in between.
int vk_prepare(struct prepared **out, struct device *dev,
               const struct instr *instrs, uint32_t count,
               const struct bindings *b, bool folds, struct error *err);
void vk_release(struct prepared *p); // accepts NULL

// Runs instructions [first, first + count); as backend->run().
int vk_run(struct device *dev, const struct prepared *p, uint32_t first,
           uint32_t count);

// A weight, copied when it is first asked for and kept with its import.
int vk_import_weight(struct vk_weight *out, struct buffer *buf, size_t offset,
                     const struct operand *o, struct error *err);
int vk_import_create(struct buffer **out, struct device *dev, const void *data,
                     size_t bytes);
void vk_import_destroy(struct buffer *buf);
const void *vk_import_data(const struct buffer *buf);
