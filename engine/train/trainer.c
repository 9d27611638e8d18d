// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/trainer_inside.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/base/rng.h"
#include "engine/plan/timetable.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/answers.h"
#include "engine/train/base_model.h"
#include "engine/train/drop.h"
#include "engine/train/evaluator.h"
#include "engine/train/journal.h"
#include "engine/train/kept_state.h"
#include "engine/train/microbatch.h"
#include "engine/train/packing.h"
#include "engine/train/prefix_cache.h"
#include "engine/train/prober.h"
#include "engine/train/program_cache.h"
#include "engine/train/token_norms.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void trainer_destroy(struct trainer *t)
{
    if (!t)
        return;
    prober_destroy(t->prober);
    journal_finish(&t->journal);
    adapter_destroy(t->start);
    prefix_destroy(t->prefix);
    program_cache_destroy(t->cache);
    adapter_state_destroy(t->state);
    kept_state_destroy(t->kept);
    token_norms_destroy(t->norms);
    packing_rows_finish(&t->rows);
    packing_finish(&t->packing);
    packing_finish(&t->next);
    dataset_destroy(t->trained);
    dataset_destroy(t->held_out);
    free(t->order);
    free(t->first_window);
    free(t->chosen);
    answers_destroy(t->answers);
    free(t->watched);
    free(t->saved);
    free(t->best);
    free(t->evals);
    free(t);
}

/*
 * Making one.
 */

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct trainer *t = user;

    if (kept_state_bind(out, t->kept, slot) == 0)
        return 0;
    return adapter_state_bind(out, t->state, slot, err);
}

static void set_schedule(struct trainer *t)
{
    const struct recipe *r = &t->recipe;

    t->steps_epoch = (t->n_examples + r->batch - 1) / r->batch;
    t->steps_total = t->steps_epoch * r->epochs;
    t->eval_every = r->eval_every;
    if (t->eval_every == 0)
        t->eval_every = t->steps_epoch / 3;
    // An epoch of one or two steps, or a history that would not end.
    if (t->eval_every == 0)
        t->eval_every = 1;
    while (t->steps_total / t->eval_every >= CHECKPOINT_EVALS_MAX)
        t->eval_every *= 2;
}

// Noise that keeps the planned steps within the recipe's epsilon.
static int make_privacy(struct trainer *t, const struct adapter *start,
                        struct error *err)
{
    const struct recipe *r = &t->recipe;

    if (!(r->dp_epsilon > 0))
        return 0;
    if (start && !(start->privacy.epsilon > 0))
        return error_set(
            err, -EMEDIUMTYPE,
            "training: dp_epsilon promises privacy, but the "
            "adapter that it would go on from was learned without");
    t->privacy = (struct privacy_release){
        .queries = r->queries,
        .clip = (double) r->dp_clip,
        .expected = trainer_rate(t) * t->n_examples,
    };
    t->privacy.sigma =
        privacy_sigma(trainer_rate(t), t->steps_total, (double) r->dp_epsilon,
                      (double) r->dp_delta);
    if (!isfinite(t->privacy.sigma))
        return error_set(err, -EINVAL,
                         "training: no noise keeps %llu steps within "
                         "dp_epsilon=%g: raise it, or take fewer epochs",
                         (unsigned long long) t->steps_total,
                         (double) r->dp_epsilon);
    if (start)
        t->spent_before = start->privacy;
    return 0;
}

static int check_start(const struct trainer *t, const struct adapter *start,
                       struct error *err)
{
    if (!scheme_equal(&start->scheme, &t->scheme) ||
        adapter_floats(start) != t->n_floats)
        return error_set(err, -EMEDIUMTYPE,
                         "training: the start adapter learns other tensors "
                         "than this recipe, or with another rank or scale; "
                         "use the recipe that it was made with");
    return 0;
}

static int make_state(struct trainer *t, const struct adapter *start,
                      struct error *err)
{
    const struct adapter_state_params params = {
        .backend = t->base->backend,
        .dev = t->base->dev,
        .config = &t->base->config,
        .scheme = &t->scheme,
        .has_optimizer = !recipe_is_forward(&t->recipe),
        .is_forward = recipe_is_forward(&t->recipe),
        .n_moments = (uint8_t) t->recipe.zo_update,
    };
    int rc = adapter_state_create(&t->state, &params, err);

