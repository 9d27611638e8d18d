// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_filter.h"

#include "engine/base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int bind_json(sqlite3_stmt *q, int i, struct str *json,
                     struct error *err)
{
    int rc = str_finish(json);

    if (rc == 0 && sqlite3_bind_text(q, i, json->data, (int) json->bytes,
                                     SQLITE_TRANSIENT) != SQLITE_OK)
        rc = -ENOMEM;
    str_free(json);
    return rc < 0 ? error_set(err, rc, "cannot look for records: %s",
                              strerror(-rc))
                  : 0;
}

int store_filter_bind_names(sqlite3_stmt *q, int i, const char *const *names,
                            size_t count, struct error *err)
{
    struct str json = {.limit = 1 << 20};

    if (!names)
        return 0;
    for (size_t n = 0; n < count; n++) {
        str_putc(&json, n ? ',' : '[');
        str_json(&json, names[n], strlen(names[n]));
    }
    str_puts(&json, count ? "]" : "[]");
    return bind_json(q, i, &json, err);
}

static int bind_ids(sqlite3_stmt *q, int i, const int64_t *ids, size_t count,
                    struct error *err)
{
    struct str json = {.limit = 1 << 20};

    if (!ids)
        return 0;
    for (size_t n = 0; n < count; n++)
        str_printf(&json, "%c%" PRId64, n ? ',' : '[', ids[n]);
    str_puts(&json, count ? "]" : "[]");
    return bind_json(q, i, &json, err);
}

int store_filter_bind(sqlite3_stmt *q, const struct store_filter *f,
                      struct error *err)
{
    static const struct store_filter all;
    int rc;

    if (!f)
        f = &all;
    if (f->app)
        (void) sqlite3_bind_text(q, 1, f->app, -1, SQLITE_TRANSIENT);
    if ((rc = store_filter_bind_names(q, 2, f->streams, f->n_streams, err)) < 0)
        return rc;
    if (f->added_before_ms)
        (void) sqlite3_bind_int64(q, 31, f->added_before_ms);
    if (f->trainable_ms)
        (void) sqlite3_bind_int64(q, 30, f->trainable_ms);
    (void) sqlite3_bind_int64(q, 3, f->has_after ? f->after_ms : INT64_MIN);
    (void) sqlite3_bind_int64(q, 4, f->has_before ? f->before_ms : INT64_MAX);
    return bind_ids(q, 5, f->ids, f->n_ids, err);
}
