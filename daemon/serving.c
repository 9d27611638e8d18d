// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "serving"

#include "daemon/serving.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/dbthread.h"
#include "daemon/places.h"
#include "daemon/pockd.h"
#include "daemon/serve_input.h"
#include "daemon/shader_file.h"
#include "daemon/times_file.h"
#include "daemon/worker_link.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "engine/base/str.h"
#include "engine/base/utf8.h"

/*
 * Invariants
 * 1. A question is in the list until its request is ended.
 * 2. What is loaded is what this worker was told to load and did not refuse;
 *    all of it is forgotten with the worker.
 * 3. Of an app one question is with the worker, so that nobody waits for more
 *    than one of each; the owner's are at once.
 * 4. A worker that exits because it was unused may meet a question on its way:
 *    that one is asked again, once.
 */

enum {
    QUESTIONS_MAX = 32,
    QUESTIONS_OWNER = 8, // of these: for the owner's own tools
    QUESTIONS_APP_MAX = 4,
    ADAPTERS_MAX = 4, // loaded at a time
    STOPS_MAX = 8,
    STOP_BYTES_MAX = 63,
    FLUSH_MS = 20,
    TOKENS_DEFAULT = 256,
    TOP_K_DEFAULT = 40,
    TEXT_BYTES_MAX = 900 << 10, // an answer fits into a frame
};

struct question {
    struct question *next;
    struct serving *s;
    struct request *r;
    struct serve_input in;
    bool is_gathering;
    bool is_ready; // waits for its turn
    bool is_cancelled;
    bool is_retry;
    uint64_t req;        // 0: not asked yet
    uint64_t load_first; // requests that load what it needs
    uint64_t load_last;
    int64_t seed;
    struct str text;
    size_t flushed; // bytes of it
    int64_t tokens;
    uint64_t flushed_at_ms;
    // score
    double *nll;
    uint32_t *counts;
    size_t scored;
};

struct serving {
    struct pockd *p;
    struct worker_link *worker;
    struct question *questions;
    uint64_t last_req;
    bool has_model;
    uint8_t model_sha256[STORE_HASH_BYTES];
    char chat[32];                         // that it was loaded with
    char adapters[ADAPTERS_MAX][HASH_HEX]; // newest last
    int adapter_count;
    uv_timer_t *flush; // outlives us while it closes
};

static void forget(struct question *q)
{
    struct question **at = &q->s->questions;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    serve_input_finish(&q->in);
    str_free(&q->text);
    free(q->nll);
    free(q->counts);
    struct pockd *p = q->s->p;
    free(q);
    pockd_reconsider(p);
}

static void fail(struct question *q, enum rpc_error code, const char *text)
{
    struct request *r = q->r;

    forget(q);
    request_fail(r, code, "%s", text);
}

static struct question *find(struct serving *s, uint64_t req)
{
    for (struct question *q = s->questions; q; q = q->next)
        if (q->req == req ||
            (req >= q->load_first && req <= q->load_last && q->load_first))
            return q;
    return NULL;
}

// The longest start of p that ends with a whole character.
static size_t whole_characters(const char *p, size_t bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes; back++) {
        unsigned char c = (unsigned char) p[bytes - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return need > back ? bytes - back : bytes;
    }
    return bytes;
}

// Bytes that are no UTF-8 become U+FFFD: a small model may say anything.
static void put_text(struct encoder *e, const char *p, size_t bytes)
{
    struct str clean = {.limit = 4 * (TEXT_BYTES_MAX + 4096)};

    if (utf8_is_valid(p, bytes)) {
        encoder_put_str(e, "text", p, bytes);
        return;
    }
    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length((const unsigned char *) p + i, bytes - i);
        if (n > 0)
            str_append(&clean, p + i, n);
        else
            str_puts(&clean, "\xef\xbf\xbd");
        i += n > 0 ? n : 1;
    }
    encoder_put_str(e, "text", clean.data ? clean.data : "", clean.bytes);
    str_free(&clean);
}