    if (rc < 0)
        return rc;
    t->n_floats = adapter_state_floats(t->state);
    t->best = calloc(t->n_floats, sizeof *t->best);
    if (!t->micro.is_deferred)
        t->saved = calloc(t->n_floats * SAVED_PARTS, sizeof *t->saved);
    if (!t->best || (!t->saved && !t->micro.is_deferred))
        return error_set(err, -ENOMEM, "training: out of memory");
    if (start) {
        if ((rc = check_start(t, start, err)) < 0)
            return rc;
        memcpy(t->best, start->data, t->n_floats * sizeof *t->best);
        hash_bytes(t->key.start, t->best, t->n_floats * sizeof *t->best);
    } else {
        rc = adapter_begin(t->best, &t->base->config, &t->scheme,
                           t->recipe.seed);
        if (rc < 0)
            return error_set(err, rc, "training: out of memory");
    }
    rc = adapter_state_write(t->state, ADAPTER_PART_VALUE, t->best);
    return rc < 0 ? error_set(err, rc, "training: %s", strerror(-rc)) : 0;
}

static int make_kept(struct trainer *t, struct error *err)
{
    const struct kept_state_params params = {
        .backend = t->base->backend,
        .dev = t->base->dev,
        .config = &t->base->config,
        .scheme = &t->scheme,
        .kept = t->micro.kept,
    };
    int rc = kept_state_create(&t->kept, &params, err);

    if (rc < 0 || t->micro.kept.how != KEPT_TOKENS)
        return rc;
    rc = token_norms_create(&t->norms, t->trained,
                            (size_t) t->micro_rows * t->length);
    return rc < 0 ? error_set(err, rc, "training: out of memory") : 0;
}

static int make_key(struct trainer *t, struct error *err)
{
    uint8_t both[2 * HASH_BYTES];
    int rc = base_model_hash(t->base, err);

    if (rc < 0)
        return rc;
    memcpy(t->key.base, t->base->hash, HASH_BYTES);
    if ((rc = recipe_hash(t->key.recipe, &t->recipe)) < 0)
        return rc;
    dataset_hash(both, t->trained);
    dataset_hash(both + HASH_BYTES, t->held_out);
    hash_bytes(t->key.data, both, sizeof both);
    return 0;
}

static int make_prefix(struct trainer *t, const struct prefix_file *file,
                       struct error *err)
{
    const struct prefix_params params = {
        .base = t->base,
        .programs = t->cache,
        .first_block =
            recipe_first_block(&t->recipe, &t->scheme, &t->base->config),
        .values = (enum prefix_values) t->recipe.prefix_cache,
        .length = t->length,
        .rows = t->micro_rows,
        .file = file,
    };

    return params.first_block ? prefix_create(&t->prefix, &params, err) : 0;
}

// For the replay of the journal.
static int keep_start(struct trainer *t, const struct adapter *start,
                      struct error *err)
{
    int rc;

    if (!start)
        return 0;
    rc = adapter_create(&t->start, &t->base->config, &t->scheme, NULL, err);
    if (rc == 0)
        memcpy(t->start->data, start->data, t->n_floats * sizeof(float));
    return rc;
}

static int make_prober(struct trainer *t, const struct adapter *start,
                       struct error *err)
{
    const struct prober_params params = {
        .base = t->base,
        .programs = t->cache,
        .state = t->state,
        .recipe = &t->recipe,
        .scheme = &t->scheme,
        .prefix = t->prefix,
        .micro = &t->micro,
        .privacy = t->privacy.clip > 0 ? &t->privacy : NULL,
    };

    if (!recipe_is_forward(&t->recipe))
        return 0;
    journal_init(&t->journal, t->recipe.queries);
    memcpy(t->journal.base, t->key.base, HASH_BYTES);
    memcpy(t->journal.start, t->key.start, HASH_BYTES);
    int rc = keep_start(t, start, err);
    return rc < 0 ? rc : prober_create(&t->prober, &params, err);
}

