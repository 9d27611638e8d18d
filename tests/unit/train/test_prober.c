// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prober.h"

#include "engine/base/error.h"
#include "engine/base/noise.h"
#include "engine/base/rng.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_state.h"
#include "engine/train/base_model.h"
#include "engine/train/evaluator.h"
#include "engine/train/journal.h"
#include "engine/train/packing.h"
#include "engine/train/privacy.h"
#include "engine/train/program_cache.h"
#include "engine/train/recipe.h"
#include "engine/train/trainer.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// A CPU that stops after so many instructions.
static uint64_t instrs_left = UINT64_MAX;
static struct backend backend;

static int run_some(struct device *dev, const struct instr *instrs,
                    uint32_t count, const struct bindings *b)
{
    uint32_t n = instrs_left < count ? (uint32_t) instrs_left : count;
    const uint32_t counted = n;

    while (n > 0 && n < count && instrs[n].is_tail)
        n++;
    int rc = n > 0 ? cpu_backend.run(dev, instrs, n, b) : 0;
    if (rc >= 0)
        instrs_left -= instrs_left == UINT64_MAX ? 0 : counted;
    return rc;
}

enum { N_RECORDS = 24 };

struct rig {
    struct device *dev;
    struct base_model *base;
    struct recipe recipe;
    struct record records[N_RECORDS];
    char texts[N_RECORDS][96];
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static void rig_init(struct rig *r, uint32_t threads, const char *recipe)
{
    static const char *const words[] = {"bees ", "honey ", "rain ", "tea "};
    const struct device_params device = {.threads = threads};
    const int fd = tinyfile_create(1);
    struct rng rng;
    struct error err;

    memset(r, 0, sizeof *r);
    backend = cpu_backend;
    backend.run = run_some;
    instrs_left = UINT64_MAX;
    ok(backend.open(&r->dev, &device, &err), &err);
    ok(base_model_open(&r->base, &backend, r->dev, fd, &err), &err);
    close(fd);
    recipe_init(&r->recipe);
    ok(recipe_parse(&r->recipe,
                    "rank=4 alpha=8 length=64 batch=6 patience=1000 "
                    "precision=f32",
                    &err),
       &err);
    ok(recipe_parse(&r->recipe, recipe, &err), &err);
    rng_init(&rng, 11, 0);
    for (int i = 0; i < N_RECORDS; i++) {
        for (uint32_t j = 1 + rng_below(&rng, 4); j > 0; j--)
            strcat(r->texts[i], words[rng_below(&rng, 4)]);
        r->records[i] =
            (struct record){.id = i + 1,
                            .kind = RECORD_TEXT,
                            .text = {r->texts[i], strlen(r->texts[i])}};
    }
}

static void rig_finish(struct rig *r)
{
    base_model_close(r->base);
    backend.close(r->dev);
}

static struct trainer *rig_trainer(struct rig *r)
{
    const struct trainer_params params = {
        .recipe = &r->recipe,
        .records = r->records,
        .n_records = N_RECORDS,
    };
    struct trainer *t;
    struct error err = {0};

