// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/replay.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/signal_table.h"
#include "engine/base/arena.h"
#include "engine/base/json.h"

/*
 * Invariants
 * 1. A line is checked as a whole before anything of it counts.
 * 2. Between two lines time goes on as the scheduler asks, in steps of a second
 *    or more.
 */

enum {
    LINE_BYTES_MAX = 64 << 10,
    LINE_ARENA_BYTES = 1 << 20,
    STEP_MIN_MS = 1000,
    MINUTE_MS = 60 * 1000,
    NOON = 720,
    DAY = 1440,
    JOB = 1,
};

static const int64_t GAP_MAX_MS = 31 * 24 * 3600 * INT64_C(1000);

struct moment {
    int64_t t_ms;
    int64_t unix_ms;
    int64_t minute; // local, of the day
};

struct replay {
    struct replay_params params;
    struct replay_totals totals;
    struct snapshot snapshot;
    struct gate gates[CONDITION_COUNT];
    struct moment at; // of the last line
    int64_t now_ms;   // where time is; >= at.t_ms
    bool has_begun;
    bool is_running;
    int64_t started_ms;
    int64_t first_ms;
    int64_t used_ms;           // trained since the last noon
    int64_t noons;             // how many were passed; counts used_ms
    enum condition blocked_by; // CONDITION_COUNT: nothing was told
};

int replay_create(struct replay **out, const struct replay_params *params)
{
    struct replay *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->params = *params;
    r->blocked_by = CONDITION_COUNT;
    snapshot_init(&r->snapshot);
    *out = r;
    return 0;
}

void replay_destroy(struct replay *r)
{
    free(r);
}

struct replay_totals replay_totals(const struct replay *r)
{
    struct replay_totals t = r->totals;

    t.span_ms = r->now_ms - r->first_ms;
    return t;
}

bool replay_is_running(const struct replay *r)
{
    return r->is_running;
}

static int64_t unix_now(const struct replay *r)
{
    return r->at.unix_ms + (r->now_ms - r->at.t_ms);
}

static int64_t minutes_now(const struct replay *r)
{
    return r->at.minute + (r->now_ms - r->at.t_ms) / MINUTE_MS;
}

static void tell(struct replay *r, enum replay_kind kind,
                 enum stop_reason reason, enum condition c)
{
    char text[320] = "";

    if (c < CONDITION_COUNT)
        snprintf(text, sizeof(text), "%s, needs %s", r->gates[c].value,
                 r->gates[c].threshold);
    r->params.on_event(
        &(struct replay_event){
            .kind = kind,
            .unix_ms = unix_now(r),
            .reason = reason,
            .gate = c < CONDITION_COUNT ? condition_name(c) : "",
            .text = text,
        },
        r->params.user);
}

static void decide(struct replay *r, struct decision *d)
{
    const struct scheduler_job job = {.id = JOB,
                                      .created_ms = 1,
                                      .is_running = r->is_running};
    const struct scheduler_input in = {
        .snapshot = &r->snapshot,
        .policy = r->params.policy,
        .jobs = &job,
        .job_count = 1,
        .has_model = true,
        .budget_used_s = r->used_ms / 1000,
        .slice_started_ms = r->started_ms,
        .now_ms = r->now_ms,
        .unix_ms = unix_now(r),
        // Recordings tell of no energy.
        .budget_used_wh = (double) NAN,
        .minute_of_day = (int) (minutes_now(r) % DAY),
        // 1970-01-01 was a Thursday.
        .weekday = (int) ((minutes_now(r) / DAY + 4) % 7),
    };

    scheduler_decide(d, r->gates, &in);
}

// What the scheduler wants at this moment, done. In how many milliseconds it
// wants to be asked again, or -1.
static int64_t act(struct replay *r)
{
    struct decision d;

    decide(r, &d);
    if (d.action == SCHEDULER_STOP) {
        r->is_running = false;
        r->totals.stops[d.reason]++;
        r->blocked_by = condition_blocking(r->gates);
        tell(r, REPLAY_STOP, d.reason, r->blocked_by);
        decide(r, &d);
    }
    if (d.action == SCHEDULER_START) {
        r->is_running = true;
        r->started_ms = r->now_ms;
        r->totals.starts++;
        r->blocked_by = CONDITION_COUNT;
        tell(r, REPLAY_START, STOP_REASON_NONE, CONDITION_COUNT);
        decide(r, &d); // by the thresholds for going on
        return d.recheck_ms;
    }
    enum condition c = condition_blocking(r->gates);
    if (!r->is_running && c != r->blocked_by && c < CONDITION_COUNT)
        tell(r, REPLAY_BLOCKED, condition_reason(c), c);
    if (!r->is_running)
        r->blocked_by = c;
    return d.recheck_ms;
}

// Up to `t_ms`, and what was trained meanwhile counts.
static void pass(struct replay *r, int64_t t_ms)
{
    int64_t noons = (minutes_now(r) + NOON) / DAY;

    if (r->params.on_time)
        r->params.on_time(t_ms, r->params.user);
    if (r->is_running) {
        r->totals.trained_ms += t_ms - r->now_ms;
        r->used_ms += t_ms - r->now_ms;
    }
    r->now_ms = t_ms;
    if ((minutes_now(r) + NOON) / DAY != noons)
        r->used_ms = 0;
}

static void go_on(struct replay *r, int64_t recheck_ms, int64_t until_ms)
{
    while (recheck_ms >= 0) {
        int64_t step = recheck_ms < STEP_MIN_MS ? STEP_MIN_MS : recheck_ms;
        if (step >= until_ms - r->now_ms)
            break;
        pass(r, r->now_ms + step);
        recheck_ms = act(r);
    }
    pass(r, until_ms);
}

