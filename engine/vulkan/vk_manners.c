// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

/*
 * What the owner's other programs may have to wait for: depth times slice,
 * since what the driver has taken cannot be taken back. Where the driver keeps
 * a queue of low priority behind all others, slices of somebody at work may be
 * longer, and need not be paid for with gaps of twice their length.
 */
static const struct behaviour {
    double slice_ns;
    uint32_t gap; // percent
    uint32_t depth;
} behaviours[] = {
    [MANNERS_UNUSED] = {16e6, 0, VK_FLIGHTS},
    [MANNERS_IDLE] = {4e6, 100, 1},
    [MANNERS_ACTIVE] = {2e6, 200, 1},
};

bool vk_behave(struct device *dev)
{
    int now = dev->manners ? atomic_load(dev->manners) : MANNERS_UNUSED;

    if (now < MANNERS_UNUSED || now > MANNERS_ACTIVE)
        now = MANNERS_ACTIVE;
    if (now == dev->behaves)
        return false;
    dev->behaves = now;
    const struct behaviour *b = &behaviours[now];
    if (now == MANNERS_ACTIVE && dev->traits.has_low_priority)
        b = &behaviours[MANNERS_IDLE];
    dev->slice_ns = b->slice_ns;
    if (dev->slice_most_ns > 0 && dev->slice_ns > dev->slice_most_ns)
        dev->slice_ns = dev->slice_most_ns;
    dev->gap = b->gap;
    dev->depth = b->depth;
    return true;
}
