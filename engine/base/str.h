// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * String builder
 *
 * A growing byte string with a limit. Appends after a failure do nothing, so
 * a caller may check once, with str_finish(). Always NUL-terminated; may hold
 * NUL bytes. Start from `struct str s = {.limit = N}`; zero limit means 16 MiB.
 */

#include <stddef.h>

struct str {
    char *data;
    size_t bytes; // without the terminating NUL
    size_t size;
    size_t limit;
    int rc; // 0, or the first failure
};

void str_append(struct str *s, const void *data, size_t bytes);
void str_puts(struct str *s, const char *text);
void str_putc(struct str *s, char c);
void str_printf(struct str *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// A JSON string literal, quotes included; invalid UTF-8 becomes U+FFFD.
void str_json(struct str *s, const char *text, size_t bytes);
void str_clear(struct str *s);
// 0, or the first failure: -ENOMEM, or -E2BIG past the limit.
int str_finish(const struct str *s);
void str_free(struct str *s);
