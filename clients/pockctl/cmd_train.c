// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/gate_text.h"
#include "clients/pockctl/job_text.h"
#include "engine/base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Watching
 */

struct watch {
    struct ctl *ctl;
    struct job_bar bar;
    bool failed;
    char result[JOB_TEXT_BYTES];
};

static void on_job(void *user, const struct pock_value *item)
{
    struct watch *w = user;
    const struct pock_value *job = pock_get(item, "job");

    if (!job)
        return;
    w->failed = strcmp(pock_get_str(job, "state", ""), "failed") == 0 ||
                strcmp(pock_get_str(job, "state", ""), "cancelled") == 0;
    if (w->ctl->json) {
        (void) ctl_json(w->ctl, item);
        (void) fflush(stdout);
    } else if (!w->ctl->quiet) {
        job_bar_update(&w->bar, job, clock_monotonic_ns());
    }
    if (job_is_final(job))
        job_result_text(w->result, job);
}

static int watch_job(struct ctl *c, int64_t id)
{
    struct watch w = {.ctl = c};
    struct ctl_call how = {.on_item = on_job, .user = &w};
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    job_bar_init(&w.bar, c);
    if ((status = ctl_request(c, &r, "train.status")) != CTL_OK)
        return status;
    pock_set_int(r, "job", id);
    status = ctl_send(c, r, &how, &reply);
    job_bar_finish(&w.bar);
    if (status == CTL_INTERRUPTED)
        ctl_remark(c, "the job goes on: `pockctl train cancel` ends it");
    if (status != CTL_OK)
        return status;
    const struct pock_value *job =
        pock_at(pock_get(pock_result(reply), "jobs"), 0);
    if (job && !w.result[0]) {
        job_result_text(w.result, job);
        w.failed = strcmp(pock_get_str(job, "state", ""), "done") != 0;
    }
    pock_reply_destroy(reply);
    if (!c->json && !c->quiet)
        printf("job %" PRId64 " %s\n", id, w.result);
    return w.failed ? CTL_FAILED : CTL_OK;
}

/*
 * Starting
 */

static int fill_start(struct ctl *c, struct pock_request *r, int64_t before,
                      bool now)
{
    pock_set_str(r, "adapter", c->line.values[FLAG_NAME]);
    pock_set_str(r, "model", c->line.values[FLAG_MODEL]);
    if (c->line.values[FLAG_STREAM]) {
        pock_open_list(r, "streams");
        pock_set_str(r, NULL, c->line.values[FLAG_STREAM]);
        pock_close(r);
    }
    if (before > 0)
        pock_set_int(r, "before", before);
    if (now)
        pock_set_bool(r, "now", true);
    return ctl_set_recipe(c, r);
}

// CONDITIONS brings the gates that are closed along.
static bool on_refused(struct ctl *c, const struct pock_error *err,
                       const struct pock_value *data)
{
    const struct pock_value *gates = pock_get(data, "gates");

    if (err->code != POCK_ERROR_CONDITIONS || c->json || c->quiet ||
        pock_count(gates) == 0)
        return false;
    (void) ctl_fail_pock(c, err);
    c->out.file = stderr;
    (void) gate_table(c, gates);
    c->out.file = stdout;
    return true;
}

