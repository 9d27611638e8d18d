// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/dbcall.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/redaction.h"
#include "daemon/reload.h"
#include "daemon/train_recipe.h"
#include "daemon/training.h"
#include "engine/base/clock.h"
#include "engine/base/devname.h"
#include "engine/base/suggest.h"
#include "storage/store_policy.h"

enum { VALUES_MAX = 64 };

// Not for texts.
static void put_number(struct encoder *e, const char *key,
                       enum policy_kind kind, double v)
{
    switch (kind) {
    case POLICY_KIND_BOOL:
        encoder_put_bool(e, key, v != 0);
        return;
    case POLICY_KIND_INT:
        encoder_put_int(e, key, (int64_t) v);
        return;
    case POLICY_KIND_NUM:
        encoder_put_float(e, key, v);
        return;
    case POLICY_KIND_TEXT:
        return;
    }
}

static void put_value(struct encoder *e, const char *key,
                      const struct policy *p, const struct policy_row *row)
{
    if (row->kind == POLICY_KIND_TEXT)
        encoder_put_cstr(e, key, policy_get_text(p, row));
    else
        put_number(e, key, row->kind, policy_get(p, row));
}

static void encode_row(struct encoder *e, const struct pockd *p,
                       const struct policy *policy,
                       const struct policy_row *row)
{
    static const char *const types[] = {[POLICY_KIND_BOOL] = "bool",
                                        [POLICY_KIND_INT] = "int",
                                        [POLICY_KIND_NUM] = "float",
                                        [POLICY_KIND_TEXT] = "str"};

    encoder_open_map(e);
    encoder_put_cstr(e, "key", row->name);
    encoder_put_cstr(e, "type", types[row->kind]);
    put_value(e, "value", policy, row);
    put_value(e, "default", &p->config->policy, row);
    if (row->kind == POLICY_KIND_INT || row->kind == POLICY_KIND_NUM) {
        put_number(e, "min", row->kind, row->min);
        put_number(e, "max", row->kind, row->max);
    }
    encoder_put_cstr(e, "doc", row->meaning);
    encoder_close(e);
}

// Names the one that is not there, and what may have been meant.
static void fail_key(struct request *r, const msgpack_object *name)
{
    struct codec_bytes b;
    struct suggest s;

    if (!codec_as_str(name, &b)) {
        request_fail(r, RPC_ERROR_BAD_PARAMS, "keys: each must be a text");
        return;
    }
    suggest_init(&s, b.data, b.bytes);
    for (size_t i = 0; i < policy_row_count; i++)
        suggest_consider(&s, policy_rows[i].name, strlen(policy_rows[i].name));
    if (s.best)
        request_fail(r, RPC_ERROR_NOT_FOUND,
                     "the policy has no key \"%.*s\": did you mean %.*s?",
                     (int) b.bytes, (const char *) b.data, (int) s.best_bytes,
                     s.best);
    else
        request_fail(r, RPC_ERROR_NOT_FOUND,
                     "the policy has no key \"%.*s\": `pockctl policy get` "
                     "lists them",
                     (int) (b.bytes < 64 ? b.bytes : 64),
                     (const char *) b.data);
}

static const struct policy_row *row_of(const msgpack_object *name)
{
    struct codec_bytes b;
    char text[64];

    if (!codec_as_str(name, &b) || b.bytes >= sizeof(text))
        return NULL;
    memcpy(text, b.data, b.bytes);
    text[b.bytes] = '\0';
    return policy_find(text);
}

void handle_policy_get(struct pockd *p, struct request *r)
{
    const msgpack_object *keys = codec_find(request_params(r), "keys");

    for (uint32_t i = 0; i < codec_count(keys); i++)
        if (!row_of(codec_at(keys, i))) {
            fail_key(r, codec_at(keys, i));
            return;
        }
    struct encoder *e = request_begin(r);
    encoder_put_array(e, "policy");
    for (uint32_t i = 0; i < codec_count(keys); i++)
        encode_row(e, p, &p->policy, row_of(codec_at(keys, i)));
    for (size_t i = 0; !keys && i < policy_row_count; i++)
        encode_row(e, p, &p->policy, &policy_rows[i]);
    encoder_close(e);
    request_end(r);
}

// What policy.set asks for: checked on the loop, stored on the other thread.
struct change {
    struct policy policy; // with the change
    size_t count;
    struct {
        const struct policy_row *row;
        bool is_reset;
    } rows[VALUES_MAX];
};

static int change_one(struct change *c, const struct pockd *p,
                      const struct policy_row *row, const msgpack_object *v,
                      struct error *err)
{
    struct codec_bytes text;
    double number = 0;

