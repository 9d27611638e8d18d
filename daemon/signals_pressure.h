// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Memory pressure (loop thread)
 *
 * Says when memory runs short: by $MEMORY_PRESSURE_WATCH and _WRITE, which a
 * service manager sets (a FIFO, a socket, or a file of the kernel), and while a
 * job runs by a trigger of the kernel's own, where we may set one. Elsewhere
 * the pressure figures have to be read.
 */

#include <stdbool.h>
#include <uv.h>

struct signals_pressure;

struct signals_pressure_params {
    uv_loop_t *loop;
    bool is_real; // the kernel's files are there, not a stand-in
    void (*on_low)(void *user);
    void *user;
};

int signals_pressure_create(struct signals_pressure **out,
                            const struct signals_pressure_params *params);
// NULL is fine. The loop must still run until its handles are closed.
void signals_pressure_destroy(struct signals_pressure *p);
// While a job runs.
void signals_pressure_arm(struct signals_pressure *p, bool is_armed);
// Somebody will tell us.
bool signals_pressure_is_watched(const struct signals_pressure *p);

// Bytes of base64 as $MEMORY_PRESSURE_WRITE has them: how many, or -EINVAL when
// it is none or does not fit.
int signals_pressure_decode(unsigned char *out, size_t size, const char *text);