    ok(trainer_create(&t, r->base, &params, &err), &err);
    return t;
}

/*
 * A step alone, with an adapter whose B is not zero.
 */
struct bench {
    struct rig *rig;
    struct scheme scheme;
    struct adapter *adapter;
    struct adapter_state *state;
    struct program_cache *programs;
    struct dataset *data;
    struct packing packing;
    struct microbatch micro;
    struct prober *prober;
};

static int bind_state(struct binding *out, const struct program_slot *slot,
                      void *user, struct error *err)
{
    const struct bench *b = user;
    return adapter_state_bind(out, b->state, slot, err);
}

static void bench_init(struct bench *b, struct rig *r)
{
    struct error err = {0};
    uint32_t windows[N_RECORDS];

    memset(b, 0, sizeof *b);
    b->rig = r;
    ok(recipe_scheme(&b->scheme, &r->recipe, &r->base->config, &err), &err);
    ok(adapter_create(&b->adapter, &r->base->config, &b->scheme, NULL, &err),
       &err);
    ok(adapter_begin(b->adapter->data, &r->base->config, &b->scheme, 3), &err);
    for (size_t i = 0; i < adapter_floats(b->adapter); i++)
        b->adapter->data[i] += 0.03F * (float) ((i * 7919) % 13) - 0.18F;
    const struct adapter_state_params params = {
        .backend = &backend,
        .dev = r->dev,
        .config = &r->base->config,
        .scheme = &b->scheme,
        .is_forward = true,
        .n_moments = (uint8_t) r->recipe.zo_update,
    };
    ok(adapter_state_create(&b->state, &params, &err), &err);
    ok(adapter_state_write(b->state, ADAPTER_PART_VALUE, b->adapter->data),
       &err);
    ok(program_cache_create(&b->programs, r->base, bind_state, b), &err);
    const struct dataset_params d = {.records = r->records,
                                     .n_records = N_RECORDS,
                                     .subset = DATASET_TRAINED,
                                     .length = 64};
    ok(dataset_create(&b->data, &r->base->chat, &d, &err), &err);
    for (uint32_t i = 0; i < 6; i++)
        windows[i] = i;
    ok(packing_assign(&b->packing, b->data, windows, 6, 64), &err);
    assert_in_range(b->packing.n_rows, 1, 5); // some share a row
    ok(microbatch_plan(&b->micro, r->base, &r->recipe, &err), &err);
    const struct prober_params prober = {.base = r->base,
                                         .programs = b->programs,
                                         .state = b->state,
                                         .recipe = &r->recipe,
                                         .scheme = &b->scheme,
                                         .micro = &b->micro};
    ok(prober_create(&b->prober, &prober, &err), &err);
}

static void bench_finish(struct bench *b)
{
    prober_destroy(b->prober);
    program_cache_destroy(b->programs);
    adapter_state_destroy(b->state);
    adapter_destroy(b->adapter);
    packing_finish(&b->packing);
    dataset_destroy(b->data);
}

// The adapter's values, size * z away along query `q` of step 5.
static float *moved(const struct bench *b, uint32_t q, float size)
{
    const struct adapter *a = b->adapter;
    float *values = malloc(adapter_floats(a) * sizeof *values);

    assert_non_null(values);
    memcpy(values, a->data, adapter_floats(a) * sizeof *values);
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct noise_key key = {{(int32_t) b->rig->recipe.seed, 0, 5, 0},
                                      i,
                                      q};
        if (a->params[i].is_frozen)
            continue;
        for (size_t k = a->starts[i]; k < a->starts[i + 1]; k++)
            values[k] += size * noise_value((enum noise) b->rig->recipe.noise,
                                            &key, k - a->starts[i]);
    }
    return values;
}

// What an ordinary evaluation says about them, record by record.
static void evaluate(struct evaluator_sum *sums, struct bench *b,
                     const float *values)
{
    const struct evaluator_params params = {.cache = b->programs,
                                            .scheme = &b->scheme,
                                            .length = 64,
                                            .rows = 4};
    struct dataset six = *b->data;
    struct error err = {0};

    six.n_windows = 6;
    memset(sums, 0, N_RECORDS * sizeof *sums);
    ok(adapter_state_write(b->state, ADAPTER_PART_VALUE, values), &err);
    ok(evaluator_run(sums, &six, &params, &err), &err);
}

static double mean_of_records(struct bench *b, const float *values)
{
    struct evaluator_sum sums[N_RECORDS];
    double sum = 0;

    evaluate(sums, b, values);
    for (int i = 0; i < N_RECORDS; i++)
        if (sums[i].n_targets)
            sum += sums[i].nats / (double) sums[i].n_targets / 6;
    return sum;
}

static double loss_of(struct bench *b, const float *values)
{
    struct evaluator_sum sums[N_RECORDS];
    double nats = 0;
    uint64_t n = 0;

    evaluate(sums, b, values);
    for (int i = 0; i < N_RECORDS; i++) {
        nats += sums[i].nats;
        n += sums[i].n_targets;
    }
    assert_int_equal(n, b->packing.n_targets);
    return nats / (double) n;
}

