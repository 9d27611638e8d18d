// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_tool.h"

#include "daemon/worker/worker_crash.h"
#include "daemon/worker/worker_model.h"
#include "daemon/worker/worker_reply.h"
#include "daemon/worker/worker_samples.h"
#include "daemon/worker/worker_times.h"
#include "daemon/worker/worker_tool_inside.h"
#include "engine/base/clock.h"
#include "engine/base/mapfile.h"
#include "engine/base/memfile.h"
#include "engine/base/str.h"
#include "engine/base/utf8.h"
#include "engine/engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 64 << 20 };

static int fail(struct tool *t, int rc, const char *name,
                enum worker_severity severity)
{
    return worker_failure_set(&t->failure, rc, name, severity);
}

int tool_open_model(struct engine_model **out, struct tool *t, int fd)
{
    int rc = engine_model_open(out, t->engine, fd, &t->failure.err);

    return rc == 0 ? 0 : fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
}

// A model on as many threads as training has, whose time is predicted.
static int open_on(struct engine **engine, struct engine_model **model,
                   struct tool *t, const char *device, int fd)
{
    const struct engine_params params = {
        .threads = t->threads,
        .device = device,
        .stop = worker_control_stop_flag(t->control),
    };
    struct error *err = &t->failure.err;
    int rc;

    if ((rc = engine_create(engine, &params, err)) < 0)
        return fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    if ((rc = engine_model_open(model, *engine, fd, err)) < 0)
        return fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    return 0;
}

static int open_threaded(struct engine **engine, struct engine_model **model,
                         struct tool *t, int fd)
{
    return open_on(engine, model, t, "cpu", fd);
}

int tool_open_adapter(struct adapter **out, struct tool *t,
                      const struct engine_model *m, int fd, int config_fd)
{
    struct error *err = &t->failure.err;
    int rc = config_fd < 0
                 ? engine_adapter_load(out, m, fd, err)
                 : engine_adapter_load_peft(out, m, config_fd, fd, err);

    return rc == 0 ? 0 : fail(t, rc, "BAD_ADAPTER", WORKER_SEVERITY_PERMANENT);
}

/*
 * Models
 */

static void put_name(char *out, size_t size, const char *name)
{
    if (utf8_is_valid(name, strlen(name)))
        (void) snprintf(out, size, "%s", name);
}

static void put_types(char *out, size_t size,
                      const struct engine_model_info *info)
{
    size_t at = 0;

    for (uint32_t i = 0; i < info->n_types && at < size; i++) {
        int n =
            snprintf(out + at, size - at, "%s%s:%u", i ? " " : "",
                     info->types[i].name, (unsigned) info->types[i].n_tensors);
        at += n > 0 ? (size_t) n : 0;
    }
}

static void fill_model_info(struct worker_model_info *out,
                            const struct engine_model_info *info)
{
    put_name(out->arch, sizeof(out->arch), info->config.arch);
    put_name(out->name, sizeof(out->name), info->name);
    put_types(out->types, sizeof(out->types), info);
    out->params = info->n_params;
    out->n_blocks = info->config.n_blocks;
    out->width = info->config.width;
    out->n_vocab = info->config.n_vocab;
    out->context = info->config.context;
    out->has_chat = info->has_chat;
    out->bytes = info->file_bytes;
    memcpy(out->sha256, info->hash, sizeof(out->sha256));
}

static int handle_inspect(struct tool *t, const struct worker_inspect_model *q)
{
    struct engine_model *model = NULL;
    struct engine_model_info info;
    struct worker_msg m;
    int rc;

    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        return rc;
    worker_msg_init(&m, WORKER_MSG_model_info);
    m.model_info.req = q->req;
    // What the file says; a wrong word of the owner is refused.
    (void) snprintf(m.model_info.chat, sizeof(m.model_info.chat), "%s",
                    engine_model_chat(model));
    rc = engine_model_set_chat(model, q->chat, &t->failure.err);
    if (rc < 0) {
        engine_model_close(model);
        return fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
    }
    rc = worker_model_hash(model, t->control, q->req, &t->failure.err);
    if (rc == 0)
        rc = engine_model_describe(&info, model, &t->failure.err);
    engine_model_close(model);
    if (rc < 0)
        return fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    fill_model_info(&m.model_info, &info);
    (void) worker_control_send(t->control, &m);
    return 0;
}

