// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/adapter_transfer.h"
#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/record_filter.h"
#include "daemon/reload.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "storage/store_adapter.h"
#include "storage/store_lineage.h"
#include "storage/store_merge.h"

static void put_loss(struct encoder *e, const char *key, double v)
{
    if (isfinite(v))
        encoder_put_float(e, key, v);
}

static void put_exposure(struct encoder *e, const struct store_exposure *x)
{
    if (x->sequences == 0)
        return;
    encoder_put_int(e, "audited", x->sequences);
    encoder_put_int(e, "recited", x->recited);
    put_loss(e, "exposure", x->bits);
    put_loss(e, "exposure_base", x->bits_base);
    put_loss(e, "exposure_drawn", x->bits_drawn);
    if (x->record_id > 0)
        encoder_put_int(e, "exposed_record", x->record_id);
}

void adapter_encode_version(struct encoder *e, const struct store_version *v)
{
    char hex[HASH_HEX];

    hash_to_hex(hex, v->sha256);
    encoder_open_map(e);
    encoder_put_int(e, "version", v->version);
    if (v->parent)
        encoder_put_int(e, "parent", v->parent);
    encoder_put_cstr(e, "state", store_version_state_name(v->state));
    encoder_put_cstr(e, "origin",
                     v->is_merged     ? "merged"
                     : v->is_imported ? "imported"
                                      : "trained");
    encoder_put_int(e, "created", v->created_ms);
    encoder_put_cstr(e, "sha256", hex);
    encoder_put_int(e, "bytes", v->bytes);
    if (v->rank)
        encoder_put_int(e, "rank", v->rank);
    if (v->job_id)
        encoder_put_int(e, "job", v->job_id);
    encoder_put_int(e, "records", v->records);
    put_loss(e, "heldout_before", v->heldout_before);
    put_loss(e, "heldout_after", v->heldout_after);
    put_loss(e, "probe_before", v->probe_before);
    put_loss(e, "probe_after", v->probe_after);
    put_loss(e, "dp_epsilon", v->dp_epsilon);
    put_loss(e, "dp_delta", v->dp_delta);
    put_exposure(e, &v->exposure);
    encoder_put_cstr(e, "gate", store_gate_name(v->gate));
    if (v->reason[0])
        encoder_put_cstr(e, "reason", v->reason);
    encoder_close(e);
}

struct versions {
    struct encoder *out;
    uint32_t only; // 0: all
};

static int put_version(const struct store_version *v, void *user)
{
    struct versions *vs = user;

    if (vs->only == 0 || vs->only == v->version)
        adapter_encode_version(vs->out, v);
    return 0;
}

static int encode_adapter(struct encoder *e, struct store *s,
                          const struct store_adapter *a, uint32_t only,
                          struct error *err)
{
    struct versions vs = {.out = e, .only = only};

    encoder_open_map(e);
    encoder_put_cstr(e, "name", a->name);
    encoder_put_cstr(e, "model", a->model);
    encoder_put_int(e, "created", a->created_ms);
    if (a->active)
        encoder_put_int(e, "active", a->active);
    encoder_put_array(e, "versions");
    int rc = store_version_each(s, a->id, put_version, &vs, err);
    encoder_close(e);
    encoder_close(e);
    return rc;
}

// Queries do not nest: adapters first, then their versions.
struct all {
    struct store_adapter *list;
    size_t count;
};

static int keep_adapter(const struct store_adapter *a, void *user)
{
    struct all *all = user;
    struct store_adapter *more =
        realloc(all->list, (all->count + 1) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    all->list = more;
    all->list[all->count++] = *a;
    return 0;
}

static int run_list(struct store *s, struct dbcall *c, struct error *err)
{
    struct all all = {0};
    int rc = store_adapter_each(s, keep_adapter, &all, err);

    encoder_put_array(&c->out, "adapters");
    for (size_t i = 0; rc == 0 && i < all.count; i++)
        rc = encode_adapter(&c->out, s, &all.list[i], 0, err);
    encoder_close(&c->out);
    free(all.list);
    return rc;
}

void handle_adapter_list(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_list});
}

