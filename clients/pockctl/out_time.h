// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Times, durations and sizes as people write them
 *
 * Times are milliseconds since 1970 UTC everywhere else. A date without a time
 * of day means midnight UTC, so that a diary's dates are the same everywhere.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUT_TIME_BYTES = 40 };

// "2025-03-01", "2025-03-01T10:00[:00[.5]][Z|+01:00]" (a space serves for the
// T; without zone: local time), "@1740787200", "today", "yesterday", or an age
// such as "90min", "12h" or "7d" before `now_ms`. `at_end` makes a bare date
// its last millisecond. -EINVAL with a sentence.
int out_time_parse(int64_t *out_ms, const char *text, int64_t now_ms,
                   bool at_end, struct error *err);
// The ISO forms of the above only: 0 or -EINVAL.
int out_time_parse_iso(int64_t *out_ms, const char *text, size_t bytes,
                       bool at_end);

// "2025-03-01" for midnight UTC (a date), "2025-03-01 10:00:00" in local time,
// or with a Z behind it in UTC.
void out_time_format(char out[OUT_TIME_BYTES], int64_t ms, bool utc);
// "90s", "20m", "20min", "12h" or "1.5d": 0 or -EINVAL with a sentence, which
// begins with `what`.
int out_duration_parse(int64_t *out_ms, const char *what, const char *text,
                       struct error *err);
// "300M", "1.5G", "300MiB", "1000000": powers of 1024, and bytes without a
// unit.
int out_bytes_parse(int64_t *out, const char *what, const char *text,
                    struct error *err);
// "850 ms", "12 s", "3 min 20 s", "2 h 5 min", "4 d"
void out_duration_format(char out[OUT_TIME_BYTES], int64_t ms);
// "512 B", "1.5 KiB", "16.6 MiB"
void out_bytes_format(char out[OUT_TIME_BYTES], int64_t bytes);
