// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/privacy.h"

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/memfile.h"
#include "engine/base/rng.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/recipe.h"
#include "engine/train/trainer.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_RECORDS = 24 };

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

/*
 * The accountant
 */

// By make_privacy.py.
static const struct {
    double rate, sigma;
    uint64_t steps;
    double delta, epsilon;
} vectors[] = {
    {0.01, 1.0, 1000, 1e-05, 2.107753075},
    {0.01, 4.0, 10000, 1e-05, 1.035490066},
    {0.1, 2.0, 300, 1e-05, 4.573818884},
    {0.004266666666666667, 1.1, 14040, 1e-05, 2.594817675},
    {1.0, 5.0, 10, 1e-06, 3.134502712},
    {0.5, 8.0, 60, 0.0001, 1.849653790},
    {0.02, 0.7, 50, 1e-05, 4.105657338},
};

static void epsilon_is_that_of_the_integrals(void **state)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const double got = privacy_epsilon(vectors[i].rate, vectors[i].sigma,
                                           vectors[i].steps, vectors[i].delta);
        if (!(fabs(got - vectors[i].epsilon) < 1e-6))
            fail_msg("row %zu: %.9f, not %.9f", i, got, vectors[i].epsilon);
    }
}

static void epsilon_grows_with_steps_and_falls_with_noise(void **state)
{
    assert_true(privacy_epsilon(0.1, 1, 0, 1e-5) == 0);
    for (uint64_t steps = 1; steps < 2000; steps *= 3)
        for (double sigma = 0.5; sigma < 20; sigma *= 2) {
            const double e = privacy_epsilon(0.1, sigma, steps, 1e-5);
            assert_true(e >= 0);
            assert_true(privacy_epsilon(0.1, sigma, 3 * steps, 1e-5) > e);
            assert_true(privacy_epsilon(0.1, 2 * sigma, steps, 1e-5) < e);
            assert_true(privacy_epsilon(0.2, sigma, steps, 1e-5) > e);
        }
}

static void noise_is_the_least_that_does(void **state)
{
    static const double epsilons[] = {0.1, 1, 8, 100};

    for (size_t i = 0; i < 4; i++) {
        const double s = privacy_sigma(0.05, 400, epsilons[i], 1e-5);
        assert_true(privacy_epsilon(0.05, s, 400, 1e-5) <= epsilons[i]);
        assert_true(privacy_epsilon(0.05, 0.99 * s, 400, 1e-5) > epsilons[i]);
    }
    // Delta alone costs more than that at 256 orders.
    assert_true(isinf(privacy_sigma(1, 1000, 1e-4, 1e-12)));
}

/*
 * The release
 */

static void no_record_counts_more_than_its_clip(void **state)
{
    const struct privacy_release r = {.queries = 3,
                                      .clip = 0.5,
                                      .sigma = 0,
                                      .expected = 4};
    const double slopes[][3] = {{0.1, -0.2, 0.1},
                                {300, -400, 0},
                                {NAN, 1, 1},
                                {-1e200, 1e200, 0}};
    struct rng noise;
    float all[3], less[3];

    rng_init(&noise, 1, 1);
    for (size_t left = 0; left < 4; left++) {
        double other[3][3], square = 0;
        size_t n = 0;
        for (size_t i = 0; i < 4; i++)
            if (i != left)
                memcpy(other[n++], slopes[i], sizeof other[0]);
        privacy_release(all, &slopes[0][0], 4, &r, &noise);
        privacy_release(less, &other[0][0], 3, &r, &noise);
        for (int q = 0; q < 3; q++) {
            assert_true(isfinite(all[q]));
            square += pow((double) all[q] - (double) less[q], 2);
        }
        assert_true(sqrt(square) <= r.clip / r.expected * (1 + 1e-6));
    }
    // What is not too steep stays as it is.
    privacy_release(all, &slopes[0][0], 1, &r, &noise);
    for (int q = 0; q < 3; q++)
        assert_true(fabs((double) all[q] - slopes[0][q] / 4) < 1e-7);
}

static void noise_has_the_size_that_was_accounted_for(void **state)
{
    const struct privacy_release r = {.queries = 2,
                                      .clip = 3,
                                      .sigma = 1.5,
                                      .expected = 6};
    const double want = r.sigma * r.clip / r.expected;
    enum { N = 20000 };
    double mean = 0, square = 0, cross = 0;
    struct rng noise;

    rng_init(&noise, 5, 9);
    for (int i = 0; i < N; i++) {
        float g[2];
        privacy_release(g, NULL, 0, &r, &noise);
        mean += (double) g[0] / N;
        square += (double) g[0] * (double) g[0] / N;
        cross += (double) g[0] * (double) g[1] / N;
    }
    assert_true(fabs(mean) < 4 * want / sqrt(N));
    assert_true(fabs(square / (want * want) - 1) < 4 * sqrt(2.0 / N));
    assert_true(fabs(cross) < 4 * want * want / sqrt(N));
}

/*
 * Runs
 */

struct rig {
    struct device *dev;
    struct base_model *base;
    struct recipe recipe;
    struct record records[N_RECORDS];
    char texts[N_RECORDS][400];
};

