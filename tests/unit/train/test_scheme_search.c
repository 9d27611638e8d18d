// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/scheme_search.h"

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/plan/timetable.h"
#include "engine/train/base_model.h"
#include "engine/train/contribution.h"
#include "engine/train/recipe.h"
#include "engine/train/trainer.h"
#include "engine/train/tuner.h"
#include "tests/support/test_device.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LENGTH = 64, ROWS = 2 };

struct rig {
    struct device *dev;
    struct base_model *base;
    struct contribution *c;
    struct scheme_search_params params;
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

// Gradients by hand: all alike, as if measured in a second for 1000 tokens.
static void rig_init(struct rig *r)
{
    const struct device_params device = {.threads = 1};
    struct error err;
    const int fd = tinyfile_create(1);

    ok(test_device_open(&r->dev, &device, &err), &err);
    ok(base_model_open(&r->base, test_backend(), r->dev, fd, &err), &err);
    (void) close(fd);
    r->c = calloc(1, sizeof(*r->c));
    assert_non_null(r->c);
    r->c->n_samples = 4;
    r->c->seconds = 1;
    r->c->places = 1000;
    for (uint32_t b = 0; b < r->base->config.n_blocks; b++)
        for (int l = 0; l < MODEL_LINEARS; l++)
            for (int j = 0; j < CONTRIBUTION_PARTS; j++)
                r->c->fisher[b][l][j] = r->c->signal[b][l][j] = 1;
    r->params = (struct scheme_search_params){
        .contribution = r->c,
        .alpha = 16,
        .rows = ROWS,
        .length = LENGTH,
        .tokens = 10000,
        .memory_bytes = UINT64_MAX,
    };
}

static void rig_finish(struct rig *r)
{
    free(r->c);
    base_model_close(r->base);
    test_backend()->close(r->dev);
}

static uint32_t learning(const struct scheme *s, uint32_t block)
{
    uint32_t linears = 0;

    for (int l = 0; l < MODEL_LINEARS; l++)
        if (s->linears[block][l].learn != LEARN_NONE)
            linears |= 1u << l;
    return linears;
}

// What the compiler says without any search.
static uint64_t bytes_of(const struct rig *r, const struct scheme *scheme,
                         uint64_t budget)
{
    const struct program_params params = {.kind = PROGRAM_TRAIN,
                                          .batch = ROWS,
                                          .length = LENGTH,
                                          .scheme = scheme,
                                          .arena_budget = budget,
                                          .is_deferred = true};
    struct program *p;
    struct error err;

    ok(program_compile(&p, &r->base->config, &params, test_backend(), r->dev,
                       &err),
       &err);
    const uint64_t bytes =
        program_arena_bytes(p) +
        trainer_state_bytes(scheme_floats(scheme, &r->base->config));
    program_destroy(p);
    return bytes;
}

static void without_limits_everything_learns(void **state)
{
    struct scheme_found f;
    struct error err;
    struct rig r;

    rig_init(&r);
    ok(scheme_search(&f, r.base, &r.params, &err), &err);
    for (uint32_t b = 0; b < r.base->config.n_blocks; b++) {
        assert_int_equal(learning(&f.scheme, b), LORA_ALL);
        assert_int_equal(f.scheme.linears[b][MODEL_LINEAR_q].rank, 32);
    }
    assert_true(f.gain > 0.999 && f.gain < 1.001);
    assert_int_equal(f.n_recomputed, 0);
    assert_true(f.seconds > 0);
    rig_finish(&r);
}

static void keeps_to_the_memory_as_the_compiler_counts_it(void **state)
{
    struct scheme_found all;
    struct scheme_found f;
    struct error err;
    struct rig r;
    double last = 0;

    rig_init(&r);
    ok(scheme_search(&all, r.base, &r.params, &err), &err);
    const uint64_t most = all.arena_bytes + all.state_bytes;
    for (uint64_t part = 5; part <= 10; part++) {
        r.params.memory_bytes = most * part / 10;
        ok(scheme_search(&f, r.base, &r.params, &err), &err);
        assert_int_equal(bytes_of(&r, &f.scheme, f.arena_budget),
                         f.arena_bytes + f.state_bytes);
        assert_true(f.arena_bytes + f.state_bytes <= r.params.memory_bytes);
        assert_true(f.gain >= last); // more room is never worse
        last = f.gain;
    }
    assert_true(last > 0.999);
    rig_finish(&r);
}

static void keeps_to_the_time(void **state)
{
    struct scheme_found all;
    struct scheme_found f;
    struct error err;
    struct rig r;

    rig_init(&r);
    ok(scheme_search(&all, r.base, &r.params, &err), &err);
    r.params.seconds = all.seconds * 0.8;
    ok(scheme_search(&f, r.base, &r.params, &err), &err);
    assert_true(f.seconds <= r.params.seconds);
    assert_true(f.gain < all.gain && f.gain > 0);
    rig_finish(&r);
}

// Where only one linear of one block has a gradient, it gets what there is.
static void learns_where_the_gradient_is(void **state)
{
    struct scheme_found f;
    struct error err;
    struct rig r;

    rig_init(&r);
    memset(r.c->fisher, 0, sizeof(r.c->fisher));
    memset(r.c->signal, 0, sizeof(r.c->signal));
    r.c->signal[0][MODEL_LINEAR_o][3] = r.c->fisher[0][MODEL_LINEAR_o][3] = 2;
    ok(scheme_search(&f, r.base, &r.params, &err), &err);
    assert_int_equal(learning(&f.scheme, 0), LORA_O);
    assert_int_equal(learning(&f.scheme, 1), 0);
    rig_finish(&r);
}

static void the_same_measurements_give_the_same_scheme(void **state)
{
    struct scheme_found f[2];
    struct error err;

    for (int i = 0; i < 2; i++) {
        struct rig r;
        rig_init(&r);
        r.params.memory_bytes = 1 << 20;
        ok(scheme_search(&f[i], r.base, &r.params, &err), &err);
        rig_finish(&r);
    }
    assert_true(scheme_equal(&f[0].scheme, &f[1].scheme));
}

static void says_the_smallest_that_would_do(void **state)
{
    struct scheme_found f;
    struct error err;
    struct rig r;

    rig_init(&r);
    r.params.memory_bytes = 1000;
    assert_int_equal(scheme_search(&f, r.base, &r.params, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "the smallest needs"));
    r.params.memory_bytes = UINT64_MAX;
    r.params.seconds = 1e-6;
    assert_int_equal(scheme_search(&f, r.base, &r.params, &err), -ENOSPC);
    rig_finish(&r);
}

// The same times, `factor` times as long.
static struct timetable *slower(const struct timetable *t, uint64_t factor)
{
    struct timetable_shape shape;
    struct timetable *copy;
    const uint64_t *from;

