// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The order of a run: open everything, train with checkpoints on the way,
 * evaluate, give the adapter back. The comparison of base, active and new
 * adapter comes at the end only, so that a run in many slices pays for it once.
 */

#include "daemon/worker/worker_train.h"

#include "daemon/worker/worker_crash.h"
#include "daemon/worker/worker_device.h"
#include "daemon/worker/worker_reply.h"
#include "daemon/worker/worker_samples.h"
#include "daemon/worker/worker_times.h"
#include "daemon/worker/worker_trace.h"
#include "engine/audit.h"
#include "engine/base/clock.h"
#include "engine/base/mapfile.h"
#include "engine/base/memfile.h"
#include "engine/engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROGRESS_MS = 200,
    CHECKPOINT_MS = 60000,
    COPY_MS = 10000, // what a lost GPU costs at most
    USED_TRAINED = 1,
    USED_HELD_OUT = 2,
    AUDIT_S = 30,
};
#define AUDIT_PART 0.1

struct training {
    struct worker_control *control;
    struct worker_train_start start;
    struct worker_device device;
    struct engine_model *model;
    struct recipe recipe;
    struct samples records, probe;
    struct worker_tracer tracer;
    struct adapter *parent;
    struct engine_train *train;
    struct engine_train_info info;

    uint64_t begin_ns;       // of this process' part of the run
    uint64_t step_begin;     // where it took over
    uint64_t progress_ns;    // last message
    uint64_t rested_ns;      // when the last rest, or the run's start, was over
    uint64_t checkpoint_ns;  // last message
    int64_t checkpoint_step; // -1: none sent yet
    // The newest state on the host, for when a GPU is lost; none on the CPU.
    void *copy;
    size_t copy_bytes;
    int64_t copy_step; // -1: none
    uint64_t copy_ns;
    struct worker_failure failure;
};

/*
 * Opening
 */

static int fail(struct training *t, int rc, const char *name,
                enum worker_severity severity)
{
    return worker_failure_set(&t->failure, rc, name, severity);
}

static int open_model(struct training *t)
{
    struct error *err = &t->failure.err;
    int rc;

    if ((rc = worker_device_open(&t->device, err)) < 0)
        return fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    if ((rc = engine_model_open(&t->model, t->device.engine, t->start.model_fd,
                                err)) < 0)
        return fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    if ((rc = engine_model_set_chat(t->model, t->start.chat, err)) < 0)
        return fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    return 0;
}

static void say(struct training *t, const char *text, bool drop_times)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_notice);
    m.notice.req = t->start.req;
    m.notice.drop_times = drop_times;
    (void) snprintf(m.notice.msg, sizeof(m.notice.msg), "%s", text);
    (void) worker_control_send(t->control, &m);
}

static void say_device(struct training *t)
{
    if (t->device.notice[0])
        say(t, t->device.notice, false);
    t->device.notice[0] = '\0';
}

static void open_times(struct training *t)
{
    char why[WORKER_TIMES_TEXT];

    if (worker_times_use(why, t->model, t->start.times_fd))
        say(t, why, true);
}

static int open_recipe(struct training *t)
{
    struct error *err = &t->failure.err;
    struct engine_model_info info;
    int rc;

    if ((rc = engine_model_describe(&info, t->model, err)) < 0)
        return fail(t, rc, "BAD_MODEL", WORKER_SEVERITY_PERMANENT);
    recipe_init(&t->recipe);
    if ((rc = recipe_parse(&t->recipe, t->start.recipe, err)) < 0 ||
        (rc = recipe_check(&t->recipe, &info.config, err)) < 0)
        return fail(t, rc, "BAD_RECIPE", WORKER_SEVERITY_PERMANENT);
    return 0;
}

