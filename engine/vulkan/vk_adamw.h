// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The tensors that a program updates
 *
 * An adapter has hundreds, each so small that to begin a dispatch takes longer
 * than what it does. They stand in a table, and dispatches that may run side by
 * side become one.
 */

#include "engine/vulkan/vk_prepare.h"

struct vk_adamw;

// For `n` of them; none: *out is NULL.
int vk_adamw_create(struct vk_adamw **out, struct device *dev, uint32_t n,
                    struct error *err);
void vk_adamw_destroy(struct vk_adamw *t, struct device *dev); // accepts NULL
// To the device, when all are emitted.
int vk_adamw_write(struct vk_adamw *t, struct device *dev);
// Makes `to` do what `it` does as well, if it follows in the table.
bool vk_adamw_join(struct vk_item *to, const struct vk_item *it);
