// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_metric.h"

#include "storage/store_sql.h"

#include <errno.h>

int store_metric_put(struct store *s, int64_t job_id,
                     const struct store_point *p, struct error *err)
{
    sqlite3_stmt *q;
    int rc = store_sql(s, &q,
                       "INSERT OR REPLACE INTO metrics (job_id, step, time_ms,"
                       " tokens, loss, heldout, rate) VALUES (?, ?, ?, ?, ?, ?,"
                       " ?)",
                       err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, job_id);
    (void) sqlite3_bind_int64(q, 2, p->step);
    (void) sqlite3_bind_int64(q, 3, p->time_ms);
    (void) sqlite3_bind_int64(q, 4, p->tokens);
    (void) sqlite3_bind_double(q, 5, p->loss);
    (void) sqlite3_bind_double(q, 6, p->heldout);
    (void) sqlite3_bind_double(q, 7, p->rate);
    rc = store_sql_run(s, q, "store a point of the loss curve", err);
    return rc == -EBUSY ? error_set(err, -ENOENT, "there is no job %lld",
                                    (long long) job_id)
                        : rc;
}

static void read_row(struct store_point *p, sqlite3_stmt *q)
{
    *p = (struct store_point){.step = sqlite3_column_int64(q, 0)};
    p->time_ms = sqlite3_column_int64(q, 1);
    p->tokens = sqlite3_column_int64(q, 2);
    p->loss = store_sql_float(q, 3);
    p->heldout = store_sql_float(q, 4);
    p->rate = store_sql_float(q, 5);
}

int store_metric_each(struct store *s, int64_t job_id, int64_t limit,
                      store_point_fn fn, void *user, struct error *err)
{
    struct store_point p;
    sqlite3_stmt *q;
    int stop = 0;
    // Row i of n stays where i * limit / n takes a new whole value; the last
    // row always does.
    int rc = store_sql(
        s, &q,
        "SELECT step, time_ms, tokens, loss, heldout, rate FROM ("
        " SELECT *, row_number() OVER (ORDER BY step) AS i, count(*) OVER ()"
        "  AS n FROM metrics WHERE job_id = ?1)"
        " WHERE ?2 = 0 OR n <= ?2 OR heldout IS NOT NULL"
        " OR i * ?2 / n > (i - 1) * ?2 / n ORDER BY step",
        err);

    if (rc < 0)
        return rc;
    (void) sqlite3_bind_int64(q, 1, job_id);
    (void) sqlite3_bind_int64(q, 2, limit);
    while (stop == 0 &&
           (rc = store_sql_step(s, q, "read the loss curve", err)) == 1) {
        read_row(&p, q);
        stop = fn(&p, user);
    }
    store_sql_done(q);
    return stop ? stop : rc;
}
