// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * JSON
 *
 * Reads one RFC 8259 value into a tree that lives in the caller's arena, whose
 * limit bounds the work. Strict: UTF-8 is checked, keys of an object are
 * unique, nothing but space may follow. Errors name the byte where it went
 * wrong. To write JSON, see str_json().
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

enum { JSON_DEPTH_MAX = 32 };

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json {
    uint8_t type; // enum json_type
    bool boolean;
    bool is_integer; // a number without fraction or exponent, in int64
    double number;
    int64_t integer;
    // STRING: decoded, NUL-terminated; may hold NUL bytes from \u0000.
    const char *text;
    size_t bytes;
    // ARRAY and OBJECT
    struct json *first;
    uint32_t count;
    // As a member: its key (decoded, NUL-terminated) and the next one.
    const char *key;
    size_t key_bytes;
    struct json *next;
};

int json_parse(const struct json **out, struct arena *a, const char *text,
               size_t bytes, struct error *err);

// The member of an object, or NULL; NULL also when `object` is NULL or no
// object, so that look-ups can be chained.
const struct json *json_get(const struct json *object, const char *key);
// The text of a string member that holds no NUL byte, or NULL.
const char *json_get_text(const struct json *object, const char *key);
const char *json_type_name(enum json_type type);
