// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "training"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/pockd.h"
#include "daemon/training_inside.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "storage/store_policy.h"
#include "storage/store_run.h"

/*
 * What training has used of the night, run by run, and what is remembered of
 * records and jobs that were given up.
 */

#define BUDGET_KEY     "state.budget"
#define QUARANTINE_KEY "state.quarantine"

static int64_t boot_ms(void)
{
    struct timespec ts = {0};

    (void) clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t local_offset_s(void)
{
    const time_t now = time(NULL);
    struct tm tm;

    localtime_r(&now, &tm);
    return tm.tm_gmtoff;
}

// Two times of CLOCK_BOOTTIME compare within one boot only.
static void read_boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, 36);

    if (fd >= 0)
        (void) close(fd);
    out[n == 36 ? 36 : 0] = '\0';
    if (n != 36)
        snprintf(out, 40, "none");
}

static void parse_night(struct training *t, const char *text)
{
    char boot[40] = "";
    struct night n = {0};
    long long day;
    long long used_ms;
    long long seen_ms = 0;
    long long seen_boot_ms = 0;
    int got = sscanf(text, "%lld %lld %lf %lld %lld %39s", &day, &used_ms,
                     &n.used_j, &seen_ms, &seen_boot_ms, boot);

    if (got < 2 || used_ms < 0)
        return;
    n.day = day;
    n.used_ms = used_ms;
    if (!isfinite(n.used_j) || n.used_j < 0)
        n.used_j = 0;
    // After another boot only the wall clock can tell.
    if (got == 6 && strcmp(boot, t->boot_id) == 0 &&
        strcmp(boot, "none") != 0) {
        n.seen_ms = seen_ms;
        n.seen_boot_ms = seen_boot_ms;
    }
    t->night = n;
}

void training_night_save(struct training *t)
{
    char text[128];

    snprintf(text, sizeof(text), "%lld %lld %.1f %lld %lld %s",
             (long long) t->night.day, (long long) t->night.used_ms,
             t->night.used_j, (long long) t->night.seen_ms,
             (long long) t->night.seen_boot_ms, t->boot_id);
    training_keep(t->p, BUDGET_KEY, text);
}

void training_night_account(struct training *t)
{
    const int64_t now = pockd_now_ms();
    const char *root = t->p->config->sysroot;

    if (t->current) {
        double joules = energy_take(&t->energy, root, now);
        t->night.used_ms += now - t->accounted_ms;
        t->accounted_ms = now;
        if (isfinite(joules)) {
            t->has_energy = true;
            t->night.used_j += joules;
            t->run_j = (isnan(t->run_j) ? 0 : t->run_j) + joules;
        }
    }
    if (night_see(&t->night, clock_unix_ms(), local_offset_s(), boot_ms()) &&
        t->p->dbthread)
        training_night_save(t);
}

int64_t training_budget_used_s(struct training *t)
{
    training_night_account(t);
    return t->night.used_ms / 1000;
}

double training_budget_used_wh(const struct training *t)
{
    return t->has_energy || t->night.used_j > 0 ? t->night.used_j / 3600
                                                : (double) NAN;
}

void training_night_run_started(struct training *t, const struct tjob *j)
{
    t->run_started_ms = t->accounted_ms = pockd_now_ms();
    t->run_unix_ms = clock_unix_ms();
    t->run_first_step = j->life.start_step;
    t->run_heldout = j->heldout;
    t->run_j = (double) NAN;
    energy_start(&t->energy, t->p->config->sysroot, t->run_started_ms);
}

static int run_add(struct store *s, void *arg, struct error *err)
{
    return store_run_add(s, arg, err);
}

static void done_add(void *arg, int rc, const struct error *err)
{
    if (rc < 0)
        log_error("event=run_not_stored text=%s", err->text);
    free(arg);
}

void training_night_run_ended(struct training *t, const struct tjob *j,
                              const struct train_end *end)
{
    struct store_run *r = calloc(1, sizeof(*r));
    const int64_t slice_ms = t->p->policy.slice_s * 1000;
    const int64_t ran_ms = pockd_now_ms() - t->run_started_ms;

    training_night_save(t);
    if (!r)
        return;
    *r = (struct store_run){
        .job_id = j->row.id,
        .night = t->night.day,
        .started_ms = t->run_unix_ms,
        .run_ms = ran_ms,
        .slices = (ran_ms + slice_ms - 1) / slice_ms,
        .first_step = t->run_first_step,
        .last_step = end->is_trial ? t->run_first_step : j->row.step,
        .energy_j = t->run_j,
        .heldout_before =
            isnan(t->run_heldout) ? j->row.heldout_start : t->run_heldout,
        .heldout_after = j->heldout,
        .version = end->version,
    };
    snprintf(r->stop_reason, sizeof(r->stop_reason), "%s",
             end->outcome == JOB_OUTCOME_DONE
                 ? stop_reason_name(STOP_REASON_NONE)
                 : j->row.stop_reason);
    if (dbthread_submit_own(t->p->dbthread, DBTHREAD_WRITE, run_add, done_add,
                            r) < 0)
        free(r);
}

