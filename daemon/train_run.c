// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "train_run"

#include "daemon/train_run.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/fdio.h"
#include "daemon/manners.h"
#include "daemon/pockd.h"
#include "daemon/shader_file.h"
#include "daemon/times_file.h"
#include "daemon/train_recipe.h"
#include "daemon/train_store.h"
#include "daemon/training.h"
#include "daemon/worker_link.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "ipc/worker_trace.h"
#include "storage/store_file.h"

/*
 * Invariants
 * 1. on_end comes when no task is on the database thread and no worker is
 *    there: whatever the worker gave is on disk, or is known to be lost.
 * 2. The first of result, stopped and error decides how the run ended; an exit
 *    without any of them is a death.
 */

enum {
    PROGRESS_MS = 250,
    REQ = 1,
};

struct train_run {
    struct pockd *p;
    struct store_job job;
    struct train_run_callbacks callbacks;
    void *user;
    struct worker_link *worker;
    int manners;  // that it was told of; the worker's first are UNUSED
    int duty;     // likewise; its first is 100
    int trace_fd; // what it is about to compute with; -1: nobody knows
    struct bisect suspects;
    int64_t *skip;
    int64_t ids[WORKER_TRACE_RECORDS]; // of a death
    char device[TRAIN_DEVICE_BYTES];
    char shaders[SHADER_FILE_BYTES];
    struct train_input input; // the database thread's while it gathers
    struct train_output output;
    struct policy policy; // of the start, then of when the result came
    int tasks;
    bool is_gathered;
    bool is_stopping;
    bool is_worker_gone;
    bool has_final; // result, stopped or error
    bool is_ended;
    enum stop_reason stop_reason;
    int64_t step;
    uint64_t stop_ns;
    struct train_end end;
};

static void end_if_done(struct train_run *r)
{
    if (r->tasks > 0 || r->is_ended || (r->worker && !r->is_worker_gone))
        return;
    r->is_ended = true;
    r->end.step = r->step;
    r->end.is_trial = r->suspects.count > 0;
    r->callbacks.on_end(&r->end, r->user); // may destroy r
}

static void fail(struct train_run *r, enum job_outcome outcome,
                 enum stop_reason reason, const char *text)
{
    if (r->has_final)
        return;
    r->has_final = true;
    r->end.outcome = outcome;
    r->end.reason = reason;
    snprintf(r->end.message, sizeof(r->end.message), "%s", text);
}

// Where the worker was when it died, and over which records.
static void read_trace(struct train_run *r)
{
    struct worker_trace trace;

    r->end.place = JOB_PLACE_NONE;
    if (r->trace_fd < 0 ||
        pread(r->trace_fd, &trace, sizeof(trace), 0) != sizeof(trace) ||
        trace.count == 0 || trace.count > WORKER_TRACE_RECORDS)
        return;
    for (uint32_t i = 0; i < trace.count; i++)
        if (trace.records[i] < r->input.count)
            r->ids[r->end.n_ids++] = r->input.ids[trace.records[i]];
    r->end.ids = r->ids;
    // Records that become tokens come one by one, and are places of their own.
    r->end.place = trace.step == WORKER_TRACE_READING
                       ? JOB_PLACE_NONE - 1 - (int64_t) trace.records[0]
                       : (int64_t) trace.step;
}

static enum job_outcome outcome_of(int rc)
{
    switch (-rc) {
    case ENOSPC:
    case EDQUOT:
        return JOB_OUTCOME_NO_SPACE;
    case ENODATA:
    case ENOENT:
    case EUCLEAN:
    case ENOKEY:
    case EINVAL:
    case EPROTO:
        return JOB_OUTCOME_PERMANENT;
    default:
        return JOB_OUTCOME_TRANSIENT;
    }
}

// A checkpoint on its way to the disk.
struct saving {
    struct train_run *r;
    int fd;
    int64_t step;
    char name[64];
};

static int run_save(struct store *s, void *arg, struct error *err)
{
    struct saving *v = arg;

    return store_file_save(s, v->name, v->fd, WORKER_FILE_BYTES_MAX, err);
}