static int handle_detail(struct tool *t, const struct worker_detail_model *q)
{
    struct engine_model *model = NULL;
    struct engine *engine = NULL;
    int rc = open_threaded(&engine, &model, t, q->model_fd);

    if (rc == 0)
        rc = worker_model_detail(model, q, t->control, &t->failure);
    engine_model_close(model);
    engine_destroy(engine);
    return rc;
}

/*
 * Adapters
 */

// "q,k,v"
static void put_targets(char *out, size_t size, uint32_t bits)
{
    static const char *const names[] = {"q",    "k",  "v",   "o",
                                        "gate", "up", "down"};
    size_t at = 0;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!(bits & (1u << i)))
            continue;
        int n = snprintf(out + at, size - at, "%s%s", at ? "," : "", names[i]);
        at += n > 0 ? (size_t) n : 0;
    }
}

static int handle_check(struct tool *t, const struct worker_check_adapter *q)
{
    struct engine_model *model = NULL;
    struct engine_adapter_info info;
    struct adapter *a = NULL;
    struct worker_msg m;
    int rc;

    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        goto out;
    if ((rc = tool_open_adapter(&a, t, model, q->adapter_fd, q->config_fd)) < 0)
        goto out;
    engine_adapter_describe(&info, a);
    worker_msg_init(&m, WORKER_MSG_adapter_info);
    m.adapter_info.req = q->req;
    (void) snprintf(m.adapter_info.format, sizeof(m.adapter_info.format), "%s",
                    q->config_fd < 0 ? "gguf" : "peft");
    m.adapter_info.rank = info.rank;
    m.adapter_info.alpha = (double) info.alpha;
    put_targets(m.adapter_info.targets, sizeof(m.adapter_info.targets),
                info.targets);
    m.adapter_info.n_blocks = info.n_blocks;
    m.adapter_info.params = info.n_params;
    (void) worker_control_send(t->control, &m);

out:
    engine_adapter_destroy(a);
    engine_model_close(model);
    return rc;
}

static int write_peft(struct worker_converted *out, const struct adapter *a,
                      const struct engine_model *model, struct error *err)
{
    uint8_t ignored[WORKER_HASH_BYTES];
    int rc;

    if ((rc = memfile_create(&out->config_fd, "pock-adapter-config")) < 0)
        return error_set(err, rc, "no room for the adapter");
    if ((rc = engine_adapter_save_peft(a, model, out->config_fd, out->file_fd,
                                       err)) < 0)
        return rc;
    return worker_file_seal(out->config_fd, &out->config_bytes, ignored, err);
}

static int write_svd(struct worker_converted *out, uint32_t rank,
                     const struct adapter *a, const struct engine_model *model,
                     struct error *err)
{
    struct adapter *lora;
    int rc = engine_adapter_to_lora(&lora, &out->left_out, a, model, rank, err);

    if (rc < 0)
        return rc;
    rc = engine_adapter_save(lora, model, out->file_fd, err);
    engine_adapter_destroy(lora);
    return rc;
}

static int write_gguf(struct worker_converted *out, const struct adapter *a,
                      const struct engine_model *model, struct error *err)
{
    int rc = engine_adapter_check_lora(a, err);
    return rc < 0 ? rc : engine_adapter_save(a, model, out->file_fd, err);
}

enum target { TO_GGUF, TO_PEFT, TO_MERGED, TO_SVD, TO_JOURNAL, TO_COUNT };