static int get_integer(int64_t *out, const struct json *line, const char *key,
                       int64_t most, struct error *err)
{
    const struct json *v = json_get(line, key);

    if (!v || !v->is_integer || v->integer < 0 || v->integer > most)
        return error_set(err, -EINVAL,
                         "\"%s\" must be a whole number from 0 to %lld", key,
                         (long long) most);
    *out = v->integer;
    return 0;
}

static bool value_of(struct signal_value *out, const struct json *v)
{
    *out = (struct signal_value){.type = SIGNAL_TYPE_NONE};
    switch ((enum json_type) v->type) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        out->type = SIGNAL_TYPE_BOOL;
        out->flag = v->boolean;
        return true;
    case JSON_NUMBER:
        out->type = v->is_integer ? SIGNAL_TYPE_INT : SIGNAL_TYPE_NUM;
        out->integer = v->integer;
        out->number = v->number;
        return true;
    case JSON_STRING:
        out->type = SIGNAL_TYPE_TEXT;
        out->text = v->text;
        return strlen(v->text) == v->bytes;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return false;
    }
    return false;
}

// Signals of a newer version are not known here, and do not matter.
static int take_signals(struct snapshot *s, const struct json *list,
                        struct error *err)
{
    struct signal_value value;

    if (!list || list->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "\"signals\" must be an object");
    for (const struct json *v = list->first; v; v = v->next) {
        enum signal g = signal_find(v->key);
        if (g < SIGNAL_COUNT &&
            (!value_of(&value, v) || !signal_set(s, g, &value)))
            return error_set(err, -EINVAL,
                             "the value of the signal \"%.60s\" cannot be",
                             v->key);
    }
    return 0;
}

static int take_sources(struct snapshot *s, const struct json *list,
                        struct error *err)
{
    if (!list)
        return 0;
    if (list->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "\"sources\" must be an object");
    for (const struct json *v = list->first; v; v = v->next) {
        enum signal g = signal_find(v->key);
        if (g == SIGNAL_COUNT)
            continue;
        enum signal_source source = v->type == JSON_STRING
                                        ? signal_source_find(v->text)
                                        : SIGNAL_SOURCE_COUNT;
        if (source == SIGNAL_SOURCE_COUNT)
            return error_set(err, -EINVAL,
                             "the source of the signal \"%.60s\" is none that "
                             "there is",
                             v->key);
        s->source[g] = source;
    }
    s->use_source = signal_source_name(s->source[SIGNAL_in_use]);
    return 0;
}

static int read_moment(struct moment *m, const struct replay *r,
                       const struct json *line, struct error *err)
{
    int rc;

    if ((rc = get_integer(&m->t_ms, line, "t", INT64_MAX / 4, err)) < 0 ||
        (rc = get_integer(&m->unix_ms, line, "unix", INT64_MAX / 4, err)) < 0 ||
        (rc = get_integer(&m->minute, line, "minute", DAY - 1, err)) < 0)
        return rc;
    if (!r->has_begun)
        return 0;
    if (m->t_ms < r->at.t_ms)
        return error_set(err, -EINVAL,
                         "\"t\" goes back from %lld to %lld: a recording ends "
                         "where the machine is started anew",
                         (long long) r->at.t_ms, (long long) m->t_ms);
    if (m->t_ms - r->at.t_ms > GAP_MAX_MS)
        return error_set(err, -EINVAL,
                         "\"t\" is more than 31 days after the line before");
    return 0;
}

static int take_line(struct replay *r, const struct json *line,
                     struct error *err)
{
    struct snapshot s = r->snapshot;
    struct moment m;
    int rc;

    if (line->type != JSON_OBJECT)
        return error_set(err, -EINVAL, "a line must be a JSON object");
    if (!json_get(line, "t") && !json_get(line, "signals"))
        return 0; // a heading
    if ((rc = read_moment(&m, r, line, err)) < 0 ||
        (rc = take_signals(&s, json_get(line, "signals"), err)) < 0 ||
        (rc = take_sources(&s, json_get(line, "sources"), err)) < 0)
        return rc;
    if (r->has_begun) {
        go_on(r, act(r), m.t_ms);
        // A clock that was set, or a minute that was rounded.
        if (minutes_now(r) % DAY < NOON && m.minute >= NOON)
            r->used_ms = 0;
    } else {
        r->first_ms = r->now_ms = m.t_ms;
        r->has_begun = true;
        if (r->params.on_time)
            r->params.on_time(m.t_ms, r->params.user);
    }
    r->snapshot = s;
    r->now_ms = m.t_ms;
    r->at = m;
    r->totals.lines++;
    (void) act(r);
    return 0;
}

int replay_line(struct replay *r, const char *text, size_t bytes,
                struct error *err)
{
    const struct json *line;
    struct arena *a;
    int rc;

    while (bytes > 0 && strchr(" \t\r\n", text[bytes - 1]))
        bytes--;
    if (bytes == 0)
        return 0;
    if (bytes > LINE_BYTES_MAX)
        return error_set(err, -E2BIG, "it is longer than %d bytes",
                         LINE_BYTES_MAX);
    if ((rc = arena_create(&a, LINE_ARENA_BYTES)) < 0)
        return error_set(err, rc, "out of memory");
    if ((rc = json_parse(&line, a, text, bytes, err)) == 0)
        rc = take_line(r, line, err);
    arena_destroy(a);
    return rc;
}
