// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/trainer_inside.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/plan/timetable.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/kept_state.h"
#include "engine/train/token_norms.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * To bytes and back.
 */

size_t trainer_kept_floats(const struct trainer *t)
{
    return kept_state_floats(t->kept) +
           (t->norms ? token_norms_floats(t->norms) : 0);
}

// The same and the journal after so many steps, as it lies in memory.
static size_t saved_floats(const struct trainer *t, uint64_t steps)
{
    const size_t record = journal_record_bytes(t->recipe.queries);
    return trainer_kept_floats(t) +
           (t->prober ? steps * record / sizeof(float) : 0);
}

static int read_kept(const struct trainer *t, float *out)
{
    const size_t n = kept_state_floats(t->kept);

    if (t->journal.steps > 0)
        memcpy(out + trainer_kept_floats(t), t->journal.records,
               t->journal.steps * journal_record_bytes(t->recipe.queries));

    if (t->norms)
        memcpy(out + n, token_norms_values(t->norms),
               token_norms_floats(t->norms) * sizeof *out);
    return kept_state_read(t->kept, out);
}

static int write_kept(struct trainer *t, const float *values)
{
    const size_t n = kept_state_floats(t->kept);

    if (t->norms)
        memcpy(token_norms_values(t->norms), values + n,
               token_norms_floats(t->norms) * sizeof *values);
    return kept_state_write(t->kept, values);
}

int trainer_save(void **out, size_t *bytes, const struct trainer *t,
                 struct error *err)
{
    struct checkpoint c = {
        .key = t->key,
        .step = t->step,
        .best_step = t->best_step,
        .best_loss = t->best_loss,
        .step_loss = t->step_loss,
        .evals_since_best = t->evals_since_best,
        .end = t->end,
        .micro_rows = t->micro_rows,
        .n_evals = t->n_evals,
        .evals = t->evals,
        .n_floats = t->n_floats,
        .values = calloc(t->n_floats * 4, sizeof *c.values),
        .n_kept = (uint32_t) saved_floats(t, t->step),
        .kept = calloc(saved_floats(t, t->step) + 1, sizeof *c.kept),
    };
    int rc = c.values && c.kept ? read_kept(t, c.kept) : -ENOMEM;

    for (int i = 0; i < SAVED_PARTS && rc == 0; i++)
        if (adapter_state_has(t->state, (enum adapter_part) i))
            rc = adapter_state_read(t->state, (enum adapter_part) i,
                                    c.values + (size_t) i * t->n_floats);
    if (rc == 0 && t->base->times) {
        size_t times_bytes;
        rc = timetable_encode(&c.times, &times_bytes, t->base->times);
        c.times_bytes = rc == 0 ? times_bytes : 0;
    }
    if (rc == 0) {
        memcpy(c.values + SAVED_PARTS * t->n_floats, t->best,
               t->n_floats * sizeof *t->best);
        rc = checkpoint_encode(out, bytes, &c);
    }
    free(c.times);
    free(c.values);
    free(c.kept);
    return rc < 0 ? error_set(err, rc, "checkpoint: %s", strerror(-rc)) : 0;
}

int trainer_times(struct timetable **out, const struct base_model *base,
                  const void *data, size_t bytes, struct error *err)
{
    struct timetable *t = NULL;
    size_t times_bytes;
    void *times;
    int rc = checkpoint_times(&times, &times_bytes, data, bytes, err);

    if (rc < 0)
        return rc;
    if (times_bytes > 0)
        rc = timetable_decode(&t, times, times_bytes, err);
    free(times);
    if (rc < 0)
        return rc;
    // Another build keeps the choices, too, and any number of threads.
    const char *device = base->backend->identify(base->dev);
    if (t && timetable_match(t, device, NULL, 0, NULL) < 0) {
        timetable_destroy(t);
        t = NULL;
    }
    *out = t;
    return 0;
}

static int check_counters(const struct trainer *t, const struct checkpoint *c,
                          struct error *err)
{
    bool is_good = c->n_floats == t->n_floats &&
                   c->n_kept == saved_floats(t, c->step) &&
                   c->step <= t->steps_total && c->best_step <= c->step &&
                   c->end < TRAINER_ENDS;

    for (uint32_t i = 0; i < c->n_evals; i++)
        is_good &= c->evals[i].step <= c->step;
    if (!is_good)
        return error_set(err, -EBADMSG,
                         "checkpoint cannot be used: its counters make no "
                         "sense; training has to start over");
    if (c->micro_rows != t->micro_rows && !t->is_moved)
        return error_set(err, -ESTALE,
                         "checkpoint was made with %u rows in a micro-batch, "
                         "which is %u here: training has to start over",
                         c->micro_rows, t->micro_rows);
    return 0;
}