static void flush(struct question *q, bool is_last)
{
    size_t end =
        is_last ? q->text.bytes : whole_characters(q->text.data, q->text.bytes);

    if (!request_is_stream(q->r) || end <= q->flushed)
        return;
    struct encoder *e = request_begin_item(q->r, "text");
    put_text(e, q->text.data + q->flushed, end - q->flushed);
    encoder_put_int(e, "tokens", q->tokens);
    q->flushed = end;
    q->flushed_at_ms = uv_now(&q->s->p->loop);
    request_end_item(q->r);
}

static void on_flush(uv_timer_t *t)
{
    struct serving *s = t->data;

    if (!s)
        return;
    for (struct question *q = s->questions; q; q = q->next)
        if (q->text.bytes > q->flushed)
            flush(q, false);
}

static void take_text(struct question *q, const struct worker_gen_item *item)
{
    struct serving *s = q->s;

    q->tokens++;
    str_append(&q->text, item->text.data, item->text.bytes);
    if (!request_is_stream(q->r))
        return;
    if (uv_now(&s->p->loop) >= q->flushed_at_ms + FLUSH_MS)
        flush(q, false);
    else if (!uv_is_active((uv_handle_t *) s->flush))
        (void) uv_timer_start(s->flush, on_flush, FLUSH_MS, 0);
}

static void put_used(struct encoder *e, const struct question *q)
{
    encoder_put_cstr(e, "model", q->in.model);
    if (q->in.adapter[0]) {
        encoder_put_cstr(e, "adapter", q->in.adapter);
        encoder_put_int(e, "version", q->in.version);
    }
}

static void finish_text(struct question *q, const struct worker_gen_done *d)
{
    struct request *r = q->r;

    flush(q, true);
    struct encoder *e = request_begin(r);
    if (!request_is_stream(r))
        put_text(e, q->text.data ? q->text.data : "", q->text.bytes);
    encoder_put_cstr(e, "finish", d->reason);
    encoder_put_int(e, "prompt_tokens", d->prompt_tokens);
    encoder_put_int(e, "tokens", d->tokens);
    double seconds = isfinite(d->seconds) ? d->seconds : 0;
    encoder_put_int(e, "ms", (int64_t) (seconds * 1000));
    encoder_put_float(e, "tokens_s", seconds > 0 ? d->tokens / seconds : 0);
    put_used(e, q);
    encoder_put_int(e, "seed", q->seed);
    request_end(r);
    forget(q);
}

static void put_score(struct encoder *e, double nll, int64_t tokens)
{
    encoder_open_map(e);
    encoder_put_float(e, "nll", nll);
    encoder_put_int(e, "tokens", tokens);
    encoder_put_float(e, "loss", tokens > 0 ? nll / (double) tokens : 0);
    encoder_close(e);
}

static void put_stream_scores(struct encoder *e, const struct question *q)
{
    encoder_put_array(e, "scores");
    for (size_t i = 0; i < q->in.stream_count; i++) {
        double nll = 0;
        int64_t tokens = 0;
        for (size_t k = 0; k < q->in.count; k++) {
            if (q->in.stream_of[k] != i)
                continue;
            nll += q->nll[k];
            tokens += q->counts[k];
        }
        put_score(e, nll, tokens);
    }
    encoder_close(e);
    encoder_put_array(e, "streams");
    for (size_t i = 0; i < q->in.stream_count; i++)
        encoder_cstr(e, q->in.streams[i]);
    encoder_close(e);
}

static void finish_score(struct question *q, const struct worker_score_done *d)
{
    struct request *r = q->r;
    double tokens = d->tokens > 0 ? (double) d->tokens : 1;
    struct encoder *e = request_begin(r);

    if (q->in.stream_of) {
        put_stream_scores(e, q);
    } else {
        encoder_put_array(e, "scores");
        for (size_t i = 0; i < q->in.count; i++)
            put_score(e, q->nll[i], q->counts[i]);
        encoder_close(e);
    }
    double nll = isfinite(d->nll) ? d->nll : 0;
    encoder_key(e, "total");
    put_score(e, nll, (int64_t) d->tokens);
    double perplexity = exp(nll / tokens);
    encoder_put_float(e, "perplexity",
                      isfinite(perplexity) ? perplexity : 1e300);
    put_used(e, q);
    request_end(r);
    forget(q);
}