int trainer_create(struct trainer **out, struct base_model *base,
                   const struct trainer_params *params, struct error *err)
{
    struct trainer *t = calloc(1, sizeof *t);
    int rc;

    if (!t)
        return error_set(err, -ENOMEM, "training: out of memory");
    t->base = base;
    t->recipe = *params->recipe;
    t->is_moved = params->is_moved;
    if (params->watch)
        t->watch = *params->watch;
    t->best_loss = NAN;
    t->step_loss = NAN;
    t->order_epoch = UINT64_MAX;
    if ((rc = microbatch_method(&t->recipe, base, err)) < 0 ||
        (rc = recipe_scheme(&t->scheme, &t->recipe, &base->config, err)) < 0 ||
        (rc = microbatch_plan(&t->micro, base, &t->recipe, err)) < 0)
        goto error;
    t->length = t->micro.length;
    t->micro_rows = t->micro.rows;
    if ((rc = trainer_load(t, params, err)) < 0)
        goto error;
    set_schedule(t);
    if ((rc = make_privacy(t, params->start, err)) < 0 ||
        (rc = make_state(t, params->start, err)) < 0 ||
        (rc = make_kept(t, err)) < 0 || (rc = make_key(t, err)) < 0 ||
        (rc = program_cache_create(&t->cache, base, bind_state, t)) < 0 ||
        (rc = make_prefix(t, params->prefix, err)) < 0 ||
        (rc = make_prober(t, params->start, err)) < 0)
        goto error;
    t->watched = calloc(t->trained->n_windows, sizeof *t->watched);
    rc = packing_rows_init(&t->rows, (size_t) t->micro_rows * t->length);
    if (!t->watched || rc < 0) {
        rc = error_set(err, -ENOMEM, "training: out of memory");
        goto error;
    }
    *out = t;
    return 0;

error:
    trainer_destroy(t);
    return rc;
}

/*
 * One step.
 */

static void tell_records(const struct trainer *t)
{
    uint32_t n = 0;

    if (!t->watch.fn)
        return;
    for (; n < t->packing.n_items; n++)
        t->watched[n] = t->trained->windows[t->packing.items[n].window].record /
                        t->trained->n_choices;
    t->watch.fn(t->watch.user, t->step, t->watched, n);
}

static void set_hyper(float hyper[ADAMW_HYPERS], const struct trainer *t)
{
    const struct recipe *r = &t->recipe;
    const double n = (double) t->step + 1;

    hyper[ADAMW_LR] = recipe_rate(r, t->step, t->steps_total);
    hyper[ADAMW_BETA1] = r->beta1;
    hyper[ADAMW_BETA2] = r->beta2;
    hyper[ADAMW_EPS] = r->eps;
    hyper[ADAMW_DECAY] = r->decay;
    hyper[ADAMW_CORRECT1] = (float) (1 - pow(r->beta1, n));
    hyper[ADAMW_CORRECT2] = (float) (1 - pow(r->beta2, n));
    hyper[ADAMW_CLIP] = r->clip;
}

// The first tenth of a run finds its way with all branches.
static struct model_drop drop_of_step(const struct trainer *t)
{
    struct model_drop drop = {{0}};

    if (t->step >= t->steps_total / 10)
        drop_choose(&drop, &t->scheme, &t->base->config, &t->recipe, t->step);
    return drop;
}

// The tokens that programs choose hang on the seed, the step and the rows
// alone.
static int write_choice(struct executor *x, const struct trainer *t,
                        uint32_t first, uint32_t n)
{
    const uint64_t seed = t->recipe.seed;
    const uint64_t place = t->step << 12 | first;
    const int32_t draw[4] = {(int32_t) (uint32_t) seed,
                             (int32_t) (uint32_t) (seed >> 32),
                             (int32_t) (uint32_t) place,
                             (int32_t) (uint32_t) (place >> 32)};
    int rc;

    if (!t->norms || !executor_has(x, "draw"))
        return 0;
    if ((rc = executor_write(x, "draw", draw, sizeof draw)) < 0)
        return rc;
    return executor_write(x, "token_norms",
                          token_norms_of_rows(t->norms, &t->packing, first, n),
                          (size_t) n * t->packing.length * sizeof(float));
}

static int read_squares(struct trainer *t, struct executor *x, uint32_t first,
                        uint32_t n)
{
    const size_t places = (size_t) n * t->packing.length;
    float *squares;
    int rc;

    if (!t->norms)
        return 0;
    squares = calloc(places, sizeof *squares);
    if (!squares)
        return -ENOMEM;
    // Where a step drops all that chooses, nothing is learned about its tokens.
    rc = executor_has(x, "token_squares")
             ? executor_read(x, "token_squares", squares,
                             places * sizeof *squares)
             : 0;
    if (rc == 0)
        token_norms_take(t->norms, &t->packing, first, n, squares);
    free(squares);
    return rc;
}

