// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_job.h"

#include "storage/store_sql.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

_Static_assert(STORE_JOB_DONE == 5,
               "the schema says that states < 5 are alive");

#define COLUMNS                                                               \
    "SELECT j.id, j.state, j.phase, j.stop_reason, j.message, j.adapter_id,"  \
    " a.name, j.model_id, m.name, j.streams, j.before_ms, j.is_forced,"       \
    " j.recipe, j.created_ms, j.started_ms, j.finished_ms, j.not_before_ms,"  \
    " j.attempts, j.failures, j.step, j.steps, j.epoch, j.tokens, j.records," \
    " j.heldout_records, j.run_ms, j.loss, j.heldout_start, j.heldout_best,"  \
    " j.heldout_step, j.version, j.checkpoint, j.checkpoint_step,"            \
    " j.permanents, j.fruitless, j.deaths, j.death_place, j.suspects"         \
    " FROM jobs j JOIN adapters a ON a.id = j.adapter_id"                     \
    " JOIN models m ON m.id = j.model_id "

const char *store_job_state_name(enum store_job_state state)
{
    static const char *const names[] = {
#define X(name, text) text,
        STORE_JOB_STATES(X)
#undef X
    };

    return (unsigned) state < STORE_JOB_STATE_COUNT ? names[state] : "failed";
}

bool store_job_is_finished(enum store_job_state state)
{
    return state >= STORE_JOB_DONE;
}

void store_job_init(struct store_job *j)
{
    *j = (struct store_job){
        .stop_reason = "NONE",
        .loss = (double) NAN,
        .heldout_start = (double) NAN,
        .heldout_best = (double) NAN,
    };
}

static void read_row(struct store_job *j, sqlite3_stmt *q)
{
    *j = (struct store_job){.id = sqlite3_column_int64(q, 0)};
    j->state = (enum store_job_state) sqlite3_column_int(q, 1);
    store_sql_text(j->phase, sizeof(j->phase), q, 2);
    store_sql_text(j->stop_reason, sizeof(j->stop_reason), q, 3);
    store_sql_text(j->message, sizeof(j->message), q, 4);
    j->adapter_id = sqlite3_column_int64(q, 5);
    store_sql_text(j->adapter, sizeof(j->adapter), q, 6);
    j->model_id = sqlite3_column_int64(q, 7);
    store_sql_text(j->model, sizeof(j->model), q, 8);
    store_sql_text(j->streams, sizeof(j->streams), q, 9);
    j->has_before = sqlite3_column_type(q, 10) != SQLITE_NULL;
    j->before_ms = sqlite3_column_int64(q, 10);
    j->is_forced = sqlite3_column_int(q, 11) != 0;
    store_sql_text(j->recipe, sizeof(j->recipe), q, 12);
    j->created_ms = sqlite3_column_int64(q, 13);
    j->started_ms = sqlite3_column_int64(q, 14);
    j->finished_ms = sqlite3_column_int64(q, 15);
    j->not_before_ms = sqlite3_column_int64(q, 16);
    j->attempts = (uint32_t) sqlite3_column_int64(q, 17);
    j->failures = (uint32_t) sqlite3_column_int64(q, 18);
    j->step = sqlite3_column_int64(q, 19);
    j->steps = sqlite3_column_int64(q, 20);
    j->epoch = sqlite3_column_double(q, 21);
    j->tokens = sqlite3_column_int64(q, 22);
    j->records = sqlite3_column_int64(q, 23);
    j->heldout_records = sqlite3_column_int64(q, 24);
    j->run_ms = sqlite3_column_int64(q, 25);
    j->loss = store_sql_float(q, 26);
    j->heldout_start = store_sql_float(q, 27);
    j->heldout_best = store_sql_float(q, 28);
    j->heldout_step = sqlite3_column_int64(q, 29);
    j->version = (uint32_t) sqlite3_column_int64(q, 30);
    store_sql_text(j->checkpoint, sizeof(j->checkpoint), q, 31);
    j->checkpoint_step = sqlite3_column_int64(q, 32);
    j->permanents = (uint32_t) sqlite3_column_int64(q, 33);
    j->fruitless = (uint32_t) sqlite3_column_int64(q, 34);
    j->deaths = (uint32_t) sqlite3_column_int64(q, 35);
    j->death_place = sqlite3_column_int64(q, 36);
    store_sql_text(j->suspects, sizeof(j->suspects), q, 37);
}

// Parameters 1 to 33, in the order in which both statements name them.
static void bind_row(sqlite3_stmt *q, const struct store_job *j)
{
    (void) sqlite3_bind_int(q, 1, (int) j->state);
    (void) store_sql_bind_text(q, 2, j->phase);
    (void) store_sql_bind_text(q, 3, j->stop_reason);
    (void) store_sql_bind_text(q, 4, j->message);
    (void) store_sql_bind_text(q, 5, j->streams);
    if (j->has_before)
        (void) sqlite3_bind_int64(q, 6, j->before_ms);
    (void) sqlite3_bind_int(q, 7, j->is_forced);
    (void) store_sql_bind_text(q, 8, j->recipe);
    (void) sqlite3_bind_int64(q, 9, j->created_ms);
    (void) sqlite3_bind_int64(q, 10, j->started_ms);
    (void) sqlite3_bind_int64(q, 11, j->finished_ms);
    (void) sqlite3_bind_int64(q, 12, j->not_before_ms);
    (void) sqlite3_bind_int64(q, 13, j->attempts);
    (void) sqlite3_bind_int64(q, 14, j->failures);
    (void) sqlite3_bind_int64(q, 15, j->step);
    (void) sqlite3_bind_int64(q, 16, j->steps);
    (void) sqlite3_bind_double(q, 17, j->epoch);
    (void) sqlite3_bind_int64(q, 18, j->tokens);
    (void) sqlite3_bind_int64(q, 19, j->records);
    (void) sqlite3_bind_int64(q, 20, j->heldout_records);
    (void) sqlite3_bind_int64(q, 21, j->run_ms);
    (void) sqlite3_bind_double(q, 22, j->loss);
    (void) sqlite3_bind_double(q, 23, j->heldout_start);
    (void) sqlite3_bind_double(q, 24, j->heldout_best);
    (void) sqlite3_bind_int64(q, 25, j->heldout_step);
    (void) sqlite3_bind_int64(q, 26, j->version);
    (void) store_sql_bind_text(q, 27, j->checkpoint);
    (void) sqlite3_bind_int64(q, 28, j->checkpoint_step);
    (void) sqlite3_bind_int64(q, 29, j->permanents);
    (void) sqlite3_bind_int64(q, 30, j->fruitless);
    (void) sqlite3_bind_int64(q, 31, j->deaths);
    (void) sqlite3_bind_int64(q, 32, j->death_place);
    (void) store_sql_bind_text(q, 33, j->suspects);
}

