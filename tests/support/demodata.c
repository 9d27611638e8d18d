// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/demodata.h"

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_LIMIT = 64 << 20 };

static int get_text(struct record_text *out, const struct json *object,
                    const char *key)
{
    const struct json *text = json_get(object, key);

    if (!text || text->type != JSON_STRING)
        return -EINVAL;
    *out = (struct record_text){text->text, text->bytes};
    return 0;
}

static int add_line(struct demodata *d, const char *line, size_t bytes,
                    struct error *err)
{
    const struct json *object;
    struct record r = {.id = (int64_t) d->n_records + 1, .kind = RECORD_TEXT};
    char *copy = arena_calloc(d->arena, bytes + 1, 1);
    int rc;

    if (!copy)
        return error_set(err, -ENOMEM, "out of memory");
    memcpy(copy, line, bytes);
    if ((rc = json_parse(&object, d->arena, copy, bytes, err)) < 0)
        return rc;
    if (get_text(&r.text, object, "text") < 0) {
        r.kind = RECORD_PAIR;
        if (get_text(&r.prompt, object, "prompt") < 0 ||
            get_text(&r.completion, object, "completion") < 0)
            return error_set(err, -EINVAL,
                             "a line has neither text nor "
                             "prompt and completion");
    }
    if (d->n_records == d->size) {
        d->size = d->size ? d->size * 2 : 256;
        void *p = realloc(d->records, d->size * sizeof *d->records);
        if (!p)
            return error_set(err, -ENOMEM, "out of memory");
        d->records = p;
    }
    d->records[d->n_records++] = r;
    return 0;
}

static int load_file(struct demodata *d, const char *dir, const char *name,
                     struct error *err)
{
    char path[1024];
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int rc = 0;

    (void) snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    while (rc == 0 && (n = getline(&line, &size, f)) > 0)
        rc = add_line(d, line, (size_t) n, err);
    free(line);
    (void) fclose(f);
    return rc < 0 ? error_prefix(err, rc, "%s", path) : 0;
}

int demodata_load(struct demodata *d, const char *dir, struct error *err)
{
    int rc;

    *d = (struct demodata){0};
    if ((rc = arena_create(&d->arena, ARENA_LIMIT)) < 0)
        return error_set(err, rc, "out of memory");
    if ((rc = load_file(d, dir, "notebook.jsonl", err)) < 0)
        goto error;
    d->n_notes = d->n_records;
    if ((rc = load_file(d, dir, "messages.jsonl", err)) < 0)
        goto error;
    return 0;

error:
    demodata_finish(d);
    return rc;
}

void demodata_finish(struct demodata *d)
{
    arena_destroy(d->arena);
    free(d->records);
    *d = (struct demodata){0};
}
