// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_model.h"

#include "engine/base/clock.h"
#include "engine/convert/convert.h"
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PROGRESS_MS = 100 };

int worker_model_file(struct worker_model_files *files, struct worker_file *q,
                      struct worker_failure *f)
{
    if (files->n == WORKER_MODEL_FILES_MAX)
        return worker_failure_set(f,
                                  error_set(&f->err, -E2BIG,
                                            "a model has at most %d files here",
                                            WORKER_MODEL_FILES_MAX),
                                  "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
    memcpy(files->list[files->n].name, q->name, sizeof(q->name));
    files->list[files->n++].fd = worker_fd_take(&q->file_fd);
    return 0;
}

struct progress {
    struct worker_control *control;
    uint64_t req;
    uint64_t told_ns;
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct progress *p = user;
    const uint64_t now = clock_monotonic_ns();
    struct worker_msg m;

    if (now - p->told_ns < (uint64_t) PROGRESS_MS * 1000000 && done < total)
        return;
    p->told_ns = now;
    worker_msg_init(&m, WORKER_MSG_tool_progress);
    m.tool_progress.req = p->req;
    m.tool_progress.done = done;
    m.tool_progress.total = total;
    (void) worker_control_send(p->control, &m);
}

int worker_model_hash(struct engine_model *model, struct worker_control *c,
                      uint64_t req, struct error *err)
{
    struct progress p = {.control = c, .req = req};

    return engine_model_hash(model, on_progress, &p, err);
}

static uint32_t put_types(struct worker_weight_type *out,
                          const struct model_details *d)
{
    _Static_assert((int) WORKER_TYPES_MAX >= (int) DETAILS_TYPES_MAX, "room");
    for (uint32_t i = 0; i < d->n_types; i++) {
        (void) snprintf(out[i].name, sizeof(out[i].name), "%s",
                        d->types[i].name);
        out[i].tensors = d->types[i].n_tensors;
        out[i].bytes = d->types[i].bytes;
    }
    return d->n_types;
}

static void send_converted(struct worker_control *c, uint64_t req,
                           const struct convert_result *r)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_model_converted);
    m.model_converted.req = req;
    (void) snprintf(m.model_converted.format, sizeof(m.model_converted.format),
                    "%s", r->format);
    m.model_converted.tensors = r->n_tensors;
    m.model_converted.skipped = r->n_skipped;
    m.model_converted.fallback = r->n_fallback;
    m.model_converted.bytes = r->bytes;
    m.model_converted.n_types = put_types(m.model_converted.types, &r->details);
    (void) snprintf(m.model_converted.notice, sizeof(m.model_converted.notice),
                    "%s", r->notice);
    (void) worker_control_send(c, &m);
}

static int convert(struct convert_result *out,
                   const struct worker_model_files *files,
                   const struct worker_convert_model *q,
                   struct worker_control *c, uint32_t threads,
                   struct error *err)
{
    struct convert_fd in[WORKER_MODEL_FILES_MAX];
    struct progress p = {.control = c, .req = q->req};
    struct convert_params params = {
        .name = q->name,
        .stop = worker_control_stop_flag(c),
        .progress = on_progress,
        .user = &p,
    };
    int rc = convert_type_parse(&params.type, q->type, err);

    for (uint32_t i = 0; i < files->n; i++)
        in[i] = (struct convert_fd){files->list[i].name, files->list[i].fd};
    return rc < 0 ? rc
                  : convert_fds(out, q->out_fd, in, files->n, threads, &params,
                                err);
}

int worker_model_convert(struct worker_model_files *files,
                         const struct worker_convert_model *q,
                         struct worker_control *c, uint32_t threads,
                         struct worker_failure *f)
{
    struct convert_result result;
    int rc = convert(&result, files, q, c, threads, &f->err);

    for (uint32_t i = 0; i < files->n; i++)
        (void) close(files->list[i].fd);
    files->n = 0;
    if (rc == 0) {
        send_converted(c, q->req, &result);
        return 0;
    }
    const bool is_full = rc == -ENOSPC || rc == -EDQUOT || rc == -EIO;
    return worker_failure_set(f, rc, is_full ? "INTERNAL" : "BAD_MODEL",
                              is_full ? WORKER_SEVERITY_TRANSIENT
                                      : WORKER_SEVERITY_PERMANENT);
}

/*
 * Details
 */

static void put_specials(struct worker_model_details *out,
                         const struct model_details *d)
{
    _Static_assert((int) WORKER_SPECIALS_MAX >= (int) DETAILS_SPECIALS_MAX,
                   "room");
    out->n_specials = d->n_specials;
    for (uint32_t i = 0; i < d->n_specials; i++) {
        struct worker_special *s = &out->specials[i];
        (void) snprintf(s->role, sizeof(s->role), "%s", d->specials[i].role);
        (void) snprintf(s->text, sizeof(s->text), "%s", d->specials[i].text);
        s->id = d->specials[i].id;
    }
}

static void put_config(struct worker_model_details *out,
                       const struct model_config *m)
{
    out->heads = m->n_heads;
    out->kv_heads = m->n_kv_heads;
    out->head_dim = m->head_dim;
    out->ffn_width = m->ffn_width;
    out->rope_base = (double) m->rope_base;
    out->is_tied = m->is_tied;
    out->generate_bytes = details_generate_bytes(m);
}

// What the default recipe takes, or why it cannot be.
static void put_plan(struct worker_model_details *out, struct engine_model *m,
                     const char *text)
{
    struct error err = {0};
    struct trainplan plan;
    struct recipe recipe;
    int rc;

    recipe_init(&recipe);
    if ((rc = recipe_parse(&recipe, text, &err)) == 0)
        rc = engine_plan(&plan, NULL, m, &recipe, &err);
    if (rc == 0)
        out->train_bytes = plan.micro.arena_bytes + plan.state_bytes;
    else
        (void) snprintf(out->train_why, sizeof(out->train_why), "%s", err.text);
}

int worker_model_detail(struct engine_model *model,
                        const struct worker_detail_model *q,
                        struct worker_control *c, struct worker_failure *f)
{
    struct model_details d;
    struct model_config config;
    struct worker_msg m;
    struct gguf *file;
    int rc = gguf_load_fd(&file, q->model_fd, &f->err);

    if (rc == 0) {
        rc = model_config_read(&config, file, &f->err);
        details_read(&d, file);
        gguf_destroy(file);
    }
    if (rc < 0)
        return worker_failure_set(f, rc, "BAD_MODEL",
                                  WORKER_SEVERITY_PERMANENT);
    worker_msg_init(&m, WORKER_MSG_model_details);
    m.model_details.req = q->req;
    m.model_details.n_types = put_types(m.model_details.types, &d);
    put_config(&m.model_details, &config);
    put_specials(&m.model_details, &d);
    (void) snprintf(m.model_details.tokenizer,
                    sizeof(m.model_details.tokenizer), "%s", d.tokenizer);
    (void) snprintf(m.model_details.license, sizeof(m.model_details.license),
                    "%s", d.license);
    (void) snprintf(m.model_details.chat, sizeof(m.model_details.chat), "%s",
                    engine_model_chat(model));
    m.model_details.template_bytes = (uint32_t) d.template_bytes;
    m.model_details.template_head.bytes = (uint32_t) d.template_head_bytes;
    memcpy(m.model_details.template_head.data, d.template_head,
           d.template_head_bytes);
    put_plan(&m.model_details, model, q->recipe);
    (void) worker_control_send(c, &m);
    return 0;
}
