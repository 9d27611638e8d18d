// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_serve.h"

#include "daemon/worker/worker_crash.h"
#include "daemon/worker/worker_device.h"
#include "daemon/worker/worker_reply.h"
#include "daemon/worker/worker_samples.h"
#include "daemon/worker/worker_times.h"
#include "engine/base/clock.h"
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ADAPTERS_MAX = 8,
    ITEM_MS = 20, // text is gathered so long before it is sent
    ITEM_BYTES = 4096,
};

struct serve {
    struct worker_control *control;
    struct worker_device device;
    struct engine_model *model;
    int model_fd; // -1: none is loaded
    char chat[sizeof(((struct worker_load *) 0)->chat)];
    bool has_spoken; // in answer to the request that runs
    struct loaded {
        char key[80];
        struct adapter *adapter;
        uint64_t used; // a counter: the smallest is dropped first
    } adapters[ADAPTERS_MAX];
    uint64_t uses;
    struct worker_failure failure;
};

static int fail(struct serve *s, int rc, const char *name,
                enum worker_severity severity)
{
    return worker_failure_set(&s->failure, rc, name, severity);
}

static int need_model(struct serve *s)
{
    if (s->model)
        return 0;
    int rc = error_set(&s->failure.err, -ENOENT, "no model is loaded");
    return fail(s, rc, "NOT_LOADED", WORKER_SEVERITY_TRANSIENT);
}

/*
 * Models and adapters
 */

static void drop_adapter(struct loaded *l)
{
    engine_adapter_destroy(l->adapter);
    memset(l, 0, sizeof(*l));
}

static void drop_model(struct serve *s)
{
    for (int i = 0; i < ADAPTERS_MAX; i++)
        drop_adapter(&s->adapters[i]);
    engine_model_close(s->model);
    s->model = NULL;
    if (s->model_fd >= 0)
        (void) close(s->model_fd);
    s->model_fd = -1;
}

static struct loaded *find(struct serve *s, const char *key)
{
    for (int i = 0; i < ADAPTERS_MAX; i++)
        if (s->adapters[i].adapter && strcmp(s->adapters[i].key, key) == 0)
            return &s->adapters[i];
    return NULL;
}

// A free place, or the one that was used longest ago, emptied.
static struct loaded *place(struct serve *s)
{
    struct loaded *oldest = &s->adapters[0];

    for (int i = 0; i < ADAPTERS_MAX; i++)
        if (s->adapters[i].used < oldest->used)
            oldest = &s->adapters[i];
    drop_adapter(oldest);
    return oldest;
}