// How many rows of a packing, from `first` on, one program takes: even shares,
// so that there are fewer shapes and no short last one.
static uint32_t share_of(const struct trainer *t, const struct packing *p,
                         uint32_t first)
{
    const uint32_t most = t->micro_rows * t->length / p->length;
    const uint32_t n_micro = (p->n_rows + most - 1) / most;
    uint32_t row = 0;

    for (uint32_t i = 0; i < n_micro; i++) {
        const uint32_t share = (p->n_rows - row) / (n_micro - i);
        if (row >= first)
            return share;
        row += share;
    }
    return 0;
}

static struct prefix_rows states_of(const struct trainer *t,
                                    const struct packing *p, uint32_t first,
                                    uint32_t n)
{
    return (struct prefix_rows){t->trained, p, first, n,
                                (enum precision) t->recipe.precision};
}

// While the device computes a program up to row `end`, the states of the next
// one are read: of this step, or of the one that follows.
static int expect_next(struct trainer *t, uint32_t end)
{
    struct prefix_rows r = states_of(t, &t->packing, end, 0);
    int rc = 0;

    if (end >= t->packing.n_rows) {
        rc = trainer_choose_next(t);
        r.packing = &t->next;
        r.first = 0;
    }
    if (rc < 0 || r.packing->n_rows == 0)
        return rc;
    r.n = share_of(t, r.packing, r.first);
    prefix_expect(t->prefix, &r);
    return 0;
}

// Rows [first, first + n) through one program; adds its loss to *loss.
static int run_micro(struct trainer *t, enum program_kind kind, uint32_t first,
                     uint32_t n, double *loss, struct error *err)
{
    const struct program_params params = {
        .kind = kind,
        .batch = n,
        .length = t->packing.length,
        .scheme = &t->scheme,
        .first_block = t->prefix ? prefix_first_block(t->prefix) : 0,
        .drop = drop_of_step(t),
        .arena_budget = t->micro.budget,
        .precision = (enum precision) t->recipe.precision,
        .is_deferred = t->micro.is_deferred,
        .kept = t->micro.kept,
    };
    const size_t places = (size_t) n * t->packing.length;
    const struct prefix_rows states = states_of(t, &t->packing, first, n);
    float hyper[ADAMW_HYPERS];
    float part;
    struct executor *x;
    int rc = 0;

    if (t->prefix)
        rc = prefix_fill(t->prefix, &states, err);
    if (rc < 0 || (rc = program_cache_get(&x, t->cache, &params, err)) < 0)
        return rc;
    packing_fill(&t->rows, &t->packing, t->trained, first, n,
                 1.0F / (float) t->packing.n_targets);
    set_hyper(hyper, t);
    if ((rc = evaluator_inputs(x, &t->rows, places, t->prefix)) < 0 ||
        (rc = write_choice(x, t, first, n)) < 0 ||
        (t->prefix && (rc = expect_next(t, first + n)) < 0))
        goto error;
    if (kind != PROGRAM_ACCUMULATE &&
        (rc = executor_write(x, "hyper", hyper, sizeof hyper)) < 0)
        goto error;
    if ((rc = executor_run_gradients(x)) < 0 ||
        (rc = executor_read(x, "loss", &part, sizeof part)) < 0 ||
        (rc = read_squares(t, x, first, n)) < 0)
        goto error;
    *loss += part;
    // A loss that is no number must not reach the weights.
    if (isfinite(*loss) && (rc = executor_run(x)) < 0)
        goto error;
    return 0;

error:
    return error_set(err, rc, "training: step %llu: %s",
                     (unsigned long long) t->step + 1, strerror(-rc));
}

static int save_state(struct trainer *t)
{
    int rc = 0;

    for (int i = 0; i < SAVED_PARTS && rc == 0 && t->saved; i++)
        rc = adapter_state_read(t->state, (enum adapter_part) i,
                                t->saved + (size_t) i * t->n_floats);
    return rc;
}