static const char *const targets[TO_COUNT] = {
    [TO_GGUF] = "gguf",    [TO_PEFT] = "peft",       [TO_MERGED] = "merged",
    [TO_SVD] = "lora-svd", [TO_JOURNAL] = "journal",
};

static int write_converted(struct worker_converted *out, enum target to,
                           const struct worker_convert_adapter *q,
                           const struct adapter *a,
                           const struct engine_model *model, struct error *err)
{
    int rc;

    if ((rc = memfile_create(&out->file_fd, "pock-adapter")) < 0)
        return error_set(err, rc, "no room for the adapter");
    switch (to) {
    case TO_GGUF:
        rc = write_gguf(out, a, model, err);
        break;
    case TO_PEFT:
        rc = write_peft(out, a, model, err);
        break;
    case TO_MERGED:
        rc = engine_adapter_merge(a, model, q->type, out->file_fd, err);
        break;
    case TO_SVD:
        rc = write_svd(out, q->rank, a, model, err);
        break;
    case TO_JOURNAL:
        rc = tool_write_journal(a, out->file_fd, err);
        break;
    case TO_COUNT:
        rc = -EINVAL;
        break;
    }
    if (rc < 0)
        return rc;
    return worker_file_seal(out->file_fd, &out->bytes, out->sha256, err);
}

static int handle_convert(struct tool *t,
                          const struct worker_convert_adapter *q)
{
    struct engine_model *model = NULL;
    struct adapter *a = NULL;
    struct worker_msg m;
    int rc;

    worker_msg_init(&m, WORKER_MSG_converted);
    int to = 0;
    while (to < TO_COUNT && strcmp(q->to, targets[to]) != 0)
        to++;
    if (to == TO_COUNT) {
        rc = error_set(&t->failure.err, -EINVAL,
                       "adapters can be converted to gguf, peft, merged, "
                       "lora-svd and journal, not %s",
                       q->to);
        return fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
    }
    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        goto out;
    if ((rc = tool_open_adapter(&a, t, model, q->adapter_fd, q->config_fd)) < 0)
        goto out;
    if ((rc = engine_model_set_chat(model, q->chat, &t->failure.err)) < 0) {
        (void) fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
        goto out;
    }
    m.converted.req = q->req;
    (void) engine_model_ollama(m.converted.ollama, sizeof(m.converted.ollama),
                               model);
    (void) snprintf(m.converted.format, sizeof(m.converted.format), "%s",
                    q->to);
    if ((rc = write_converted(&m.converted, (enum target) to, q, a, model,
                              &t->failure.err)) < 0) {
        const bool is_wish = rc == -ENOTSUP || rc == -EINVAL;
        (void) fail(t, rc, is_wish ? "BAD_REQUEST" : "INTERNAL",
                    is_wish ? WORKER_SEVERITY_PERMANENT
                            : WORKER_SEVERITY_TRANSIENT);
        goto out;
    }
    (void) worker_control_send(t->control, &m);

out:
    worker_msg_finish(&m);
    engine_adapter_destroy(a);
    engine_model_close(model);
    return rc;
}

/*
 * Plans
 */

static uint32_t put_groups(struct worker_plan_group *out,
                           const struct trainplan_group *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        put_name(out[i].what, sizeof(out[i].what), in[i].what);
        (void) snprintf(out[i].kind, sizeof(out[i].kind), "%s",
                        program_piece_kind_name(in[i].kind));
        out[i].count = in[i].count;
        out[i].bytes = in[i].bytes;
    }
    return n;
}

static double ms_of(const struct program_target *t)
{
    return t->threads > 0 ? t->ns * 1e-6 : (double) NAN;
}

