// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/libpock/pock_internal.h"

#include <string.h>

int pock_gen_request(struct pock_request **out, struct pock *p,
                     const struct pock_gen_params *g)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "gen.start")) < 0)
        return rc;
    pock_set_str(r, "prompt", g->prompt);
    if (g->message_count > 0) {
        pock_open_list(r, "messages");
        for (size_t i = 0; i < g->message_count; i++) {
            pock_open_map(r, NULL);
            pock_set_str(r, "role", g->messages[i].role);
            pock_set_str(r, "content", g->messages[i].content);
            pock_close(r);
        }
        pock_close(r);
    }
    pock_set_str(r, "adapter", g->adapter);
    pock_set_str(r, "model", g->model);
    if (g->version > 0)
        pock_set_int(r, "version", g->version);
    if (g->max_tokens > 0)
        pock_set_int(r, "max_tokens", g->max_tokens);
    if (g->has_temperature)
        pock_set_float(r, "temperature", g->temperature);
    if (g->has_top_k)
        pock_set_int(r, "top_k", g->top_k);
    if (g->top_p > 0)
        pock_set_float(r, "top_p", g->top_p);
    if (g->has_seed)
        pock_set_int(r, "seed", g->seed);
    *out = r;
    return 0;
}

struct text_sink {
    pock_text_fn on_text;
    void *user;
};

static void on_item(void *user, const struct pock_value *item)
{
    const struct text_sink *sink = user;
    const char *kind = pock_get_str(item, "kind", "");
    size_t bytes;
    const char *text = pock_as_bytes(pock_get(item, "text"), &bytes);

    if (strcmp(kind, "text") == 0 && text)
        sink->on_text(sink->user, text, bytes);
}

int pock_generate(struct pock *p, const struct pock_gen_params *params,
                  pock_text_fn on_text, void *user, struct pock_reply **out,
                  struct pock_error *err)
{
    struct text_sink sink = {.on_text = on_text, .user = user};
    struct pock_send_options how = {.on_item = on_text ? on_item : NULL,
                                    .user = &sink};
    struct pock_request *r;
    int rc;

    if ((rc = pock_gen_request(&r, p, params)) < 0)
        return pock_error_from_rc(err, rc, "gen.start");
    return pock_call_with(r, &how, out, err);
}

static void set_texts(struct pock_request *r, const struct pock_score_params *s)
{
    pock_open_list(r, s->texts ? "texts" : "pairs");
    for (size_t i = 0; i < s->count; i++) {
        if (s->texts) {
            pock_set_str(r, NULL, s->texts[i]);
            continue;
        }
        pock_open_map(r, NULL);
        pock_set_str(r, "prompt", s->prompts[i]);
        pock_set_str(r, "completion", s->completions[i]);
        pock_close(r);
    }
    pock_close(r);
}

int pock_score(struct pock *p, const struct pock_score_params *s,
               struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "score")) < 0)
        return pock_error_from_rc(err, rc, "score");
    if (s->heldout)
        pock_set_bool(r, "heldout", true);
    else
        set_texts(r, s);
    pock_set_str(r, "adapter", s->adapter);
    pock_set_str(r, "model", s->model);
    if (s->version > 0)
        pock_set_int(r, "version", s->version);
    return pock_call(r, 0, out, err);
}

int pock_policy_get(struct pock *p, const char *const *keys, size_t count,
                    struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "policy.get")) < 0)
        return pock_error_from_rc(err, rc, "policy.get");
    if (keys && count > 0) {
        pock_open_list(r, "keys");
        for (size_t i = 0; i < count; i++)
            pock_set_str(r, NULL, keys[i]);
        pock_close(r);
    }
    return pock_call(r, 0, out, err);
}

static void set_setting(struct pock_request *r, const struct pock_setting *s)
{
    switch (s->kind) {
    case POCK_KIND_BOOL:
        pock_set_bool(r, s->key, s->boolean);
        break;
    case POCK_KIND_INT:
        pock_set_int(r, s->key, s->integer);
        break;
    case POCK_KIND_FLOAT:
        pock_set_float(r, s->key, s->number);
        break;
    case POCK_KIND_STR:
        pock_set_str(r, s->key, s->text);
        break;
    case POCK_KIND_NIL:
    case POCK_KIND_BYTES:
    case POCK_KIND_LIST:
    case POCK_KIND_MAP:
        pock_set_nil(r, s->key);
        break;
    }
}

int pock_policy_set(struct pock *p, const struct pock_setting *settings,
                    size_t count, struct pock_reply **out,
                    struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "policy.set")) < 0)
        return pock_error_from_rc(err, rc, "policy.set");
    pock_open_map(r, "values");
    for (size_t i = 0; i < count; i++)
        set_setting(r, &settings[i]);
    pock_close(r);
    return pock_call(r, 0, out, err);
}

int pock_event_list(struct pock *p, int64_t after, int limit,
                    struct pock_reply **out, struct pock_error *err)
{
    struct pock_request *r;
    int rc;

    if ((rc = pock_request_create(&r, p, "events.watch")) < 0)
        return pock_error_from_rc(err, rc, "events.watch");
    if (after > 0)
        pock_set_int(r, "after", after);
    if (limit > 0)
        pock_set_int(r, "limit", limit);
    return pock_call(r, 0, out, err);
}
