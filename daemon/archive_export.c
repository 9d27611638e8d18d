// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/archive_export.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/archive_row.h"
#include "daemon/record_filter.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "storage/blob.h"
#include "storage/store_adapter.h"
#include "storage/store_audit.h"
#include "storage/store_job.h"
#include "storage/store_manifest.h"
#include "storage/store_merge.h"
#include "storage/store_metric.h"
#include "storage/store_model.h"
#include "storage/store_policy.h"
#include "storage/store_record.h"
#include "storage/store_scheme.h"

enum {
    PAGE = 512,         // records of a step
    LINEAGE_IDS = 1000, // of a line
};

static const char readme[] =
    "This is an archive of pockd: everything that it held of its owner.\n"
    "\n"
    "Directories hold lines of JSON: records (texts), streams, models (which\n"
    "base models there were, not their files), adapters, versions (with their\n"
    "signed manifests), lineage (which version learned which records), jobs,\n"
    "metrics, schemes, policy, audit; and files, the adapters as GGUF.\n"
    "manifest.json lists every member with its SHA-256; manifest.sig signs it\n"
    "(Ed25519). `pockctl import FILE` takes all of it in again; llama.cpp reads\n"
    "the files, and `pockctl data import` the records. ARCHIVE.md of pockd's\n"
    "sources says what each line means.\n";

// What steps go through one by one.
struct item {
    int64_t id; // a job, or an adapter
    uint32_t version;
    int64_t bytes;
    uint8_t sha256[STORE_HASH_BYTES];
    char name[STORE_NAME_SIZE]; // of an adapter
};

struct items {
    struct item *list;
    size_t count;
    size_t size;
    size_t at; // the next one
};

struct archive_export {
    struct archive_writer w;
    struct str line;
    enum archive_kind kind;
    int64_t cursor;
    int64_t in_page;
    bool has_jobs;
    struct store *s; // of the step at hand
    int rc;          // of a callback
    struct error err;
    struct items jobs;
    struct items adapters;
    struct items versions;
    struct items files;
    struct items streams; // id and name; app in `apps`
    char (*apps)[STORE_NAME_SIZE];
    const struct item *adapter; // whose versions are written
};