static int undo_step(struct trainer *t)
{
    int rc = 0;

    for (int i = 0; i < SAVED_PARTS && rc == 0 && t->saved; i++)
        rc = adapter_state_write(t->state, (enum adapter_part) i,
                                 t->saved + (size_t) i * t->n_floats);
    return rc;
}

static int run_rows(struct trainer *t, double *loss, struct error *err)
{
    const uint32_t n = t->packing.n_rows;
    const uint32_t most = t->micro_rows * t->length / t->packing.length;
    const uint32_t n_micro = (n + most - 1) / most;
    uint32_t row = 0;
    int rc = 0;

    if (n_micro > 1) {
        if (t->is_dirty &&
            (rc = adapter_state_zero(t->state, ADAPTER_PART_GRADIENT)) < 0)
            return error_set(err, rc, "training: %s", strerror(-rc));
        t->is_dirty = true;
    }
    for (uint32_t i = 0; i < n_micro; i++) {
        const uint32_t share = share_of(t, &t->packing, row);
        enum program_kind kind = PROGRAM_ACCUMULATE;
        if (i + 1 == n_micro)
            kind = n_micro > 1 ? PROGRAM_UPDATE : PROGRAM_TRAIN;
        rc = run_micro(t, kind, row, share, loss, err);
        if (rc < 0)
            return rc;
        row += share;
    }
    if (n_micro > 1 && isfinite(*loss))
        t->is_dirty = false;
    return 0;
}

// Without gradients. A loss far above where the run began has left where
// directions tell anything.
static int run_probes(struct trainer *t, double *loss, struct error *err)
{
    const double start =
        t->n_evals > 0 ? t->evals[0].loss : log(t->base->config.n_vocab);
    const double most = fmax(2 * start, start + 2);
    float g[PERTURB_COPIES_MAX];
    const struct journal_step step = {
        .rate = recipe_rate(&t->recipe, t->step, t->steps_total),
        .eps = t->recipe.eps,
        .g = g,
    };
    int rc = prober_look(g, loss, t->prober, t->step, &t->packing, t->trained,
                         &t->noise, err);

    if (rc < 0)
        return rc;
    // A step may have got no record: noise alone.
    if (t->packing.n_items == 0)
        *loss = t->step > 0 ? t->step_loss : start;
    for (uint32_t q = 0; q < t->recipe.queries; q++)
        if (!isfinite(g[q]))
            *loss = (double) NAN;
    if (!(*loss <= most)) {
        *loss = (double) NAN;
        return 0;
    }
    rc = prober_move(t->prober, t->step, step.rate, g, err);
    if (rc < 0)
        return rc;
    rc = journal_append(&t->journal, &step);
    return rc < 0 ? error_set(err, rc, "training: out of memory") : 0;
}

static int run_step(struct trainer *t, struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();
    double loss = 0;
    int rc = trainer_choose(t);

    if (rc == 0)
        rc = save_state(t);
    if (rc < 0)
        return error_set(err, rc, "training: %s", strerror(-rc));
    tell_records(t);
    rc = t->prober ? run_probes(t, &loss, err) : run_rows(t, &loss, err);
    if (rc == 0 && !isfinite(loss)) {
        t->end = TRAINER_DIVERGED;
        return undo_step(t);
    }
    if (rc < 0) {
        int undone = undo_step(t);
        return undone < 0
                   ? error_set(err, undone, "training: %s", strerror(-undone))
                   : rc;
    }
    if (t->norms)
        token_norms_commit(t->norms, &t->packing);
    t->step++;
    t->step_loss = loss;

    const double seconds = (double) (clock_monotonic_ns() - begin) * 1e-9;
    const double speed = (double) t->packing.n_tokens / fmax(seconds, 1e-9);
    t->tokens_per_s =
        t->tokens_per_s > 0 ? 0.8 * t->tokens_per_s + 0.2 * speed : speed;
    return 0;
}

/*
 * Evaluation.
 */

static bool is_eval_due(const struct trainer *t)
{
    if (t->held_out->n_windows == 0)
        return false;
    if (t->n_evals > 0 && t->evals[t->n_evals - 1].step == t->step)
        return false;
    return t->step % t->eval_every == 0 || t->step == t->steps_total;
}

static uint32_t last_record(const struct dataset *d)
{
    uint32_t last = 0;

    for (size_t i = 0; i < d->n_windows; i++)
        if (d->windows[i].record > last)
            last = d->windows[i].record;
    return last;
}