static int open_records(struct training *t)
{
    struct error *err = &t->failure.err;
    int rc;

    if ((rc = samples_open(&t->records, t->start.records_fd, "the records",
                           err)) < 0)
        return fail(t, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
    if (t->start.probe_fd >= 0 &&
        (rc = samples_open(&t->probe, t->start.probe_fd, "the probe", err)) < 0)
        return fail(t, rc, "BAD_RECORDS", WORKER_SEVERITY_PERMANENT);
    for (size_t i = 0; i < t->records.count; i++) {
        if ((rc = record_check(&t->records.records[i],
                               (enum chat_loss) t->recipe.loss_on, err)) == 0)
            continue;
        t->failure.record_first = (uint32_t) i;
        t->failure.record_count = 1;
        return fail(t, rc, "BAD_RECORDS", WORKER_SEVERITY_POISON);
    }
    if (t->records.count == 0) {
        rc = error_set(err, -ENODATA, "there are no records to train on");
        return fail(t, rc, "NO_RECORDS", WORKER_SEVERITY_PERMANENT);
    }
    return 0;
}

static int open_parent(struct training *t)
{
    if (t->start.parent_fd < 0)
        return 0;
    int rc = engine_adapter_load(&t->parent, t->model, t->start.parent_fd,
                                 &t->failure.err);
    return rc == 0 ? 0 : fail(t, rc, "BAD_ADAPTER", WORKER_SEVERITY_PERMANENT);
}

static void say_restarted(struct training *t, const char *what, const char *why)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_restarted);
    m.restarted.req = t->start.req;
    (void) snprintf(m.restarted.msg, sizeof(m.restarted.msg),
                    "training starts %s: %.400s", what, why);
    (void) worker_control_send(t->control, &m);
}

static int create_train(struct training *t)
{
    struct error *err = &t->failure.err;
    const struct prefix_file prefix = {
        .fd = t->start.prefix_fd,
        .bytes_max = t->start.prefix_bytes,
        .key = t->start.prefix_key,
    };
    struct engine_train_params params = {
        .recipe = &t->recipe,
        .records = t->records.records,
        .n_records = t->records.count,
        .start = t->parent,
        .prefix = t->start.prefix_fd >= 0 ? &prefix : NULL,
        // It may be from before the device was lost, and this be another.
        .is_moved = t->copy || t->device.is_cpu_only ||
                    !engine_is_cpu(t->device.engine),
        .watch = &t->tracer.watch,
    };
    const void *map = NULL;
    size_t bytes = 0;
    int rc = 0;

    t->tracer.records = t->records.records;
    if (t->copy) {
        params.checkpoint = t->copy;
        params.checkpoint_bytes = t->copy_bytes;
    } else if (t->start.checkpoint_fd >= 0) {
        rc = memfile_map(&map, &bytes, t->start.checkpoint_fd,
                         WORKER_FILE_BYTES_MAX, "the checkpoint", err);
        if (rc == -ENOMEM)
            return fail(t, rc, "NO_MEMORY", WORKER_SEVERITY_TRANSIENT);
        if (rc < 0 || bytes == 0)
            say_restarted(t, "over", rc < 0 ? err->text : "it is empty");
        params.checkpoint = rc < 0 ? NULL : map;
        params.checkpoint_bytes = rc < 0 ? 0 : bytes;
    }
    // Either may be of no use, and the other one too.
    while ((rc = engine_train_create(&t->train, t->model, &params, err)) < 0) {
        if (params.checkpoint && (rc == -EBADMSG || rc == -ESTALE)) {
            say_restarted(t, "over", err->text);
            params.checkpoint = NULL;
            params.checkpoint_bytes = 0;
        } else if (params.start && rc == -EMEDIUMTYPE) {
            // Another recipe than last time: the gate still compares with the
            // parent, but there is nothing of it to go on from.
            say_restarted(t, "from the base model", err->text);
            params.start = NULL;
        } else {
            break;
        }
    }
    memfile_unmap(map, bytes);
    if (rc == -ENODATA)
        return fail(t, rc, "NO_RECORDS", WORKER_SEVERITY_PERMANENT);
    if (rc < 0)
        return fail(t, rc, "INTERNAL", WORKER_SEVERITY_PERMANENT);
    engine_train_describe(&t->info, t->train);
    return 0;
}

/*
 * What is said on the way
 */

static uint32_t eta_s(const struct training *t, const struct engine_progress *p,
                      uint64_t now_ns)
{
    uint64_t done = p->step - t->step_begin;

    if (done == 0 || p->step >= p->steps_total)
        return 0;
    double left = (double) (p->steps_total - p->step);
    return (uint32_t) ((double) (now_ns - t->begin_ns) / 1e9 * left /
                       (double) done);
}