// The sweep of all copies, of half of them, of each alone, and evaluations of
// adapters that were moved here by the definition of noise.
static void all_sweeps_measure_the_same(void **state)
{
    static const char *const recipes[] =
        {"method=prge queries=4 sweep=dual",
         "method=prge queries=4 sweep=single",
         "method=prge queries=4 sweep=sequential",
         "method=fzoo queries=4 sweep=dual",
         "method=fzoo queries=4 sweep=sequential"};

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        const bool is_fzoo = i > 2;
        const uint32_t copies = is_fzoo ? 5 : 8;
        struct error err = {0};
        struct bench b;
        struct rig r;
        float g[4];
        double loss, mean = 0;

        rig_init(&r, 2, recipes[i]);
        bench_init(&b, &r);
        ok(prober_look(g, &loss, b.prober, 5, &b.packing, b.data, NULL, &err),
           &err);
        for (uint32_t c = 0; c < copies; c++) {
            const float eps = r.recipe.eps;
            float *at = is_fzoo ? moved(&b, c % 4, c < 4 ? eps : 0)
                                : moved(&b, c / 2, c % 2 ? -eps : eps);
            const double want = loss_of(&b, at);
            mean += want / copies;
            if (!(fabs(want - prober_losses(b.prober)[c]) < 1e-5))
                fail_msg("%s: copy %u is %.9g, not %.9g", recipes[i], c,
                         prober_losses(b.prober)[c], want);
            free(at);
        }
        assert_true(fabs(mean - loss) < 1e-5);
        bench_finish(&b);
        rig_finish(&r);
    }
}

// What a private step adds up are the slopes of each record's own mean loss,
// however many copies a sweep takes.
static void private_slopes_are_those_of_each_record(void **state)
{
    static const char *const recipes[] = {"method=prge queries=3 sweep=dual",
                                          "method=prge queries=3 sweep=single",
                                          "method=mezo queries=3"};
    static const struct privacy_release loose = {.queries = 3,
                                                 .clip = 1e9,
                                                 .expected = 6};

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct error err = {0};
        struct prober *private;
        struct rng noise;
        struct bench b;
        struct rig r;
        float g[3];
        double loss;

        rig_init(&r, 1, recipes[i]);
        bench_init(&b, &r);
        const struct prober_params params = {.base = r.base,
                                             .programs = b.programs,
                                             .state = b.state,
                                             .recipe = &r.recipe,
                                             .scheme = &b.scheme,
                                             .micro = &b.micro,
                                             .privacy = &loose};
        ok(prober_create(&private, &params, &err), &err);
        rng_init(&noise, 1, 1);
        ok(prober_look(g, &loss, private, 5, &b.packing, b.data, &noise, &err),
           &err);
        for (uint32_t q = 0; q < 3; q++) {
            double want = 0;
            for (int side = 0; side < 2; side++) {
                float *at = moved(&b, q, side ? -r.recipe.eps : r.recipe.eps);
                want += (side ? -1 : 1) * mean_of_records(&b, at);
                free(at);
            }
            want /= 2 * (double) r.recipe.eps;
            if (!(fabs(want - (double) g[q]) < 1e-3 * (1 + fabs(want))))
                fail_msg("%s: slope %u is %.9g, not %.9g", recipes[i], q,
                         (double) g[q], want);
        }
        prober_destroy(private);
        bench_finish(&b);
        rig_finish(&r);
    }
}

// The value moves along the same directions, by the rate and the mean of g.
static void a_move_is_the_sum_of_directions(void **state)
{
    static const char *const recipes[] = {"method=mezo queries=1",
                                          "method=prge queries=3"};

    for (size_t i = 0; i < 2; i++) {
        static const float g[3] = {2, -1, 0.5F};
        struct error err = {0};
        struct bench b;
        struct rig r;

        rig_init(&r, 1, recipes[i]);
        bench_init(&b, &r);
        const size_t n = adapter_floats(b.adapter);
        float *got = calloc(n, sizeof *got), *want = calloc(n, sizeof *want);
        assert_true(got && want);
        ok(prober_move(b.prober, 5, 0.25F, g, &err), &err);
        ok(adapter_state_read(b.state, ADAPTER_PART_VALUE, got), &err);
        memcpy(want, b.adapter->data, n * sizeof *want);
        for (uint32_t q = 0; q < r.recipe.queries; q++) {
            float *to = moved(&b, q, 1);
            for (size_t k = 0; k < n; k++)
                want[k] -= 0.25F * g[q] / (float) r.recipe.queries *
                           (to[k] - b.adapter->data[k]);
            free(to);
        }
        for (size_t k = 0; k < n; k++)
            assert_true(fabsf(got[k] - want[k]) < 2e-6F);
        free(got);
        free(want);
        bench_finish(&b);
        rig_finish(&r);
    }
}