static void put_steps(struct worker_planned *out, const struct trainplan *p)
{
    _Static_assert((int) TRAINPLAN_STEPS <= (int) WORKER_PLAN_STEPS_MAX,
                   "room for all");
    for (uint32_t i = 0; i < p->n_steps; i++) {
        struct worker_plan_step *to = &out->steps[i];
        const struct trainplan_step *s = &p->steps[i];
        put_name(to->what, sizeof(to->what), s->what);
        to->count = s->count;
        put_name(to->kernel, sizeof(to->kernel), s->chosen.kernel);
        to->threads = s->chosen.threads;
        to->ms = ms_of(&s->chosen);
        put_name(to->other_kernel, sizeof(to->other_kernel), s->other.kernel);
        to->other_threads = s->other.threads;
        to->other_ms = ms_of(&s->other);
        to->is_measured = s->is_measured;
    }
    out->n_steps = p->n_steps;
    out->measured = p->n_measured;
    out->step_ms = p->step_ms > 0 ? p->step_ms : (double) NAN;
}

static void fill_planned(struct worker_planned *out, const struct trainplan *p)
{
    const struct program_costs *c = &p->micro.costs;

    out->tensors = p->n_tensors;
    out->params = p->n_floats;
    out->first_block = p->first_block;
    out->n_blocks = p->n_blocks;
    out->rows = p->micro.rows;
    out->micro_batches = p->micro.n_micro;
    out->length = p->micro.length;
    out->flops_token = p->flops_token;
    out->again_pct =
        100.0 * (double) c->flops_extra / (double) (c->flops - c->flops_extra);
    out->arena_bytes = p->micro.arena_bytes;
    out->live_bytes = c->live_bytes;
    out->kept_bytes = c->kept_bytes;
    out->state_bytes = p->state_bytes;
    out->instructions = p->n_instrs;
    out->compile_us = p->compile_us;
    (void) snprintf(out->why, sizeof(out->why), "%s", p->micro.why);
    out->n_largest = put_groups(out->largest, p->largest, p->n_largest);
    out->n_again = put_groups(out->again, p->again, p->n_again);
    put_steps(out, p);
}

static int put_drawing(struct worker_planned *out, const char *text,
                       struct error *err)
{
    uint8_t ignored[WORKER_HASH_BYTES];
    int rc;

    if ((rc = memfile_create(&out->file_fd, "pock-plan")) < 0 ||
        (rc = file_write_all(out->file_fd, text, strlen(text))) < 0)
        return error_set(err, rc, "no room for the drawing");
    return worker_file_seal(out->file_fd, &out->bytes, ignored, err);
}

static int handle_plan(struct tool *t, const struct worker_plan *q)
{
    struct error *err = &t->failure.err;
    struct engine_model *model = NULL;
    struct engine *engine = NULL;
    struct trainplan plan;
    struct recipe recipe;
    struct worker_msg m;
    char *drawing = NULL;
    int rc;

    worker_msg_init(&m, WORKER_MSG_planned);
    recipe_init(&recipe);
    if ((rc = open_threaded(&engine, &model, t, q->model_fd)) < 0)
        goto out;
    m.planned.drop_times =
        worker_times_use(m.planned.times, model, q->times_fd);
    if ((rc = recipe_parse(&recipe, q->recipe, err)) < 0 ||
        (rc = engine_plan(&plan, q->has_drawing ? &drawing : NULL, model,
                          &recipe, err)) < 0) {
        // That a job does not fit is an answer, not a lack of memory here.
        rc = fail(t, rc == -ENOMEM ? -EINVAL : rc, "BAD_RECIPE",
                  WORKER_SEVERITY_PERMANENT);
        goto out;
    }
    m.planned.req = q->req;
    fill_planned(&m.planned, &plan);
    if (drawing && (rc = put_drawing(&m.planned, drawing, err)) < 0) {
        (void) fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
        goto out;
    }
    (void) worker_control_send(t->control, &m);

out:
    free(drawing);
    worker_msg_finish(&m);
    engine_model_close(model);
    engine_destroy(engine);
    return rc;
}

/*
 * Search for a scheme
 */