static void say_progress(struct training *t, const char *phase,
                         const struct engine_progress *p, uint64_t now_ns)
{
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_progress);
    m.progress.req = t->start.req;
    (void) snprintf(m.progress.phase, sizeof(m.progress.phase), "%s", phase);
    m.progress.step = (uint32_t) p->step;
    m.progress.steps = (uint32_t) p->steps_total;
    m.progress.epoch = p->epoch;
    m.progress.loss = isfinite(p->loss) ? p->loss : (double) NAN;
    m.progress.heldout = p->held_out_loss;
    m.progress.tokens_per_s = p->tokens_per_s;
    m.progress.tokens = (uint64_t) (p->epoch * (double) t->info.tokens_trained);
    m.progress.eta_s = eta_s(t, p, now_ns);
    (void) worker_control_send(t->control, &m);
    t->progress_ns = now_ns;
}

// Before there is a trainer everything is absent or zero.
static void say_phase(struct training *t, const char *phase)
{
    struct engine_progress p = {.loss = (double) NAN,
                                .held_out_loss = (double) NAN};

    if (t->train)
        engine_train_progress(&p, t->train);
    if (p.step == 0)
        p.loss = (double) NAN;
    say_progress(t, phase, &p, clock_monotonic_ns());
}

static void say_notice(struct training *t)
{
    const char *text = engine_train_notice(t->train);

    if (text)
        say(t, text, false);
}

static void drop_copy(struct training *t)
{
    free(t->copy);
    t->copy = NULL;
    t->copy_step = -1;
}

static int take_copy(struct training *t)
{
    struct engine_progress p;
    size_t bytes;
    void *data;

    engine_train_progress(&p, t->train);
    if (t->copy && t->copy_step == (int64_t) p.step)
        return 0;
    int rc = engine_train_checkpoint(&data, &bytes, t->train, &t->failure.err);
    if (rc < 0)
        return rc;
    drop_copy(t);
    t->copy = data;
    t->copy_bytes = bytes;
    t->copy_step = (int64_t) p.step;
    t->copy_ns = clock_monotonic_ns();
    return 0;
}

static int send_copy(struct training *t)
{
    struct worker_msg m;
    int rc;

    worker_msg_init(&m, WORKER_MSG_checkpoint);
    if ((rc = memfile_create(&m.checkpoint.file_fd, "pock-checkpoint")) < 0 ||
        (rc = file_write_all(m.checkpoint.file_fd, t->copy, t->copy_bytes)) <
            0) {
        (void) error_set(&t->failure.err, rc, "no room for a checkpoint");
        goto out;
    }
    if ((rc = worker_file_seal(m.checkpoint.file_fd, &m.checkpoint.bytes,
                               m.checkpoint.sha256, &t->failure.err)) < 0)
        goto out;
    m.checkpoint.req = t->start.req;
    m.checkpoint.step = (uint32_t) t->copy_step;
    if ((rc = worker_control_send(t->control, &m)) < 0)
        goto out;
    t->checkpoint_step = t->copy_step;
    t->checkpoint_ns = clock_monotonic_ns();

out:
    worker_msg_finish(&m);
    return rc;
}

// The state of the run, unless it was sent already; where the device does not
// give it any more, the last that it gave.
static int send_checkpoint(struct training *t)
{
    struct engine_progress p;

    engine_train_progress(&p, t->train);
    if ((int64_t) p.step == t->checkpoint_step)
        return 0;
    int rc = take_copy(t);
    if (rc < 0 && (!t->copy || t->copy_step <= t->checkpoint_step))
        return rc;
    rc = send_copy(t);
    if (engine_is_cpu(t->device.engine))
        drop_copy(t);
    return rc;
}

static bool is_due(uint64_t now_ns, uint64_t last_ns, uint32_t ms,
                   uint32_t fallback_ms)
{
    return now_ns - last_ns >= (uint64_t) (ms ? ms : fallback_ms) * 1000000;
}

// A machine that is warm, or does not say, gets its rest after each step.
static void rest(struct training *t, uint64_t now_ns)
{
    worker_rest(t->control, now_ns - t->rested_ns);
    t->rested_ns = clock_monotonic_ns();
}

