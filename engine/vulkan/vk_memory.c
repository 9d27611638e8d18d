// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_profile.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    STAGING_BYTES = 64 << 20,
    COPIES_MAX = 4096,
};

static VkResult create_block(struct vk_block *b, struct device *dev,
                             size_t bytes, const struct vk_memory_type *type)
{
    const struct vk_api *vk = &dev->vk;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                 VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    VkMemoryRequirements need;
    void *mapped = NULL;

    VkResult r = vk->CreateBuffer(dev->device, &info, NULL, &b->buffer);
    if (r < 0)
        return r;
    vk->GetBufferMemoryRequirements(dev->device, b->buffer, &need);
    if (!(need.memoryTypeBits >> type->index & 1))
        return VK_ERROR_FEATURE_NOT_PRESENT;
    const VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &flags,
        .allocationSize = need.size,
        .memoryTypeIndex = type->index,
    };
    if ((r = vk->AllocateMemory(dev->device, &memory, NULL, &b->memory)) < 0 ||
        (r = vk->BindBufferMemory(dev->device, b->buffer, b->memory, 0)) < 0)
        return r;
    if (type->is_mapped && (r = vk->MapMemory(dev->device, b->memory, 0,
                                              VK_WHOLE_SIZE, 0, &mapped)) < 0)
        return r;
    const VkBufferDeviceAddressInfo address = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
        .buffer = b->buffer,
    };
    b->address = vk->GetBufferDeviceAddress(dev->device, &address);
    b->mapped = mapped;
    b->bytes = need.size;
    return VK_SUCCESS;
}

int vk_block_create(struct vk_block *out, struct device *dev, size_t bytes,
                    const struct vk_memory_type *type)
{
    memset(out, 0, sizeof(*out));
    if (fault_hit(FAULT_ALLOC) || fault_hit(FAULT_MEMORY))
        return -ENOMEM;
    // Whole words, so that kernels may read and copies fill them.
    const VkResult r =
        create_block(out, dev, (bytes + 255) & ~(size_t) 255, type);
    if (r < 0) {
        vk_block_destroy(out, dev);
        return vk_errno(r);
    }
    out->is_counted = type == &dev->local;
    if (out->is_counted)
        dev->used_bytes += out->bytes;
    if (dev->used_bytes > dev->peak_bytes)
        dev->peak_bytes = dev->used_bytes;
    return 0;
}

void vk_block_destroy(struct vk_block *b, struct device *dev)
{
    if (b->buffer)
        dev->vk.DestroyBuffer(dev->device, b->buffer, NULL);
    if (b->memory)
        dev->vk.FreeMemory(dev->device, b->memory, NULL);
    if (b->is_counted)
        dev->used_bytes -= b->bytes;
    memset(b, 0, sizeof(*b));
}

// One copy or fill that waits for the next submission.
struct copy {
    VkBuffer from, to;
    VkDeviceSize to_offset;
    VkDeviceSize from_offset; // VK_WHOLE_SIZE: zeros
    VkDeviceSize bytes;
};

struct vk_copies {
    struct vk_block staging;
    size_t used; // of staging, by copies that wait or are on their way
    uint32_t n;
    struct copy list[COPIES_MAX];
};

int vk_copies_create(struct device *dev, struct error *err)
{
    dev->copies = fault_calloc(1, sizeof(*dev->copies));
    if (!dev->copies)
        return error_set(err, -ENOMEM, "no memory for a Vulkan device");
    const int rc = vk_block_create(&dev->copies->staging, dev, STAGING_BYTES,
                                   &dev->staging);
    if (rc < 0)
        return error_set(err, rc, "no memory to exchange data with %.60s",
                         dev->traits.name);
    return 0;
}

void vk_copies_destroy(struct device *dev)
{
    if (!dev->copies)
        return;
    assert(!dev->lent);
    vk_block_destroy(&dev->copies->staging, dev);
    free(dev->copies);
    dev->copies = NULL;
}

size_t vk_copy_room(void)
{
    return STAGING_BYTES / 2;
}

