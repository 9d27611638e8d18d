// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Token bucket
 *
 * So much an hour: full at first, and refilled steadily. Time is a parameter.
 */

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    bool is_used;
    double left;
    int64_t at_ms;
};

// 0: `cost` was taken. Else nothing was, and it may be after so many
// milliseconds; -1: never, for it is more than the bucket holds. `per_hour` may
// change from call to call; 0 is no limit.
int64_t bucket_take(struct bucket *b, double cost, double per_hour,
                    int64_t now_ms);
