// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "pockd"

#include "daemon/pockd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/auditlog.h"
#include "daemon/consent.h"
#include "daemon/events.h"
#include "daemon/handlers.h"
#include "daemon/identity.h"
#include "daemon/inhibits.h"
#include "daemon/reload.h"
#include "daemon/remerge.h"
#include "daemon/retention.h"
#include "daemon/serving.h"
#include "daemon/signal_watch.h"
#include "daemon/tools.h"
#include "daemon/training.h"
#include "daemon/watchdog.h"
#include "daemon/watchers.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/sdnotify.h"
#include "storage/store.h"
#include "storage/store_policy.h"

enum {
    EXIT_FAILED = 1,
    EXIT_CONFIG = 78, // a newer store, or no key: no restart helps
    RECHECK_MIN_MS = 10,
};

int64_t pockd_now_ms(void)
{
    return (int64_t) (clock_monotonic_ns() / 1000000);
}

static struct tm local_time(void)
{
    const time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    return tm;
}

// What the scheduler sees. `jobs` must outlive the result.
static struct scheduler_input make_input(
    struct pockd *p, struct scheduler_job jobs[TRAINING_JOBS_MAX])
{
    const struct tm tm = local_time();

    return (struct scheduler_input){
        .snapshot = signals_snapshot(p->signals),
        .policy = &p->policy,
        .jobs = jobs,
        .job_count = training_list(p->training, jobs),
        .is_paused = p->is_paused,
        .is_off = consent_is_off(p->consent),
        .has_model = p->facts.has_default_model,
        .is_preempted = serving_needs_machine(p->serving),
        .inhibit_count = inhibits_count(p->inhibits),
        .new_records = p->facts.new_records,
        .create_after_ms = training_create_after_ms(p->training),
        .quarantine = training_quarantine(p->training),
        .note = training_note(p->training),
        .budget_used_s = training_budget_used_s(p->training),
        .budget_used_wh = training_budget_used_wh(p->training),
        .slice_started_ms = training_slice_started_ms(p->training),
        .now_ms = pockd_now_ms(),
        .unix_ms = clock_unix_ms(),
        .turn = turn_look(p->turn),
        .minute_of_day = tm.tm_hour * 60 + tm.tm_min,
        .weekday = tm.tm_wday,
    };
}

void pockd_evaluate(struct pockd *p, bool is_manual,
                    struct gate gates[CONDITION_COUNT])
{
    struct scheduler_job jobs[TRAINING_JOBS_MAX + 1];
    struct scheduler_input in = make_input(p, jobs);
    struct scheduler_job forced = {.is_manual = true,
                                   .memory_bytes = 2 * p->facts.model_bytes};
    struct decision ignored;

    // As if the owner had just asked for a job, which may wait for its turn.
    if (is_manual) {
        in.turn = TURN_ALONE;
        in.jobs = &forced;
        in.job_count = 1;
    }
    scheduler_decide(&ignored, gates, &in);
}

static enum signals_pace pace_of(const struct pockd *p)
{
    switch (scheduler_pace(&p->decision, p->gates,
                           !training_is_quiet(p->training))) {
    case SCHEDULER_PACE_EVENTS:
        return SIGNALS_PACE_EVENTS;
    case SCHEDULER_PACE_SLOW:
        return SIGNALS_PACE_SLOW;
    case SCHEDULER_PACE_WAITING:
        return SIGNALS_PACE_WAITING;
    case SCHEDULER_PACE_RUNNING:
        break;
    }
    return SIGNALS_PACE_RUNNING;
}

// Is there work whose hanging should be noticed soon? On battery nothing is
// worth a timer.
static bool is_busy(const struct pockd *p)
{
    return p->gates[CONDITION_power].is_ok && !training_is_quiet(p->training);
}

static void on_recheck(uv_timer_t *t)
{
    struct pockd *p = t->data;

    signals_refresh(p->signals);
    signal_watch_tell(p);
    pockd_reconsider(p);
}

