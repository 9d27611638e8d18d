// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/objective.h"

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/evaluator.h"
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

enum { N_RECORDS = 60 };

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

/*
 * What they say
 */

static void feedback_is_the_cross_entropy_of_being_accepted(void **state)
{
    for (double p = 0.001; p < 1; p += 0.0499) {
        const struct evaluator_sum s = {.nats = -7 * log(p), .n_targets = 7};
        const double yes = objective_loss(OBJECTIVE_FEEDBACK, &s, 1, 1);
        const double no = objective_loss(OBJECTIVE_FEEDBACK, &s, 1, 0);
        assert_true(fabs(yes + log(p)) < 1e-9);
        assert_true(fabs(no + log(1 - p)) < 1e-9);
    }
    // What is certain, and rejected, is bad but no infinity.
    const struct evaluator_sum sure = {.nats = 0, .n_targets = 3};
    const double worst = objective_loss(OBJECTIVE_FEEDBACK, &sure, 1, 0);
    assert_true(worst > 10 && worst < 20);
}

static void accuracy_counts_the_choice_with_the_fewest_nats_a_token(
    void **state)
{
    const struct evaluator_sum s[3] = {{6, 3}, {3.9, 2}, {8, 4}};

    assert_true(objective_loss(OBJECTIVE_ACCURACY, s, 3, 1) == 0);
    assert_true(objective_loss(OBJECTIVE_ACCURACY, s, 3, 0) == 1);
    // Of two alike, neither is chosen.
    assert_true(objective_loss(OBJECTIVE_ACCURACY, s, 1, 0) == 0);
    const struct evaluator_sum alike[2] = {{6, 3}, {4, 2}};
    assert_true(objective_loss(OBJECTIVE_ACCURACY, alike, 2, 0) == 1);
    assert_true(objective_loss(OBJECTIVE_ACCURACY, alike, 2, 1) == 1);
}

static void f1_is_that_of_bags_of_words(void **state)
{
    static const struct {
        const char *said, *wanted;
        double loss;
    } rows[] = {
        {"a b c", "a b c", 0},
        {"c  a\nb", "a b c", 0},
        {"x y", "a b", 1},
        {"", "a", 1},
        {"", "", 0},
        {" \n", "", 0},
        {"a a a", "a", 0.5},         // 1 in common of 3 and 1
        {"a b", "a a b c", 1.0 / 3}, // 2 of 2 and 4
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double got =
            objective_f1_loss(rows[i].said, strlen(rows[i].said),
                              rows[i].wanted, strlen(rows[i].wanted));
        if (!(fabs(got - rows[i].loss) < 1e-12))
            fail_msg("row %zu: %g, not %g", i, got, rows[i].loss);
    }
}

/*
 * Runs
 */

struct rig {
    struct device *dev;
    struct base_model *base;
    struct recipe recipe;
    struct record records[N_RECORDS];
    char prompts[N_RECORDS][64];
};

static struct record_text text_of(const char *s)
{
    return (struct record_text){s, strlen(s)};
}

// Pairs whose reply follows from their prompt.
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
                    "method=prge rank=4 alpha=8 length=64 batch=8 "
                    "patience=1000 precision=f32",
                    &err),
       &err);
    ok(recipe_parse(&r->recipe, recipe, &err), &err);
    rng_init(&rng, 11, 0);
    for (int i = 0; i < N_RECORDS; i++) {
        const uint32_t first = rng_below(&rng, 4);
        strcat(r->prompts[i], words[first]);
        for (uint32_t j = rng_below(&rng, 3); j > 0; j--)
            strcat(r->prompts[i], words[rng_below(&rng, 4)]);
        r->records[i] = (struct record){
            .id = i + 1,
            .kind = RECORD_PAIR,
            .prompt = text_of(r->prompts[i]),
            .completion = text_of(first < 2 ? "yes" : "no"),
        };
    }
}

static void rig_finish(struct rig *r)
{
    base_model_close(r->base);
    cpu_backend.close(r->dev);
}

static int create(struct trainer **t, struct rig *r, struct error *err)
{
    const struct trainer_params params = {
        .recipe = &r->recipe,
        .records = r->records,
        .n_records = N_RECORDS,
    };

    return trainer_create(t, r->base, &params, err);
}

// The best held-out objective, and that of the start.
static void run(double *start, double *best, struct rig *r)
{
    struct trainer_progress p;
    struct adapter *a;
    struct trainer *t;
    struct error err = {0};

    ok(create(&t, r, &err), &err);
    ok(trainer_run(t, 0, NULL, NULL, &err), &err);
    trainer_progress(&p, t);
    *start = p.start_loss;
    *best = p.best_loss;
    ok(trainer_best(&a, t, &err), &err); // and its journal is replayed
    adapter_destroy(a);
    trainer_destroy(t);
}