    assert_int_equal(timetable_copy(&copy, t), 0);
    for (uint32_t i = 0; (from = timetable_row(&shape, t, i)); i++) {
        uint64_t ns[TIMETABLE_TARGETS_MAX];
        for (uint32_t k = 0; k < timetable_targets(t); k++)
            ns[k] = factor * from[k];
        assert_int_equal(timetable_put(copy, &shape, ns, 1), 0);
    }
    return copy;
}

static void predicts_from_the_times_of_kernels(void **state)
{
    struct scheme_found once, slow, bound;
    struct tuner_result tuned;
    struct timetable *t;
    struct recipe recipe;
    struct error err;
    struct rig r;

    rig_init(&r);
    recipe_init(&recipe);
    ok(recipe_parse(&recipe, "batch=2 length=64 rank=8", &err), &err);
    ok(tuner_table(&t, r.base, &err), &err);
    ok(tuner_run(&tuned, t, r.base,
                 &(struct tuner_params){.recipe = &recipe, .is_forced = true},
                 &err),
       &err);
    struct timetable *tenfold = slower(t, 10);
    base_model_set_times(r.base, t);
    ok(scheme_search(&once, r.base, &r.params, &err), &err);
    // How fast the gradients came by does not count any more.
    r.c->seconds = 100;
    ok(scheme_search(&slow, r.base, &r.params, &err), &err);
    assert_true(slow.seconds == once.seconds);
    base_model_set_times(r.base, tenfold);
    ok(scheme_search(&slow, r.base, &r.params, &err), &err);
    assert_true(scheme_equal(&slow.scheme, &once.scheme));
    assert_true(once.seconds > 0);
    // Where instructions may move between devices, moving takes no longer.
    assert_true(slow.seconds >
                (test_device_is_cpu() ? 9.999 : 5) * once.seconds);
    assert_true(slow.seconds < 10.001 * once.seconds);

    r.params.seconds = slow.seconds * 0.9;
    ok(scheme_search(&bound, r.base, &r.params, &err), &err);
    assert_true(bound.seconds <= r.params.seconds);
    assert_true(bound.gain < slow.gain);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_everything_learns),
        cmocka_unit_test(keeps_to_the_memory_as_the_compiler_counts_it),
        cmocka_unit_test(keeps_to_the_time),
        cmocka_unit_test(learns_where_the_gradient_is),
        cmocka_unit_test(the_same_measurements_give_the_same_scheme),
        cmocka_unit_test(predicts_from_the_times_of_kernels),
        cmocka_unit_test(says_the_smallest_that_would_do),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
