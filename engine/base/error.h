// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Errors
 *
 * Every fallible function returns int: 0, or a negative errno. Functions that
 * can fail because of what a user gave us also take a `struct error *` as
 * their last parameter, and explain the failure there in one sentence: what
 * failed, why, and where it helps what to do.
 */

struct error {
    int code;
    char text[504];
};

// Fill `err` (which may be NULL) and return `code`, so that a failure is one
// line: `return error_set(err, -EINVAL, "rank must be 1..%d", RANK_MAX);`
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Put "context: " before the sentence that a callee left in `err`.
int error_prefix(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