static int push(struct items *l, const struct item *i)
{
    if (l->count == l->size) {
        const size_t size = l->size ? 2 * l->size : 64;
        struct item *more = fault_realloc(l->list, size * sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->list = more;
        l->size = size;
    }
    l->list[l->count++] = *i;
    return 0;
}

int archive_export_create(struct archive_export **out, int fd,
                          const struct sign_key *key, struct error *err)
{
    struct archive_export *x = fault_calloc(1, sizeof(*x));

    if (!x)
        return error_set(err, -ENOMEM, "out of memory");
    archive_write_begin(&x->w, fd, key, clock_unix_ms());
    x->line.limit = ARCHIVE_LINES_BYTES_MAX;
    *out = x;
    return 0;
}

void archive_export_destroy(struct archive_export *x)
{
    if (!x)
        return;
    archive_write_finish(&x->w);
    str_free(&x->line);
    free(x->jobs.list);
    free(x->adapters.list);
    free(x->versions.list);
    free(x->files.list);
    free(x->streams.list);
    free(x->apps);
    free(x);
}

const struct archive_writer *archive_export_writer(
    const struct archive_export *x)
{
    return &x->w;
}

// A line: {"pockd":"KIND", and what the caller appends, "}".
static void begin_line(struct archive_export *x)
{
    str_clear(&x->line);
    str_printf(&x->line, "{\"pockd\":\"%s\"", archive_kind_name(x->kind));
}

static void put_text(struct archive_export *x, const char *key,
                     const char *text)
{
    str_printf(&x->line, ",\"%s\":", key);
    str_json(&x->line, text, strlen(text));
}

// For a callback: other than 0 ends what calls it.
static int end_line(struct archive_export *x)
{
    str_puts(&x->line, "}\n");
    x->rc = archive_write_line(&x->w, x->kind, &x->line, &x->err);
    return x->rc < 0;
}

static int failed(struct archive_export *x, int rc, struct error *err)
{
    if (x->rc >= 0)
        return rc < 0 ? rc : 0;
    rc = x->rc;
    return error_set(err, rc, "%s",
                     x->err.text[0] ? x->err.text : "out of memory");
}

/*
 * Rows
 */

static int on_model(const struct store_model *m, void *user)
{
    struct archive_export *x = user;

    begin_line(x);
    archive_row_write(&x->line, &archive_models, m);
    return end_line(x);
}

static int on_stream(const struct store_stream *st, void *user)
{
    struct archive_export *x = user;
    struct item i = {.id = st->id};

    void *more =
        fault_realloc(x->apps, (x->streams.count + 1) * sizeof(*x->apps));
    if (!more)
        return x->rc = -ENOMEM;
    x->apps = more;
    memcpy(x->apps[x->streams.count], st->app, sizeof(st->app));
    if ((x->rc = push(&x->streams, &i)) < 0)
        return 1;
    begin_line(x);
    put_text(x, "app", st->app);
    put_text(x, "stream", st->name);
    return end_line(x);
}

static const char *app_of(const struct archive_export *x, int64_t stream)
{
    for (size_t i = 0; i < x->streams.count; i++)
        if (x->streams.list[i].id == stream)
            return x->apps[i];
    return STORE_APP_HOST;
}

// As data.export has it, and what only an archive needs.
static int on_record(const struct store_record *row, void *user)
{
    struct archive_export *x = user;
    uint8_t salt[STORE_SALT_BYTES];

    x->in_page++;
    x->cursor = row->id;
    if (record_export_json(&x->line, row) < 0) {
        x->rc =
            error_set(&x->err, -EUCLEAN, "record %lld is damaged in the store",
                      (long long) row->id);
        return 1;
    }
    x->line.bytes -= 2; // "}\n"
    put_text(x, "app", app_of(x, row->stream_id));
    str_printf(&x->line, ",\"added\":%lld", (long long) row->added_ms);
    if (store_salt_get(x->s, row->id, salt, NULL) == 0) {
        str_puts(&x->line, ",\"salt\":\"");
        for (size_t i = 0; i < sizeof(salt); i++)
            str_printf(&x->line, "%02x", salt[i]);
        str_putc(&x->line, '"');
    }
    return end_line(x);
}

static int on_adapter(const struct store_adapter *a, void *user)
{
    struct archive_export *x = user;
    struct item i = {.id = a->id};
    struct store_model m;
    char hex[HASH_HEX];

    memcpy(i.name, a->name, sizeof(i.name));
    if ((x->rc = push(&x->adapters, &i)) < 0 ||
        (x->rc = store_model_get_id(x->s, a->model_id, &m, &x->err)) < 0)
        return 1;
    hash_to_hex(hex, m.sha256);
    begin_line(x);
    archive_row_write(&x->line, &archive_adapters, a);
    put_text(x, "base", hex);
    put_text(x, "base_name", m.name);
    return end_line(x);
}

static int on_job(const struct store_job *j, void *user)
{
    struct archive_export *x = user;
    const struct item i = {.id = j->id};

    x->rc = push(&x->jobs, &i);
    return x->rc < 0;
}

static int write_job(struct archive_export *x, int64_t id, struct error *err)
{
    struct store_job *j = fault_malloc(sizeof(*j));
    int rc;

    if (!j)
        return error_set(err, -ENOMEM, "out of memory");
    if ((rc = store_job_get(x->s, id, j, err)) == 0) {
        begin_line(x);
        put_text(x, "state", store_job_state_name(j->state));
        archive_row_write(&x->line, &archive_jobs, j);
        (void) end_line(x);
    }
    free(j);
    return rc == -ENOENT ? 0 : rc; // its adapter was deleted meanwhile
}

static int on_point(const struct store_point *p, void *user)
{
    struct archive_export *x = user;

    begin_line(x);
    str_printf(&x->line, ",\"job\":%lld", (long long) x->cursor);
    archive_row_write(&x->line, &archive_points, p);
    return end_line(x);
}

static int on_part(const struct store_part *p, void *user)
{
    struct str *line = user;

    if (line->data[line->bytes - 1] != '[')
        str_putc(line, ',');
    str_puts(line, "{\"adapter\":");
    str_json(line, p->adapter, strlen(p->adapter));
    str_printf(line, ",\"version\":%u,\"weight\":%.17g}", p->version,
               p->weight);
    return 0;
}

static int put_manifest(struct archive_export *x, const struct store_version *v)
{
    struct store_manifest m = {0};
    char signature[SIGN_HEX];
    int rc = store_manifest_get(x->s, v->adapter_id, v->version, &m, &x->err);

    if (rc == 0) {
        sign_to_hex(signature, m.signature);
        put_text(x, "manifest", m.json);
        put_text(x, "signature", signature);
    }
    store_manifest_finish(&m);
    return rc == -ENOENT ? 0 : rc;
}

// Which one it comes of, so that it is attached to no other.
static int put_parent(struct archive_export *x, const struct store_version *v)
{
    struct store_version parent;
    char hex[HASH_HEX];

    if (v->parent == 0)
        return 0;
    int rc =
        store_version_get(x->s, v->adapter_id, v->parent, &parent, &x->err);
    if (rc < 0)
        return rc;
    hash_to_hex(hex, parent.sha256);
    put_text(x, "parent_sha256", hex);
    return 0;
}

static int on_version(const struct store_version *v, void *user)
{
    struct archive_export *x = user;
    struct item i = *x->adapter;

    i.version = v->version;
    i.bytes = v->bytes;
    memcpy(i.sha256, v->sha256, sizeof(i.sha256));
    if ((x->rc = push(&x->versions, &i)) < 0 ||
        (v->state != STORE_VERSION_RETIRED &&
         (x->rc = push(&x->files, &i)) < 0))
        return 1;
    begin_line(x);
    put_text(x, "adapter", x->adapter->name);
    put_text(x, "state", store_version_state_name(v->state));
    put_text(x, "gate", store_gate_name(v->gate));
    archive_row_write(&x->line, &archive_versions, v);
    str_puts(&x->line, ",\"merged_from\":[");
    x->rc = store_merge_each(x->s, v->adapter_id, v->version, on_part, &x->line,
                             &x->err);
    str_putc(&x->line, ']');
    if (x->rc < 0 || (x->rc = put_parent(x, v)) < 0 ||
        (x->rc = put_manifest(x, v)) < 0)
        return 1;
    return end_line(x);
}

static int on_scheme(const struct store_scheme *sc, void *user)
{
    struct archive_export *x = user;

    begin_line(x);
    archive_row_write(&x->line, &archive_schemes, sc);
    return end_line(x);
}

static int on_policy(const char *key, const char *value, void *user)
{
    struct archive_export *x = user;

    if (strncmp(key, "state.", 6) == 0)
        return 0; // pockd's own, of ids that are not in an archive
    begin_line(x);
    put_text(x, "key", key);
    put_text(x, "value", value);
    return end_line(x);
}

static int on_audit(const struct store_audit *a, void *user)
{
    struct archive_export *x = user;

    begin_line(x);
    archive_row_write(&x->line, &archive_audits, a);
    return end_line(x);
}

/*
 * Steps
 */

// The line of one version's own records.
static int write_lineage(struct archive_export *x, const struct item *v,
                         struct error *err)
{
    int64_t *ids = NULL;
    size_t n = 0;
    int rc = store_lineage_own(x->s, v->id, v->version, &ids, &n, err);

    for (size_t at = 0; rc == 0 && at < n; at += LINEAGE_IDS) {
        begin_line(x);
        put_text(x, "adapter", v->name);
        str_printf(&x->line, ",\"version\":%u,\"records\":[", v->version);
        for (size_t i = at; i < n && i < at + LINEAGE_IDS; i++)
            str_printf(&x->line, "%s%lld", i > at ? "," : "",
                       (long long) ids[i]);
        str_putc(&x->line, ']');
        (void) end_line(x);
        rc = failed(x, 0, err);
    }
    free(ids);
    return rc;
}

static bool has_file(const struct items *l, const struct item *i)
{
    for (size_t k = 0; k < l->at; k++)
        if (memcmp(l->list[k].sha256, i->sha256, sizeof(i->sha256)) == 0)
            return true;
    return false;
}

static int write_file(struct archive_export *x, const struct item *i,
                      struct error *err)
{
    char name[TAR_NAME_SIZE], hex[HASH_HEX];

    if (has_file(&x->files, i))
        return 0; // of two adapters
    int fd = store_blob_open(x->s, i->sha256, (uint64_t) i->bytes, err);
    if (fd == -ENOENT)
        return 0; // retired since its row was written
    if (fd < 0)
        return fd;
    hash_to_hex(hex, i->sha256);
    (void) snprintf(name, sizeof(name), "files/%s.gguf", hex);
    int rc = archive_write_file(&x->w, name, fd, (uint64_t) i->bytes, err);
    (void) close(fd);
    return rc;
}

// One of a list. 1: there is more.
static int next_of(struct archive_export *x, struct items *l, struct error *err)
{
    int rc = 0;

    if (l->at == l->count)
        return 0;
    const struct item *i = &l->list[l->at];
    if (x->kind == ARCHIVE_JOBS) {
        rc = write_job(x, i->id, err);
    } else if (x->kind == ARCHIVE_METRICS) {
        x->cursor = i->id;
        rc = store_metric_each(x->s, i->id, 0, on_point, x, err);
    } else if (x->kind == ARCHIVE_VERSIONS) {
        x->adapter = i;
        rc = store_version_each(x->s, i->id, on_version, x, err);
    } else if (x->kind == ARCHIVE_LINEAGE) {
        rc = write_lineage(x, i, err);
    } else {
        rc = write_file(x, i, err);
    }
    l->at++;
    rc = failed(x, rc, err);
    return rc < 0 ? rc : 1;
}

// A page of records. 1: there is more.
static int next_page(struct archive_export *x, struct error *err)
{
    static const struct store_filter all;

    x->in_page = 0;
    int rc =
        store_record_each(x->s, &all, x->cursor, PAGE, true, on_record, x, err);
    rc = failed(x, rc, err);
    return rc < 0 ? rc : x->in_page == PAGE;
}

// The oldest first, so that whoever takes them can give them the same ids.
static int find_jobs(struct archive_export *x, struct error *err)
{
    int rc = store_job_each(x->s, 0, 0, INT64_MAX, on_job, x, err);
    struct items *l = &x->jobs;

    for (size_t i = 0; i < l->count / 2; i++) {
        const struct item swap = l->list[i];
        l->list[i] = l->list[l->count - 1 - i];
        l->list[l->count - 1 - i] = swap;
    }
    x->has_jobs = true;
    rc = failed(x, rc, err);
    return rc < 0 ? rc : 1;
}

static int step_jobs(struct archive_export *x, struct error *err)
{
    int rc = x->has_jobs ? next_of(x, &x->jobs, err) : find_jobs(x, err);

    if (rc == 0)
        x->jobs.at = 0; // once more, for their metrics
    return rc;
}

static int step_kind(struct archive_export *x, struct error *err)
{
    int rc = 0;

    switch (x->kind) {
    case ARCHIVE_README:
        x->w.counts[ARCHIVE_README] = 1;
        return archive_write_member(&x->w, "README.txt", readme,
                                    sizeof(readme) - 1, err);
    case ARCHIVE_MODELS:
        rc = store_model_each(x->s, on_model, x, err);
        break;
    case ARCHIVE_STREAMS:
        rc = store_record_count(x->s, NULL, on_stream, x, err);
        break;
    case ARCHIVE_RECORDS:
        return next_page(x, err);
    case ARCHIVE_JOBS:
        return step_jobs(x, err);
    case ARCHIVE_ADAPTERS:
        rc = store_adapter_each(x->s, on_adapter, x, err);
        break;
    case ARCHIVE_METRICS:
        return next_of(x, &x->jobs, err);
    case ARCHIVE_VERSIONS:
        return next_of(x, &x->adapters, err);
    case ARCHIVE_LINEAGE:
        return next_of(x, &x->versions, err);
    case ARCHIVE_SCHEMES:
        rc = store_scheme_each(x->s, on_scheme, x, err);
        break;
    case ARCHIVE_POLICY:
        rc = store_policy_each(x->s, on_policy, x, err);
        break;
    case ARCHIVE_AUDIT:
        rc = store_audit_each(x->s,
                              &(struct store_audit_filter){.with_open = true},
                              on_audit, x, err);
        break;
    case ARCHIVE_FILES:
        return next_of(x, &x->files, err);
    case ARCHIVE_KIND_COUNT:
        break;
    }
    return failed(x, rc, err);
}

int archive_export_step(struct archive_export *x, struct store *s,
                        struct error *err)
{
    x->s = s;
    if (x->kind == ARCHIVE_KIND_COUNT)
        return archive_write_end(&x->w, err);
    int rc = step_kind(x, err);
    if (rc == 0) {
        x->kind++;
        x->cursor = 0;
    }
    return rc < 0 ? rc : 1;
}
