// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/timetables.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// The next one of `data`, and *bytes are what it has then. -EBADMSG.
static int next(struct timetable **out, const unsigned char **data,
                size_t *bytes, struct error *err)
{
    const size_t n = timetable_length(*data, *bytes);
    // What has no length is said by what reads it.
    const int rc = timetable_decode(out, *data, n > 0 ? n : *bytes, err);

    if (rc < 0)
        return rc;
    *data += n;
    *bytes -= n;
    return 0;
}

// Up to the words that change with its driver; a machine has one CPU.
static size_t name_length(const char *device)
{
    const char *driver = strstr(device, ", driver ");

    if (strncmp(device, "cpu", 3) == 0)
        return 3;
    return driver ? (size_t) (driver - device) : strlen(device);
}

static bool is_same_place(const char *a, const char *b)
{
    const size_t n = name_length(a);

    return name_length(b) == n && strncmp(a, b, n) == 0;
}

int timetables_find(struct timetable **out, const void *data, size_t bytes,
                    const char *device, const char *build, uint32_t threads,
                    struct error *err)
{
    const unsigned char *at = data;
    struct timetable *found = NULL;
    char other[TIMETABLE_DEVICE] = "";
    int rc = 0, n = 0;

    do {
        struct timetable *t = NULL;
        if ((rc = next(&t, &at, &bytes, err)) < 0)
            goto error;
        if (!found && is_same_place(timetable_device(t), device)) {
            found = t;
            continue;
        }
        strcpy(other, timetable_device(t));
        timetable_destroy(t);
    } while (++n < TIMETABLES_MAX && bytes > 0);
    if (bytes > 0) {
        rc = error_set(err, -EBADMSG,
                       "the table of kernel times cannot be used: there are "
                       "more than %d; make a new one with `pockctl doctor "
                       "--tune`",
                       TIMETABLES_MAX);
        goto error;
    }
    if (!found)
        return error_set(err, -ENODATA,
                         "kernel times were measured on another device (%s), "
                         "not on this one: `pockctl doctor --tune` does it",
                         other);
    rc = timetable_match(found, device, build, threads, err);
    if (rc < 0)
        goto error;
    *out = found;
    return 0;

error:
    timetable_destroy(found);
    return rc;
}

// Adds a table's bytes, if there is room.
static int add(unsigned char **out, size_t *out_bytes,
               const struct timetable *t)
{
    void *one;
    size_t n;
    int rc = timetable_encode(&one, &n, t);

    if (rc < 0)
        return rc;
    unsigned char *more = NULL;
    if (*out_bytes + n <= TIMETABLE_BYTES_MAX)
        more = fault_realloc(*out, *out_bytes + n);
    if (more) {
        memcpy(more + *out_bytes, one, n);
        *out = more;
        *out_bytes += n;
    }
    rc = more || *out_bytes + n > TIMETABLE_BYTES_MAX ? 0 : -ENOMEM;
    free(one);
    return rc;
}

int timetables_put(void **out, size_t *out_bytes, const struct timetable *t,
                   const void *data, size_t bytes)
{
    const unsigned char *at = data;
    unsigned char *all = NULL;
    size_t n_bytes = 0;
    int rc = add(&all, &n_bytes, t);

    for (int n = 1; rc == 0 && n < TIMETABLES_MAX && bytes > 0;) {
        struct timetable *other;
        if ((rc = next(&other, &at, &bytes, NULL)) < 0)
            break;
        if (!is_same_place(timetable_device(other), timetable_device(t)) &&
            strcmp(timetable_build(other), timetable_build(t)) == 0) {
            rc = add(&all, &n_bytes, other);
            n++;
        }
        timetable_destroy(other);
    }
    if (rc < 0 && rc != -EBADMSG) {
        free(all);
        return rc;
    }
    *out = all;
    *out_bytes = n_bytes;
    return 0;
}