int trainer_restore(struct trainer *t, const void *data, size_t bytes,
                    struct error *err)
{
    struct checkpoint c;
    int rc = checkpoint_decode(&c, data, bytes, err);

    if (rc < 0)
        return rc;
    if ((rc = checkpoint_match(&c, &t->key, err)) < 0 ||
        (rc = check_counters(t, &c, err)) < 0)
        goto out;
    for (int i = 0; i < SAVED_PARTS && rc == 0; i++)
        if (adapter_state_has(t->state, (enum adapter_part) i))
            rc = adapter_state_write(t->state, (enum adapter_part) i,
                                     c.values + (size_t) i * t->n_floats);
    if (rc == 0)
        rc = write_kept(t, c.kept);
    if (rc == 0 && t->prober &&
        (rc = journal_take(&t->journal, c.kept + trainer_kept_floats(t), c.step,
                           err)) < 0)
        goto out;
    if (rc < 0) {
        rc = error_set(err, rc, "checkpoint: %s", strerror(-rc));
        goto out;
    }
    memcpy(t->best, c.values + SAVED_PARTS * t->n_floats,
           t->n_floats * sizeof *t->best);
    t->step = c.step;
    t->best_step = c.best_step;
    t->best_loss = c.best_loss;
    t->step_loss = c.step_loss;
    t->evals_since_best = c.evals_since_best;
    t->end = (enum trainer_end) c.end;
    t->is_dirty = true;
    free(t->evals);
    t->evals = c.evals;
    t->n_evals = c.n_evals;
    c.evals = NULL;

out:
    checkpoint_finish(&c);
    return rc;
}

static int best_values(struct adapter **out, const struct trainer *t,
                       struct error *err)
{
    struct adapter *a = NULL;
    int rc =
        adapter_create(&a, &t->base->config, &t->scheme, t->base->sha256, err);

    if (rc < 0)
        return rc;
    if (isnan(t->best_loss))
        rc = adapter_state_read(t->state, ADAPTER_PART_VALUE, a->data);
    else
        memcpy(a->data, t->best, t->n_floats * sizeof *t->best);
    if (rc < 0) {
        adapter_destroy(a);
        return error_set(err, rc, "training: %s", strerror(-rc));
    }
    *out = a;
    return 0;
}

// The journal until the adapter `a`. Its records are the trainer's.
static struct journal journal_until(const struct trainer *t,
                                    const struct adapter *a)
{
    struct journal j = t->journal;

    j.steps_best = isnan(t->best_loss) ? t->step : t->best_step;
    j.steps = j.steps_best;
    hash_bytes(j.values, a->data, t->n_floats * sizeof *a->data);
    return j;
}

// An adapter that its journal does not lead to is not what the run says it is.
static int attach_journal(struct adapter *a, const struct trainer *t,
                          struct error *err)
{
    const struct journal j = journal_until(t, a);
    struct adapter *again;
    int rc;

    if (!t->prober)
        return 0;
    rc = journal_replay(&again, t->base, &j, &t->recipe, t->start, err);
    if (rc < 0)
        return rc;
    adapter_destroy(again);
    rc = journal_print(&a->journal, &j, &t->recipe);
    return rc == -ENOMEM ? error_set(err, rc, "journal: out of memory") : 0;
}

// Of all steps that were made: which of them was best was told by all.
static void promise(struct adapter *a, const struct trainer *t)
{
    struct privacy p = {.delta = (double) t->recipe.dp_delta};

    if (!(t->privacy.clip > 0))
        return;
    p.epsilon = privacy_epsilon(t->privacy.expected / t->n_examples,
                                t->privacy.sigma, t->step, p.delta);
    a->privacy.epsilon = t->spent_before.epsilon + p.epsilon;
    a->privacy.delta = t->spent_before.delta + p.delta;
}

int trainer_best(struct adapter **out, const struct trainer *t,
                 struct error *err)
{
    struct adapter *a = NULL;
    int rc = best_values(&a, t, err);

    if (rc == 0 && (rc = attach_journal(a, t, err)) < 0)
        adapter_destroy(a);
    if (rc == 0) {
        promise(a, t);
        *out = a;
    }
    return rc;
}

int trainer_journal(void **out, size_t *bytes, const struct trainer *t,
                    struct error *err)
{
    struct adapter *best = NULL;
    int rc;

    *bytes = 0;
    if (!t->prober)
        return 0;
    if ((rc = best_values(&best, t, err)) < 0)
        return rc;
    const struct journal j = journal_until(t, best);
    adapter_destroy(best);
    rc = journal_encode(out, bytes, &j, &t->recipe);
    return rc < 0 ? error_set(err, rc, "journal: %s", strerror(-rc)) : 0;
}