static void take_score(struct question *q, const struct worker_score_item *i)
{
    // Items come in the order of the records.
    if (q->scored >= q->in.count)
        return;
    q->nll[q->scored] = isfinite(i->nll) ? i->nll : 0;
    q->counts[q->scored++] = i->tokens;
    uint64_t now = uv_now(&q->s->p->loop);
    if (!request_is_stream(q->r) || now < q->flushed_at_ms + 250)
        return;
    q->flushed_at_ms = now;
    struct encoder *e = request_begin_item(q->r, "progress");
    encoder_put_int(e, "done", (int64_t) q->scored);
    encoder_put_int(e, "total", (int64_t) q->in.count);
    encoder_put_cstr(e, "what", "scoring");
    request_end_item(q->r);
}

static enum rpc_error code_of(const char *name)
{
    static const struct {
        const char *name;
        enum rpc_error code;
    } codes[] = {
        {"CANCELLED", RPC_ERROR_CANCELLED},
        {"BAD_RECORDS", RPC_ERROR_BAD_PARAMS},
        {"BAD_REQUEST", RPC_ERROR_BAD_PARAMS},
        {"NO_RECORDS", RPC_ERROR_BAD_PARAMS},
        {"BAD_MODEL", RPC_ERROR_NO_MODEL},
        {"BAD_ADAPTER", RPC_ERROR_NO_ADAPTER},
        {"NO_MEMORY", RPC_ERROR_BUSY},
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    return RPC_ERROR_DEVICE;
}

static void take_error(struct serving *s, const struct worker_error *e)
{
    struct question *q = find(s, e->req);

    if (!q)
        return;
    // A load that failed: do not rely on anything that was loaded.
    if (e->req != q->req) {
        s->has_model = false;
        s->adapter_count = 0;
    }
    fail(q, code_of(e->name), e->msg);
}

static void on_message(struct worker_link *w, struct worker_msg *m, void *user)
{
    struct serving *s = user;
    struct question *q;

    if (m->type == WORKER_MSG_error) {
        take_error(s, &m->error);
    } else if (m->type == WORKER_MSG_gen_item) {
        if ((q = find(s, m->gen_item.req)))
            take_text(q, &m->gen_item);
    } else if (m->type == WORKER_MSG_gen_done) {
        if ((q = find(s, m->gen_done.req)))
            finish_text(q, &m->gen_done);
    } else if (m->type == WORKER_MSG_score_item) {
        if ((q = find(s, m->score_item.req)) && q->nll)
            take_score(q, &m->score_item);
    } else if (m->type == WORKER_MSG_score_done) {
        if ((q = find(s, m->score_done.req)) && q->nll)
            finish_score(q, &m->score_done);
    }
}

static void ask(struct question *q);

static void on_exit_worker(struct worker_link *w,
                           const struct worker_exit *exit, void *user)
{
    struct serving *s = user;
    struct question *next;

    worker_link_destroy(w);
    s->worker = NULL;
    s->has_model = false;
    s->adapter_count = 0;
    if (!exit->is_clean)
        log_warn("event=serve_worker_died text=%s", exit->text);
    for (struct question *q = s->questions; q; q = next) {
        next = q->next;
        if (q->req == 0)
            continue;
        q->req = 0;
        q->load_first = q->load_last = 0;
        if (exit->is_clean && !q->is_retry && q->tokens == 0) {
            q->is_retry = true;
            ask(q);
        } else {
            fail(q, RPC_ERROR_DEVICE, exit->text);
        }
    }
}

static int start_worker(struct serving *s, struct error *err)
{
    static const struct worker_link_callbacks callbacks = {.on_message =
                                                               on_message,
                                                           .on_exit =
                                                               on_exit_worker};
    const struct config *c = s->p->config;
    char shaders[SHADER_FILE_BYTES];

    if (s->worker)
        return 0;
    const char *device = s->p->policy.device[0] ? s->p->policy.device : "auto";
    shader_file_path(shaders, &s->p->paths, device);
    return worker_link_create(&s->worker,
                              &(struct worker_link_params){
                                  .loop = &s->p->loop,
                                  .kind = WORKER_KIND_SERVE,
                                  .program = paths_worker_program(&s->p->paths),
                                  .socket_path =
                                      paths_worker_socket(&s->p->paths,
                                                          PATHS_WORKER_SERVE),
                                  .threads = (uint32_t) c->threads,
                                  .device = device,
                                  .cache_path = shaders,
                                  .idle_exit_s =
                                      (uint32_t) ((c->serve_idle_ms + 999) /
                                                  1000),
                              },
                              &callbacks, s, err);
}

static int send_load(struct question *q, const char *key, int model_fd,
                     int adapter_fd, struct error *err)
{
    const bool is_model = model_fd >= 0;
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_load);
    m.load.req = ++q->s->last_req;
    snprintf(m.load.key, sizeof(m.load.key), "%s", key);
    m.load.model_fd = model_fd;
    m.load.adapter_fd = adapter_fd;
    m.load.times_fd = is_model ? q->in.times_fd : -1;
    if (is_model)
        memcpy(m.load.chat, q->in.chat, sizeof(m.load.chat));
    if (q->load_first == 0)
        q->load_first = m.load.req;
    q->load_last = m.load.req;
    return worker_link_send(q->s->worker, &m, err);
}