/*
 * Records that are skipped
 */

static int add_skipped(struct training *t, int64_t record)
{
    int64_t *more = realloc(t->skipped, (t->skipped_count + 1) * sizeof(*more));
    size_t at = t->skipped_count;

    if (!more)
        return -ENOMEM;
    t->skipped = more;
    for (; at > 0 && more[at - 1] > record; at--)
        more[at] = more[at - 1];
    more[at] = record;
    t->skipped_count++;
    return 0;
}

static int load_skipped(int64_t record, void *user)
{
    return add_skipped(user, record);
}

struct skipping {
    int64_t record;
    int64_t job;
};

static int run_skip(struct store *s, void *arg, struct error *err)
{
    const struct skipping *k = arg;

    return store_skipped_add(s, k->record, k->job, clock_unix_ms(),
                             POCK_VERSION, err);
}

static void done_skip(void *arg, int rc, const struct error *err)
{
    if (rc < 0)
        log_warn("event=skip_not_stored text=%s", err->text);
    free(arg);
}

void training_skip(struct training *t, const struct tjob *j, int64_t record)
{
    struct skipping *k = calloc(1, sizeof(*k));

    log_warn("event=record_skipped job=%lld record=%lld", (long long) j->row.id,
             (long long) record);
    if (!k || add_skipped(t, record) < 0) {
        free(k);
        return;
    }
    *k = (struct skipping){.record = record, .job = j->row.id};
    if (dbthread_submit_own(t->p->dbthread, DBTHREAD_WRITE, run_skip, done_skip,
                            k) < 0)
        free(k);
}

const int64_t *training_skipped(const struct training *t, size_t *count)
{
    *count = t->skipped_count;
    return t->skipped;
}

/*
 * What the owner should know
 */

void training_set_quarantine(struct training *t, const char *text)
{
    if (strcmp(t->quarantine, text) == 0)
        return;
    snprintf(t->quarantine, sizeof(t->quarantine), "%s", text);
    training_keep(t->p, QUARANTINE_KEY, t->quarantine);
}

const char *training_quarantine(const struct training *t)
{
    return t->quarantine[0] ? t->quarantine : NULL;
}

static size_t note_skipped(const struct training *t, char *out, size_t size)
{
    const size_t n = t->skipped_count;
    size_t at;

    if (n == 0)
        return 0;
    at = (size_t) snprintf(out, size,
                           "%zu record%s left out that end%s the worker:", n,
                           n == 1 ? " is" : "s are", n == 1 ? "s" : "");
    for (size_t i = 0; i < n && i < 3 && at < size; i++)
        at += (size_t) snprintf(out + at, size - at, " %lld",
                                (long long) t->skipped[n - 1 - i]);
    return at < size ? at : size - 1;
}

const char *training_note(struct training *t)
{
    const struct tjob *j = t->jobs;
    size_t at = note_skipped(t, t->note, sizeof(t->note));
    const char *comma = at > 0 ? ", " : "";

    if (j && job_is_trial(&j->life))
        snprintf(t->note + at, sizeof(t->note) - at,
                 "%swhich looks for the record that ends its worker, %d are "
                 "left",
                 comma, j->life.bisect.count);
    else if (j && j->life.fruitless >= JOB_FRUITLESS_MAX)
        snprintf(t->note + at, sizeof(t->note) - at,
                 "%swhich was stopped %d times before a checkpoint", comma,
                 j->life.fruitless);
    else if (at == 0)
        return NULL;
    return t->note;
}

int training_night_load(struct training *t, struct error *err)
{
    char text[STORE_TEXT_SIZE];

    read_boot_id(t->boot_id);
    t->run_j = (double) NAN;
    t->night.day = night_day(clock_unix_ms(), local_offset_s());
    if (store_policy_get(t->p->store, BUDGET_KEY, text, sizeof(text), NULL) ==
        0)
        parse_night(t, text);
    if (store_policy_get(t->p->store, QUARANTINE_KEY, text, sizeof(text),
                         NULL) == 0)
        snprintf(t->quarantine, sizeof(t->quarantine), "%s", text);
    int rc =
        store_skipped_each(t->p->store, POCK_VERSION, load_skipped, t, err);
    return rc < 0 ? rc : 0;
}