// One training at a time on a machine, whoever's: take the turn, wait for it,
// or let it go.
static void mind_turn(struct pockd *p)
{
    struct decision *d = &p->decision;

    if (d->action == SCHEDULER_START && turn_take(p->turn) == TURN_TAKEN) {
        // Lost by a hair; the gate says so at the next look.
        d->action = SCHEDULER_NONE;
        d->recheck_ms = RECHECK_MIN_MS;
    } else if (d->action == SCHEDULER_NONE && training_is_quiet(p->training)) {
        if (condition_blocking(p->gates) == CONDITION_turn)
            turn_wait(p->turn);
        else
            turn_release(p->turn);
    }
}

static void decide(struct pockd *p)
{
    struct scheduler_job jobs[TRAINING_JOBS_MAX];
    struct scheduler_input in = make_input(p, jobs);

    scheduler_decide(&p->decision, p->gates, &in);
    log_debug("event=decision action=%d job=%lld reason=%s recheck_ms=%lld",
              (int) p->decision.action, (long long) p->decision.job,
              stop_reason_name(p->decision.reason),
              (long long) p->decision.recheck_ms);
    mind_turn(p);
    if (p->facts.is_loaded && !p->is_stopping)
        training_apply(p->training, &p->decision);
    signals_set_pace(p->signals, pace_of(p));
    watchdog_set_busy(p, is_busy(p));
    int64_t recheck = p->decision.recheck_ms;
    if (recheck < 0)
        (void) uv_timer_stop(&p->recheck);
    else
        (void) uv_timer_start(&p->recheck, on_recheck,
                              (uint64_t) (recheck < RECHECK_MIN_MS
                                              ? RECHECK_MIN_MS
                                              : recheck),
                              0);
    watchers_status_changed(p);
}

static void on_soon(uv_idle_t *idle)
{
    struct pockd *p = idle->data;

    (void) uv_idle_stop(idle);
    serving_take_turns(p->serving);
    decide(p);
}

void pockd_reconsider(struct pockd *p)
{
    if (!p->is_stopping)
        (void) uv_idle_start(&p->soon, on_soon);
}

static void on_signals_change(void *user)
{
    signal_watch_tell(user);
    pockd_reconsider(user);
}

static void on_session_end(uint64_t session, void *user)
{
    struct pockd *p = user;

    if (p->inhibits)
        inhibits_on_session_end(p->inhibits, session);
    filesets_on_session_end(&p->filesets, session);
}

static void on_quiet(struct pockd *p)
{
    uv_stop(&p->loop);
}

static void stop(struct pockd *p)
{
    if (p->is_stopping)
        return;
    p->is_stopping = true;
    sdnotify_send("STOPPING=1");
    log_info("event=stopping");
    (void) uv_idle_stop(&p->soon);
    (void) uv_timer_stop(&p->recheck);
    server_stop(p->server);
    // The run in progress saves its checkpoint first.
    training_stop(p->training, on_quiet);
}

static void on_signal(uv_signal_t *s, int number)
{
    stop(s->data);
}

static int start_loop(struct pockd *p, struct error *err)
{
    int rc = uv_loop_init(&p->loop);

    if (rc < 0)
        return error_set(err, rc, "cannot make a loop: %s", uv_strerror(rc));
    (void) uv_signal_init(&p->loop, &p->on_term);
    (void) uv_signal_init(&p->loop, &p->on_int);
    (void) uv_timer_init(&p->loop, &p->watchdog.timer);
    (void) uv_timer_init(&p->loop, &p->recheck);
    (void) uv_idle_init(&p->loop, &p->soon);
    p->on_term.data = p;
    p->on_int.data = p;
    p->recheck.data = p;
    p->soon.data = p;
    facts_init(p);
    if ((rc = uv_signal_start(&p->on_term, on_signal, SIGTERM)) < 0 ||
        (rc = uv_signal_start(&p->on_int, on_signal, SIGINT)) < 0)
        return error_set(err, rc, "cannot watch for signals");
    return 0;
}

static int load_policy(const char *key, const char *value, void *user)
{
    struct pockd *p = user;
    struct error err = {0};

    if (!policy_find(key))
        return 0; // State of ours, or of another version.
    if (policy_set_text(&p->policy, key, value, &err) < 0)
        log_warn("event=policy_ignored text=%s", err.text);
    return 0;
}

// A session's bus is the owner's: the system service has another.
static int open_store(struct pockd *p, struct store_report *report,
                      struct error *err)
{
    const char *source = p->config->key_source;
    const bool is_kept = strcmp(source, "secret-service") == 0;
    const bool is_system = paths_is_system(p->config);

