// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Names of devices, as owners and developers write them
 *
 *   auto               a GPU that is right and faster than the CPU, else the
 * CPU cpu, cpu:TIER      the CPU, with the kernels of one instruction set
 *   vulkan             the best GPU
 *   vulkan:N           a device by its number in `pockctl doctor`
 *   vulkan:NAME        by a part of its name
 *   vulkan:cpu         a CPU that plays a GPU, for tests
 */

struct error;

enum devname_kind {
    DEVNAME_AUTO,
    DEVNAME_CPU,
    DEVNAME_VULKAN,
};

struct devname {
    enum devname_kind kind;
    const char *which; // what stands behind the colon, in the text; or NULL
};

// NULL and "" are "auto". -EINVAL with a sentence that says what there is.
int devname_parse(struct devname *out, const char *text, struct error *err);