static struct copy *add_copy(struct device *dev, size_t staged)
{
    struct vk_copies *c = dev->copies;

    if ((c->n == COPIES_MAX || c->used + staged > STAGING_BYTES) &&
        vk_flush(dev) < 0)
        return NULL;
    struct copy *copy = &c->list[c->n++];
    copy->from = c->staging.buffer;
    copy->from_offset = c->used;
    c->used += (staged + 63) & ~(size_t) 63;
    return copy;
}

int vk_copies_reserve(struct device *dev, size_t bytes)
{
    const struct vk_copies *c = dev->copies;

    if (c->n + 8 <= COPIES_MAX && c->used + bytes + 1024 <= STAGING_BYTES)
        return 0;
    return vk_flush(dev);
}

void *vk_copy_in_place(struct device *dev, const struct vk_block *to,
                       size_t offset, size_t bytes)
{
    if (to->mapped) {
        if (dev->value > dev->done && vk_wait_all(dev) < 0)
            return NULL;
        return to->mapped + offset;
    }
    struct copy *copy = add_copy(dev, bytes);
    if (!copy)
        return NULL;
    copy->to = to->buffer;
    copy->to_offset = offset;
    copy->bytes = bytes;
    return dev->copies->staging.mapped + copy->from_offset;
}

/*
 * Memory that was lent to the host
 */

struct vk_lent {
    struct vk_lent *next;
    struct vk_block block;
};

void *vk_lend(struct device *dev, size_t bytes)
{
    struct vk_lent *l;

    if (dev->local.is_mapped || !(l = fault_calloc(1, sizeof(*l))))
        return NULL;
    if (vk_block_create(&l->block, dev, bytes, &dev->staging) < 0) {
        free(l);
        return NULL;
    }
    memset(l->block.mapped, 0, bytes);
    l->next = dev->lent;
    dev->lent = l;
    return l->block.mapped;
}

void vk_take_back(struct device *dev, void *data)
{
    for (struct vk_lent **at = &dev->lent; *at; at = &(*at)->next) {
        struct vk_lent *l = *at;
        if (l->block.mapped != data)
            continue;
        // Nothing may still be read from it.
        (void) vk_flush(dev);
        *at = l->next;
        vk_block_destroy(&l->block, dev);
        free(l);
        return;
    }
}

static const struct vk_block *lent_block(const struct device *dev,
                                         const unsigned char *data,
                                         size_t bytes)
{
    for (const struct vk_lent *l = dev->lent; l; l = l->next) {
        const uintptr_t at = (uintptr_t) data - (uintptr_t) l->block.mapped;
        if ((uintptr_t) data >= (uintptr_t) l->block.mapped &&
            at < l->block.bytes && bytes <= l->block.bytes - at)
            return &l->block;
    }
    return NULL;
}

static int copy_from_lent(struct device *dev, const struct vk_block *to,
                          size_t offset, const struct vk_block *from,
                          const unsigned char *data, size_t bytes)
{
    struct copy *copy = add_copy(dev, 0);

    if (!copy)
        return -EIO;
    *copy = (struct copy){
        .from = from->buffer,
        .to = to->buffer,
        .from_offset = (VkDeviceSize) (data - from->mapped),
        .to_offset = offset,
        .bytes = bytes,
    };
    return 0;
}

int vk_copy_in(struct device *dev, const struct vk_block *to, size_t offset,
               const void *data, size_t bytes)
{
    const struct vk_block *lent =
        to->mapped || bytes == 0 ? NULL : lent_block(dev, data, bytes);

    if (lent)
        return copy_from_lent(dev, to, offset, lent, data, bytes);
    for (size_t at = 0; at < bytes;) {
        const size_t part =
            bytes - at < vk_copy_room() ? bytes - at : vk_copy_room();
        void *place = vk_copy_in_place(dev, to, offset + at, part);
        if (!place)
            return -EIO;
        const uint64_t begin = vk_profile_begin(dev);
        memcpy(place, (const char *) data + at, part);
        vk_profile_end(dev, VK_DOING_COPY_IN, begin);
        at += part;
    }
    return 0;
}