    if (source[0] && !is_kept && strcmp(source, "file") != 0)
        return error_set(err, -EINVAL,
                         "option key_source is %.32s, but must be file or "
                         "secret-service",
                         source);
    if (is_kept && is_system)
        return error_set(err, -EINVAL,
                         "option key_source is secret-service, but the system "
                         "service is in no session: hand pockd.key over as a "
                         "credential");
    secret_service_init(&p->secrets, p->config->key_wait_ms);
    p->secrets.is_starting = true;
    int rc =
        store_open(&p->store,
                   &(struct store_params){.dir = p->paths.state,
                                          .credentials =
                                              getenv("CREDENTIALS_DIRECTORY"),
                                          .key_file = p->paths.key,
                                          .keeper = is_system
                                                        ? NULL
                                                        : &p->secrets.keeper,
                                          .is_key_kept = is_kept,
                                          .now_ms = clock_unix_ms()},
                   report, err);
    p->secrets.is_starting = false;
    return rc;
}

static int start_store(struct pockd *p, struct error *err)
{
    struct store_report report;
    int rc = open_store(p, &report, err);

    if (rc < 0)
        return rc;
    if (report.is_key_left)
        log_warn("event=old_key_left text=a key that is not in force any more "
                 "could not be removed; the next start tries again");
    if (report.is_degraded && p->config->accept_loss) {
        if ((rc = store_accept_loss(p->store, err)) < 0)
            return rc;
        log_warn("event=loss_accepted file=%.300s", report.quarantine);
    } else if (report.is_degraded) {
        p->is_degraded = true;
        snprintf(p->problem, sizeof(p->problem),
                 "the store was damaged and moved aside to %.300s: no records "
                 "are taken until pockd was started once with --accept-loss 1",
                 report.quarantine);
        log_error("event=degraded text=%s", p->problem);
    }
    if (report.orphans || report.lost)
        log_warn("event=swept orphans=%u lost=%u", report.orphans, report.lost);
    if (report.sealed)
        log_info("event=sealed records=%lld", (long long) report.sealed);
    if (report.erasures)
        log_warn("event=erase_unfinished count=%lld",
                 (long long) report.erasures);
    p->policy = p->config->policy;
    if ((rc = store_policy_each(p->store, load_policy, p, err)) < 0)
        return rc;
    // Of the store over another configuration than it was set with.
    struct error why = {0};
    if (policy_mend(&p->policy, &p->config->policy, &why) < 0)
        log_warn("event=policy_ignored text=%s: the configuration's values "
                 "hold",
                 why.text);
    return 0;
}

static int start_signals(struct pockd *p, struct error *err)
{
    return signals_create(&p->signals,
                          &(struct signals_params){
                              .loop = &p->loop,
                              .root = p->config->sysroot,
                              .state_dir = p->paths.state,
                              // A stand-in for the machine has no bus, unless
                              // one is named.
                              .use_bus = p->config->sysroot[0] == '\0' ||
                                         getenv("DBUS_SYSTEM_BUS_ADDRESS"),
                              .on_change = on_signals_change,
                              .user = p,
                          },
                          err);
}

static int start_server(struct pockd *p, struct error *err)
{
    bool is_system = paths_is_system(p->config);

    return server_create(&p->server,
                         &(struct server_params){
                             .loop = &p->loop,
                             .config = p->config,
                             .path = p->paths.socket,
                             .fd = sdnotify_listen_fd("client"),
                             .owner = is_system ? (uid_t) p->config->owner_uid
                                                : geteuid(),
                             .is_system = is_system,
                             .on_request = handlers_dispatch,
                             .on_session_end = on_session_end,
                             .user = p,
                         },
                         err);
}

static int start_parts(struct pockd *p, struct error *err)
{
    int rc;

    if ((rc = turn_create(&p->turn, paths_is_system(p->config) ? PATHS_TURN_DIR
                                                               : NULL)) < 0 ||
        (rc = events_create(&p->events, p)) < 0 ||
        (rc = watchers_create(&p->watchers, p)) < 0 ||
        (rc = auditlog_create(&p->audit, p)) < 0 ||
        (rc = inhibits_create(&p->inhibits, p)) < 0 ||
        (rc = serving_create(&p->serving, p)) < 0 ||
        (rc = tools_create(&p->tools, p)) < 0 ||
        (rc = reload_create(&p->reload, p)) < 0 ||
        (rc = retention_create(&p->retention, p)) < 0 ||
        (rc = remerge_create(&p->remerge, p)) < 0)
        return error_set(err, rc, "out of memory");
    return 0;
}