static void acknowledge(struct train_run *r, int64_t step, bool is_saved)
{
    struct worker_msg m;

    if (r->is_worker_gone)
        return;
    worker_msg_init(&m, WORKER_MSG_checkpoint_ack);
    m.checkpoint_ack.req = REQ;
    m.checkpoint_ack.step = (uint32_t) step;
    m.checkpoint_ack.is_saved = is_saved;
    (void) worker_link_send(r->worker, &m, NULL);
}

static void done_save(void *arg, int rc, const struct error *err)
{
    struct saving *v = arg;
    struct train_run *r = v->r;
    int64_t step = v->step;

    (void) close(v->fd);
    free(v);
    r->tasks--;
    if (rc < 0)
        log_error("event=checkpoint_failed job=%lld text=%s",
                  (long long) r->job.id, err->text);
    else if (r->is_stopping)
        log_info("event=checkpoint_saved job=%lld step=%lld "
                 "after_stop_ms=%llu",
                 (long long) r->job.id, (long long) step,
                 (unsigned long long) ((clock_monotonic_ns() - r->stop_ns) /
                                       1000000));
    acknowledge(r, step, rc == 0);
    r->callbacks.on_checkpoint(step, rc == 0, err->text, r->user);
    if (rc < 0 && !r->is_stopping) {
        char text[STORE_TEXT_SIZE];
        snprintf(text, sizeof(text),
                 "the checkpoint could not be saved: %.300s: free some space",
                 err->text);
        fail(r, JOB_OUTCOME_NO_SPACE, STOP_REASON_DISK, text);
        train_run_stop(r, STOP_REASON_DISK);
    }
    end_if_done(r);
}

static void save_checkpoint(struct train_run *r, struct worker_checkpoint *c)
{
    struct saving *v = calloc(1, sizeof(*v));

    if (!v) {
        acknowledge(r, c->step, false);
        return;
    }
    v->r = r;
    v->fd = worker_fd_take(&c->file_fd);
    v->step = c->step;
    train_checkpoint_name(v->name, r->job.id);
    if (r->step < v->step)
        r->step = v->step;
    r->tasks++;
    if (dbthread_submit_own(r->p->dbthread, DBTHREAD_ALONE, run_save, done_save,
                            v) < 0) {
        r->tasks--;
        (void) close(v->fd);
        free(v);
    }
}

// The adapter on its way to becoming a version.
struct storing {
    struct train_run *r;
    struct worker_result result;
};

static int run_store(struct store *s, void *arg, struct error *err)
{
    struct storing *v = arg;
    struct train_run *r = v->r;

    return train_output_store(&r->output, s, &r->job, &r->input, &v->result,
                              &r->policy, &r->p->identity, err);
}

static void done_store(void *arg, int rc, const struct error *err)
{
    struct storing *v = arg;
    struct train_run *r = v->r;

    r->tasks--;
    (void) close(v->result.file_fd);
    (void) close(v->result.used_fd);
    free(v);
    if (rc < 0) {
        r->end.outcome = outcome_of(rc);
        r->end.reason = rc == -ENOSPC ? STOP_REASON_DISK : STOP_REASON_ERROR;
        snprintf(r->end.message, sizeof(r->end.message),
                 "the adapter could not be stored: %.400s", err->text);
    } else {
        r->end.outcome =
            r->output.is_lost ? JOB_OUTCOME_INTERRUPTED : JOB_OUTCOME_DONE;
        r->end.is_lost = r->output.is_lost;
        r->end.version = r->output.version;
        r->end.is_active = r->output.is_active;
        snprintf(r->end.message, sizeof(r->end.message), "%s",
                 r->output.reason);
    }
    end_if_done(r);
}

