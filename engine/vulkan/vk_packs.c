// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_packs.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Two, so that one is written while products still read the other.
enum { PLACES = 2 };

struct place {
    struct vk_pack pack; // a is 0: nothing
    uint32_t age;        // when it was last asked for
};

struct vk_packs {
    struct device *dev;
    struct vk_block block;
    size_t bytes; // of a place
    uint32_t now;
    struct place places[PLACES];
};

int vk_packs_create(struct vk_packs **out, struct device *dev, size_t bytes,
                    struct error *err)
{
    *out = NULL;
    if (bytes == 0)
        return 0;
    struct vk_packs *p = fault_calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, -ENOMEM, "no memory for a program");
    p->dev = dev;
    p->bytes = (bytes + 255) & ~(size_t) 255;
    const int rc =
        vk_block_create(&p->block, dev, PLACES * p->bytes, &dev->local);
    if (rc < 0) {
        free(p);
        return error_set(err, rc, "no memory on %.60s for packed operands",
                         dev->traits.name);
    }
    *out = p;
    return 0;
}

void vk_packs_destroy(struct vk_packs *p)
{
    if (!p)
        return;
    vk_block_destroy(&p->block, p->dev);
    free(p);
}

static bool is_same(const struct vk_pack *a, const struct vk_pack *b)
{
    return a->a == b->a && a->m == b->m && a->k == b->k &&
           a->depth == b->depth && a->a_rows == b->a_rows &&
           a->is_bf16 == b->is_bf16;
}

bool vk_pack_find(VkDeviceAddress *at, struct vk_emit *e,
                  const struct vk_pack *pack)
{
    struct vk_packs *p = e->packs;
    uint32_t oldest = 0;
    bool found = false;

    for (uint32_t i = 0; i < PLACES && !found; i++) {
        found = is_same(&p->places[i].pack, pack);
        if (found || p->places[i].age < p->places[oldest].age)
            oldest = i;
    }
    p->places[oldest].pack = *pack;
    p->places[oldest].age = ++p->now;
    *at = p->block.address + oldest * p->bytes;
    vk_touch(e, *at, p->bytes, !found);
    return found;
}

void vk_packs_forget(struct vk_packs *p, VkDeviceAddress from,
                     VkDeviceAddress to)
{
    for (uint32_t i = 0; p && i < PLACES; i++) {
        const struct vk_pack *pack = &p->places[i].pack;
        const VkDeviceAddress end =
            pack->a + (VkDeviceAddress) pack->m * pack->k * sizeof(float);
        if (pack->a < to && from < end)
            memset(&p->places[i], 0, sizeof(p->places[i]));
    }
}
