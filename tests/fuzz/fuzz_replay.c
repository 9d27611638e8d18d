// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any text as a recording of signals. Runs are stopped before others start, no
 * more is trained than time passed, and what is refused is refused with a
 * sentence.
 */

#include "daemon/replay.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(const struct replay_event *ev, void *user)
{
    bool *is_running = user;

    if ((ev->kind == REPLAY_STOP) != *is_running)
        abort();
    if (ev->kind != REPLAY_BLOCKED)
        *is_running = ev->kind == REPLAY_START;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy policy;
    bool is_running = false;
    struct replay *r = NULL;
    size_t at = 0;

    policy_init(&policy);
    policy.respect_idle = size % 2;
    if (replay_create(&r, &(struct replay_params){.policy = &policy,
                                                  .on_event = on_event,
                                                  .user = &is_running}) < 0)
        return 0;
    while (at < size) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t bytes = end ? (size_t) (end - data) - at + 1 : size - at;
        struct error err = {0};
        if (replay_line(r, (const char *) data + at, bytes, &err) < 0 &&
            !err.text[0])
            abort();
        at += bytes;
    }
    struct replay_totals t = replay_totals(r);
    if (t.trained_ms > t.span_ms || replay_is_running(r) != is_running)
        abort();
    replay_destroy(r);
    return 0;
}
