// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/bucket.h"

#include <math.h>

enum { HOUR_MS = 3600000 };

int64_t bucket_take(struct bucket *b, double cost, double per_hour,
                    int64_t now_ms)
{
    if (per_hour <= 0)
        return 0;
    if (cost > per_hour)
        return -1;
    if (!b->is_used)
        *b = (struct bucket){true, per_hour, now_ms};
    // A clock that went back gives nothing and takes nothing.
    if (now_ms > b->at_ms)
        b->left += per_hour * (double) (now_ms - b->at_ms) / HOUR_MS;
    b->at_ms = now_ms;
    if (b->left > per_hour)
        b->left = per_hour;
    if (b->left < cost)
        return (int64_t) ceil((cost - b->left) * HOUR_MS / per_hour);
    b->left -= cost;
    return 0;
}
