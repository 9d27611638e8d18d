// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

// All devices of the machine, for people who wonder which is used.

#include <stdbool.h>
#include <stdint.h>

struct engine_params;
struct error;

enum { DEVICES_MAX = 12 };

struct device_seen {
    char name[16];   // "cpu", "vulkan:0": as it may be asked for
    char text[160];  // "vulkan NAME, cooperative matrices"
    char fault[256]; // why it cannot be used: a sentence; "": it can
    bool is_player;  // a CPU that plays a GPU: only when asked for
    double flops;    // of products, a second; NAN: not measured
    double bytes_s;  // of sums of vectors
};

struct devices {
    struct device_seen list[DEVICES_MAX];
    uint32_t n;
    char none[160];   // why there is nothing but the CPU; "" otherwise
    char chosen[160]; // what `params->device` comes to
    char why[320];    // and why; "" when it was named
};

// Opens each, and tests it; measures too if asked to. -ENOMEM.
int devices_look(struct devices *out, const struct engine_params *params,
                 bool measures, struct error *err);