static int load_model(struct question *q, struct error *err)
{
    struct serving *s = q->s;
    char hex[HASH_HEX];

    if (s->has_model && strcmp(s->chat, q->in.chat) == 0 &&
        memcmp(s->model_sha256, q->in.model_sha256, sizeof(s->model_sha256)) ==
            0)
        return 0;
    hash_to_hex(hex, q->in.model_sha256);
    s->has_model = true;
    s->adapter_count = 0;
    memcpy(s->model_sha256, q->in.model_sha256, sizeof(s->model_sha256));
    memcpy(s->chat, q->in.chat, sizeof(s->chat));
    return send_load(q, hex, q->in.model_fd, -1, err);
}

static int load_adapter(struct question *q, char key[HASH_HEX],
                        struct error *err)
{
    struct serving *s = q->s;
    struct worker_msg m;

    key[0] = '\0';
    if (q->in.adapter_fd < 0)
        return 0;
    hash_to_hex(key, q->in.adapter_sha256);
    for (int i = 0; i < s->adapter_count; i++)
        if (strcmp(s->adapters[i], key) == 0)
            return 0;
    if (s->adapter_count == ADAPTERS_MAX) {
        worker_msg_init(&m, WORKER_MSG_unload);
        m.unload.req = ++s->last_req;
        memcpy(m.unload.key, s->adapters[0], HASH_HEX);
        int rc = worker_link_send(s->worker, &m, err);
        if (rc < 0)
            return rc;
        s->adapter_count--;
        memmove(s->adapters[0], s->adapters[1],
                sizeof(s->adapters[0]) * (size_t) s->adapter_count);
    }
    memcpy(s->adapters[s->adapter_count++], key, HASH_HEX);
    return send_load(q, key, -1, q->in.adapter_fd, err);
}

static void fill_gen(struct worker_gen *g, const struct question *q)
{
    const msgpack_object *params = request_params(q->r);
    const msgpack_object *stop = codec_find(params, "stop");

    g->tokens_max = (uint32_t) codec_int(params, "max_tokens", TOKENS_DEFAULT);
    g->temperature = codec_float(params, "temperature", 0.8);
    g->top_k = (uint32_t) codec_int(params, "top_k", TOP_K_DEFAULT);
    g->top_p = codec_float(params, "top_p", 0.95);
    g->seed = (uint64_t) q->seed;
    for (uint32_t i = 0; i < codec_count(stop) && i < STOPS_MAX; i++) {
        struct codec_bytes b;
        if (codec_as_str(codec_at(stop, i), &b) && b.bytes <= STOP_BYTES_MAX)
            memcpy(g->stops[g->n_stops++].text, b.data, b.bytes);
    }
}

