// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_profile.h"

#include <errno.h>

// Longer than any driver lets a submission run: then it hangs. A CPU that plays
// a device compiles a shader when it first runs, and may have to wait for
// others.
enum { PATIENCE_S = 20, CPU_PATIENCE_S = 300 };

// Whatever goes wrong here, the device's memory is not to be trusted any more.
static int lose(struct device *dev, VkResult r)
{
    dev->is_lost = true;
    // What was submitted before may still run, and write to memory that is
    // about to be freed. One that hangs would not come back from this either.
    if (r != VK_TIMEOUT)
        (void) dev->vk.DeviceWaitIdle(dev->device);
    return vk_errno(r);
}

int vk_wait(struct device *dev, struct vk_flight *f)
{
    if (dev->is_lost)
        return -EIO;
    if (f->value == 0)
        return 0;
    const VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &dev->timeline,
        .pValues = &f->value,
    };
    const bool is_cpu = dev->traits.type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const uint64_t patience_s = is_cpu ? CPU_PATIENCE_S : PATIENCE_S;
    const uint64_t begin = vk_profile_begin(dev);
    const VkResult r =
        dev->vk.WaitSemaphores(dev->device, &wait, patience_s * 1000000000);
    vk_profile_end(dev, VK_DOING_WAIT, begin);
    if (r != VK_SUCCESS)
        return lose(dev, r);
    if (f->value > dev->done) {
        dev->done = f->value;
        dev->done_ns = clock_monotonic_ns();
    }
    f->value = 0;
    return 0;
}

int vk_begin(struct vk_flight **out, struct device *dev)
{
    struct vk_flight *f = &dev->flights[0];
    int rc;

    if (dev->is_lost)
        return -EIO;
    // The one that has been on its way the longest, or none.
    for (int i = 1; i < VK_FLIGHTS; i++)
        if (dev->flights[i].value < f->value)
            f = &dev->flights[i];
    if ((rc = vk_wait(dev, f)) < 0)
        return rc;
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkResult r = dev->vk.ResetCommandPool(dev->device, f->pool, 0);
    if (r >= 0)
        r = dev->vk.BeginCommandBuffer(f->cmd, &begin);
    if (r < 0)
        return lose(dev, r);
    *out = f;
    return 0;
}

int vk_submit(struct device *dev, struct vk_flight *f)
{
    const uint64_t value = dev->value + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = 1,
        .pCommandBuffers = &f->cmd,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &dev->timeline,
    };
    const uint64_t begin = vk_profile_begin(dev);
    VkResult r = dev->vk.EndCommandBuffer(f->cmd);
    if (r >= 0)
        r = fault_hit(FAULT_DEVICE)
                ? VK_ERROR_DEVICE_LOST
                : dev->vk.QueueSubmit(dev->queue, 1, &info, VK_NULL_HANDLE);
    vk_profile_end(dev, VK_DOING_SUBMIT, begin);
    if (r < 0)
        return lose(dev, r);
    dev->value = value;
    f->value = value;
    f->submitted_ns = clock_monotonic_ns();
    return 0;
}

int vk_wait_all(struct device *dev)
{
    int rc = 0;

    // In order of their values, so that `done` only grows.
    for (int i = 0; i < VK_FLIGHTS && rc >= 0; i++) {
        struct vk_flight *f = &dev->flights[0];
        for (int j = 1; j < VK_FLIGHTS; j++)
            if (f->value == 0 ||
                (dev->flights[j].value && dev->flights[j].value < f->value))
                f = &dev->flights[j];
        rc = vk_wait(dev, f);
    }
    if (rc >= 0)
        vk_copies_done(dev);
    return rc;
}

int vk_flush(struct device *dev)
{
    struct vk_flight *f;
    int rc;

    if (!vk_copies_wait(dev))
        return vk_wait_all(dev);
    if ((rc = vk_begin(&f, dev)) < 0)
        return rc;
    vk_copies_record(dev, f->cmd);
    if ((rc = vk_submit(dev, f)) < 0)
        return rc;
    return vk_wait_all(dev);
}
