// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/archive_row.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/hash.h"
#include "storage/store_adapter.h"
#include "storage/store_audit.h"
#include "storage/store_job.h"
#include "storage/store_metric.h"
#include "storage/store_model.h"
#include "storage/store_scheme.h"

#define F(row, key, kind, member)                                       \
    {                                                                   \
        key, ARCHIVE_TYPE_##kind, offsetof(struct store_##row, member), \
            sizeof(((struct store_##row *) 0)->member)                  \
    }
#define TABLE(name, fields)                    \
    const struct archive_table name = {fields, \
                                       sizeof(fields) / sizeof(fields[0])}

static const struct archive_field model_fields[] = {
    F(model, "name", TEXT, name),     F(model, "sha256", HASH, sha256),
    F(model, "bytes", INT, bytes),    F(model, "default", BOOL, is_default),
    F(model, "added", INT, added_ms), F(model, "arch", TEXT, arch),
    F(model, "quant", TEXT, quant),   F(model, "license", TEXT, license),
    F(model, "chat", TEXT, chat),     F(model, "chat_set", TEXT, chat_set),
};
TABLE(archive_models, model_fields);

static const struct archive_field adapter_fields[] = {
    F(adapter, "adapter", TEXT, name),
    F(adapter, "created", INT, created_ms),
    F(adapter, "active", U32, active),
};
TABLE(archive_adapters, adapter_fields);

static const struct archive_field job_fields[] = {
    F(job, "job", INT, id),
    F(job, "adapter", TEXT, adapter),
    F(job, "stop_reason", TEXT, stop_reason),
    F(job, "message", TEXT, message),
    F(job, "streams", TEXT, streams),
    F(job, "has_before", BOOL, has_before),
    F(job, "before", INT, before_ms),
    F(job, "forced", BOOL, is_forced),
    F(job, "recipe", TEXT, recipe),
    F(job, "created", INT, created_ms),
    F(job, "started", INT, started_ms),
    F(job, "finished", INT, finished_ms),
    F(job, "attempts", U32, attempts),
    F(job, "failures", U32, failures),
    F(job, "step", INT, step),
    F(job, "steps", INT, steps),
    F(job, "epoch", FLOAT, epoch),
    F(job, "tokens", INT, tokens),
    F(job, "records", INT, records),
    F(job, "heldout_records", INT, heldout_records),
    F(job, "run_ms", INT, run_ms),
    F(job, "loss", FLOAT, loss),
    F(job, "heldout_start", FLOAT, heldout_start),
    F(job, "heldout_best", FLOAT, heldout_best),
    F(job, "heldout_step", INT, heldout_step),
    F(job, "version", U32, version),
};
TABLE(archive_jobs, job_fields);

static const struct archive_field point_fields[] = {
    F(point, "step", INT, step),         F(point, "time", INT, time_ms),
    F(point, "tokens", INT, tokens),     F(point, "loss", FLOAT, loss),
    F(point, "heldout", FLOAT, heldout), F(point, "rate", FLOAT, rate),
};
TABLE(archive_points, point_fields);

static const struct archive_field version_fields[] = {
    F(version, "version", U32, version),
    F(version, "parent", U32, parent),
    F(version, "job", INT, job_id),
    F(version, "imported", BOOL, is_imported),
    F(version, "created", INT, created_ms),
    F(version, "sha256", HASH, sha256),
    F(version, "bytes", INT, bytes),
    F(version, "rank", U32, rank),
    F(version, "records", INT, records),
    F(version, "heldout_before", FLOAT, heldout_before),
    F(version, "heldout_after", FLOAT, heldout_after),
    F(version, "probe_before", FLOAT, probe_before),
    F(version, "probe_after", FLOAT, probe_after),
    F(version, "dp_epsilon", FLOAT, dp_epsilon),
    F(version, "dp_delta", FLOAT, dp_delta),
    F(version, "exposure_sequences", INT, exposure.sequences),
    F(version, "exposure_recited", INT, exposure.recited),
    F(version, "exposure", FLOAT, exposure.bits),
    F(version, "exposure_base", FLOAT, exposure.bits_base),
    F(version, "exposure_drawn", FLOAT, exposure.bits_drawn),
    F(version, "exposure_record", INT, exposure.record_id),
    F(version, "reason", TEXT, reason),
};
TABLE(archive_versions, version_fields);

static const struct archive_field scheme_fields[] = {
    F(scheme, "name", TEXT, name),
    F(scheme, "model", TEXT, model),
    F(scheme, "scheme", TEXT, json),
    F(scheme, "made", INT, made_ms),
};
TABLE(archive_schemes, scheme_fields);

static const struct archive_field audit_fields[] = {
    F(audit, "id", INT, id),          F(audit, "time", INT, time_ms),
    F(audit, "until", INT, until_ms), F(audit, "uid", INT, uid),
    F(audit, "pid", INT, pid),        F(audit, "app", TEXT, app),
    F(audit, "action", TEXT, action), F(audit, "count", INT, count),
    F(audit, "text", TEXT, text),     F(audit, "hash", HASH, hash),
};
TABLE(archive_audits, audit_fields);

/*
 * Writing
 */

static void write_field(struct str *out, const struct archive_field *f,
                        const unsigned char *at)
{
    char hex[HASH_HEX];
    int64_t number;
    double real;

    switch (f->type) {
    case ARCHIVE_TYPE_INT:
        memcpy(&number, at, sizeof(number));
        str_printf(out, ",\"%s\":%lld", f->key, (long long) number);
        break;
    case ARCHIVE_TYPE_U32:
        str_printf(out, ",\"%s\":%u", f->key, *(const uint32_t *) at);
        break;
    case ARCHIVE_TYPE_BOOL:
        str_printf(out, ",\"%s\":%s", f->key,
                   *(const bool *) at ? "true" : "false");
        break;
    case ARCHIVE_TYPE_FLOAT:
        memcpy(&real, at, sizeof(real));
        if (isfinite(real))
            str_printf(out, ",\"%s\":%.17g", f->key, real);
        break;
    case ARCHIVE_TYPE_TEXT:
        str_printf(out, ",\"%s\":", f->key);
        str_json(out, (const char *) at, strlen((const char *) at));
        break;
    case ARCHIVE_TYPE_HASH:
        hash_to_hex(hex, at);
        str_printf(out, ",\"%s\":\"%s\"", f->key, hex);
        break;
    }
}

void archive_row_write(struct str *out, const struct archive_table *t,
                       const void *row)
{
    for (size_t i = 0; i < t->count; i++)
        write_field(out, &t->fields[i],
                    (const unsigned char *) row + t->fields[i].offset);
}

/*
 * Reading
 */

static int read_text(unsigned char *at, const struct archive_field *f,
                     const struct json *j)
{
    if (j->type != JSON_STRING || j->bytes >= f->size ||
        strlen(j->text) != j->bytes)
        return -EINVAL;
    memcpy(at, j->text, j->bytes + 1);
    return 0;
}

static int read_field(unsigned char *at, const struct archive_field *f,
                      const struct json *j)
{
    const bool is_int = j->type == JSON_NUMBER && j->is_integer;

    switch (f->type) {
    case ARCHIVE_TYPE_INT:
        if (!is_int)
            return -EINVAL;
        memcpy(at, &j->integer, sizeof(j->integer));
        return 0;
    case ARCHIVE_TYPE_U32:
        if (!is_int || j->integer < 0 || j->integer > INT32_MAX)
            return -EINVAL;
        *(uint32_t *) at = (uint32_t) j->integer;
        return 0;
    case ARCHIVE_TYPE_BOOL:
        if (j->type != JSON_BOOL)
            return -EINVAL;
        *(bool *) at = j->boolean;
        return 0;
    case ARCHIVE_TYPE_FLOAT:
        if (j->type != JSON_NUMBER || !isfinite(j->number))
            return -EINVAL;
        memcpy(at, &j->number, sizeof(j->number));
        return 0;
    case ARCHIVE_TYPE_TEXT:
        return read_text(at, f, j);
    case ARCHIVE_TYPE_HASH:
        return j->type == JSON_STRING ? hash_from_hex(at, j->text) : -EINVAL;
    }
    return -EINVAL;
}

int archive_row_read(void *row, const struct archive_table *t,
                     const struct json *from, struct error *err)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct archive_field *f = &t->fields[i];
        const struct json *j = json_get(from, f->key);
        if (j && read_field((unsigned char *) row + f->offset, f, j) < 0)
            return error_set(err, -EINVAL, "%s is not as it must be", f->key);
    }
    return 0;
}