int adapter_find(struct store *s, const msgpack_object *params,
                 struct store_adapter *a, struct error *err)
{
    char name[STORE_NAME_SIZE] = "";
    int rc = codec_get_cstr(params, "adapter", name, sizeof(name), err);

    if (rc < 0)
        return rc;
    rc = store_adapter_get(s, name, a, err);
    return rc == -ENOENT
               ? error_set(
                     err, rc,
                     "there is no adapter %s: `pockctl adapter list` names those that are there",
                     name)
               : rc;
}

int adapter_find_version(struct store *s, struct dbcall *c,
                         struct store_adapter *a, struct store_version *v,
                         struct error *err)
{
    int64_t version = codec_int(c->params, "version", 0);
    int rc = adapter_find(s, c->params, a, err);

    if (rc < 0)
        return rc;
    if (version == 0)
        version = a->active;
    if (version == 0) {
        c->code = RPC_ERROR_NO_ADAPTER;
        return error_set(err, -ENOENT,
                         "adapter %s has no active version: name one", a->name);
    }
    rc = store_version_get(s, a->id, (uint32_t) version, v, err);
    return rc < 0 ? error_set(err, rc, "adapter %s has no version %lld",
                              a->name, (long long) version)
                  : 0;
}

static int put_stream(const struct store_stream *st, void *user)
{
    record_stream_encode(user, st);
    return 0;
}

int adapter_put_part(const struct store_part *p, void *user)
{
    struct encoder *e = user;

    encoder_open_map(e);
    encoder_put_cstr(e, "adapter", p->adapter);
    encoder_put_int(e, "version", p->version);
    encoder_put_float(e, "weight", p->weight);
    encoder_close(e);
    return 0;
}

static int run_show(struct store *s, struct dbcall *c, struct error *err)
{
    uint32_t version = (uint32_t) codec_int(c->params, "version", 0);
    struct store_adapter a;
    struct store_version v;
    int rc = adapter_find(s, c->params, &a, err);

    if (rc < 0)
        return rc;
    if (version && (rc = store_version_get(s, a.id, version, &v, err)) < 0)
        return error_set(err, rc, "adapter %s has no version %u", a.name,
                         version);
    encoder_key(&c->out, "adapter");
    if ((rc = encode_adapter(&c->out, s, &a, version, err)) < 0)
        return rc;
    if (version == 0)
        version = a.active;
    encoder_put_array(&c->out, "merged_from");
    if (version)
        rc = store_merge_each(s, a.id, version, adapter_put_part, &c->out, err);
    encoder_close(&c->out);
    if (rc < 0)
        return rc;
    encoder_put_array(&c->out, "streams");
    if (version)
        rc = store_lineage_streams(s, a.id, version, put_stream, &c->out, err);
    encoder_close(&c->out);
    return rc;
}

void handle_adapter_show(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_READ,
                                         .run = run_show});
}

// The adapter as it is after a switch; c->number[0] is its active version.
static int answer_switched(struct store *s, struct dbcall *c, int64_t id,
                           struct error *err)
{
    struct store_adapter a;
    int rc = store_adapter_get_id(s, id, &a, err);

    if (rc < 0)
        return rc;
    c->number[0] = a.active;
    snprintf(c->text, sizeof(c->text), "%s", a.name);
    snprintf(c->audit_text, sizeof(c->audit_text), "%s:%u", a.name, a.active);
    encoder_key(&c->out, "adapter");
    return encode_adapter(&c->out, s, &a, 0, err);
}

static int run_activate(struct store *s, struct dbcall *c, struct error *err)
{
    uint32_t version = (uint32_t) codec_int(c->params, "version", 0);
    bool is_forced = codec_bool(c->params, "force", false);
    struct store_adapter a;
    int rc = adapter_find(s, c->params, &a, err);

    if (rc < 0)
        return rc;
    rc = store_adapter_activate(s, a.id, version, is_forced, clock_unix_ms(),
                                err);
    return rc < 0 ? rc : answer_switched(s, c, a.id, err);
}