static int start(struct pockd *p, struct error *err)
{
    int rc;

    if ((rc = paths_init(&p->paths, p->config, err)) < 0 ||
        (rc = paths_create(&p->paths, p->config, err)) < 0 ||
        // SIGTERM ends a start that waits for a key: the loop comes after it.
        (rc = start_store(p, err)) < 0 || (rc = start_loop(p, err)) < 0 ||
        (rc = identity_load(&p->identity, p->paths.state, err)) < 0 ||
        (rc = consent_create(&p->consent, p, err)) < 0 ||
        (rc = start_parts(p, err)) < 0 ||
        (rc = training_create(&p->training, p, err)) < 0 ||
        (rc = dbthread_create(&p->dbthread, &p->loop, p->store,
                              (size_t) p->config->db_queue_max, err)) < 0 ||
        (rc = start_signals(p, err)) < 0 || (rc = start_server(p, err)) < 0)
        return rc;
    p->started_unix_ms = clock_unix_ms();
    p->started_ns = clock_monotonic_ns();
    watchdog_start(p);
    facts_refresh(p);
    consent_start(p->consent);
    events_emit(p, &(struct event_params){.kind = "started",
                                          .text = "pockd " POCK_VERSION
                                                  " started"});
    sdnotify_send("READY=1");
    log_info("event=listening version=%s socket=%s", POCK_VERSION,
             p->paths.socket);
    return 0;
}

static void close_handles(struct pockd *p)
{
    uv_handle_t *handles[] = {(uv_handle_t *) &p->on_term,
                              (uv_handle_t *) &p->on_int,
                              (uv_handle_t *) &p->watchdog.timer,
                              (uv_handle_t *) &p->recheck,
                              (uv_handle_t *) &p->soon};

    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        uv_close(handles[i], NULL);
    facts_finish(p);
    while (uv_run(&p->loop, UV_RUN_DEFAULT) != 0)
        continue;
    (void) uv_loop_close(&p->loop);
}

// The reverse of start(), whatever of it was reached. The database thread goes
// first: what it still had comes back to parts that are still there.
static void finish(struct pockd *p)
{
    struct dbthread *db = p->dbthread;

    p->is_stopping = true;
    dbthread_destroy(db);
    p->dbthread = NULL;
    auditlog_destroy(p->audit);
    retention_destroy(p->retention);
    reload_destroy(p->reload);
    tools_destroy(p->tools);
    remerge_destroy(p->remerge);
    serving_destroy(p->serving);
    watchers_destroy(p->watchers);
    signal_watch_end(p);
    events_destroy(p->events);
    training_destroy(p->training);
    inhibits_destroy(p->inhibits);
    p->inhibits = NULL;
    server_destroy(p->server);
    consent_destroy(p->consent);
    filesets_finish(&p->filesets);
    signals_destroy(p->signals);
    turn_destroy(p->turn);
    if (p->on_term.loop)
        close_handles(p);
    store_close(p->store);
}

// No restart helps: those that wait at the manager's socket would only start
// it again, and whoever is asked for a key be asked again.
static void turn_away(void)
{
    const int listener = sdnotify_listen_fd("client");
    int fd;

    while (listener >= 0 &&
           (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        (void) close(fd);
}

int pockd_run(const struct config *config)
{
    struct pockd *p = calloc(1, sizeof(*p));
    struct error err = {0};

    if (!p) {
        log_error("cannot start: out of memory");
        return EXIT_FAILED;
    }
    p->config = config;
    int rc = start(p, &err);
    if (rc < 0)
        log_error("cannot start: %s", err.text);
    else
        (void) uv_run(&p->loop, UV_RUN_DEFAULT);
    finish(p);
    free(p);
    if (rc == 0)
        return 0;
    if (rc != -EPROTO && rc != -ENOKEY)
        return EXIT_FAILED;
    turn_away();
    return EXIT_CONFIG;
}