static int send_question(struct question *q, const char *key, struct error *err)
{
    struct worker_msg m;

    q->req = ++q->s->last_req;
    if (q->in.is_score) {
        worker_msg_init(&m, WORKER_MSG_score);
        m.score.req = q->req;
        snprintf(m.score.adapter, sizeof(m.score.adapter), "%s", key);
        m.score.records_fd = q->in.records_fd;
    } else {
        worker_msg_init(&m, WORKER_MSG_gen);
        m.gen.req = q->req;
        snprintf(m.gen.adapter, sizeof(m.gen.adapter), "%s", key);
        m.gen.prompt_fd = q->in.records_fd;
        fill_gen(&m.gen, q);
    }
    return worker_link_send(q->s->worker, &m, err);
}

static void ask(struct question *q)
{
    struct error err = {0};
    char key[HASH_HEX];
    int rc;

    if ((rc = start_worker(q->s, &err)) == 0 &&
        (rc = load_model(q, &err)) == 0 &&
        (rc = load_adapter(q, key, &err)) == 0)
        rc = send_question(q, key, &err);
    if (rc < 0)
        fail(q, rc == -EAGAIN ? RPC_ERROR_BUSY : RPC_ERROR_DEVICE, err.text);
    else
        pockd_reconsider(q->s->p);
}

static bool has_turn(const struct question *q)
{
    if (request_is_owner(q->r))
        return true;
    for (const struct question *o = q->s->questions; o; o = o->next)
        if (o->req != 0 && !request_is_owner(o->r) &&
            strcmp(request_app(o->r), request_app(q->r)) == 0)
            return false;
    return true;
}

// The newest is the first in the list.
static struct question *next_turn(struct serving *s)
{
    struct question *next = NULL;

    for (struct question *q = s->questions; q; q = q->next)
        if (q->is_ready && has_turn(q))
            next = q;
    return next;
}

void serving_take_turns(struct serving *s)
{
    struct question *q;

    while (!s->p->is_stopping && (q = next_turn(s))) {
        q->is_ready = false;
        ask(q);
    }
}

static int run_gather(struct store *store, void *arg, struct error *err)
{
    struct question *q = arg;
    int rc = serve_input_gather(&q->in, store, err);

    if (rc == 0)
        q->in.times_fd = times_file_open(&q->s->p->paths);
    return rc;
}

static int prepare_scores(struct question *q)
{
    size_t n = q->in.count ? q->in.count : 1;

    q->nll = calloc(n, sizeof(*q->nll));
    q->counts = calloc(n, sizeof(*q->counts));
    return q->nll && q->counts ? 0 : -ENOMEM;
}