// f = sum of (i + 1) x_i^2 / 2, of which central differences are exact.
static double quadratic(const double *x, int n)
{
    double f = 0;
    for (int i = 0; i < n; i++)
        f += 0.5 * (i + 1) * x[i] * x[i];
    return f;
}

static void the_mean_of_estimates_is_the_gradient(void **state)
{
    enum { DIM = 10, QUERIES = 4, ESTIMATES = 4000 };

    for (int kind = 0; kind < NOISE_KINDS; kind++) {
        double sum[DIM] = {0}, square[DIM] = {0}, x[DIM];
        for (int i = 0; i < DIM; i++)
            x[i] = 1 - 0.2 * i;
        for (int e = 0; e < ESTIMATES; e++) {
            double losses[2 * QUERIES], at[DIM], z[QUERIES][DIM];
            float g[QUERIES];
            for (uint32_t q = 0; q < QUERIES; q++) {
                const struct noise_key key = {{1, 0, e, 0}, 0, q};
                for (int s = 0; s < 2; s++) {
                    for (int i = 0; i < DIM; i++) {
                        z[q][i] = (double) noise_value((enum noise) kind, &key,
                                                       (uint64_t) i);
                        at[i] = x[i] + (s ? -1e-2 : 1e-2) * z[q][i];
                    }
                    losses[2 * q + (uint32_t) s] = quadratic(at, DIM);
                }
            }
            prober_two_sided(g, losses, QUERIES, 1e-2);
            for (int i = 0; i < DIM; i++) {
                double estimate = 0;
                for (int q = 0; q < QUERIES; q++)
                    estimate += (double) g[q] * z[q][i] / QUERIES;
                sum[i] += estimate;
                square[i] += estimate * estimate;
            }
        }
        for (int i = 0; i < DIM; i++) {
            const double mean = sum[i] / ESTIMATES;
            const double variance = square[i] / ESTIMATES - mean * mean;
            assert_true(fabs(mean - (i + 1) * x[i]) <
                        3 * sqrt(variance / ESTIMATES));
        }
    }
}

static void one_sided_numbers_are_in_deviations(void **state)
{
    static const double losses[] = {3, 1, 2, 2, 1.5};
    static const double flat[] = {2, 2, 2};
    float g[4];

    prober_one_sided(g, losses, 4);
    for (int q = 0; q < 4; q++)
        assert_true(fabs((double) g[q] - (losses[q] - 1.5) / sqrt(0.5)) < 1e-6);
    prober_one_sided(g, flat, 2);
    assert_true(g[0] == 0 && g[1] == 0);
}

/*
 * Runs
 */

static void held_out_loss_falls_without_gradients(void **state)
{
    static const char *const recipes[] = {
        "method=prge lr=0.02 epochs=25",
        "method=prge lr=0.02 epochs=25 noise=rademacher sweep=single",
        "method=mezo lr=0.004 epochs=60",
        "method=fzoo lr=0.02 epochs=25",
        "method=prge lr=0.004 zo_update=momentum epochs=25",
        "method=prge lr=0.01 zo_update=adam epochs=25",
        "method=prge lr=0.02 sparse=0.5 epochs=25",
        "method=prge lr=0.02 epochs=25 last_blocks=1",
        "method=prge lr=0.01 epochs=25 scheme=norms",
    };

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct trainer_progress p;
        struct error err = {0};
        struct rig r;

        rig_init(&r, 1, recipes[i]);
        struct trainer *t = rig_trainer(&r);
        ok(trainer_run(t, 0, NULL, NULL, &err), &err);
        trainer_progress(&p, t);
        if (!(p.best_loss < p.start_loss - 0.02))
            fail_msg("%s: from %g to %g", recipes[i], p.start_loss,
                     p.best_loss);
        trainer_destroy(t);
        rig_finish(&r);
    }
}

