// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What a driver's compiler makes of a pipeline
 *
 * A second device of the same GPU as the backend's, with the same features and
 * VK_KHR_pipeline_executable_properties.
 */

#include "engine/vulkan/vk_device.h"

#include <stdbool.h>
#include <stdio.h>

// -1: this driver does not tell.
struct rig_stats {
#define RIG_STAT(id) double id;
#define RIG_STAT_NAME(id, name)
#include "tests/rigs/stats.def"
#undef RIG_STAT
#undef RIG_STAT_NAME
};

struct rig_driver {
    const struct vk_api *vk; // of the backend's device; its functions there
    VkDevice device;
    VkPipelineLayout layout;
    bool tells; // has the extension
#define RIG_FUNCTION(name) PFN_vk##name name;
#include "tests/rigs/functions.def"
#undef RIG_FUNCTION
};

// -ENODEV with a sentence.
int rig_driver_open(struct rig_driver *out, const struct device *dev,
                    struct error *err);
void rig_driver_close(struct rig_driver *d); // accepts one that is zero
// All that the driver says is printed on `raw` when that is not NULL.
int rig_driver_measure(struct rig_stats *out, const struct rig_driver *d,
                       const struct vk_pipeline *p, FILE *raw,
                       struct error *err);