int vk_copy_zero(struct device *dev, const struct vk_block *to)
{
    if (to->mapped) {
        memset(to->mapped, 0, to->bytes);
        return 0;
    }
    struct copy *copy = add_copy(dev, 0);
    if (!copy)
        return -EIO;
    *copy = (struct copy){.to = to->buffer, .from_offset = VK_WHOLE_SIZE};
    return 0;
}

static void barrier(const struct device *dev, VkCommandBuffer cmd)
{
    const VkMemoryBarrier b = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    dev->vk.CmdPipelineBarrier(cmd, stages, stages, 0, 1, &b, 0, NULL, 0, NULL);
}

// Do two of them write the same bytes? Those in order need a barrier between.
static bool meets(const struct copy *a, const struct copy *b)
{
    return a->to == b->to && (a->from_offset == VK_WHOLE_SIZE ||
                              b->from_offset == VK_WHOLE_SIZE ||
                              (a->to_offset < b->to_offset + b->bytes &&
                               b->to_offset < a->to_offset + a->bytes));
}

void vk_copies_record(struct device *dev, VkCommandBuffer cmd)
{
    struct vk_copies *c = dev->copies;
    uint32_t first = 0; // behind the last barrier

    for (uint32_t i = 0; i < c->n; i++) {
        const struct copy *copy = &c->list[i];
        for (uint32_t j = first; j < i; j++)
            if (meets(&c->list[j], copy)) {
                barrier(dev, cmd);
                first = i;
                break;
            }
        if (copy->from_offset == VK_WHOLE_SIZE) {
            dev->vk.CmdFillBuffer(cmd, copy->to, 0, VK_WHOLE_SIZE, 0);
            continue;
        }
        const VkBufferCopy region = {copy->from_offset, copy->to_offset,
                                     copy->bytes};
        dev->vk.CmdCopyBuffer(cmd, copy->from, copy->to, 1, &region);
    }
    if (c->n > 0)
        barrier(dev, cmd);
    c->n = 0;
}

bool vk_copies_wait(const struct device *dev)
{
    return dev->copies->n > 0;
}

void vk_copies_done(struct device *dev)
{
    if (dev->copies->n == 0)
        dev->copies->used = 0;
}

static int copy_out_part(struct device *dev, const struct vk_block *from,
                         size_t offset, void *data, size_t bytes)
{
    struct vk_copies *c = dev->copies;
    struct vk_flight *f;
    int rc;

    if ((rc = vk_flush(dev)) < 0 || (rc = vk_begin(&f, dev)) < 0)
        return rc;
    const VkBufferCopy region = {offset, 0, bytes};
    barrier(dev, f->cmd);
    dev->vk.CmdCopyBuffer(f->cmd, from->buffer, c->staging.buffer, 1, &region);
    const VkMemoryBarrier b = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    dev->vk.CmdPipelineBarrier(f->cmd, VK_PIPELINE_STAGE_TRANSFER_BIT,
                               VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &b, 0, NULL, 0,
                               NULL);
    if ((rc = vk_submit(dev, f)) < 0 || (rc = vk_wait_all(dev)) < 0)
        return rc;
    const uint64_t begin = vk_profile_begin(dev);
    memcpy(data, c->staging.mapped, bytes);
    vk_profile_end(dev, VK_DOING_COPY_OUT, begin);
    return 0;
}

int vk_copy_out(struct device *dev, const struct vk_block *from, size_t offset,
                void *data, size_t bytes)
{
    int rc;

    if (from->mapped) {
        if ((rc = vk_flush(dev)) < 0)
            return rc;
        memcpy(data, from->mapped + offset, bytes);
        return 0;
    }
    for (size_t at = 0; at < bytes;) {
        const size_t part =
            bytes - at < STAGING_BYTES ? bytes - at : STAGING_BYTES;
        if ((rc = copy_out_part(dev, from, offset + at, (char *) data + at,
                                part)) < 0)
            return rc;
        at += part;
    }
    return 0;
}