struct bytes {
    void *data;
    size_t n;
};

static struct bytes save(const struct trainer *t)
{
    struct error err = {0};
    struct bytes b;

    ok(trainer_save(&b.data, &b.n, t, &err), &err);
    return b;
}

// Stopped after random numbers of instructions, gone on with from a checkpoint.
static struct bytes run_in_pieces(struct rig *r, uint64_t seed, uint32_t most)
{
    struct bytes last = {0};
    struct rng rng;
    int rc = -EINTR;

    rng_init(&rng, seed, 0);
    while (rc == -EINTR) {
        struct trainer *t = rig_trainer(r);
        struct error err = {0};
        if (last.data)
            ok(trainer_restore(t, last.data, last.n, &err), &err);
        instrs_left = most ? 1 + rng_below(&rng, most) : UINT64_MAX;
        rc = trainer_run(t, 0, NULL, NULL, &err);
        assert_true(rc == 0 || rc == -EINTR);
        free(last.data);
        last = save(t);
        trainer_destroy(t);
    }
    instrs_left = UINT64_MAX;
    return last;
}

static void stops_anywhere_and_ends_with_the_same_bytes(void **state)
{
    static const char *const recipes[] =
        {"method=prge lr=0.01 queries=2", "method=fzoo queries=3 lr=0.01",
         "method=mezo zo_update=adam lr=0.01",
         "method=prge queries=2 zo_update=momentum sparse=0.7"};

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct rig r;
        rig_init(&r, 1, recipes[i]);
        struct bytes straight = run_in_pieces(&r, 1, 0);
        struct bytes pieces = run_in_pieces(&r, 2, 1500);
        rig_finish(&r);
        rig_init(&r, 3, recipes[i]);
        struct bytes threads = run_in_pieces(&r, 3, 0);
        rig_finish(&r);
        assert_int_equal(pieces.n, straight.n);
        assert_memory_equal(pieces.data, straight.data, straight.n);
        assert_int_equal(threads.n, straight.n);
        assert_memory_equal(threads.data, straight.data, straight.n);
        free(straight.data);
        free(pieces.data);
        free(threads.data);
    }
}

static void a_run_that_diverges_is_ended(void **state)
{
    struct trainer_progress p;
    struct error err = {0};
    struct rig r;

    rig_init(&r, 1, "method=mezo lr=1 scheme=norms epochs=50 eval_every=1000");
    struct trainer *t = rig_trainer(&r);
    ok(trainer_run(t, 0, NULL, NULL, &err), &err);
    trainer_progress(&p, t);
    assert_int_equal(p.end, TRAINER_DIVERGED);
    assert_true(p.step < p.steps_total);
    trainer_destroy(t);
    rig_finish(&r);
}

/*
 * Journals
 */

static struct bytes journal_of(struct rig *r, struct adapter **best)
{
    struct trainer *t = rig_trainer(r);
    struct error err = {0};
    struct bytes b;

    ok(trainer_run(t, 0, NULL, NULL, &err), &err);
    ok(trainer_best(best, t, &err), &err);
    ok(trainer_journal(&b.data, &b.n, t, &err), &err);
    trainer_destroy(t);
    return b;
}

static void a_thousand_steps_are_replayed_to_the_same_bytes(void **state)
{
    static const char *const recipes[] =
        {"method=prge queries=2 lr=0.002 epochs=250 eval_every=200",
         "method=mezo lr=0.002 epochs=10 zo_update=adam",
         "method=fzoo lr=0.002 epochs=10 zo_update=momentum sparse=0.6"};

    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct adapter *best, *again;
        struct journal j;
        struct recipe recipe;
        struct error err = {0};
        struct rig r;

        rig_init(&r, 2, recipes[i]);
        struct bytes b = journal_of(&r, &best);
        ok(journal_decode(&j, &recipe, b.data, b.n, &err), &err);
        assert_true(i > 0 || j.steps >= 1000);
        assert_true(j.steps_best > 0);
        journal_finish(&j);
        // The one that the adapter's file keeps says the same.
        ok(journal_parse(&j, &recipe, best->journal, &err), &err);
        ok(journal_replay(&again, r.base, &j, &recipe, NULL, &err), &err);
        assert_memory_equal(again->data, best->data,
                            adapter_floats(best) * sizeof *best->data);
        adapter_destroy(again);
        adapter_destroy(best);
        journal_finish(&j);
        free(b.data);
        rig_finish(&r);
    }
}

