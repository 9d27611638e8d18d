// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// What can be asked of Vulkan without opening a device of it.

#include <stdbool.h>

struct error;

struct vulkan_seen {
    char name[256];
    bool is_player; // a CPU that plays a GPU
};

// In the order of their numbers, usable or not; how many, `most` at most.
// -ENODEV when there is no library or no driver.
int vulkan_list(struct vulkan_seen *out, int most, struct error *err);
