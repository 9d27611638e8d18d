// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Which device computes
 *
 * Everything that opens a device by a name (engine/base/devname.h) comes here.
 */

#include "engine/backend.h"

struct error;

struct device_opened {
    const struct backend *backend;
    struct device *dev;
    // Of "auto": why it is this one, and no other: a sentence. Else "".
    char why[320];
    bool is_refused; // there is a GPU, but it is of no use
};

// A device that computes wrongly is refused, with its name in the sentence
// (-EBADE). "auto" does not fail for want of a GPU. `params->tier` counts on a
// CPU whose name has none.
int device_open(struct device_opened *out, const char *name,
                const struct device_params *params, struct error *err);
// An operator that learning or generating takes and the device does not have;
// NULL: none.
const char *device_lacks(const struct backend *backend,
                         const struct device *dev);
void device_close(struct device_opened *d); // accepts one that is zero