// By tokens, or by examples, as the objective has it.
static double sum_up(const struct trainer *t, const struct evaluator_sum *sums,
                     uint32_t n)
{
    const struct dataset *d = t->held_out;
    double sum = 0, examples = 0;

    if (t->recipe.objective == OBJECTIVE_NLL) {
        for (uint32_t i = 0; i < n; i++)
            sum += sums[i].nats;
        return sum / (double) d->n_targets;
    }
    for (uint32_t i = 0; i < n; i += d->n_choices) {
        if (sums[i].n_targets == 0)
            continue;
        sum += objective_loss((enum objective) t->recipe.objective, &sums[i],
                              d->n_choices, d->labels[i / d->n_choices]);
        examples++;
    }
    return sum / examples;
}

static int ask(double *out, struct trainer *t, struct error *err)
{
    struct adapter *now;
    double sum = 0, n = 0;
    int rc = adapter_create(&now, &t->base->config, &t->scheme, NULL, err);

    if (rc < 0)
        return rc;
    if (!t->answers)
        rc = answers_create(&t->answers, t->base, err);
    if (rc == 0 &&
        (rc = adapter_state_read(t->state, ADAPTER_PART_VALUE, now->data)) < 0)
        rc = error_set(err, rc, "training: %s", strerror(-rc));
    if (rc == 0)
        rc = answers_use(t->answers, now, err);
    for (uint32_t i = 0; i < t->held_out->n_windows && rc == 0; i++) {
        double loss = 0;
        rc = answers_loss(&loss, t->answers, t->held_out, i, err);
        sum += loss;
        n++;
    }
    adapter_destroy(now);
    *out = n > 0 ? sum / n : 1;
    return rc;
}

static int measure(double *out, struct trainer *t, struct error *err)
{
    const struct evaluator_params params = {
        .cache = t->cache,
        .scheme = &t->scheme,
        .length = t->length,
        .rows = t->micro_rows,
        .prefix = t->prefix,
    };
    const uint32_t n_choices = t->held_out->n_choices;
    const uint32_t n = (last_record(t->held_out) / n_choices + 1) * n_choices;

    if (t->recipe.objective == OBJECTIVE_F1)
        return ask(out, t, err);
    struct evaluator_sum *sums = calloc(n, sizeof *sums);
    if (!sums)
        return error_set(err, -ENOMEM, "training: out of memory");
    int rc = evaluator_run(sums, t->held_out, &params, err);
    if (rc == 0)
        *out = sum_up(t, sums, n);
    free(sums);
    return rc;
}

static int remember_eval(struct trainer *t, double loss)
{
    void *p = realloc(t->evals, (t->n_evals + 1) * sizeof *t->evals);

    if (!p)
        return -ENOMEM;
    t->evals = p;
    t->evals[t->n_evals++] = (struct checkpoint_eval){t->step, loss};
    return 0;
}

static int evaluate(struct trainer *t, struct error *err)
{
    double loss = 0;
    int rc = measure(&loss, t, err);

    if (rc < 0)
        return rc;
    if (!isfinite(loss)) {
        t->end = TRAINER_DIVERGED;
        return 0;
    }
    if ((rc = remember_eval(t, loss)) < 0)
        return error_set(err, rc, "training: out of memory");
    t->has_news_of_eval = true;
    if (isnan(t->best_loss) || loss < t->best_loss - t->recipe.min_delta) {
        t->best_loss = loss;
        t->best_step = t->step;
        t->evals_since_best = 0;
        rc = adapter_state_read(t->state, ADAPTER_PART_VALUE, t->best);
        return rc < 0 ? error_set(err, rc, "training: %s", strerror(-rc)) : 0;
    }
    if (++t->evals_since_best >= t->recipe.patience)
        t->end = TRAINER_CONVERGED;
    return 0;
}

/*
 * Runs.
 */

void trainer_progress(struct trainer_progress *out, const struct trainer *t)
{
    *out = (struct trainer_progress){
        .step = t->step,
        .steps_total = t->steps_total,
        .epoch = (double) t->step / (double) t->steps_epoch,
        .rate = t->step > 0
                    ? recipe_rate(&t->recipe, t->step - 1, t->steps_total)
                    : 0,
        .loss = t->step_loss,
        .tokens_per_s = t->tokens_per_s,
        .has_held_out = t->has_news_of_eval,
        .held_out_loss = t->n_evals ? t->evals[t->n_evals - 1].loss : NAN,
        .best_loss = t->best_loss,
        .start_loss = t->n_evals ? t->evals[0].loss : NAN,
        .best_step = t->best_step,
        .end = t->end,
    };
}