static void on_progress(void *user, const struct engine_progress *p)
{
    struct training *t = user;
    uint64_t now_ns = clock_monotonic_ns();

    say_notice(t);
    if (is_due(now_ns, t->progress_ns, t->start.progress_ms, PROGRESS_MS) ||
        p->has_held_out || p->step == p->steps_total)
        say_progress(t, "train", p, now_ns);
    if (!engine_is_cpu(t->device.engine) &&
        is_due(now_ns, t->copy_ns, COPY_MS, COPY_MS))
        (void) take_copy(t);
    if (!is_due(now_ns, t->checkpoint_ns, t->start.checkpoint_ms,
                CHECKPOINT_MS)) {
        rest(t, now_ns);
        return;
    }
    // A failure here costs time only: the next one is tried as usual.
    if (t->checkpoint_step < 0 ||
        worker_control_acked(t->control) >= t->checkpoint_step)
        (void) send_checkpoint(t);
    t->checkpoint_ns = now_ns;
    rest(t, now_ns);
}

/*
 * The end
 */

// Loss of base, active and candidate on the same records.
struct comparison {
    struct engine_eval base, active, candidate;
};

static int compare(struct comparison *out, struct training *t,
                   const struct adapter *candidate, const struct samples *s,
                   enum engine_subset subset)
{
    struct error *err = &t->failure.err;
    int rc;

    memset(out, 0, sizeof(*out));
    if (s->count == 0)
        return 0;
    if ((rc = engine_evaluate(&out->base, NULL, t->model, NULL, s->records,
                              s->count, subset, err)) < 0)
        return rc;
    out->active = out->base;
    if (t->parent &&
        (rc = engine_evaluate(&out->active, NULL, t->model, t->parent,
                              s->records, s->count, subset, err)) < 0)
        return rc;
    return engine_evaluate(&out->candidate, NULL, t->model, candidate,
                           s->records, s->count, subset, err);
}

static double mean_or_nan(const struct engine_loss *l)
{
    double mean = engine_loss_mean(l);

    return l->n_tokens && isfinite(mean) ? mean : (double) NAN;
}

static void add_metric(struct worker_result *r, const char *kind,
                       const struct engine_loss *base,
                       const struct engine_loss *active,
                       const struct engine_loss *candidate)
{
    struct worker_metric *m = &r->metrics[r->n_metrics++];

    (void) snprintf(m->kind, sizeof(m->kind), "%s", kind);
    m->records = candidate->n_records;
    m->tokens = candidate->n_tokens;
    m->base = mean_or_nan(base);
    m->active = mean_or_nan(active);
    m->candidate = mean_or_nan(candidate);
}

static int fill_metrics(struct worker_result *r, struct training *t,
                        const struct adapter *candidate)
{
    struct comparison held_out, probe;
    int rc;

    if ((rc = compare(&held_out, t, candidate, &t->records,
                      ENGINE_SUBSET_HELD_OUT)) < 0)
        return rc;
    if ((rc = compare(&probe, t, candidate, &t->probe, ENGINE_SUBSET_ALL)) < 0)
        return rc;
    for (int k = 0; k < RECORD_KINDS; k++)
        if (held_out.candidate.kinds[k].n_records > 0)
            add_metric(r, record_kind_name((enum record_kind) k),
                       &held_out.base.kinds[k], &held_out.active.kinds[k],
                       &held_out.candidate.kinds[k]);
    add_metric(r, "total", &held_out.base.total, &held_out.active.total,
               &held_out.candidate.total);
    add_metric(r, "probe", &probe.base.total, &probe.active.total,
               &probe.candidate.total);
    return 0;
}

