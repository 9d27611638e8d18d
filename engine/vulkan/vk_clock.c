// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_clock.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A submission has at most SLICE_MARKS of them, see vk_run.c.
enum { MARKS = 16384, SLICE_MARKS = 4096 + 2 };
#define NOTHING UINT32_MAX

struct vk_clock {
    VkQueryPool queries;
    uint64_t mask; // bits of a timestamp that count
    uint64_t *ns;  // (count)
    uint32_t count;
    uint32_t ends[MARKS]; // instruction that ends there; NOTHING: one begins
    uint32_t n_marks;
    uint32_t instr; // that runs; NOTHING: none
    bool is_reset;
};

bool vk_clock_exists(const struct device *dev)
{
    return dev->traits.timestamp_ns > 0 && dev->timestamp_bits > 0;
}

int vk_clock_attach(struct device *dev, uint64_t *ns, uint32_t count)
{
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = MARKS,
    };

    if (!vk_clock_exists(dev))
        return -ENOTSUP;
    struct vk_clock *c = fault_calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    const VkResult r =
        dev->vk.CreateQueryPool(dev->device, &info, NULL, &c->queries);
    if (r < 0) {
        free(c);
        return vk_errno(r);
    }
    memset(ns, 0, count * sizeof(*ns));
    c->mask = dev->timestamp_bits < 64
                  ? (UINT64_C(1) << dev->timestamp_bits) - 1
                  : UINT64_MAX;
    c->ns = ns;
    c->count = count;
    c->instr = NOTHING;
    dev->clock = c;
    return 0;
}

void vk_clock_detach(struct device *dev)
{
    if (!dev->clock)
        return;
    dev->vk.DestroyQueryPool(dev->device, dev->clock->queries, NULL);
    free(dev->clock);
    dev->clock = NULL;
}

// Once all before it has ended.
static void mark(struct device *dev, VkCommandBuffer cmd, uint32_t ends)
{
    struct vk_clock *c = dev->clock;

    if (!c->is_reset)
        dev->vk.CmdResetQueryPool(cmd, c->queries, 0, MARKS);
    c->is_reset = true;
    c->ends[c->n_marks] = ends;
    dev->vk.CmdWriteTimestamp(cmd, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                              c->queries, c->n_marks++);
}

void vk_clock_begin(struct device *dev, VkCommandBuffer cmd)
{
    if (dev->clock)
        mark(dev, cmd, NOTHING);
}

void vk_clock_next(struct device *dev, VkCommandBuffer cmd, uint32_t instr)
{
    struct vk_clock *c = dev->clock;

    if (!c)
        return;
    if (c->instr != NOTHING && c->instr != instr)
        mark(dev, cmd, c->instr);
    c->instr = instr;
}

void vk_clock_end(struct device *dev, VkCommandBuffer cmd)
{
    struct vk_clock *c = dev->clock;

    if (c && c->instr != NOTHING) {
        mark(dev, cmd, c->instr);
        c->instr = NOTHING;
    }
}

bool vk_clock_is_full(const struct device *dev)
{
    return dev->clock && dev->clock->n_marks + SLICE_MARKS > MARKS;
}

void vk_clock_collect(struct device *dev)
{
    struct vk_clock *c = dev->clock;
    uint64_t before = 0;

    for (uint32_t i = 0; c && i < c->n_marks; i++) {
        uint64_t now = 0;
        if (dev->vk.GetQueryPoolResults(dev->device, c->queries, i, 1,
                                        sizeof(now), &now, sizeof(now),
                                        VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
            continue;
        if (c->ends[i] != NOTHING)
            vk_clock_add(dev, c->ends[i],
                         (uint64_t) ((double) ((now - before) & c->mask) *
                                     (double) dev->traits.timestamp_ns));
        before = now;
    }
    if (c) {
        c->n_marks = 0;
        c->is_reset = false;
    }
}

void vk_clock_add(struct device *dev, uint32_t instr, uint64_t ns)
{
    struct vk_clock *c = dev->clock;

    if (c && instr < c->count)
        c->ns[instr] += ns;
}