int trainer_run(struct trainer *t, uint64_t steps_max, trainer_news_fn *on_news,
                void *user, struct error *err)
{
    const uint64_t first = t->step;
    bool has_news = false;

    for (;;) {
        t->has_news_of_eval = false;
        if (t->end == TRAINER_GOING && is_eval_due(t)) {
            int rc = evaluate(t, err);
            if (rc < 0)
                return rc;
            has_news = true;
        }
        if (t->end == TRAINER_GOING && t->step >= t->steps_total)
            t->end = TRAINER_COMPLETE;
        if (on_news && (has_news || t->end != TRAINER_GOING)) {
            struct trainer_progress p;
            trainer_progress(&p, t);
            on_news(user, &p);
        }
        if (t->end != TRAINER_GOING)
            return 0;
        if (steps_max > 0 && t->step - first >= steps_max)
            return 1;
        int rc = run_step(t, err);
        if (rc < 0)
            return rc;
        has_news = true;
    }
}

/*
 * What it takes.
 */

// Of a frozen prefix, on the host.
static size_t states_bytes(const struct recipe *r,
                           const struct base_model *base, size_t places)
{
    return prefix_bytes(base, (enum prefix_values) r->prefix_cache, places);
}

size_t trainer_micro_bytes(const struct microbatch *m)
{
    // The values, and the best so far.
    if (m->copies > 0)
        return m->n_floats * sizeof(float) * (2 + m->n_moments);
    const size_t parts = ADAPTER_PART_GRADIENT + (m->n_micro > 1) +
                         (m->is_deferred ? 0 : SAVED_PARTS) + 1;
    return m->n_floats * sizeof(float) * parts;
}

size_t trainer_state_bytes(size_t n_floats)
{
    const struct microbatch m = {.n_micro = 2,
                                 .n_floats = n_floats,
                                 .is_deferred = true};
    return trainer_micro_bytes(&m);
}

void trainer_describe(struct trainer_info *out, const struct trainer *t)
{
    *out = (struct trainer_info){
        .n_trained = t->trained->n_records,
        .n_held_out = t->held_out->n_records,
        .targets_trained = t->trained->n_targets,
        .targets_held_out = t->held_out->n_targets,
        .steps_total = t->steps_total,
        .steps_epoch = t->steps_epoch,
        .micro_rows = t->micro_rows,
        .length = t->length,
        .arena_bytes = program_cache_arena_bytes(t->cache),
        .state_bytes =
            trainer_micro_bytes(&t->micro) +
            2 * trainer_kept_floats(t) * sizeof(float) +
            (t->prefix ? states_bytes(&t->recipe, t->base,
                                      (size_t) t->micro_rows * t->length)
                       : 0),
    };
}

const char *trainer_notice(struct trainer *t)
{
    return t->prefix ? prefix_notice(t->prefix) : NULL;
}

void trainer_prefix_stats(struct prefix_cache_stats *out,
                          const struct trainer *t)
{
    *out = (struct prefix_cache_stats){0};
    if (t->prefix)
        prefix_stats(out, t->prefix);
}

int trainer_plan(struct trainer_info *out, const struct base_model *base,
                 const struct recipe *r, struct error *err)
{
    struct recipe chosen = *r;
    struct microbatch micro;
    struct scheme scheme;
    int rc = microbatch_method(&chosen, base, err);

    r = &chosen;
    if (rc < 0 || (rc = recipe_scheme(&scheme, r, &base->config, err)) < 0 ||
        (rc = microbatch_plan(&micro, base, r, err)) < 0)
        return rc;
    const bool has_prefix = recipe_first_block(r, &scheme, &base->config) > 0;
    *out = (struct trainer_info){
        .micro_rows = micro.rows,
        .length = micro.length,
        .arena_bytes = micro.arena_bytes,
        .state_bytes =
            trainer_micro_bytes(&micro) +
            (has_prefix
                 ? states_bytes(r, base, (size_t) micro.rows * micro.length)
                 : 0),
    };
    return 0;
}