static void done_gather(void *arg, int rc, const struct error *err)
{
    struct question *q = arg;
    struct serving *s = q->s;

    q->is_gathering = false;
    if (rc < 0)
        fail(q,
             q->in.code != RPC_ERROR_NONE ? q->in.code
                                          : rpc_error_from_errno(rc),
             err->text);
    else if (q->is_cancelled)
        fail(q, RPC_ERROR_CANCELLED, "cancelled");
    else if (q->s->p->is_stopping)
        fail(q, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    else if (q->in.is_score && prepare_scores(q) < 0)
        fail(q, RPC_ERROR_BUSY, "out of memory");
    else
        q->is_ready = true;
    serving_take_turns(s);
}

static void on_cancel(struct request *r)
{
    struct question *q = request_user(r);
    struct worker_msg m;

    q->is_cancelled = true;
    if (q->is_gathering)
        return;
    if (q->is_ready) {
        fail(q, RPC_ERROR_CANCELLED, "cancelled");
        return;
    }
    worker_msg_init(&m, WORKER_MSG_cancel);
    m.cancel.req = q->req;
    if (!q->s->worker || worker_link_send(q->s->worker, &m, NULL) < 0)
        fail(q, RPC_ERROR_CANCELLED, "cancelled");
}

static int64_t random_seed(void)
{
    struct rng r;

    rng_init_from_system(&r);
    return rng_below(&r, 1u << 31);
}

static bool has_room(const struct serving *s, const struct request *r)
{
    struct places places = {.r = r};

    for (const struct question *q = s->questions; q; q = q->next)
        places_count(&places, request_is_owner(q->r), request_app(q->r));
    return places_are_left(&places, QUESTIONS_MAX, QUESTIONS_OWNER,
                           QUESTIONS_APP_MAX);
}

static void start(struct serving *s, struct request *r, bool is_score)
{
    const msgpack_object *params = request_params(r);
    struct question *q;

    if (!has_room(s, r) || !(q = calloc(1, sizeof(*q)))) {
        request_fail(r, RPC_ERROR_BUSY, "too many questions wait");
        return;
    }
    q->s = s;
    q->r = r;
    serve_input_init(&q->in);
    q->in.is_score = is_score;
    q->in.is_app = !request_is_owner(r);
    q->in.params = params;
    q->text.limit = TEXT_BYTES_MAX;
    q->seed = codec_int(params, "seed", random_seed());
    q->is_gathering = true;
    q->next = s->questions;
    s->questions = q;
    request_set_user(r, q, on_cancel);
    int rc = dbthread_submit(s->p->dbthread, DBTHREAD_READ, run_gather,
                             done_gather, q);
    if (rc < 0)
        fail(q, rc == -ESHUTDOWN ? RPC_ERROR_SHUTTING_DOWN : RPC_ERROR_BUSY,
             "too many requests wait for the store");
}

static bool check_gen(struct request *r)
{
    const msgpack_object *params = request_params(r);
    const msgpack_object *stop = codec_find(params, "stop");
    double temperature = codec_float(params, "temperature", 0.8);
    double top_p = codec_float(params, "top_p", 0.95);

    if (temperature < 0 || temperature > 10 || top_p <= 0 || top_p > 1) {
        request_fail(r, RPC_ERROR_BAD_PARAMS,
                     "temperature must be 0 to 10, top_p above 0 and at most "
                     "1");
        return false;
    }
    for (uint32_t i = 0; i < codec_count(stop); i++) {
        struct codec_bytes b;
        if (i >= STOPS_MAX || !codec_as_str(codec_at(stop, i), &b) ||
            b.bytes == 0 || b.bytes > STOP_BYTES_MAX ||
            memchr(b.data, '\0', b.bytes)) {
            request_fail(r, RPC_ERROR_BAD_PARAMS,
                         "stop: at most %d texts of 1 to %d bytes", STOPS_MAX,
                         STOP_BYTES_MAX);
            return false;
        }
    }
    return true;
}

void serving_generate(struct serving *s, struct request *r)
{
    if (check_gen(r))
        start(s, r, false);
}

void serving_score(struct serving *s, struct request *r)
{
    if (codec_bool(request_params(r), "heldout", false) &&
        !request_is_owner(r)) {
        request_fail(r, RPC_ERROR_DENIED,
                     "only the owner may score stored records");
        return;
    }
    start(s, r, true);
}

bool serving_needs_machine(const struct serving *s)
{
    const struct snapshot *n = signals_snapshot(s->p->signals);
    int64_t need = 0;

    for (const struct question *q = s->questions; q; q = q->next)
        if (2 * q->in.model_bytes > need)
            need = 2 * q->in.model_bytes;
    return need > 0 && n->memory_available_bytes >= 0 &&
           n->memory_available_bytes < need;
}

int serving_create(struct serving **out, struct pockd *p)
{
    struct serving *s = calloc(1, sizeof(*s));

    if (!s || !(s->flush = calloc(1, sizeof(*s->flush)))) {
        free(s);
        return -ENOMEM;
    }
    s->p = p;
    (void) uv_timer_init(&p->loop, s->flush);
    s->flush->data = s;
    *out = s;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void serving_destroy(struct serving *s)
{
    if (!s)
        return;
    worker_link_destroy(s->worker);
    s->worker = NULL;
    while (s->questions)
        fail(s->questions, RPC_ERROR_SHUTTING_DOWN, "pockd is stopping");
    s->flush->data = NULL;
    uv_close((uv_handle_t *) s->flush, on_closed);
    free(s);
}