static int search(struct tool *t, const struct worker_search *q,
                  struct engine_model *model, const struct samples *in)
{
    struct error *err = &t->failure.err;
    struct engine_found found;
    struct recipe recipe;
    struct worker_msg m;
    int rc;

    recipe_init(&recipe);
    if ((rc = recipe_parse(&recipe, q->recipe, err)) < 0)
        return fail(t, rc, "BAD_RECIPE", WORKER_SEVERITY_PERMANENT);
    const struct engine_search_params params = {
        .recipe = &recipe,
        .records = in->records,
        .n_records = in->count,
        .memory_bytes = q->memory_bytes,
        .seconds = q->seconds,
        .n_samples = q->samples,
    };
    if ((rc = engine_search(&found, model, &params, err)) < 0)
        return rc == -ENOMEM
                   ? fail(t, rc, "NO_MEMORY", WORKER_SEVERITY_TRANSIENT)
                   : fail(t, rc, rc == -ENOSPC ? "NO_SCHEME" : "BAD_RECIPE",
                          WORKER_SEVERITY_PERMANENT);
    worker_msg_init(&m, WORKER_MSG_found);
    const size_t room = sizeof(m.found.scheme);
    if (strlen(found.scheme) >= room) {
        rc = error_set(err, -E2BIG,
                       "the scheme found has %zu characters, but a recipe "
                       "holds %zu: allow less memory or time",
                       strlen(found.scheme), room - 1);
        free(found.scheme);
        return fail(t, rc, "NO_SCHEME", WORKER_SEVERITY_PERMANENT);
    }
    m.found.req = q->req;
    (void) snprintf(m.found.scheme, room, "%s", found.scheme);
    free(found.scheme);
    m.found.params = found.floats;
    m.found.gain = found.gain;
    m.found.arena_bytes = found.arena_bytes;
    m.found.state_bytes = found.state_bytes;
    m.found.recomputed = found.n_recomputed;
    m.found.seconds = found.seconds;
    m.found.search_seconds = found.search_seconds;
    (void) worker_control_send(t->control, &m);
    return 0;
}