int store_job_add(struct store *s, const struct store_job *j, int64_t *id,
                  struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "INSERT INTO jobs (state, phase, stop_reason, message, streams,"
        " before_ms, is_forced, recipe, created_ms, started_ms, finished_ms,"
        " not_before_ms, attempts, failures, step, steps, epoch, tokens,"
        " records, heldout_records, run_ms, loss, heldout_start,"
        " heldout_best, heldout_step, version, checkpoint, checkpoint_step,"
        " permanents, fruitless, deaths, death_place, suspects,"
        " adapter_id, model_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
        " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,"
        " ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)",
        err);

    if (rc < 0)
        return rc;
    bind_row(q, j);
    (void) sqlite3_bind_int64(q, 34, j->adapter_id);
    (void) sqlite3_bind_int64(q, 35, j->model_id);
    rc = store_sql_run(s, q, "add the job", err);
    if (rc == -EBUSY) // its foreign keys
        return error_set(err, -ENOENT,
                         "cannot add the job: its adapter or model is gone");
    if (rc == 0)
        *id = sqlite3_last_insert_rowid(s->db);
    return rc;
}

static int no_job(struct error *err, int64_t id)
{
    return error_set(err, -ENOENT, "there is no job %lld", (long long) id);
}

int store_job_update(struct store *s, const struct store_job *j,
                     struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        "UPDATE jobs SET state = ?1, phase = ?2, stop_reason = ?3,"
        " message = ?4, streams = ?5, before_ms = ?6, is_forced = ?7,"
        " recipe = ?8, created_ms = ?9, started_ms = ?10, finished_ms = ?11,"
        " not_before_ms = ?12, attempts = ?13, failures = ?14, step = ?15,"
        " steps = ?16, epoch = ?17, tokens = ?18, records = ?19,"
        " heldout_records = ?20, run_ms = ?21, loss = ?22,"
        " heldout_start = ?23, heldout_best = ?24, heldout_step = ?25,"
        " version = ?26, checkpoint = ?27, checkpoint_step = ?28,"
        " permanents = ?29, fruitless = ?30, deaths = ?31, death_place = ?32,"
        " suspects = ?33 WHERE id = ?34",
        err);

    if (rc < 0)
        return rc;
    bind_row(q, j);
    (void) sqlite3_bind_int64(q, 34, j->id);
    rc = store_sql_run(s, q, "change the job", err);
    return rc == 0 && sqlite3_changes(s->db) == 0 ? no_job(err, j->id) : rc;
}

int store_job_get(struct store *s, int64_t id, struct store_job *out,
                  struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE j.id = ?", err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, id);
    rc = store_sql_step(s, q, "read the job", err);
    if (rc == 1)
        read_row(out, q);
    store_sql_done(q);
    return rc == 1 ? 0 : rc == 0 ? no_job(err, id) : rc;
}

static int each(struct store *s, sqlite3_stmt *q, store_job_fn fn, void *user,
                struct error *err)
{
    struct store_job j;
    int stop = 0, rc = 0;

    while (stop == 0 && (rc = store_sql_step(s, q, "list jobs", err)) == 1) {
        read_row(&j, q);
        stop = fn(&j, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}

int store_job_each_alive(struct store *s, store_job_fn fn, void *user,
                         struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q, COLUMNS "WHERE j.state < 5 ORDER BY j.id", err);

    return rc < 0 ? rc : each(s, q, fn, user, err);
}

int store_job_each(struct store *s, int64_t adapter_id, int64_t cursor,
                   int64_t limit, store_job_fn fn, void *user,
                   struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(
        s, &q,
        COLUMNS "WHERE (?1 = 0 OR j.adapter_id = ?1) AND (?2 = 0 OR j.id < ?2)"
                " ORDER BY j.id DESC LIMIT ?3",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, adapter_id);
    (void) sqlite3_bind_int64(q, 2, cursor);
    (void) sqlite3_bind_int64(q, 3, limit > 0 ? limit : -1);
    return each(s, q, fn, user, err);
}

int store_job_recover(struct store *s, uint32_t *count, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "UPDATE jobs SET state = 0, phase = '', stop_reason ="
                       " 'SHUTDOWN' WHERE state BETWEEN 1 AND 3",
                       err);

    if (rc < 0)
        return rc;
    rc = store_sql_run(s, q, "recover jobs", err);
    if (rc == 0 && count)
        *count = (uint32_t) sqlite3_changes(s->db);
    return rc;
}
