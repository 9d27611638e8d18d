// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/steady.h"

#include <string.h>

static int64_t newest(const struct steady *s)
{
    return s->changed_ms[s->count - 1];
}

bool steady_update(struct steady *s, bool is_good, int64_t now_ms)
{
    if (s->is_known && s->last != is_good) {
        if (s->count == STEADY_CHANGES) {
            memmove(s->changed_ms, s->changed_ms + 1,
                    (STEADY_CHANGES - 1) * sizeof(s->changed_ms[0]));
            s->count--;
        }
        s->changed_ms[s->count++] = now_ms;
        s->flaps += s->is_held;
        if (!s->is_held && s->count == STEADY_CHANGES &&
            now_ms - s->changed_ms[0] < STEADY_SPAN_MS) {
            s->is_held = true;
            s->flaps = STEADY_CHANGES;
        }
    }
    s->is_known = true;
    s->last = is_good;
    if (s->is_held && now_ms - newest(s) >= STEADY_SPAN_MS)
        *s = (struct steady){.is_known = true, .last = is_good};
    return s->is_held;
}

int64_t steady_due_ms(const struct steady *s, int64_t now_ms)
{
    if (!s->is_held)
        return -1;
    int64_t due = newest(s) + STEADY_SPAN_MS - now_ms;
    return due > 0 ? due : 0;
}