static int handle_search(struct tool *t, const struct worker_search *q)
{
    struct error *err = &t->failure.err;
    struct engine_model *model = NULL;
    struct engine *engine = NULL;
    struct samples in = {0};
    char why[WORKER_TIMES_TEXT];
    int rc;

    if ((rc = open_threaded(&engine, &model, t, q->model_fd)) < 0)
        goto out;
    if ((rc = engine_model_set_chat(model, q->chat, err)) < 0) {
        (void) fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
        goto out;
    }
    // A plan or a job will say what is wrong with it.
    (void) worker_times_use(why, model, q->times_fd);
    if ((rc = samples_open(&in, q->records_fd, "the records", err)) < 0)
        (void) fail(t, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
    else
        rc = search(t, q, model, &in);

out:
    samples_close(&in);
    engine_model_close(model);
    engine_destroy(engine);
    return rc;
}

/*
 * Times of kernels
 */

static int tune(struct worker_tuned *out, const struct worker_tune *q,
                struct engine_model *model, struct error *err)
{
    struct engine_tuned tuned;
    struct recipe recipe;
    const void *map = NULL;
    size_t bytes = 0;
    void *table = NULL;
    size_t table_bytes = 0;
    int rc;

    recipe_init(&recipe);
    if ((rc = recipe_parse(&recipe, q->recipe, err)) < 0)
        return rc;
    if (q->times_fd >= 0 &&
        (rc = memfile_map(&map, &bytes, q->times_fd, WORKER_FILE_BYTES_MAX,
                          "the table of kernel times", err)) < 0)
        return rc;
    const struct engine_tune_params params = {
        .recipe = &recipe,
        .seconds = q->seconds > 0 ? q->seconds : 0,
        .when = (uint64_t) clock_unix_ms() / 1000,
        .is_forced = q->is_forced,
        .table = map,
        .table_bytes = bytes,
    };
    rc = engine_tune(&tuned, model, &params, err);
    if (rc == 0 &&
        (rc = engine_times_put(&table, &table_bytes, model, map, bytes)) < 0)
        (void) error_set(err, rc, "no room for the table of kernel times");
    memfile_unmap(map, bytes);
    if (rc < 0)
        return rc;
    (void) snprintf(out->msg, sizeof(out->msg), "%s", tuned.notice);
    out->shapes = tuned.n_shapes;
    out->timed = tuned.n_timed;
    out->left = tuned.n_left;
    out->seconds = tuned.seconds;
    if ((rc = memfile_create(&out->file_fd, "pock-times")) < 0 ||
        (rc = file_write_all(out->file_fd, table, table_bytes)) < 0)
        (void) error_set(err, rc, "no room for the table of kernel times");
    else
        rc = worker_file_seal(out->file_fd, &out->bytes, out->sha256, err);
    free(table);
    return rc;
}

static void fill_tuned(struct worker_tuned *out, const struct engine_model *m)
{
    struct engine_times_info info;

    engine_times_describe(&info, m);
    put_name(out->device, sizeof(out->device), info.device);
    out->threads = info.threads;
    out->rows = info.n_shapes;
    out->when = info.when <= INT64_MAX ? info.when : 0;
    out->wake_us = info.wake_us;
    put_name(out->kernels, sizeof(out->kernels), info.kernels);
}

static int handle_tune(struct tool *t, const struct worker_tune *q)
{
    struct engine_model *model = NULL;
    struct engine *engine = NULL;
    struct worker_msg m;
    int rc;

    worker_msg_init(&m, WORKER_MSG_tuned);
    m.tuned.req = q->req;
    if ((rc = open_on(&engine, &model, t, q->device[0] ? q->device : "cpu",
                      q->model_fd)) < 0)
        goto out;
    if (!q->is_measuring)
        m.tuned.drop_times = worker_times_use(m.tuned.msg, model, q->times_fd);
    else if ((rc = tune(&m.tuned, q, model, &t->failure.err)) < 0) {
        (void) fail(t, rc, rc == -ENOMEM ? "NO_MEMORY" : "INTERNAL",
                    WORKER_SEVERITY_TRANSIENT);
        goto out;
    }
    fill_tuned(&m.tuned, model);
    (void) worker_control_send(t->control, &m);

out:
    worker_msg_finish(&m);
    engine_model_close(model);
    engine_destroy(engine);
    return rc;
}

/*
 * Tokens
 */

static void put_u32(struct str *out, uint32_t v)
{
    const unsigned char le[4] = {
        (unsigned char) v,
        (unsigned char) (v >> 8),
        (unsigned char) (v >> 16),
        (unsigned char) (v >> 24),
    };

    str_append(out, le, sizeof(le));
}

static int put_tokens(struct str *out, struct worker_tokens *sums,
                      const struct engine_model *model,
                      const struct record_text *text, struct error *err)
{
    int32_t *ids;
    size_t n;

    int rc = engine_tokenize(&ids, &n, model, text->data, text->bytes, err);
    if (rc < 0)
        return rc;
    put_u32(out, (uint32_t) n);
    for (size_t i = 0; i < n; i++)
        put_u32(out, (uint32_t) ids[i]);
    sums->tokens += n;
    free(ids);
    return str_finish(out);
}

// Each text of a record by itself, without the marks of a template.
static int put_record(struct str *out, struct worker_tokens *sums,
                      const struct engine_model *model, const struct record *r,
                      struct error *err)
{
    int rc = 0;

    switch (r->kind) {
    case RECORD_TEXT:
        return put_tokens(out, sums, model, &r->text, err);
    case RECORD_PAIR:
    case RECORD_FEEDBACK:
        rc = put_tokens(out, sums, model, &r->prompt, err);
        return rc < 0 ? rc : put_tokens(out, sums, model, &r->completion, err);
    case RECORD_CHAT:
        for (uint32_t i = 0; i < r->n_messages && rc == 0; i++)
            rc = put_tokens(out, sums, model, &r->messages[i].content, err);
        return rc;
    case RECORD_KINDS:
        break;
    }
    return -EINVAL;
}

static int tokenize(struct tool *t, const struct worker_tokenize *q,
                    const struct engine_model *model, const struct samples *in)
{
    struct str out = {.limit = (size_t) 256 << 20};
    struct worker_msg m;
    int rc = 0;

    worker_msg_init(&m, WORKER_MSG_tokens);
    m.tokens.req = q->req;
    m.tokens.records = (uint32_t) in->count;
    for (size_t i = 0; i < in->count && rc == 0; i++)
        rc = put_record(&out, &m.tokens, model, &in->records[i],
                        &t->failure.err);
    if (rc == 0)
        rc = memfile_from_bytes(&m.tokens.file_fd, "pock-tokens", out.data,
                                out.bytes);
    m.tokens.bytes = out.bytes;
    if (rc == 0)
        rc = worker_control_send(t->control, &m);
    str_free(&out);
    worker_msg_finish(&m);
    return rc == 0 ? 0 : fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
}

static int handle_tokenize(struct tool *t, const struct worker_tokenize *q)
{
    struct engine_model *model = NULL;
    struct samples in;
    int rc;

    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        return rc;
    rc = samples_open(&in, q->records_fd, "the records", &t->failure.err);
    if (rc < 0) {
        (void) fail(t, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
        goto out;
    }
    rc = tokenize(t, q, model, &in);
    samples_close(&in);

out:
    engine_model_close(model);
    return rc;
}

// The client may still change its file: it is read, not mapped.
static int read_text(char **out, size_t *bytes, int fd, struct error *err)
{
    struct stat st;
    size_t n = 0;

    if (fstat(fd, &st) < 0 || st.st_size < 0 || st.st_size > TEXT_BYTES_MAX)
        return error_set(err, -E2BIG, "the text may have at most %d bytes",
                         TEXT_BYTES_MAX);
    char *text = malloc((size_t) st.st_size + 1);
    if (!text)
        return error_set(err, -ENOMEM, "no memory for the text");
    while (n < (size_t) st.st_size) {
        ssize_t got = pread(fd, text + n, (size_t) st.st_size - n, (off_t) n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t) got;
    }
    *out = text;
    *bytes = n;
    return 0;
}

// "1234\t the": the piece as text, with escapes for what cannot be seen.
static void put_piece(struct str *out, const struct engine_model *model,
                      int32_t id)
{
    size_t bytes = 0;
    const char *piece = engine_token_piece(model, id, &bytes);
    const unsigned char *p = (const unsigned char *) piece;

    str_printf(out, "%d\t", (int) id);
    for (size_t i = 0; i < bytes;) {
        size_t n = utf8_length(p + i, bytes - i);
        if (n == 0 || p[i] < 0x20 || p[i] == 0x7f || p[i] == '\\') {
            str_printf(out, "\\x%02x", p[i]);
            n = 1;
        } else {
            str_append(out, piece + i, n);
        }
        i += n;
    }
    str_putc(out, '\n');
}

static int put_text(struct worker_tokens *to, const struct engine_model *model,
                    const char *text, size_t bytes, bool has_ids,
                    struct error *err)
{
    struct str out = {.limit = (size_t) 512 << 20};
    int32_t *ids;
    size_t n;
    int rc = engine_tokenize(&ids, &n, model, text, bytes, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        if (has_ids)
            str_printf(&out, i > 0 ? " %d" : "%d", (int) ids[i]);
        else
            put_piece(&out, model, ids[i]);
    }
    if (has_ids && n > 0)
        str_putc(&out, '\n');
    free(ids);
    if ((rc = str_finish(&out)) == 0)
        rc = memfile_from_bytes(&to->file_fd, "pock-tokens",
                                out.data ? out.data : "", out.bytes);
    to->records = 1;
    to->tokens = n;
    to->bytes = out.bytes;
    str_free(&out);
    return rc < 0 ? error_set(err, rc, "no room for the tokens") : 0;
}

static int handle_tokenize_text(struct tool *t,
                                const struct worker_tokenize_text *q)
{
    struct error *err = &t->failure.err;
    struct engine_model *model = NULL;
    struct worker_msg m;
    char *text = NULL;
    size_t bytes = 0;
    int rc;

    worker_msg_init(&m, WORKER_MSG_tokens);
    m.tokens.req = q->req;
    if ((rc = tool_open_model(&model, t, q->model_fd)) < 0)
        goto out;
    if ((rc = read_text(&text, &bytes, q->text_fd, err)) < 0 ||
        (rc = put_text(&m.tokens, model, text, bytes, q->has_ids, err)) < 0) {
        (void) fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
        goto out;
    }
    rc = worker_control_send(t->control, &m);

out:
    free(text);
    worker_msg_finish(&m);
    engine_model_close(model);
    return rc;
}

static int handle(struct tool *t, struct worker_msg *m)
{
    if (m->type == WORKER_MSG_file)
        return worker_model_file(&t->files, &m->file, &t->failure);
    if (m->type == WORKER_MSG_convert_model)
        return worker_model_convert(&t->files, &m->convert_model, t->control,
                                    t->threads, &t->failure);
    if (m->type == WORKER_MSG_detail_model)
        return handle_detail(t, &m->detail_model);
    if (m->type == WORKER_MSG_inspect_model)
        return handle_inspect(t, &m->inspect_model);
    if (m->type == WORKER_MSG_check_adapter)
        return handle_check(t, &m->check_adapter);
    if (m->type == WORKER_MSG_convert_adapter)
        return handle_convert(t, &m->convert_adapter);
    if (m->type == WORKER_MSG_plan)
        return handle_plan(t, &m->plan);
    if (m->type == WORKER_MSG_search)
        return handle_search(t, &m->search);
    if (m->type == WORKER_MSG_tune)
        return handle_tune(t, &m->tune);
    if (m->type == WORKER_MSG_tokenize)
        return handle_tokenize(t, &m->tokenize);
    if (m->type == WORKER_MSG_mask)
        return tool_mask(t, &m->mask);
    if (m->type == WORKER_MSG_look)
        return tool_devices(t, &m->look);
    if (m->type == WORKER_MSG_merge)
        return tool_merge(t, &m->merge);
    if (m->type == WORKER_MSG_diff)
        return tool_diff(t, &m->diff);
    if (m->type == WORKER_MSG_tokenize_text)
        return handle_tokenize_text(t, &m->tokenize_text);
    int rc = error_set(&t->failure.err, -EINVAL, "%s is not for a tool worker",
                       worker_msg_name(m->type));
    return fail(t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
}

int worker_tool_run(struct worker_control *c, const struct worker_hello *hello)
{
    struct tool t = {.control = c, .threads = hello->threads, .hello = hello};
    struct engine_params params = {
        .threads = 1,
        .stop = worker_control_stop_flag(c),
    };
    struct worker_msg m;
    int rc;

    if ((rc = engine_create(&t.engine, &params, &t.failure.err)) < 0) {
        (void) fail(&t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
        worker_reply_failure(c, 0, &t.failure);
        return 1;
    }
    while (worker_control_next(c, &m, hello->idle_exit_s * 1000) == 0) {
        memset(&t.failure, 0, sizeof(t.failure));
        // All but a file begin with the number of their request.
        const uint64_t req = m.type == WORKER_MSG_file ? 0 : m.load.req;
        worker_crash_arm(worker_control_fd(c), req);
        if (handle(&t, &m) < 0)
            worker_reply_failure(c, req, &t.failure);
        worker_msg_finish(&m);
    }
    engine_destroy(t.engine);
    return 0;
}
