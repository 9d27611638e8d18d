// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_cache.h"

#include "engine/base/fault.h"
#include "engine/vulkan/vk_device.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CACHE_BYTES_MAX = 64 << 20 };

// The driver looks at the header too, but not every driver at all of it.
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
    void *data = dev->cache_fd >= 0 ? read_whole(&bytes, dev->cache_fd) : NULL;
    const bool is_good = data && is_ours(dev, data, bytes);
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = is_good ? bytes : 0,
        .pInitialData = is_good ? data : NULL,
    };

    if (dev->vk.CreatePipelineCache(dev->device, &info, NULL, &dev->cache) < 0)
        dev->cache = VK_NULL_HANDLE;
    dev->cache_bytes = is_good ? bytes : 0;
    free(data);
}

void vk_cache_save(struct device *dev)
{
    size_t bytes = 0;

    if (dev->cache_fd < 0 || !dev->cache || dev->is_lost ||
        dev->vk.GetPipelineCacheData(dev->device, dev->cache, &bytes, NULL) <
            0 ||
        bytes == dev->cache_bytes || bytes > CACHE_BYTES_MAX)
        return;
    void *data = fault_malloc(bytes);
    if (!data)
        return;
    // A file that is cut short, or half old, does not pass is_ours() or is
    // refused by the driver: it only costs compiling once more.
    if (dev->vk.GetPipelineCacheData(dev->device, dev->cache, &bytes, data) ==
            VK_SUCCESS &&
        ftruncate(dev->cache_fd, 0) == 0 &&
        pwrite(dev->cache_fd, data, bytes, 0) != (ssize_t) bytes)
        (void) ftruncate(dev->cache_fd, 0);
    free(data);
}