    c->rows[c->count].row = row;
    c->rows[c->count].is_reset = v->type == MSGPACK_OBJECT_NIL;
    c->count++;
    if (v->type == MSGPACK_OBJECT_NIL) {
        policy_copy(&c->policy, &p->config->policy, row);
        return 0;
    }
    if (codec_as_str(v, &text) && row->kind == POLICY_KIND_TEXT)
        return policy_set_bytes(&c->policy, row, text.data, text.bytes, err);
    if (v->type == MSGPACK_OBJECT_BOOLEAN && row->kind == POLICY_KIND_BOOL)
        number = v->via.boolean ? 1 : 0;
    else if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        number = (double) v->via.u64;
    else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        number = (double) v->via.i64;
    else if (v->type == MSGPACK_OBJECT_FLOAT32 ||
             v->type == MSGPACK_OBJECT_FLOAT64)
        number = v->via.f64;
    else
        return error_set(err, -EINVAL, "policy %s: the value has a wrong type",
                         row->name);
    return policy_set(&c->policy, row->name, number, err);
}

static int change_all(struct change *c, const struct pockd *p,
                      const msgpack_object *values, struct error *err)
{
    if (!values || values->type != MSGPACK_OBJECT_MAP ||
        values->via.map.size > VALUES_MAX)
        return error_set(err, -EINVAL, "values must be a map of at most %d",
                         VALUES_MAX);
    for (uint32_t i = 0; i < values->via.map.size; i++) {
        const msgpack_object_kv *kv = &values->via.map.ptr[i];
        const struct policy_row *row = row_of(&kv->key);
        struct codec_bytes name = {"", 0};
        (void) codec_as_str(&kv->key, &name);
        if (!row)
            return error_set(err, -ENOENT,
                             "the policy has no key %.*s: `pockctl policy "
                             "get` lists them",
                             (int) (name.bytes < 64 ? name.bytes : 64),
                             name.data);
        int rc = change_one(c, p, row, &kv->val, err);
        if (rc < 0)
            return rc;
    }
    const struct policy_row *a;
    const struct policy_row *b;
    return policy_check(&c->policy, &a, &b, err);
}

static int run_set(struct store *s, struct dbcall *c, struct error *err)
{
    const struct change *ch = c->data;
    int64_t now = clock_unix_ms();

    for (size_t i = 0; i < ch->count; i++) {
        char number[40];
        const struct policy_row *row = ch->rows[i].row;
        const char *text = policy_get_text(&ch->policy, row);
        const bool is_reset = ch->rows[i].is_reset;
        int rc = 0;

        if (!is_reset && strcmp(row->name, "train_scheme") == 0)
            rc = train_recipe_check_scheme(text, s, err);
        if (!is_reset && strcmp(row->name, "train_loss_on") == 0 &&
            strcmp(text, "assistant") != 0 && strcmp(text, "user") != 0 &&
            strcmp(text, "all") != 0)
            rc = error_set(err, -EINVAL,
                           "\"%.15s\" must be assistant, user or all", text);
        if (!is_reset && strcmp(row->name, "device") == 0)
            rc = devname_parse(&(struct devname){0}, text, err);
        if (!is_reset && rc == 0)
            rc = redaction_check(row->name, text, err);
        if (!is_reset && rc == 0)
            rc = reload_check(row->name, text, err);
        if (rc < 0)
            return error_prefix(err, rc, "policy %s", row->name);
        snprintf(number, sizeof(number), "%.17g", policy_get(&ch->policy, row));
        if (row->kind != POLICY_KIND_TEXT)
            text = number;
        rc = store_policy_set(s, row->name, is_reset ? NULL : text, now, err);
        if (rc < 0 && !(rc == -ENOENT && is_reset))
            return rc;
    }
    encoder_put_array(&c->out, "policy");
    for (size_t i = 0; i < ch->count; i++)
        encode_row(&c->out, c->p, &ch->policy, ch->rows[i].row);
    encoder_close(&c->out);
    return 0;
}

static void after_set(struct dbcall *c)
{
    const struct change *ch = c->data;

    // Only what was named: another change may have come in between.
    for (size_t i = 0; i < ch->count; i++)
        policy_copy(&c->p->policy, &ch->policy, ch->rows[i].row);
    events_emit(c->p, &(struct event_params){.kind = "policy_changed",
                                             .text = "the policy was changed"});
    if (c->p->policy.prefix_cache_mib == 0)
        training_drop_prefix(c->p);
    pockd_reconsider(c->p);
}

void handle_policy_set(struct pockd *p, struct request *r)
{
    struct change *c = calloc(1, sizeof(*c));
    struct error err = {0};

    if (!c) {
        request_fail(r, RPC_ERROR_BUSY, "out of memory");
        return;
    }
    c->policy = p->policy;
    int rc = change_all(c, p, codec_find(request_params(r), "values"), &err);
    if (rc < 0) {
        free(c);
        request_fail(r,
                     rc == -ENOENT ? RPC_ERROR_NOT_FOUND : RPC_ERROR_BAD_PARAMS,
                     "%s", err.text);
        return;
    }
    dbcall_start(p, r,
                 &(struct dbcall_params){.kind = DBTHREAD_WRITE,
                                         .run = run_set,
                                         .after = after_set,
                                         .data = c});
}