static void make_feedback(struct rig *r)
{
    for (int i = 0; i < N_RECORDS; i++) {
        r->records[i].kind = RECORD_FEEDBACK;
        r->records[i].is_accepted =
            record_text_is(&r->records[i].completion, "yes");
    }
}

static void what_was_accepted_becomes_likelier(void **state)
{
    double start, best;
    struct rig r;

    rig_init(&r, "objective=feedback queries=8 epochs=12 lr=0.02");
    make_feedback(&r);
    run(&start, &best, &r);
    if (!(best < 0.95 * start))
        fail_msg("from %g to %g", start, best);
    rig_finish(&r);
}

static void more_answers_are_right(void **state)
{
    double start, best;
    struct rig r;

    rig_init(&r, "objective=accuracy queries=16 epochs=20 lr=0.1 eps=0.1");
    run(&start, &best, &r);
    assert_true(start >= 0 && start <= 1);
    if (!(best < start))
        fail_msg("from %g to %g", start, best);
    rig_finish(&r);
}

static void generated_text_comes_nearer(void **state)
{
    double start, best;
    struct rig r;

    rig_init(&r, "objective=f1 queries=4 epochs=3 lr=0.1 eps=0.2");
    run(&start, &best, &r);
    assert_true(start >= 0 && start <= 1);
    assert_true(best <= start);
    rig_finish(&r);
}

static void what_was_not_accepted_is_not_learned_by_likelihood(void **state)
{
    struct trainer_info info;
    struct trainer *t;
    struct error err = {0};
    uint32_t accepted = 0;
    struct rig r;

    rig_init(&r, "method=gradient");
    make_feedback(&r);
    for (int i = 0; i < N_RECORDS; i++)
        accepted += r.records[i].is_accepted;
    ok(create(&t, &r, &err), &err);
    trainer_describe(&info, t);
    assert_int_equal(info.n_trained + info.n_held_out, accepted);
    trainer_destroy(t);
    rig_finish(&r);
}

static void private_feedback_is_accounted_for(void **state)
{
    struct trainer *t;
    struct adapter *a;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "objective=feedback queries=2 epochs=2 dp_epsilon=3");
    make_feedback(&r);
    ok(create(&t, &r, &err), &err);
    ok(trainer_run(t, 0, NULL, NULL, &err), &err);
    ok(trainer_best(&a, t, &err), &err);
    assert_true(a->privacy.epsilon > 1 && a->privacy.epsilon <= 3);
    adapter_destroy(a);
    trainer_destroy(t);
    rig_finish(&r);
}

static void refusals_say_what_is_missing(void **state)
{
    struct recipe recipe;
    struct trainer *t;
    struct error err = {0};
    struct rig r;

    rig_init(&r, "objective=feedback");
    assert_int_equal(create(&t, &r, &err), -ENODATA);
    assert_non_null(strstr(err.text, "add records of kind feedback"));

    ok(recipe_set(&r.recipe, "objective", "accuracy", &err), &err);
    for (int i = 0; i < N_RECORDS; i++)
        r.records[i].completion = text_of("yes");
    assert_int_equal(create(&t, &r, &err), -ENODATA);
    assert_non_null(strstr(err.text, "but there is one"));
    for (int i = 0; i < N_RECORDS; i++)
        r.records[i].completion = r.records[i].prompt;
    assert_int_equal(create(&t, &r, &err), -E2BIG);
    assert_non_null(strstr(err.text, "use nll or f1"));

    recipe_init(&recipe);
    ok(recipe_parse(&recipe, "objective=f1", &err), &err);
    assert_int_equal(recipe_check(&recipe, &r.base->config, &err), -EINVAL);
    assert_non_null(strstr(err.text, "has no gradient"));
    ok(recipe_parse(&recipe, "method=prge loss_on=all", &err), &err);
    assert_int_equal(recipe_check(&recipe, &r.base->config, &err), -EINVAL);
    assert_non_null(strstr(err.text, "leave loss_on"));
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feedback_is_the_cross_entropy_of_being_accepted),
        cmocka_unit_test(
            accuracy_counts_the_choice_with_the_fewest_nats_a_token),
        cmocka_unit_test(f1_is_that_of_bags_of_words),
        cmocka_unit_test(what_was_accepted_becomes_likelier),
        cmocka_unit_test(more_answers_are_right),
        cmocka_unit_test(generated_text_comes_nearer),
        cmocka_unit_test(what_was_not_accepted_is_not_learned_by_likelihood),
        cmocka_unit_test(private_feedback_is_accounted_for),
        cmocka_unit_test(refusals_say_what_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