static void after_switch(struct dbcall *c)
{
    char text[200];

    if (c->number[0])
        snprintf(text, sizeof(text), "version %lld of %s is active",
                 (long long) c->number[0], c->text);
    else
        snprintf(text, sizeof(text), "%s has no active version: the base model",
                 c->text);
    events_emit(c->p, &(struct event_params){.kind = "version_activated",
                                             .adapter = c->text,
                                             .version = (uint32_t) c->number[0],
                                             .reason = "USER",
                                             .text = text});
    reload_run(c->p->reload, c->text, (uint32_t) c->number[0]);
    facts_refresh(c->p);
}

void handle_adapter_activate(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_activate,
                                         .after = after_switch});
}

static int run_rollback(struct store *s, struct dbcall *c, struct error *err)
{
    int64_t version = codec_int(c->params, "version", -1);
    int64_t now = clock_unix_ms();
    struct store_adapter a;
    int rc = adapter_find(s, c->params, &a, err);

    if (rc < 0)
        return rc;
    if (version < 0)
        rc = store_adapter_rollback(s, a.id, now, NULL, err);
    else if (version == 0)
        rc = store_adapter_deactivate(s, a.id, now, err);
    else
        rc =
            store_adapter_activate(s, a.id, (uint32_t) version, true, now, err);
    if (rc == -ENOENT && version < 0) {
        c->code = RPC_ERROR_NO_ADAPTER;
        return error_set(err, rc,
                         "adapter %s has no version to go back from: the base "
                         "model is active",
                         a.name);
    }
    return rc < 0 ? rc : answer_switched(s, c, a.id, err);
}

void handle_adapter_rollback(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_rollback,
                                         .after = after_switch});
}

static int delete_all(struct store *s, struct dbcall *c,
                      const struct store_adapter *a, struct error *err)
{
    int rc = store_adapter_delete(s, a->id, err);

    if (rc < 0)
        return rc;
    (void) store_blob_sweep(s, NULL, NULL);
    encoder_put_int(&c->out, "versions", a->versions);
    return 0;
}

static int run_delete(struct store *s, struct dbcall *c, struct error *err)
{
    uint32_t version = (uint32_t) codec_int(c->params, "version", 0);
    struct store_adapter a;
    int rc = adapter_find(s, c->params, &a, err);

    if (rc < 0)
        return rc;
    snprintf(c->text, sizeof(c->text), "%s", a.name);
    snprintf(c->audit_text, sizeof(c->audit_text), version ? "%s:%u" : "%s",
             a.name, version);
    c->number[0] = version;
    if (version == 0) {
        rc = delete_all(s, c, &a, err);
    } else {
        rc =
            store_version_retire(s, a.id, version, "deleted by the owner", err);
        if (rc == 0)
            (void) store_blob_sweep(s, NULL, NULL);
        encoder_put_int(&c->out, "versions", 1);
    }
    if (rc == -EBUSY)
        c->code = RPC_ERROR_CONFLICT;
    return rc;
}

static void after_delete(struct dbcall *c)
{
    bool is_all = c->number[0] == 0;

    events_emit(c->p,
                &(struct event_params){
                    .kind = is_all ? "adapter_deleted" : "version_retired",
                    .adapter = c->text,
                    .version = (uint32_t) c->number[0],
                    .reason = "USER",
                    .text = is_all ? "the owner deleted the adapter"
                                   : "the owner deleted the version"});
    facts_refresh(c->p);
}

void handle_adapter_delete(struct pockd *p, struct request *r)
{
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_ALONE,
                                         .run = run_delete,
                                         .after = after_delete});
}

void handle_adapter_export(struct pockd *p, struct request *r)
{
    adapter_export(p, r);
}

void handle_adapter_import(struct pockd *p, struct request *r)
{
    adapter_import(p, r);
}
