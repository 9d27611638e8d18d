// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_bus.h"

#include <errno.h>

int signals_bus_create(struct signals_bus **out, uv_loop_t *loop,
                       void (*on_change)(void *user), void *user)
{
    return -EOPNOTSUPP;
}

void signals_bus_destroy(struct signals_bus *b)
{
}

void signals_bus_read(const struct signals_bus *b, struct snapshot *s,
                      int64_t *idle_since_ms)
{
}

void signals_bus_poll(struct signals_bus *b)
{
}

void signals_bus_hold_awake(struct signals_bus *b, bool is_held)
{
}

void signals_bus_release_sleep(struct signals_bus *b)
{
}