static void damage_is_refused_with_the_step(void **state)
{
    struct adapter *best, *again;
    struct journal j;
    struct recipe recipe;
    struct error err = {0};
    struct rig r;

    rig_init(&r, 1, "method=prge queries=2 lr=0.01");
    struct bytes b = journal_of(&r, &best);
    unsigned char *p = b.data;
    const size_t record = journal_record_bytes(2);
    ok(journal_decode(&j, &recipe, b.data, b.n, &err), &err);
    const uint64_t steps = j.steps;
    // Another last number, as if it had been written so.
    j.steps = steps - 1;
    struct journal_step s = journal_step(&j, steps - 1);
    const float g[2] = {s.g[0] + 1, s.g[1]};
    s.g = g;
    ok(journal_append(&j, &s), &err);
    j.steps_best = steps;
    assert_int_equal(journal_replay(&again, r.base, &j, &recipe, NULL, &err),
                     -EBADMSG);
    assert_non_null(strstr(err.text, "does not replay: after step"));
    j.base[0] ^= 1;
    assert_int_equal(journal_replay(&again, r.base, &j, &recipe, NULL, &err),
                     -EBADMSG);
    assert_string_equal(err.text, "the journal cannot be used: it belongs to "
                                  "another base model");
    journal_finish(&j);

    p[b.n - (steps - 2) * record + 13] ^= 4; // in the third
    assert_int_equal(journal_decode(&j, &recipe, b.data, b.n, &err), -EBADMSG);
    assert_string_equal(err.text, "the journal does not replay: step 3 is not "
                                  "what was written");
    p[b.n - (steps - 2) * record + 13] ^= 4;
    p[60] ^= 1;
    assert_int_equal(journal_decode(&j, &recipe, b.data, b.n, &err), -EBADMSG);
    p[60] ^= 1;
    assert_int_equal(journal_parse(&j, &recipe, "0g", &err), -EBADMSG);
    assert_int_equal(journal_parse(&j, &recipe, "0", &err), -EBADMSG);
    for (size_t n = 0; n < b.n; n += 97)
        assert_int_equal(journal_decode(&j, &recipe, b.data, n, &err),
                         -EBADMSG);
    free(b.data);
    adapter_destroy(best);
    rig_finish(&r);
}

static void refusals_say_what_to_do(void **state)
{
    static const struct {
        const char *recipe, *says;
    } cases[] = {
        {"method=prge eps=0", "recipe: eps is 0, but must be 1e-16 to 1"},
        {"method=prge eps=nan", "recipe: eps is nan, but must be 1e-16 to 1"},
        {"method=prge lr=0", "recipe: lr is 0, but must be 1e-08 to 1"},
        {"method=prge lr=nan", "recipe: lr is nan, but must be 1e-08 to 1"},
        {"method=prge queries=0", "recipe: queries is 0, but must be 1 to 256"},
        {"method=zero", "recipe: method is \"zero\", but must be gradient, "
                        "mezo, prge, fzoo or auto"},
        {"method=prge eps=1e-9", "recipe: eps is 1e-09, but without gradients "
                                 "a step looks 1e-06 to 1 far: 0.01 is usual"},
        {"method=fzoo drop_rate=0.1",
         "recipe: drop_rate is about gradients, which method=fzoo does not "
         "have: leave it out"},
    };
    struct rig r;

    rig_init(&r, 1, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe recipe;
        struct error err = {0};
        recipe_init(&recipe);
        int rc = recipe_parse(&recipe, cases[i].recipe, &err);
        if (rc == 0)
            rc = recipe_check(&recipe, &r.base->config, &err);
        assert_int_equal(rc, -EINVAL);
        assert_string_equal(err.text, cases[i].says);
    }
    rig_finish(&r);
}

