// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_logind.h"

#include <errno.h>

int signals_logind_create(struct signals_logind **out, uv_loop_t *loop,
                          void (*on_change)(void *user), void *user)
{
    return -EOPNOTSUPP;
}

void signals_logind_destroy(struct signals_logind *l)
{
}

void signals_logind_read(const struct signals_logind *l, struct snapshot *s,
                         int64_t *idle_since_ms)
{
}

void signals_logind_hold_awake(struct signals_logind *l, bool is_held)
{
}

void signals_logind_release_sleep(struct signals_logind *l)
{
}
