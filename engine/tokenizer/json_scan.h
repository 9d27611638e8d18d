// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * JSON, read in passing
 *
 * Walks through objects and arrays that are too large for a tree (json.h): a
 * vocabulary has a quarter of a million members. What is passed over is not
 * checked but for its brackets.
 */

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct error;

struct json_scan {
    const char *text; // of all
    const char *at;
    const char *end;
    struct arena *arena; // for strings with escapes; others are borrowed
    struct error *err;
};

struct json_part {
    const char *text;
    size_t bytes;
};

void json_scan_init(struct json_scan *s, struct json_part part,
                    struct arena *arena, struct error *err);
// All return 0, or -EINVAL or -ENOMEM with a sentence.
// Begin an object ('{') or an array ('['); the whole text is one.
int json_scan_enter(struct json_scan *s, char bracket);
// 1 and at its next member, whose key is read; 0 behind its end. For arrays
// `key` is NULL. Whoever reads a member reads all of it.
int json_scan_next(struct json_scan *s, char bracket, bool is_first,
                   struct json_part *key);
int json_scan_string(struct json_scan *s, struct json_part *out);
int json_scan_skip(struct json_scan *s, struct json_part *out);
// A number without sign, fraction and exponent, of at most nine digits.
int json_scan_count(struct json_scan *s, unsigned *out);
// The next character that is no blank, or '\0'.
char json_scan_peek(struct json_scan *s);
