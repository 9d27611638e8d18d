// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// The driver's compiled shaders, in the file whose descriptor device_params
// has. One that is damaged or of another driver is ignored and replaced.

struct device;

void vk_cache_load(struct device *dev);
void vk_cache_save(struct device *dev);