// What the new adapter knows by heart. A sequence is not begun when this took a
// tenth of the run already, and half a minute.
static int fill_audit(struct worker_result *r, struct training *t,
                      const struct adapter *candidate, struct error *err)
{
    const double run_s = (double) (clock_monotonic_ns() - t->begin_ns) * 1e-9;
    const struct engine_audit_params params = {
        .seed = t->recipe.seed,
        .seconds = fmax(AUDIT_S, run_s * AUDIT_PART),
    };
    struct engine_audit audit;

    r->exposure = r->exposure_base = r->exposure_drawn = (double) NAN;
    if (!t->start.is_audited)
        return 0;
    int rc = engine_audit(&audit, t->model, candidate, t->records.records,
                          t->records.count, &params, err);
    if (rc < 0)
        return rc;
    r->audited = audit.n;
    r->recited = audit.n_recited;
    r->exposure = audit.exposure;
    r->exposure_base = audit.exposure_base;
    r->exposure_drawn = audit.control;
    r->exposed_record = audit.record;
    return 0;
}

static int fill_used(struct worker_result *r, const struct training *t,
                     struct error *err)
{
    uint64_t bytes;
    int rc;

    uint8_t *used = malloc(t->records.count);
    if (!used)
        return error_set(err, -ENOMEM, "no memory for the result");
    for (size_t i = 0; i < t->records.count; i++)
        used[i] = record_is_held_out(&t->records.records[i]) ? USED_HELD_OUT
                                                             : USED_TRAINED;
    if ((rc = memfile_create(&r->used_fd, "pock-used")) < 0 ||
        (rc = file_write_all(r->used_fd, used, t->records.count)) < 0) {
        (void) error_set(err, rc, "no room for the result");
        goto out;
    }
    r->used_records = (uint32_t) t->records.count;
    rc = worker_file_seal(r->used_fd, &bytes, r->used_sha256, err);

out:
    free(used);
    return rc;
}

static int fill_adapter(struct worker_result *r, const struct training *t,
                        const struct adapter *a, struct error *err)
{
    int rc;

    if ((rc = memfile_create(&r->file_fd, "pock-adapter")) < 0)
        return error_set(err, rc, "no room for the adapter");
    if ((rc = engine_adapter_save(a, t->model, r->file_fd, err)) < 0)
        return rc;
    if (!engine_adapter_privacy(&r->dp_epsilon, &r->dp_delta, a))
        r->dp_epsilon = r->dp_delta = (double) NAN;
    return worker_file_seal(r->file_fd, &r->bytes, r->sha256, err);
}

static int finish(struct training *t)
{
    struct error *err = &t->failure.err;
    struct adapter *best = NULL;
    struct engine_progress p;
    struct worker_msg m;
    int rc;

    worker_msg_init(&m, WORKER_MSG_result);
    struct worker_result *r = &m.result;
    engine_train_progress(&p, t->train);
    if (p.end == ENGINE_TRAIN_DIVERGED && p.best_step == 0) {
        rc = error_set(err, -EDOM,
                       "the loss is not a number after %u steps: "
                       "use a lower learning rate (lr)",
                       (unsigned) p.step);
        return fail(t, rc, "DIVERGED", WORKER_SEVERITY_PERMANENT);
    }
    // Nothing after this point is lost if the comparison is cut off.
    (void) send_checkpoint(t);
    say_phase(t, "finish");
    if ((rc = engine_train_best(&best, t->train, err)) < 0)
        goto out;
    if ((rc = fill_metrics(r, t, best)) < 0)
        goto out;
    if ((rc = fill_audit(r, t, best, err)) < 0)
        goto out;
    if ((rc = fill_adapter(r, t, best, err)) < 0)
        goto out;
    if ((rc = fill_used(r, t, err)) < 0)
        goto out;
    r->req = t->start.req;
    r->step_best = (uint32_t) p.best_step;
    r->steps = (uint32_t) p.step;
    r->is_early = p.end != ENGINE_TRAIN_COMPLETE;
    r->tokens = (uint64_t) (p.epoch * (double) t->info.tokens_trained);
    r->seconds = (double) (clock_monotonic_ns() - t->begin_ns) / 1e9;
    rc = worker_control_send(t->control, &m);

out:
    engine_adapter_destroy(best);
    worker_msg_finish(&m);
    return rc < 0 && rc != -EINTR
               ? fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT)
               : rc;
}

static void say_stopped(struct training *t, uint32_t latency_us)
{
    struct engine_progress p = {0};
    struct worker_msg m;

    if (t->train) {
        engine_train_progress(&p, t->train);
        if (p.step > t->step_begin)
            (void) send_checkpoint(t);
    }
    worker_msg_init(&m, WORKER_MSG_stopped);
    m.stopped.req = t->start.req;
    m.stopped.step = (uint32_t) p.step;
    m.stopped.latency_us = latency_us;
    (void) worker_control_send(t->control, &m);
}

