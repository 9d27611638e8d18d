// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Record streams (database thread)
 *
 * Named series of records; a name belongs to an app ("host" for programs
 * without a sandbox).
 */

#include "storage/store.h"

#define STORE_APP_HOST "host"

// A stream with what is in it.
struct store_stream {
    int64_t id;
    char app[STORE_NAME_SIZE];
    char name[STORE_NAME_SIZE];
    int64_t records;
    int64_t bytes;
    int64_t first_ms; // smallest and largest time; 0 when records is 0
    int64_t last_ms;
};

typedef int (*store_stream_fn)(const struct store_stream *st, void *user);

// -ENOENT when it does not exist.
int store_stream_find(struct store *s, const char *app, const char *name,
                      int64_t *id, struct error *err);
// Whether any app has one of that name.
int store_stream_named(struct store *s, const char *name, bool *is_there,
                       struct error *err);
// The existing one, or a new one.
int store_stream_make(struct store *s, const char *app, const char *name,
                      int64_t now_ms, int64_t *id, struct error *err);