static int open_model(struct serve *s)
{
    struct error *err = &s->failure.err;
    int rc = engine_model_open(&s->model, s->device.engine, s->model_fd, err);

    if (rc == 0)
        rc = engine_model_set_chat(s->model, s->chat, err);
    return rc == 0 ? 0 : fail(s, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
}

static int load_model(struct serve *s, const struct worker_load *m)
{
    drop_model(s);
    memcpy(s->chat, m->chat, sizeof(s->chat));
    s->model_fd = fcntl(m->model_fd, F_DUPFD_CLOEXEC, 0);
    if (s->model_fd < 0) {
        int rc = error_set(&s->failure.err, -errno, "no descriptor is left");
        return fail(s, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    }
    return open_model(s);
}

// A table that is of no use is for others to tell of: answers come without it.
static void use_times(struct serve *s, int fd)
{
    char why[WORKER_TIMES_TEXT];

    (void) worker_times_use(why, s->model, fd);
}

static int load_adapter(struct serve *s, const char *key, int fd)
{
    struct adapter *a;
    int rc;

    if ((rc = need_model(s)) < 0)
        return rc;
    if (key[0] == 0) {
        rc = error_set(&s->failure.err, -EINVAL, "an adapter needs a key");
        return fail(s, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
    }
    if ((rc = engine_adapter_load(&a, s->model, fd, &s->failure.err)) < 0)
        return fail(s, rc, "BAD_ADAPTER", WORKER_SEVERITY_PERMANENT);
    struct loaded *l = find(s, key);
    if (l)
        drop_adapter(l);
    else
        l = place(s);
    memcpy(l->key, key, strlen(key) + 1);
    l->adapter = a;
    l->used = ++s->uses;
    return 0;
}

static int handle_load(struct serve *s, const struct worker_load *m)
{
    int rc = 0;

    if (m->model_fd >= 0)
        rc = load_model(s, m);
    if (rc == 0 && m->model_fd >= 0)
        use_times(s, m->times_fd);
    if (rc == 0 && m->adapter_fd >= 0)
        rc = load_adapter(s, m->key, m->adapter_fd);
    if (rc == 0)
        worker_reply_done(s->control, m->req);
    return rc;
}

static int handle_unload(struct serve *s, const struct worker_unload *m)
{
    struct loaded *l = find(s, m->key);

    if (l)
        drop_adapter(l);
    worker_reply_done(s->control, m->req);
    return 0;
}

// The adapter of a request: NULL for the base model.
static int choose(const struct adapter **out, struct serve *s, const char *key)
{
    int rc;

    *out = NULL;
    if ((rc = need_model(s)) < 0 || key[0] == 0)
        return rc;
    struct loaded *l = find(s, key);
    if (!l) {
        rc = error_set(&s->failure.err, -ENOENT, "adapter %s is not loaded",
                       key);
        return fail(s, rc, "NOT_LOADED", WORKER_SEVERITY_TRANSIENT);
    }
    l->used = ++s->uses;
    *out = l->adapter;
    return 0;
}

static int open_samples(struct samples *out, struct serve *s, int fd)
{
    int rc = samples_open(out, fd, "the text", &s->failure.err);

    return rc == 0 ? 0 : fail(s, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
}

/*
 * Generation
 */

struct stream {
    struct serve *serve;
    struct worker_msg item;
    uint64_t sent_ns;
};

static void stream_flush(struct stream *st)
{
    if (st->item.gen_item.text.bytes == 0)
        return;
    st->serve->has_spoken = true;
    (void) worker_control_send(st->serve->control, &st->item);
    st->item.gen_item.text.bytes = 0;
    st->sent_ns = clock_monotonic_ns();
}

static int on_text(void *user, const char *text, size_t bytes)
{
    struct stream *st = user;
    struct worker_text *out = &st->item.gen_item.text;

    while (bytes > 0) {
        if (out->bytes + 4 > ITEM_BYTES)
            stream_flush(st);
        size_t n = ITEM_BYTES - out->bytes;
        n = n < bytes ? n : bytes;
        // Only whole characters: a continuation byte does not begin one.
        while (n < bytes && n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
            n--;
        memcpy(out->data + out->bytes, text, n);
        out->bytes += (uint32_t) n;
        text += n;
        bytes -= n;
        if (bytes > 0)
            stream_flush(st);
    }
    if (clock_monotonic_ns() - st->sent_ns >= (uint64_t) ITEM_MS * 1000000)
        stream_flush(st);
    return worker_control_is_cancelled(st->serve->control);
}

static void fill_prompt(struct engine_gen_params *p, const struct record *r,
                        struct record_message *one)
{
    switch (r->kind) {
    case RECORD_TEXT:
        p->prompt = r->text;
        break;
    case RECORD_PAIR:
    case RECORD_FEEDBACK:
        one->role = (struct record_text){"user", 4};
        one->content = r->prompt;
        p->messages = one;
        p->n_messages = 1;
        break;
    case RECORD_CHAT:
        p->messages = r->messages;
        p->n_messages = r->n_messages;
        break;
    case RECORD_KINDS:
        break;
    }
}

static void say_gen_done(struct serve *s, uint64_t req,
                         const struct engine_gen_result *g)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_gen_done);
    m.gen_done.req = req;
    (void) snprintf(m.gen_done.reason, sizeof(m.gen_done.reason), "%s",
                    engine_gen_end_name(g->end));
    m.gen_done.prompt_tokens = g->prompt_tokens;
    m.gen_done.tokens = g->tokens;
    m.gen_done.seconds = (double) (g->prompt_ns + g->token_ns) / 1e9;
    (void) worker_control_send(s->control, &m);
}

static int generate(struct serve *s, const struct worker_gen *m,
                    struct engine_gen_params *p, const struct samples *prompt)
{
    struct stream st = {.serve = s};
    struct engine_gen_result g = {0};
    struct record_message one;

    if (prompt->count != 1) {
        int rc = error_set(&s->failure.err, -EINVAL,
                           "a prompt is one record, not %zu", prompt->count);
        return fail(s, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
    }
    fill_prompt(p, &prompt->records[0], &one);
    worker_msg_init(&st.item, WORKER_MSG_gen_item);
    st.item.gen_item.req = m->req;
    p->on_text = on_text;
    p->user = &st;
    int rc = engine_generate(&g, s->model, p, &s->failure.err);
    if (rc == 0 && g.end == ENGINE_GEN_CANCELLED)
        rc = -EINTR;
    if (rc < 0)
        return fail(s, rc, rc == -E2BIG ? "TOO_LONG" : "INTERNAL",
                    WORKER_SEVERITY_PERMANENT);
    stream_flush(&st);
    say_gen_done(s, m->req, &g);
    return 0;
}

static float or_else(double v, float fallback)
{
    return isnan(v) ? fallback : (float) v;
}

static int handle_gen(struct serve *s, const struct worker_gen *m)
{
    const char *stops[sizeof(m->stops) / sizeof(m->stops[0])];
    struct engine_gen_params p = {
        .temperature = or_else(m->temperature, 0),
        .top_k = m->top_k,
        .top_p = or_else(m->top_p, 1),
        .seed = m->seed,
        .max_tokens = m->tokens_max,
        .stops = stops,
        .n_stops = m->n_stops,
    };
    struct samples prompt;
    int rc;

    for (uint32_t i = 0; i < m->n_stops; i++)
        stops[i] = m->stops[i].text;
    if ((rc = choose(&p.adapter, s, m->adapter)) < 0)
        return rc;
    if ((rc = open_samples(&prompt, s, m->prompt_fd)) < 0)
        return rc;
    rc = generate(s, m, &p, &prompt);
    samples_close(&prompt);
    return rc;
}

/*
 * Scores
 */

static void say_scores(struct serve *s, uint64_t req, const struct samples *in,
                       const struct engine_loss *each,
                       const struct engine_eval *eval)
{
    struct worker_msg m;

    for (size_t i = 0; i < in->count; i++) {
        worker_msg_init(&m, WORKER_MSG_score_item);
        m.score_item.req = req;
        m.score_item.id = (uint64_t) in->records[i].id;
        m.score_item.tokens = (uint32_t) each[i].n_tokens;
        m.score_item.nll = isfinite(each[i].nats) ? each[i].nats : (double) NAN;
        (void) worker_control_send(s->control, &m);
    }
    worker_msg_init(&m, WORKER_MSG_score_done);
    m.score_done.req = req;
    m.score_done.tokens = eval->total.n_tokens;
    m.score_done.nll =
        isfinite(eval->total.nats) ? eval->total.nats : (double) NAN;
    (void) worker_control_send(s->control, &m);
}

static int score(struct serve *s, const struct worker_score *m,
                 const struct adapter *a, const struct samples *in)
{
    struct engine_eval eval;
    int rc;

    for (size_t i = 0; i < in->count; i++) {
        if ((rc = record_check(&in->records[i], CHAT_LOSS_ASSISTANT,
                               &s->failure.err)) == 0)
            continue;
        s->failure.record_first = (uint32_t) i;
        s->failure.record_count = 1;
        return fail(s, rc, "BAD_RECORDS", WORKER_SEVERITY_POISON);
    }
    struct engine_loss *each = calloc(in->count + 1, sizeof(*each));
    if (!each)
        return fail(s, -ENOMEM, "NO_MEMORY", WORKER_SEVERITY_TRANSIENT);
    rc = engine_evaluate(&eval, each, s->model, a, in->records, in->count,
                         ENGINE_SUBSET_ALL, &s->failure.err);
    if (rc == 0)
        say_scores(s, m->req, in, each, &eval);
    else
        (void) fail(s, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    free(each);
    return rc;
}

static int handle_score(struct serve *s, const struct worker_score *m)
{
    const struct adapter *a;
    struct samples in;
    int rc;

    if ((rc = choose(&a, s, m->adapter)) < 0)
        return rc;
    if ((rc = open_samples(&in, s, m->records_fd)) < 0)
        return rc;
    rc = score(s, m, a, &in);
    samples_close(&in);
    return rc;
}

/*
 * Loop
 */

static int handle(struct serve *s, const struct worker_msg *m)
{
    int rc;

    if (m->type == WORKER_MSG_load)
        return handle_load(s, &m->load);
    if (m->type == WORKER_MSG_unload)
        return handle_unload(s, &m->unload);
    if (m->type == WORKER_MSG_gen)
        return handle_gen(s, &m->gen);
    if (m->type == WORKER_MSG_score)
        return handle_score(s, &m->score);
    rc = error_set(&s->failure.err, -EINVAL, "%s is not for a serving worker",
                   worker_msg_name(m->type));
    return fail(s, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
}

// The device was lost, or cannot do it: again with another one, or with the
// same that was opened anew. Adapters are the host's, and stay.
static int move(struct serve *s)
{
    int rc;

    engine_model_close(s->model);
    s->model = NULL;
    worker_device_close(&s->device);
    if ((rc = worker_device_open(&s->device, &s->failure.err)) < 0)
        return fail(s, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    return s->model_fd >= 0 ? open_model(s) : 0;
}

static int handle_safely(struct serve *s, const struct worker_msg *m)
{
    int rc;

    s->has_spoken = false;
    while ((rc = handle(s, m)) < 0 &&
           worker_device_can_recover(&s->device, rc, "an answer",
                                     s->failure.err.text)) {
        int moved = move(s);
        if (moved < 0)
            return moved;
        if (!s->has_spoken)
            continue;
        rc = error_set(&s->failure.err, rc, "%.400s: ask again",
                       s->device.notice);
        return fail(s, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    }
    return rc;
}

int worker_serve_run(struct worker_control *c, const struct worker_hello *hello)
{
    struct serve s = {.control = c, .model_fd = -1};
    struct worker_msg m;
    int rc;

    worker_device_init(&s.device, c, hello);
    if ((rc = worker_device_open(&s.device, &s.failure.err)) < 0) {
        (void) fail(&s, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
        worker_reply_failure(c, 0, &s.failure);
        return 1;
    }
    while (worker_control_next(c, &m, hello->idle_exit_s * 1000) == 0) {
        memset(&s.failure, 0, sizeof(s.failure));
        worker_crash_arm(worker_control_fd(c), m.load.req);
        if (handle_safely(&s, &m) < 0)
            worker_reply_failure(c, m.load.req, &s.failure);
        worker_msg_finish(&m);
    }
    drop_model(&s);
    worker_device_close(&s.device);
    return 0;
}
