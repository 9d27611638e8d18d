// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Rows of archives
 *
 * Which members of the store's structs stand in a line of JSON, under which
 * key, as tables that both writing and reading use.
 */

#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/base/str.h"

#include <stddef.h>

enum archive_type {
    ARCHIVE_TYPE_INT,   // int64_t
    ARCHIVE_TYPE_U32,   // uint32_t
    ARCHIVE_TYPE_BOOL,  // bool
    ARCHIVE_TYPE_FLOAT, // double; NAN is left out
    ARCHIVE_TYPE_TEXT,  // char[size], with its NUL
    ARCHIVE_TYPE_HASH,  // uint8_t[32]
};

struct archive_field {
    const char *key;
    enum archive_type type;
    size_t offset;
    size_t size;
};

struct archive_table {
    const struct archive_field *fields;
    size_t count;
};

extern const struct archive_table archive_models;   // struct store_model
extern const struct archive_table archive_adapters; // struct store_adapter
extern const struct archive_table archive_jobs;     // struct store_job
extern const struct archive_table archive_points;   // struct store_point
extern const struct archive_table archive_versions; // struct store_version
extern const struct archive_table archive_schemes;  // struct store_scheme
extern const struct archive_table archive_audits;   // struct store_audit

// ,"key":value for each field.
void archive_row_write(struct str *out, const struct archive_table *t,
                       const void *row);
// What is not there stays as it is in `row`. -EINVAL: of another type, or out
// of bounds.
int archive_row_read(void *row, const struct archive_table *t,
                     const struct json *from, struct error *err);
