// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/archive_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/archive_take.h"
#include "engine/base/arena.h"
#include "engine/base/fault.h"
#include "engine/base/json.h"

enum {
    LINES_A_STEP = 256,
    ARENA_BYTES = 64 << 20,
};

struct archive_import {
    struct archive_reader *r;
    struct archive_take take;
    size_t at;     // the member at hand
    char *text;    // its content, or NULL
    size_t offset; // of the next line
};

int archive_import_create(struct archive_import **out, struct archive_reader *r,
                          struct error *err)
{
    struct archive_import *x = fault_calloc(1, sizeof(*x));

    if (!x)
        return error_set(err, -ENOMEM, "out of memory");
    if (r)
        archive_read_sort(r);
    x->r = r;
    x->take.reader = r;
    *out = x;
    return 0;
}

void archive_import_destroy(struct archive_import *x)
{
    if (!x)
        return;
    archive_take_finish(&x->take);
    free(x->text);
    free(x);
}

const struct archive_result *archive_import_result(
    const struct archive_import *x)
{
    return &x->take.result;
}

// Each reason is told once; how often, the counts say.
static void remark(struct archive_result *r, const char *text)
{
    for (uint32_t i = 0; i < r->n_remarks; i++)
        if (strcmp(r->remarks[i], text) == 0)
            return;
    if (r->n_remarks < ARCHIVE_REMARKS_MAX)
        (void) snprintf(r->remarks[r->n_remarks++], STORE_TEXT_SIZE, "%s",
                        text);
}

// What is wrong with one line is told, and the next one is taken; what is wrong
// with the store ends it.
static bool is_of_line(int rc)
{
    return rc == -EINVAL || rc == -ENOENT || rc == -ENOTUNIQ || rc == -E2BIG ||
           rc == -EILSEQ || rc == -EBUSY;
}

static int take_line(struct archive_import *x, struct store *s,
                     enum archive_kind kind, const char *line, size_t bytes,
                     struct error *err)
{
    struct archive_result *result = &x->take.result;
    struct error why = {0};
    const struct json *j;
    struct arena *a;
    bool is_new = false;
    int rc = arena_create(&a, ARENA_BYTES);

    if (rc < 0)
        return error_set(err, rc, "out of memory");
    rc = json_parse(&j, a, line, bytes, &why);
    if (rc == 0)
        rc = archive_take_line(&x->take, s, kind, j, &is_new, &why);
    arena_destroy(a);
    result->found[kind]++;
    if (rc == 0) {
        result->taken[kind] += is_new;
        return 0;
    }
    if (!is_of_line(rc))
        return error_set(err, rc, "%s", why.text);
    result->refused[kind]++;
    remark(result, why.text);
    return 0;
}

int archive_import_lines(struct archive_import *x, struct store *s,
                         enum archive_kind kind, const char *text, size_t bytes,
                         struct error *err)
{
    const char *end = text + bytes;
    int rc = 0;

    for (const char *p = text; p < end && rc == 0;) {
        const char *lf = memchr(p, '\n', (size_t) (end - p));
        const size_t n = (size_t) ((lf ? lf : end) - p);
        if (n > 0)
            rc = take_line(x, s, kind, p, n, err);
        p += n + 1;
    }
    return rc;
}

static int load(struct archive_import *x, const struct archive_member *m,
                struct error *err)
{
    size_t done = 0;

    if (!(x->text = fault_malloc((size_t) m->bytes + 1)))
        return error_set(err, -ENOMEM, "out of memory");
    while (done < m->bytes) {
        ssize_t n = pread(x->r->fd, x->text + done, (size_t) m->bytes - done,
                          (off_t) (m->offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, n < 0 ? -errno : -EBADMSG,
                             "the archive cannot be read any more");
        done += (size_t) n;
    }
    x->text[done] = '\0';
    x->offset = 0;
    // It was looked at, and may have been changed since.
    uint8_t digest[HASH_BYTES];
    hash_bytes(digest, x->text, (size_t) m->bytes);
    return memcmp(digest, m->sha256, sizeof(digest)) == 0
               ? 0
               : error_set(err, -EBADMSG,
                           "the archive was changed while it was read");
}

// Some lines of the member at hand, in one transaction.
static int step_lines(struct archive_import *x, struct store *s,
                      const struct archive_member *m, struct error *err)
{
    size_t end = x->offset;
    int lines = 0;

    while (end < m->bytes && lines < LINES_A_STEP) {
        const char *lf = memchr(x->text + end, '\n', (size_t) m->bytes - end);
        end = lf ? (size_t) (lf - x->text) + 1 : (size_t) m->bytes;
        lines++;
    }
    int rc = store_begin(s, err);
    if (rc < 0)
        return rc;
    rc = archive_import_lines(x, s, m->kind, x->text + x->offset,
                              end - x->offset, err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc < 0) {
        store_rollback(s);
        return rc;
    }
    x->offset = end;
    return 0;
}

int archive_import_step(struct archive_import *x, struct store *s,
                        struct error *err)
{
    int rc = 0;

    if (x->at == x->r->count)
        return 0;
    const struct archive_member *m = &x->r->members[x->at];
    const bool is_taken = m->kind != ARCHIVE_README &&
                          m->kind != ARCHIVE_AUDIT && m->kind != ARCHIVE_FILES;
    if (is_taken && !x->text && (rc = load(x, m, err)) < 0)
        return rc;
    if (is_taken && (rc = step_lines(x, s, m, err)) < 0)
        return rc;
    if (is_taken && x->offset < m->bytes)
        return 1;
    if (m->kind == ARCHIVE_FILES)
        x->take.result.found[ARCHIVE_FILES]++;
    free(x->text);
    x->text = NULL;
    x->at++;
    return 1;
}