static int start(struct ctl *c, bool now)
{
    struct ctl_call how = {.on_error = on_refused};
    struct pock_request *r;
    struct pock_reply *reply;
    char line[JOB_TEXT_BYTES];
    int64_t after;
    int64_t before;
    int status;

    if ((status = ctl_bounds(c, &after, &before)) != CTL_OK ||
        (status = ctl_request(c, &r, "train.start")) != CTL_OK)
        return status;
    if ((status = fill_start(c, r, before, now)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    if ((status = ctl_send(c, r, &how, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *job = pock_get(v, "job");
    int64_t id = pock_get_int(job, "id", 0);
    if (c->json) {
        status = ctl_json(c, v);
    } else if (c->quiet) {
        printf("%" PRId64 "\n", id);
    } else {
        job_text(line, job);
        printf("job %" PRId64 " %s\n", id, line);
        if (pock_count(pock_get(v, "gates")) > 0)
            status = gate_table(c, pock_get(v, "gates"));
    }
    pock_reply_destroy(reply);
    (void) fflush(stdout);
    return status == CTL_OK && c->line.given[FLAG_WATCH] ? watch_job(c, id)
                                                         : status;
}

int cmd_train_now(struct ctl *c)
{
    return start(c, true);
}

int cmd_train_start(struct ctl *c)
{
    return start(c, false);
}

/*
 * Looking
 */

static int print_jobs(struct ctl *c, const struct pock_value *jobs)
{
    static const struct out_column columns[] = {
        {"JOB", true, false},     {"STATE", false, false},
        {"ADAPTER", false, true}, {"MODEL", false, true},
        {"STEP", true, false},    {"OF", true, false},
        {"LOSS", true, false},    {"HELD OUT", true, false},
        {"LEFT", true, false},    {"REASON", false, false},
        {"MESSAGE", false, true},
    };
    struct out_table *t;
    char text[OUT_TIME_BYTES];

    if (out_table_create(&t, columns, 11) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(jobs); i++) {
        const struct pock_value *j = pock_at(jobs, i);
        double loss = pock_get_float(j, "loss", NAN);
        double best = pock_get_float(j, "heldout_best", NAN);
        const char *reason = pock_get_str(j, "stop_reason", "NONE");
        out_duration_format(text, pock_get_int(j, "eta_s", -1) * 1000);
        out_table_cell(t, "%" PRId64, pock_get_int(j, "id", 0));
        out_table_text(t, pock_get_str(j, "state", "?"));
        out_table_text(t, pock_get_str(j, "adapter", "?"));
        out_table_text(t, pock_get_str(j, "model", "?"));
        out_table_cell(t, "%" PRId64, pock_get_int(j, "step", 0));
        out_table_cell(t, "%" PRId64, pock_get_int(j, "steps", 0));
        out_table_cell(t, isfinite(loss) ? "%.3f" : "-", loss);
        out_table_cell(t, isfinite(best) ? "%.3f" : "-", best);
        out_table_text(t, text);
        out_table_text(t, strcmp(reason, "NONE") ? reason : "-");
        out_table_text(t, pock_get_str(j, "message", ""));
    }
    return ctl_table(c, t);
}

static int show_jobs(struct ctl *c, const struct pock_value *v,
                     const char *none)
{
    const struct pock_value *jobs = pock_get(v, "jobs");
    bool is_one = pock_get(v, "job");

    if (c->json)
        return ctl_json(c, v);
    if (c->quiet) {
        if (is_one)
            printf("%" PRId64 "\n", pock_get_int(pock_get(v, "job"), "id", 0));
        for (size_t i = 0; i < pock_count(jobs); i++)
            printf("%" PRId64 "\n", pock_get_int(pock_at(jobs, i), "id", 0));
        return CTL_OK;
    }
    if (pock_count(jobs) == 0) {
        ctl_remark(c, "%s", none);
        return CTL_OK;
    }
    return print_jobs(c, jobs);
}

int cmd_train_status(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "train.status", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    int64_t id = pock_get_int(pock_at(pock_get(v, "jobs"), 0), "id", 0);
    bool watch = c->line.given[FLAG_WATCH] && id > 0;
    if (!watch)
        status = show_jobs(c, v, "no job runs or waits");
    pock_reply_destroy(reply);
    return watch ? watch_job(c, id) : status;
}

// train.pause, train.resume
static int change(struct ctl *c, const char *method, const char *done)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, method, NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json || c->quiet || pock_count(pock_get(v, "jobs")) > 0)
        status = show_jobs(c, v, "");
    ctl_remark(c, "%s", done);
    pock_reply_destroy(reply);
    return status;
}

int cmd_train_pause(struct ctl *c)
{
    return change(c, "train.pause",
                  "training is paused until `pockctl train resume`");
}

int cmd_train_resume(struct ctl *c)
{
    return change(c, "train.resume",
                  "training may run again: see `pockctl "
                  "why` for when");
}

int cmd_train_cancel(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    struct error err;
    int64_t id = 0;
    int status;

    if (c->line.arg_count > 0 &&
        cmdline_int(&id, "the job", c->line.args[0], 1, INT64_MAX, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    if ((status = ctl_request(c, &r, "train.cancel")) != CTL_OK)
        return status;
    if (id > 0)
        pock_set_int(r, "job", id);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json || c->quiet)
        status = show_jobs(c, v, "");
    else
        printf("job %" PRId64 " cancelled\n",
               pock_get_int(pock_get(v, "job"), "id", 0));
    pock_reply_destroy(reply);
    return status;
}

/*
 * History
 */

static void add_history(struct ctl *c, struct out_table *t,
                        const struct pock_value *j)
{
    double start = pock_get_float(j, "heldout_start", NAN);
    double best = pock_get_float(j, "heldout_best", NAN);
    const char *reason = pock_get_str(j, "stop_reason", "NONE");
    const char *state = pock_get_str(j, "state", "?");
    int64_t version = pock_get_int(j, "version", 0);
    char text[OUT_TIME_BYTES];

    out_table_cell(t, "%" PRId64, pock_get_int(j, "id", 0));
    out_table_text(t, state);
    out_table_style(t, strcmp(state, "failed") ? TERM_PLAIN : TERM_BAD);
    if (version > 0)
        out_table_cell(t, "%s:%" PRId64, pock_get_str(j, "adapter", "?"),
                       version);
    else
        out_table_text(t, pock_get_str(j, "adapter", "?"));
    out_table_text(t, ctl_time(c, text, pock_get_int(j, "created", 0)));
    out_duration_format(text, pock_get_int(j, "run_ms", 0));
    out_table_text(t, text);
    out_table_cell(t, "%" PRId64, pock_get_int(j, "step", 0));
    if (isfinite(start) && isfinite(best))
        out_table_cell(t, "%.3f -> %.3f", start, best);
    else
        out_table_text(t, "-");
    out_table_text(t, strcmp(reason, "NONE") ? reason : "-");
    out_table_text(t, pock_get_str(j, "message", ""));
}

static int print_history(struct ctl *c, const struct pock_value *jobs)
{
    static const struct out_column columns[] = {
        {"JOB", true, false},      {"STATE", false, false},
        {"ADAPTER", false, true},  {"CREATED", false, false},
        {"RAN", true, false},      {"STEPS", true, false},
        {"HELD OUT", true, false}, {"REASON", false, false},
        {"MESSAGE", false, true},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 9) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(jobs); i++)
        add_history(c, t, pock_at(jobs, i));
    return ctl_table(c, t);
}

// "2026-11-27": the day on whose noon the night began.
static void add_night(struct ctl *c, struct out_table *t,
                      const struct pock_value *n)
{
    const time_t noon =
        (time_t) (pock_get_int(n, "night", 0) * 86400 + 12 * 3600);
    double before = pock_get_float(n, "heldout_before", NAN);
    double after = pock_get_float(n, "heldout_after", NAN);
    double energy = pock_get_float(n, "energy_wh", NAN);
    const char *stopped = pock_get_str(n, "stopped_by", "");
    char text[OUT_TIME_BYTES];
    struct tm tm = {0};

    (void) gmtime_r(&noon, &tm);
    (void) strftime(text, sizeof(text), "%Y-%m-%d", &tm);
    out_table_text(t, text);
    out_table_text(t, ctl_time(c, text, pock_get_int(n, "started", 0)));
    out_duration_format(text, pock_get_int(n, "run_ms", 0));
    out_table_text(t, text);
    out_table_cell(t, "%" PRId64, pock_get_int(n, "runs", 0));
    out_table_cell(t, "%" PRId64, pock_get_int(n, "slices", 0));
    out_table_cell(t, "%" PRId64, pock_get_int(n, "steps", 0));
    out_table_text(t, *stopped ? stopped : "-");
    if (isfinite(energy))
        out_table_cell(t, "%.2f Wh", energy);
    else
        out_table_text(t, "-");
    if (isfinite(before) && isfinite(after))
        out_table_cell(t, "%.3f", before - after);
    else
        out_table_text(t, "-");
}

static int print_nights(struct ctl *c, const struct pock_value *nights)
{
    static const struct out_column columns[] = {
        {"NIGHT OF", false, false},  {"STARTED", false, false},
        {"RAN", true, false},        {"RUNS", true, false},
        {"SLICES", true, false},     {"STEPS", true, false},
        {"STOPPED BY", false, true}, {"ENERGY", true, false},
        {"GAIN", true, false},
    };
    struct out_table *t;

    if (pock_count(nights) == 0)
        return CTL_OK;
    if (out_table_create(&t, columns, 9) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(nights); i++)
        add_night(c, t, pock_at(nights, i));
    int status = ctl_table(c, t);
    printf("\n");
    return status;
}

int cmd_train_history(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int64_t limit = 0;
    int status;

    if ((status = ctl_int_flag(c, FLAG_LIMIT, 1, 200, &limit)) != CTL_OK ||
        (status = ctl_request(c, &r, "train.history")) != CTL_OK)
        return status;
    if (limit > 0)
        pock_set_int(r, "limit", limit);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json || c->quiet || pock_count(pock_get(v, "jobs")) == 0)
        status = show_jobs(c, v, "no job yet");
    else if ((status = print_nights(c, pock_get(v, "nights"))) == CTL_OK)
        status = print_history(c, pock_get(v, "jobs"));
    pock_reply_destroy(reply);
    return status;
}
