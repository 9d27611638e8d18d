// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_list.h"

#include "engine/vulkan/vk_choose.h"

#include <stdio.h>

int vulkan_list(struct vulkan_seen *out, int most, struct error *err)
{
    struct vk_found found[VK_FOUND_MAX];
    struct vk_api vk;
    int rc = vk_api_open(&vk, err);

    if (rc < 0)
        return rc;
    int n = vk_found_list(found, &vk);
    n = n > most ? most : n;
    for (int i = 0; i < n; i++) {
        (void) snprintf(out[i].name, sizeof(out[i].name), "%s", found[i].name);
        out[i].is_player = found[i].type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    }
    vk_api_close(&vk);
    return n;
}
