// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/train_job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/train_recipe.h"
#include "engine/base/clock.h"
#include "ipc/rpc_record.h"
#include "storage/store_adapter.h"
#include "storage/store_model.h"
#include "storage/store_stream.h"

static int take_streams(struct train_job *j, const msgpack_object *list,
                        struct error *err)
{
    size_t at = 0;

    for (uint32_t i = 0; i < codec_count(list); i++) {
        struct codec_bytes b;
        if (!codec_as_str(codec_at(list, i), &b) ||
            !rpc_record_name_is_valid(b.data, b.bytes))
            return error_set(err, -EINVAL, "streams[%u] is no name of a stream",
                             i);
        if (at + b.bytes + 2 > sizeof(j->row.streams))
            return error_set(err, -EINVAL, "streams are too many");
        at +=
            (size_t) snprintf(j->row.streams + at, sizeof(j->row.streams) - at,
                              "%s%.*s", at ? " " : "", (int) b.bytes, b.data);
    }
    return 0;
}

int train_job_init(struct train_job *j, const msgpack_object *params,
                   const struct policy *policy, struct error *err)
{
    const msgpack_object *recipe = codec_find(params, "recipe");
    int rc;

    memset(j, 0, sizeof(*j));
    store_job_init(&j->row);
    snprintf(j->adapter, sizeof(j->adapter), "default");
    if (codec_get_cstr(params, "adapter", j->adapter, sizeof(j->adapter),
                       err) == -EINVAL ||
        codec_get_cstr(params, "model", j->model, sizeof(j->model), err) ==
            -EINVAL)
        return -EINVAL;
    if (!rpc_record_name_is_valid(j->adapter, strlen(j->adapter)) ||
        strcmp(j->adapter, "none") == 0)
        return error_set(err, -EINVAL,
                         "adapter %s: a name has letters a-z, digits, . _ -",
                         j->adapter);
    if ((rc = take_streams(j, codec_find(params, "streams"), err)) < 0 ||
        (rc = train_recipe_make(j->row.recipe, recipe, policy, err)) < 0)
        return rc;
    j->row.has_before = codec_find(params, "before") != NULL;
    j->row.before_ms = codec_int(params, "before", 0);
    j->row.is_forced = codec_bool(params, "now", false);
    j->row.created_ms = clock_unix_ms();
    j->is_plain = !recipe && !j->row.has_before && !j->row.streams[0];
    return 0;
}

static int find_model(struct train_job *j, struct store *s,
                      struct store_model *m, struct error *err)
{
    if (j->model[0])
        return store_model_get(s, j->model, m, err);
    int rc = store_model_get_default(s, m, err);
    if (rc == -ENOENT) {
        j->code = RPC_ERROR_NO_MODEL;
        return error_set(err, rc,
                         "there is no base model: register one with `pockctl "
                         "model add FILE`");
    }
    return rc;
}

static int find_adapter(struct train_job *j, struct store *s,
                        struct store_adapter *a, struct error *err)
{
    struct store_model m;
    int64_t id;
    int rc = store_adapter_get(s, j->adapter, a, err);

    if (rc == 0 && j->model[0] && strcmp(j->model, a->model) != 0) {
        j->code = RPC_ERROR_CONFLICT;
        return error_set(err, -EINVAL,
                         "adapter %s is trained on model %s, not on %s",
                         j->adapter, a->model, j->model);
    }
    if (rc != -ENOENT)
        return rc;
    if ((rc = find_model(j, s, &m, err)) < 0 ||
        (rc = store_adapter_add(s, j->adapter, m.id, j->row.created_ms, &id,
                                err)) < 0)
        return rc;
    return store_adapter_get_id(s, id, a, err);
}

static int check_streams(const struct train_job *j, struct store *s,
                         struct error *err)
{
    const char *names = j->row.streams;

    while (*names) {
        char name[STORE_NAME_SIZE];
        size_t n = strcspn(names, " ");
        bool is_there = false;
        snprintf(name, sizeof(name), "%.*s", (int) n, names);
        int rc = store_stream_named(s, name, &is_there, err);
        if (rc < 0)
            return rc;
        if (!is_there)
            return error_set(err, -ENOENT, "there is no stream %s", name);
        names += n + (names[n] == ' ');
    }
    return 0;
}

int train_job_find(struct train_job *j, struct store *s, struct error *err)
{
    struct store_adapter a;
    struct store_model m;
    int rc;

    j->code = RPC_ERROR_NONE;
    if ((rc = check_streams(j, s, err)) < 0 ||
        (rc = train_recipe_resolve(j->row.recipe, s, err)) < 0)
        return rc;
    rc = j->model[0] ? -ENOENT : store_adapter_get(s, j->adapter, &a, NULL);
    if (rc == 0)
        rc = store_model_get_id(s, a.model_id, &m, err);
    else if (rc == -ENOENT)
        rc = find_model(j, s, &m, err);
    if (rc < 0)
        return rc;
    j->row.model_id = m.id;
    memcpy(j->row.model, m.name, sizeof(j->row.model));
    return 0;
}

int train_job_add(struct train_job *j, struct store *s, struct error *err)
{
    struct store_adapter a;
    int rc;

    j->code = RPC_ERROR_NONE;
    if ((rc = check_streams(j, s, err)) < 0 ||
        (rc = train_recipe_resolve(j->row.recipe, s, err)) < 0 ||
        (rc = find_adapter(j, s, &a, err)) < 0)
        return rc;
    j->row.adapter_id = a.id;
    j->row.model_id = a.model_id;
    snprintf(j->row.adapter, sizeof(j->row.adapter), "%s", a.name);
    snprintf(j->row.model, sizeof(j->row.model), "%s", a.model);
    return store_job_add(s, &j->row, &j->row.id, err);
}
