// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_cache.h"

#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/vulkan/vk_device.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CACHE_BYTES_MAX = 64 << 20 };

/*
 * The file is a hash, and what the driver gave. Drivers look at the header,
 * not all of them at all of it, and at what follows hardly one.
 */

static bool is_whole(const unsigned char *file, size_t bytes)
{
    uint8_t hash[HASH_BYTES];

    if (bytes <= HASH_BYTES)
        return false;
    hash_bytes(hash, file + HASH_BYTES, bytes - HASH_BYTES);
    return memcmp(hash, file, HASH_BYTES) == 0;
}

static bool is_ours(const struct device *dev, const void *data, size_t bytes)
{
    VkPipelineCacheHeaderVersionOne h;

    if (bytes < sizeof(h))
        return false;
    memcpy(&h, data, sizeof(h));
    return h.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           h.vendorID == dev->traits.vendor &&
           memcmp(h.pipelineCacheUUID, dev->traits.uuid, VK_UUID_SIZE) == 0;
}

static void *read_whole(size_t *bytes, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        st.st_size > CACHE_BYTES_MAX)
        return NULL;
    void *data = fault_malloc((size_t) st.st_size);
    if (data && pread(fd, data, (size_t) st.st_size, 0) != st.st_size) {
        free(data);
        data = NULL;
    }
    *bytes = (size_t) st.st_size;
    return data;
}

void vk_cache_load(struct device *dev)
{
    size_t bytes = 0;
    unsigned char *file =
        dev->cache_fd >= 0 ? read_whole(&bytes, dev->cache_fd) : NULL;
    const unsigned char *data = file ? file + HASH_BYTES : NULL;
    const bool is_undamaged = file && is_whole(file, bytes);
    const bool is_good = is_undamaged && is_ours(dev, data, bytes - HASH_BYTES);
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = is_good ? bytes - HASH_BYTES : 0,
        .pInitialData = is_good ? data : NULL,
    };

    if (file && !is_good)
        (void) snprintf(dev->notice, sizeof(dev->notice),
                        "its compiled shaders of last time %s: they are "
                        "compiled anew",
                        is_undamaged ? "are of another device or driver"
                                     : "are damaged");

    if (dev->vk.CreatePipelineCache(dev->device, &info, NULL, &dev->cache) < 0)
        dev->cache = VK_NULL_HANDLE;
    dev->cache_bytes = is_good ? bytes - HASH_BYTES : 0;
    free(file);
}

void vk_cache_save(struct device *dev)
{
    size_t bytes = 0;

    if (dev->cache_fd < 0 || !dev->cache || dev->is_lost ||
        dev->vk.GetPipelineCacheData(dev->device, dev->cache, &bytes, NULL) <
            0 ||
        bytes == dev->cache_bytes || bytes > CACHE_BYTES_MAX)
        return;
    unsigned char *file = fault_malloc(HASH_BYTES + bytes);
    if (!file)
        return;
    unsigned char *data = file + HASH_BYTES;
    // A file that is cut short, or half old, is not whole: it only costs
    // compiling once more.
    if (dev->vk.GetPipelineCacheData(dev->device, dev->cache, &bytes, data) ==
        VK_SUCCESS) {
        const size_t all = HASH_BYTES + bytes;
        hash_bytes(file, data, bytes);
        if (ftruncate(dev->cache_fd, 0) == 0 &&
            pwrite(dev->cache_fd, file, all, 0) != (ssize_t) all)
            (void) ftruncate(dev->cache_fd, 0);
    }
    free(file);
}
