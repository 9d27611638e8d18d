// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Makes a mistake that no driver minds and the validation layer does: is the
 * layer there, and heard? Exit status 0 when it was, 77 without a device.
 *
 * usage: POCK_VK_VALIDATE=1 mistake
 */

#include "engine/base/error.h"
#include "engine/vulkan/vk_device.h"

#include <errno.h>
#include <stdio.h>

int main(void)
{
    static struct device dev = {.cache_fd = -1};
    struct error err = {0};
    const VkBufferCreateInfo of_no_use =
        {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = 64};
    VkBuffer buffer;

    const int rc = vk_device_open(&dev, "cpu", &err);
    if (rc < 0) {
        (void) printf("%s\n", err.text);
        vk_device_close(&dev);
        return rc == -ENODEV ? 77 : 1;
    }
    const unsigned before = vk_api_messages();
    if (dev.vk.CreateBuffer(dev.device, &of_no_use, NULL, &buffer) == 0)
        dev.vk.DestroyBuffer(dev.device, buffer, NULL);
    const unsigned heard = vk_api_messages() - before;
    vk_device_close(&dev);
    (void) printf("%u messages before the mistake, %u after\n", before, heard);
    return before > 0 || heard == 0;
}