static void store_result(struct train_run *r, struct worker_result *result)
{
    struct storing *v = calloc(1, sizeof(*v));

    if (!v) {
        fail(r, JOB_OUTCOME_TRANSIENT, STOP_REASON_ERROR, "out of memory");
        return;
    }
    r->has_final = true;
    // A trial has shown what it was for.
    if (r->suspects.count > 0) {
        free(v);
        return;
    }
    r->policy = r->p->policy;
    v->r = r;
    v->result = *result;
    v->result.file_fd = worker_fd_take(&result->file_fd);
    v->result.used_fd = worker_fd_take(&result->used_fd);
    r->step = result->steps;
    for (uint32_t i = 0; i < result->n_metrics; i++)
        if (strcmp(result->metrics[i].kind, "total") == 0)
            r->end.heldout_records = result->metrics[i].records;
    r->tasks++;
    if (dbthread_submit_own(r->p->dbthread, DBTHREAD_ALONE, run_store,
                            done_store, v) < 0) {
        r->tasks--;
        (void) close(v->result.file_fd);
        (void) close(v->result.used_fd);
        free(v);
        r->end.outcome = JOB_OUTCOME_INTERRUPTED;
    }
}

static void take_error(struct train_run *r, const struct worker_error *e)
{
    static const enum job_outcome outcomes[] = {
        [WORKER_SEVERITY_TRANSIENT] = JOB_OUTCOME_TRANSIENT,
        [WORKER_SEVERITY_PERMANENT] = JOB_OUTCOME_PERMANENT,
        [WORKER_SEVERITY_POISON] = JOB_OUTCOME_POISON,
    };

    // A recipe is the job's, and stays what it is.
    r->end.is_certain = strcmp(e->name, "BAD_RECIPE") == 0;
    if (e->severity == WORKER_SEVERITY_POISON && !r->has_final &&
        e->record_count == 1 && e->record_first < r->input.count) {
        r->ids[0] = r->input.ids[e->record_first];
        r->end.ids = r->ids;
        r->end.n_ids = 1;
    }
    if (strcmp(e->name, "CANCELLED") == 0)
        fail(r, JOB_OUTCOME_INTERRUPTED, r->stop_reason, "");
    else
        fail(r, outcomes[e->severity],
             strcmp(e->name, "NO_MEMORY") == 0 ? STOP_REASON_MEMORY
                                               : STOP_REASON_ERROR,
             e->msg);
}

// Each of the suspects was learned from once: none of them kills a worker.
static void see_trial(struct train_run *r, const struct worker_progress *g)
{
    if (!isfinite(g->epoch) || g->epoch < 1 || r->has_final)
        return;
    fail(r, JOB_OUTCOME_DONE, STOP_REASON_NONE, "");
    train_run_stop(r, STOP_REASON_NONE);
}

static void on_message(struct worker_link *w, struct worker_msg *m, void *user)
{
    struct train_run *r = user;

    // A flat switch over what a training worker may say; worker_link refuses
    // the rest.
    if (m->type == WORKER_MSG_progress) {
        if (r->suspects.count > 0) {
            see_trial(r, &m->progress);
            return;
        }
        if (r->step < m->progress.step)
            r->step = m->progress.step;
        r->callbacks.on_progress(&m->progress, r->user);
    } else if (m->type == WORKER_MSG_checkpoint) {
        if (r->suspects.count == 0)
            save_checkpoint(r, &m->checkpoint);
    } else if (m->type == WORKER_MSG_restarted) {
        log_warn("event=job_restarted job=%lld text=%s", (long long) r->job.id,
                 m->restarted.msg);
        r->step = 0;
    } else if (m->type == WORKER_MSG_notice) {
        log_warn("event=job_notice job=%lld text=%s", (long long) r->job.id,
                 m->notice.msg);
        // Said once: the next job finds none.
        if (m->notice.drop_times)
            times_file_drop_soon(r->p);
        r->callbacks.on_notice(m->notice.msg, r->user);
    } else if (m->type == WORKER_MSG_stopped) {
        log_info("event=worker_stopped job=%lld step=%u latency_us=%u",
                 (long long) r->job.id, m->stopped.step, m->stopped.latency_us);
        fail(r, JOB_OUTCOME_INTERRUPTED, r->stop_reason, "");
    } else if (m->type == WORKER_MSG_result && !r->has_final) {
        store_result(r, &m->result);
    } else if (m->type == WORKER_MSG_error) {
        take_error(r, &m->error);
    }
}