// Norms have one copy at a time: by themselves, but not when asked otherwise.
static void what_has_no_copies_is_refused_or_taken_alone(void **state)
{
    struct error err = {0};
    struct microbatch m;
    struct rig r;

    rig_init(&r, 1, "method=prge scheme=norms");
    ok(microbatch_plan(&m, r.base, &r.recipe, &err), &err);
    assert_int_equal(m.copies, 1);
    r.recipe.sweep = RECIPE_SWEEP_DUAL;
    assert_int_equal(microbatch_plan(&m, r.base, &r.recipe, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "take one copy at a time "
                                     "(sweep=sequential)"));
    rig_finish(&r);
}

// What the owner said stays; and text says the same again.
static void a_method_brings_its_defaults(void **state)
{
    char text[RECIPE_TEXT_BYTES];
    struct recipe r, again;
    struct error err = {0};

    recipe_init(&r);
    ok(recipe_parse(&r, "lr=0.02 method=mezo", &err), &err);
    assert_true(r.lr == 0.02F && r.eps == 0.01F && r.queries == 1);
    assert_true(recipe_print(text, sizeof text, &r) > 0);
    recipe_init(&again);
    ok(recipe_parse(&again, text, &err), &err);
    assert_memory_equal(&r, &again, sizeof r);
}

// By gradient where it fits: 16 MiB are plenty here, and then one row is not.
static void auto_is_by_gradient_where_that_fits(void **state)
{
    struct error err = {0};
    struct trainer_info info;
    struct rig r;

    rig_init(&r, 1, "method=auto");
    ok(trainer_plan(&info, r.base, &r.recipe, &err), &err);
    ok(microbatch_method(&r.recipe, r.base, &err), &err);
    assert_int_equal(r.recipe.method, RECIPE_METHOD_GRADIENT);
    // No row of 32 tokens fits into that, whatever the method.
    r.recipe.method = RECIPE_METHOD_AUTO;
    r.recipe.memory_mib = 0;
    ok(microbatch_method(&r.recipe, r.base, &err), &err);
    assert_int_equal(r.recipe.method, RECIPE_METHOD_PRGE);
    assert_true(r.recipe.eps == 0.01F);
    rig_finish(&r);
}

// One copy at a time takes what an evaluation does, and many copies less than
// gradients do.
static void memory_is_that_of_forward_passes(void **state)
{
    static const char *const recipes[] = {"method=mezo",
                                          "method=prge queries=4",
                                          "method=gradient"};
    struct trainer_info info[3];
    struct error err = {0};

    for (int i = 0; i < 3; i++) {
        struct rig r;
        rig_init(&r, 1, recipes[i]);
        r.recipe.batch = 1;
        ok(trainer_plan(&info[i], r.base, &r.recipe, &err), &err);
        rig_finish(&r);
    }
    assert_true(info[0].arena_bytes < info[1].arena_bytes);
    assert_true(info[0].arena_bytes < info[2].arena_bytes);
    assert_true(2 * info[0].state_bytes <= info[2].state_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sweeps_measure_the_same),
        cmocka_unit_test(private_slopes_are_those_of_each_record),
        cmocka_unit_test(a_move_is_the_sum_of_directions),
        cmocka_unit_test(the_mean_of_estimates_is_the_gradient),
        cmocka_unit_test(one_sided_numbers_are_in_deviations),
        cmocka_unit_test(held_out_loss_falls_without_gradients),
        cmocka_unit_test(stops_anywhere_and_ends_with_the_same_bytes),
        cmocka_unit_test(a_run_that_diverges_is_ended),
        cmocka_unit_test(a_thousand_steps_are_replayed_to_the_same_bytes),
        cmocka_unit_test(damage_is_refused_with_the_step),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(what_has_no_copies_is_refused_or_taken_alone),
        cmocka_unit_test(a_method_brings_its_defaults),
        cmocka_unit_test(auto_is_by_gradient_where_that_fits),
        cmocka_unit_test(memory_is_that_of_forward_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