/*
 * The run
 */

static void close_device(struct training *t)
{
    engine_train_destroy(t->train);
    t->train = NULL;
    engine_model_close(t->model);
    t->model = NULL;
    worker_device_close(&t->device);
}

static int open_all(struct training *t)
{
    int rc;

    say_phase(t, "load");
    if ((rc = open_model(t)) < 0)
        return rc;
    open_times(t);
    // What the host has stays when the device is opened again.
    if (!t->records.records &&
        ((rc = open_recipe(t)) < 0 || (rc = open_records(t)) < 0))
        return rc;
    if (!t->parent && (rc = open_parent(t)) < 0)
        return rc;
    if ((rc = create_train(t)) < 0)
        return rc;
    say_device(t);
    return 0;
}

// From where the run is to its end, or to where its device fails.
static int run_part(struct training *t)
{
    struct engine_progress p;
    int rc;

    if ((rc = open_all(t)) < 0)
        return rc;
    engine_train_progress(&p, t->train);
    if (t->begin_ns == 0)
        t->step_begin = p.step;
    t->begin_ns = t->checkpoint_ns = t->copy_ns = clock_monotonic_ns();
    t->rested_ns = t->begin_ns;
    say_phase(t, "train");
    do {
        rc = engine_train_run(t->train, 0, on_progress, t, &t->failure.err);
    } while (rc == 1);
    if (rc < 0 && rc != -EINTR) {
        engine_train_progress(&p, t->train);
        t->failure.step = (uint32_t) p.step;
        return fail(t, rc, "INTERNAL", WORKER_SEVERITY_TRANSIENT);
    }
    return rc < 0 ? rc : finish(t);
}

static int run(struct training *t)
{
    struct engine_progress p = {0};
    char what[64];
    int rc;

    while ((rc = run_part(t)) < 0 && !worker_control_is_stopping(t->control)) {
        if (t->train)
            engine_train_progress(&p, t->train);
        (void) snprintf(what, sizeof(what), "step %u", (unsigned) p.step + 1);
        if (!worker_device_can_recover(&t->device, rc,
                                       t->train ? what : "its start",
                                       t->failure.err.text))
            break;
        say_device(t);
        close_device(t);
        memset(&t->failure, 0, sizeof(t->failure));
    }
    return rc;
}

static void close_all(struct training *t)
{
    close_device(t);
    drop_copy(t);
    engine_adapter_destroy(t->parent);
    samples_close(&t->records);
    samples_close(&t->probe);
    worker_tracer_close(&t->tracer);
}

int worker_train_run(struct worker_control *c, const struct worker_hello *hello)
{
    struct training t = {.control = c, .checkpoint_step = -1, .copy_step = -1};
    struct worker_msg m;
    int status = 0;

    worker_device_init(&t.device, c, hello);
    if (worker_control_next(c, &m, 0) < 0)
        return 0;
    if (m.type != WORKER_MSG_train_start) {
        int rc = error_set(&t.failure.err, -EINVAL,
                           "%s is not for a training worker",
                           worker_msg_name(m.type));
        (void) fail(&t, rc, "BAD_REQUEST", WORKER_SEVERITY_PERMANENT);
        worker_reply_failure(c, m.load.req, &t.failure);
        worker_msg_finish(&m);
        return 1;
    }
    t.start = m.train_start;
    worker_crash_arm(worker_control_fd(c), t.start.req);
    worker_tracer_open(&t.tracer, t.start.trace_fd);
    int rc = run(&t);
    if (rc < 0 && worker_control_is_stopping(c)) {
        say_stopped(&t, worker_control_stop_us(c));
    } else if (rc < 0) {
        if (rc == -EINTR)
            (void) fail(&t, rc, "CANCELLED", WORKER_SEVERITY_TRANSIENT);
        worker_reply_failure(c, t.start.req, &t.failure);
        status = 1;
    }
    close_all(&t);
    worker_msg_finish(&m);
    return status;
}