static void on_exit_worker(struct worker_link *w,
                           const struct worker_exit *exit, void *user)
{
    struct train_run *r = user;

    r->is_worker_gone = true;
    if (!r->has_final && r->is_stopping) {
        // The ladder ended it: what it had is lost up to its last checkpoint.
        fail(r, JOB_OUTCOME_INTERRUPTED,
             exit->is_clean ? r->stop_reason : STOP_REASON_WATCHDOG,
             exit->is_clean ? "" : exit->text);
    } else if (!r->has_final) {
        r->end.is_death = true;
        read_trace(r);
        fail(r, JOB_OUTCOME_TRANSIENT, STOP_REASON_ERROR, exit->text);
    }
    end_if_done(r);
}

// Memory that the worker writes and we read: it can neither grow nor shrink.
static int create_trace(void)
{
    const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
    int fd = memfd_create("pock-trace", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, sizeof(struct worker_trace)) < 0 ||
                    fcntl(fd, F_ADD_SEALS, seals) < 0)) {
        (void) close(fd);
        fd = -1;
    }
    return fd;
}

static int start_worker(struct train_run *r, struct error *err)
{
    static const struct worker_link_callbacks callbacks = {.on_message =
                                                               on_message,
                                                           .on_exit =
                                                               on_exit_worker};
    const struct config *c = r->p->config;
    struct worker_msg m;

    worker_msg_init(&m, WORKER_MSG_train_start);
    snprintf(m.train_start.recipe, sizeof(m.train_start.recipe), "%s",
             r->job.recipe);
    if (!train_recipe_take_device(r->device, m.train_start.recipe))
        snprintf(r->device, sizeof(r->device), "%.60s",
                 r->p->policy.device[0] ? r->p->policy.device : "auto");
    shader_file_path(r->shaders, &r->p->paths, r->device);
    int rc =
        worker_link_create(&r->worker,
                           &(struct worker_link_params){
                               .loop = &r->p->loop,
                               .kind = WORKER_KIND_TRAIN,
                               .program = paths_worker_program(&r->p->paths),
                               .socket_path = paths_worker_socket(
                                   &r->p->paths, r->job.is_forced
                                                     ? PATHS_WORKER_SERVE
                                                     : PATHS_WORKER_TRAIN),
                               .threads = (uint32_t) c->threads,
                               .device = r->device,
                               .cache_path = r->shaders,
                               // The owner asked for it now.
                               .is_urgent = r->job.is_forced,
                           },
                           &callbacks, r, err);

    if (rc < 0)
        return rc;
    train_run_see(r, signals_snapshot(r->p->signals));
    m.train_start.req = REQ;
    m.train_start.progress_ms = PROGRESS_MS;
    m.train_start.checkpoint_ms = (uint32_t) r->p->policy.checkpoint_s * 1000;
    m.train_start.is_audited = r->p->policy.gate_exposure_bits > 0;
    m.train_start.model_fd = r->input.model_fd;
    m.train_start.records_fd = r->input.records_fd;
    m.train_start.probe_fd = r->input.probe_fd;
    m.train_start.parent_fd = r->input.parent_fd;
    m.train_start.checkpoint_fd = r->input.checkpoint_fd;
    m.train_start.prefix_fd = r->input.prefix_fd;
    memcpy(m.train_start.prefix_key, r->input.prefix_key,
           sizeof(m.train_start.prefix_key));
    m.train_start.prefix_bytes = r->input.prefix_bytes;
    m.train_start.times_fd = r->input.times_fd;
    m.train_start.trace_fd = r->trace_fd = create_trace();
    memcpy(m.train_start.chat, r->input.chat, sizeof(m.train_start.chat));
    return worker_link_send(r->worker, &m, err);
}

static void close_input_fds(struct train_input *in)
{
    int64_t *ids = in->ids;
    size_t count = in->count;

    in->ids = NULL;
    train_input_finish(in);
    in->ids = ids;
    in->count = count;
}

static int run_gather(struct store *s, void *arg, struct error *err)
{
    struct train_run *r = arg;

    return train_input_gather(&r->input, s, &r->job, &r->p->paths, &r->policy,
                              err);
}

