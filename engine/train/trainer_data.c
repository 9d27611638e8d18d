// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What a trainer learns from: its records as examples, and which of them a step
 * takes.
 */

#include "engine/train/trainer_inside.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/train/base_model.h"
#include "engine/train/dataset.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static int load_subset(struct dataset **out, struct trainer *t,
                       struct dataset_params *d, enum dataset_subset subset,
                       struct error *err)
{
    d->subset = subset;
    d->length = t->length;
    d->objective = (enum objective) t->recipe.objective;
    return dataset_create(out, &t->base->chat, d, err);
}

static int load_both(struct trainer *t, const struct trainer_params *params,
                     struct error *err)
{
    struct record_text choices[OBJECTIVE_CHOICES_MAX];
    struct dataset_params d = {
        .records = params->records,
        .n_records = params->n_records,
        .choices = choices,
        .watch = params->watch,
    };
    int rc = objective_choices(choices, &d.n_choices,
                               (enum objective) t->recipe.objective,
                               params->records, params->n_records, err);

    if (rc < 0 ||
        (rc = load_subset(&t->trained, t, &d, DATASET_TRAINED, err)) < 0 ||
        (rc = load_subset(&t->held_out, t, &d, DATASET_HELD_OUT, err)) < 0)
        return rc;
    if (t->trained->n_windows == 0 && t->recipe.objective != OBJECTIVE_NLL)
        return error_set(err, -ENODATA,
                         "training: none of the %zu records has something for "
                         "objective=%s (%u held out for evaluation): add %s",
                         params->n_records,
                         recipe_choices("objective")[t->recipe.objective],
                         t->held_out->n_records,
                         t->recipe.objective == OBJECTIVE_FEEDBACK
                             ? "records of kind feedback"
                             : "pairs");
    if (t->trained->n_windows == 0)
        return error_set(err, -ENODATA,
                         "training: there are no records to learn from (%zu "
                         "given, %u of them held out for evaluation); add more",
                         params->n_records, t->held_out->n_records);
    return 0;
}

// By tokens, each window counts by itself; else all of a record together.
static bool is_by_window(const struct trainer *t)
{
    return t->recipe.objective == OBJECTIVE_NLL && !(t->recipe.dp_epsilon > 0);
}

static bool is_first(const struct trainer *t, uint32_t window)
{
    const struct dataset *d = t->trained;
    const struct dataset_window *w = &d->windows[window];

    return window == 0 || is_by_window(t) ||
           w->record / d->n_choices != w[-1].record / d->n_choices;
}

static int make_examples(struct trainer *t, struct error *err)
{
    const uint32_t n = (uint32_t) t->trained->n_windows;

    t->first_window = calloc(n + 1, sizeof *t->first_window);
    t->chosen = calloc(n, sizeof *t->chosen);
    t->order = calloc(n, sizeof *t->order);
    if (!t->first_window || !t->chosen || !t->order)
        return error_set(err, -ENOMEM, "training: out of memory");
    for (uint32_t i = 0; i < n; i++)
        if (is_first(t, i))
            t->first_window[t->n_examples++] = i;
    t->first_window[t->n_examples] = n;
    return 0;
}

int trainer_load(struct trainer *t, const struct trainer_params *params,
                 struct error *err)
{
    int rc = load_both(t, params, err);

    return rc < 0 ? rc : make_examples(t, err);
}

double trainer_rate(const struct trainer *t)
{
    return fmin(1, (double) t->recipe.batch / t->n_examples);
}

// Each record by itself, and where windows are examples of their own, with one
// of them: what the accountant counts on. Who knows the seed must not know the
// choice, nor the noise.
static int choose_by_chance(uint32_t *n, struct trainer *t)
{
    const double rate = trainer_rate(t);
    uint64_t key[2];

    if (getentropy(key, sizeof key) < 0)
        return -errno;
    rng_init(&t->noise, key[0], key[1]);
    for (uint32_t i = 0; i < t->n_examples; i++) {
        uint32_t first = t->first_window[i];
        uint32_t count = t->first_window[i + 1] - first;
        if (!(rng_uniform(&t->noise) < rate))
            continue;
        if (t->recipe.objective == OBJECTIVE_NLL) {
            first += rng_below(&t->noise, count);
            count = 1;
        }
        while (count-- > 0)
            t->chosen[(*n)++] = first++;
    }
    return 0;
}

static void choose_in_turn(uint32_t *n, struct trainer *t, uint64_t step)
{
    const uint64_t epoch = step / t->steps_epoch;
    const uint32_t first = (uint32_t) (step % t->steps_epoch) * t->recipe.batch;
    const uint32_t left = t->n_examples - first;
    const uint32_t count = left < t->recipe.batch ? left : t->recipe.batch;

    if (t->order_epoch != epoch) {
        packing_shuffle(t->order, t->n_examples, t->recipe.seed, epoch);
        t->order_epoch = epoch;
    }
    for (uint32_t i = first; i < first + count; i++) {
        const uint32_t *at = &t->first_window[t->order[i]];
        for (uint32_t w = at[0]; w < at[1]; w++)
            t->chosen[(*n)++] = w;
    }
}

int trainer_choose(struct trainer *t)
{
    uint32_t n = 0;
    int rc = 0;

    if (t->privacy.clip > 0)
        rc = choose_by_chance(&n, t);
    else
        choose_in_turn(&n, t, t->step);
    return rc < 0 ? rc
                  : packing_assign(&t->packing, t->trained, t->chosen, n,
                                   t->length);
}

int trainer_choose_next(struct trainer *t)
{
    uint32_t n = 0;

    t->next.n_rows = 0;
    if (t->privacy.clip > 0 || t->step + 1 >= t->steps_total)
        return 0;
    choose_in_turn(&n, t, t->step + 1);
    return packing_assign(&t->next, t->trained, t->chosen, n, t->length);
}