static void rig_init(struct rig *r, const char *recipe)
{
    static const char *const words[] = {"bees ", "honey ", "rain ", "tea "};
    const struct device_params device = {.threads = 1};
    const int fd = tinyfile_create(1);
    struct rng rng;
    struct error err;

    memset(r, 0, sizeof *r);
    ok(cpu_backend.open(&r->dev, &device, &err), &err);
    ok(base_model_open(&r->base, &cpu_backend, r->dev, fd, &err), &err);
    close(fd);
    recipe_init(&r->recipe);
    ok(recipe_parse(&r->recipe,
                    "rank=4 alpha=8 length=32 batch=6 patience=1000 "
                    "precision=f32",
                    &err),
       &err);
    ok(recipe_parse(&r->recipe, recipe, &err), &err);
    rng_init(&rng, 11, 0);
    for (int i = 0; i < N_RECORDS; i++) {
        // Every fourth is longer than a row.
        for (uint32_t j = i % 4 ? 1 + rng_below(&rng, 4) : 40; j > 0; j--)
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
    cpu_backend.close(r->dev);
}

static int run(struct adapter **out, struct rig *r, const struct adapter *start,
               struct error *err)
{
    const struct trainer_params params = {
        .recipe = &r->recipe,
        .records = r->records,
        .n_records = N_RECORDS,
        .start = start,
    };
    struct trainer *t;
    int rc = trainer_create(&t, r->base, &params, err);

    if (rc < 0)
        return rc;
    ok(trainer_run(t, 0, NULL, NULL, err), err);
    rc = trainer_best(out, t, err);
    trainer_destroy(t);
    return rc;
}

// trainer_best() also replays the journal, noise and all.
static void a_run_says_what_it_spent(void **state)
{
    struct adapter *first, *second, *again;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "method=prge queries=2 epochs=4 dp_epsilon=2 dp_clip=10");
    ok(run(&first, &r, NULL, &err), &err);
    assert_true(first->privacy.epsilon > 1 && first->privacy.epsilon <= 2);
    assert_true(fabs(first->privacy.delta - 1e-5) < 1e-10);
    assert_non_null(first->journal);

    // Its file says it, never less.
    int fd;
    ok(memfile_create(&fd, "adapter"), &err);
    ok(adapter_save_gguf_fd(first, "a", fd, &err), &err);
    ok(adapter_load_gguf_fd(&again, &r.base->config, NULL, fd, &err), &err);
    close(fd);
    assert_true(again->privacy.epsilon >= first->privacy.epsilon);
    assert_true(again->privacy.epsilon < first->privacy.epsilon * 1.000001);
    assert_true(again->privacy.delta >= first->privacy.delta);

    // Who goes on from it has spent both.
    ok(run(&second, &r, again, &err), &err);
    assert_true(second->privacy.epsilon > again->privacy.epsilon + 1);
    assert_true(second->privacy.delta > 1.9e-5);
    adapter_destroy(first);
    adapter_destroy(second);
    adapter_destroy(again);
    rig_finish(&r);
}

// The same seed gives another noise and other records: who has the recipe
// cannot take them away again.
static void the_seed_does_not_tell_the_noise(void **state)
{
    struct adapter *a, *b;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "method=mezo epochs=2 dp_epsilon=5");
    ok(run(&a, &r, NULL, &err), &err);
    ok(run(&b, &r, NULL, &err), &err);
    assert_memory_not_equal(a->data, b->data,
                            adapter_floats(a) * sizeof *a->data);
    adapter_destroy(a);
    adapter_destroy(b);
    rig_finish(&r);
}

static void what_cannot_be_promised_is_refused(void **state)
{
    static const struct {
        const char *recipe, *say;
    } rows[] = {
        {"dp_epsilon=1", "method=gradient cannot keep that promise"},
        {"method=fzoo dp_epsilon=1", "method=fzoo cannot keep that promise"},
    };
    struct adapter *plain, *never;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "method=mezo epochs=1");
    for (size_t i = 0; i < 2; i++) {
        struct recipe recipe;
        recipe_init(&recipe);
        ok(recipe_parse(&recipe, rows[i].recipe, &err), &err);
        assert_int_equal(recipe_check(&recipe, &r.base->config, &err), -EINVAL);
        assert_non_null(strstr(err.text, rows[i].say));
    }
    ok(run(&plain, &r, NULL, &err), &err);
    assert_true(plain->privacy.epsilon == 0);
    r.recipe.dp_epsilon = 1;
    assert_int_equal(run(&never, &r, plain, &err), -EMEDIUMTYPE);
    assert_non_null(strstr(err.text, "was learned without"));
    r.recipe.dp_epsilon = 1e-6F;
    assert_int_equal(run(&never, &r, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "raise it"));
    adapter_destroy(plain);
    rig_finish(&r);
}

static void auto_is_without_gradients_where_it_promises(void **state)
{
    struct adapter *a;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "method=auto epochs=1 dp_epsilon=4");
    ok(run(&a, &r, NULL, &err), &err);
    assert_non_null(a->journal);
    assert_true(a->privacy.epsilon > 0);
    adapter_destroy(a);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epsilon_is_that_of_the_integrals),
        cmocka_unit_test(epsilon_grows_with_steps_and_falls_with_noise),
        cmocka_unit_test(noise_is_the_least_that_does),
        cmocka_unit_test(no_record_counts_more_than_its_clip),
        cmocka_unit_test(noise_has_the_size_that_was_accounted_for),
        cmocka_unit_test(a_run_says_what_it_spent),
        cmocka_unit_test(the_seed_does_not_tell_the_noise),
        cmocka_unit_test(what_cannot_be_promised_is_refused),
        cmocka_unit_test(auto_is_without_gradients_where_it_promises),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