static void done_gather(void *arg, int rc, const struct error *err)
{
    struct train_run *r = arg;
    struct error worker_err = {0};

    r->tasks--;
    r->is_gathered = true;
    // The records passed through our memory once; give it back.
    (void) malloc_trim(0);
    if (rc == 0 && !r->is_stopping) {
        rc = start_worker(r, &worker_err);
        err = &worker_err;
        if (rc < 0 && r->worker) {
            worker_link_destroy(r->worker);
            r->worker = NULL;
        }
    }
    close_input_fds(&r->input);
    if (rc < 0)
        fail(r, outcome_of(rc), STOP_REASON_ERROR, err->text);
    else if (!r->worker)
        fail(r, JOB_OUTCOME_INTERRUPTED, r->stop_reason, "");
    else
        r->callbacks.on_started((int64_t) r->input.count, r->user);
    end_if_done(r);
}

// The database thread reads what is skipped while the loop may add to it.
static int set_wanted(struct train_run *r)
{
    size_t n;
    const int64_t *ids = training_skipped(r->p->training, &n);

    if (n > 0) {
        r->skip = malloc(n * sizeof(*ids));
        if (!r->skip)
            return -ENOMEM;
        memcpy(r->skip, ids, n * sizeof(*ids));
    }
    r->input.skip = r->skip;
    r->input.n_skip = n;
    if (r->suspects.count > 0) {
        r->input.only = r->suspects.ids;
        r->input.n_only = (size_t) r->suspects.tried;
    }
    return 0;
}

int train_run_create(struct train_run **out, struct pockd *p,
                     const struct store_job *job, const struct bisect *suspects,
                     const struct train_run_callbacks *callbacks, void *user,
                     struct error *err)
{
    struct train_run *r = calloc(1, sizeof(*r));

    if (!r)
        return error_set(err, -ENOMEM, "out of memory");
    r->p = p;
    r->job = *job;
    r->policy = p->policy;
    r->callbacks = *callbacks;
    r->user = user;
    r->step = job->step;
    r->duty = 100;
    r->trace_fd = -1;
    r->suspects = *suspects;
    train_input_init(&r->input);
    if (set_wanted(r) < 0) {
        free(r);
        return error_set(err, -ENOMEM, "out of memory");
    }
    r->tasks++;
    int rc = dbthread_submit_own(p->dbthread, DBTHREAD_ALONE, run_gather,
                                 done_gather, r);
    if (rc < 0) {
        free(r->skip);
        free(r);
        return error_set(err, rc, "cannot read the records");
    }
    *out = r;
    return 0;
}

void train_run_stop(struct train_run *r, enum stop_reason reason)
{
    if (r->is_stopping)
        return;
    r->is_stopping = true;
    r->stop_reason = reason;
    r->stop_ns = clock_monotonic_ns();
    if (r->worker && !r->is_worker_gone)
        worker_link_stop(r->worker, stop_reason_name(reason));
}

void train_run_see(struct train_run *r, const struct snapshot *s)
{
    const enum daemon_manners now = manners_of(s);
    const int duty = manners_duty_pct(s, &r->p->policy);
    struct worker_msg m;

    if (!r->worker || r->is_worker_gone ||
        ((int) now == r->manners && duty == r->duty))
        return;
    worker_msg_init(&m, WORKER_MSG_manners);
    m.manners.state = (uint32_t) now;
    m.manners.duty = (uint32_t) duty;
    if (worker_link_send(r->worker, &m, NULL) == 0) {
        r->manners = (int) now;
        r->duty = duty;
    }
}

bool train_run_is_stopping(const struct train_run *r)
{
    return r->is_stopping;
}

int train_run_pid(const struct train_run *r)
{
    return r->worker && !r->is_worker_gone ? worker_link_pid(r->worker) : 0;
}

void train_run_destroy(struct train_run *r)
{
    if (!r)
        return;
    worker_link_destroy(r->worker);
    train_input_finish(&r->input);
    if (r->trace_fd >= 0)
        (void) close(r->trace_fd);
    free(r->skip);
    free(r);
}
