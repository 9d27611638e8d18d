// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/tuner.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/engine.h"
#include "engine/plan/timetable.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_RECORDS = 12, TARGETS = TIMETABLE_TARGETS_MAX, MODELS_AT = 232 };

struct bytes {
    void *data;
    size_t n;
};

struct rig {
    struct engine *engine;
    struct engine_model *model;
    struct recipe recipe;
};

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static void rig_init(struct rig *r, uint32_t threads, const atomic_bool *stop)
{
    const struct engine_params params = {.threads = threads, .stop = stop};
    struct error err;
    const int fd = tinyfile_create(1);

    ok(engine_create(&r->engine, &params, &err), &err);
    ok(engine_model_open(&r->model, r->engine, fd, &err), &err);
    close(fd);
    recipe_init(&r->recipe);
    ok(recipe_parse(&r->recipe,
                    "rank=4 alpha=8 lr=0.01 epochs=3 length=32 batch=3 "
                    "eval_every=4 patience=100",
                    &err),
       &err);
}

static void rig_finish(struct rig *r)
{
    engine_model_close(r->model);
    engine_destroy(r->engine);
}

static struct engine_tuned tune(struct rig *r, struct bytes old)
{
    const struct engine_tune_params params = {
        .recipe = &r->recipe,
        .when = 77,
        .is_forced = true, // tests run beside other tests
        .table = old.data,
        .table_bytes = old.n,
    };
    struct engine_tuned tuned;
    struct error err;

    ok(engine_tune(&tuned, r->model, &params, &err), &err);
    return tuned;
}

static struct bytes save(const struct rig *r)
{
    struct bytes b;

    assert_int_equal(engine_times_save(&b.data, &b.n, r->model), 0);
    return b;
}

// A table in which one kernel is the fastest everywhere.
static struct bytes prefer(struct bytes table, const char *kernel)
{
    struct timetable_shape shape;
    struct timetable *t;
    struct bytes b;

    assert_int_equal(timetable_decode(&t, table.data, table.n, NULL), 0);
    for (uint32_t i = 0; timetable_row(&shape, t, i); i++) {
        uint64_t ns[TARGETS] = {0};
        for (uint32_t k = 0; k < timetable_targets(t); k++)
            ns[k] = strcmp(timetable_target(t, k)->kernel, kernel) == 0
                        ? 1000
                        : 900000;
        assert_int_equal(timetable_put(t, &shape, ns, 5), 0);
    }
    assert_int_equal(timetable_encode(&b.data, &b.n, t), 0);
    timetable_destroy(t);
    return b;
}

static void measures_every_shape_once(void **state)
{
    struct engine_times_info info;
    struct trainplan plan;
    struct error err;
    struct rig r;

    rig_init(&r, 2, NULL);
    struct engine_tuned first = tune(&r, (struct bytes){0});
    assert_true(first.n_shapes > 20);
    assert_int_equal(first.n_timed, first.n_shapes);
    assert_int_equal(first.n_left, 0);
    assert_string_equal(first.notice, "");
    engine_times_describe(&info, r.model);
    assert_int_equal(info.n_shapes, first.n_shapes);
    assert_int_equal(info.threads, 2);
    assert_int_equal(info.when, 77);

    struct bytes b = save(&r);
    struct engine_tuned again = tune(&r, b);
    assert_int_equal(again.n_timed, 0);
    assert_int_equal(again.n_shapes, first.n_shapes);

    ok(engine_plan(&plan, NULL, r.model, &r.recipe, &err), &err);
    assert_int_equal(plan.n_measured, plan.n_instrs);
    assert_true(plan.step_ms > 0);
    assert_in_range(plan.n_steps, 2, TRAINPLAN_STEPS);
    assert_true(plan.steps[0].chosen.ns >= plan.steps[1].chosen.ns);
    assert_true(plan.steps[0].other.threads > 0);
    free(b.data);
    rig_finish(&r);
}

static void without_a_table_nothing_is_predicted(void **state)
{
    struct engine_times_info info;
    struct trainplan plan;
    struct bytes b = {0};
    struct error err;
    struct rig r;

    rig_init(&r, 1, NULL);
    engine_times_describe(&info, r.model);
    assert_int_equal(info.n_shapes, 0);
    assert_int_equal(engine_times_save(&b.data, &b.n, r.model), -ENOENT);
    ok(engine_plan(&plan, NULL, r.model, &r.recipe, &err), &err);
    assert_true(plan.step_ms == 0);
    assert_int_equal(plan.n_steps, 0);
    rig_finish(&r);
}

static void leaves_what_there_is_no_time_for(void **state)
{
    const struct engine_tune_params params = {.seconds = 1e-9,
                                              .is_forced = true};
    struct engine_tune_params p = params;
    struct engine_tuned tuned;
    struct error err;
    struct rig r;

    rig_init(&r, 1, NULL);
    p.recipe = &r.recipe;
    ok(engine_tune(&tuned, r.model, &p, &err), &err);
    assert_int_equal(tuned.n_left, tuned.n_shapes);
    assert_int_equal(tuned.n_timed, 0);
    rig_finish(&r);
}

static void stops_when_told_to(void **state)
{
    atomic_bool stop = true;
    struct engine_tune_params params = {.is_forced = true};
    struct engine_tuned tuned;
    struct bytes b = {0};
    struct error err;
    struct rig r;

    rig_init(&r, 1, &stop);
    params.recipe = &r.recipe;
    assert_int_equal(engine_tune(&tuned, r.model, &params, &err), -EINTR);
    assert_int_equal(engine_times_save(&b.data, &b.n, r.model), -ENOENT);
    rig_finish(&r);
}

static void a_table_that_cannot_be_used_is_made_anew(void **state)
{
    struct error err;
    struct rig r;

    rig_init(&r, 1, NULL);
    const uint32_t shapes = tune(&r, (struct bytes){0}).n_shapes;
    struct bytes b = save(&r);
    ((unsigned char *) b.data)[b.n / 2] ^= 1;
    assert_int_equal(engine_times_use(r.model, b.data, b.n, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "checksum"));
    struct engine_tuned tuned = tune(&r, b);
    assert_int_equal(tuned.n_timed, shapes);
    assert_non_null(strstr(tuned.notice, "checksum"));
    free(b.data);
    rig_finish(&r);
}

static void a_table_of_another_device_or_model_is_not_used(void **state)
{
    static const struct timetable_target target = {"c", 1};
    struct timetable_params params = {
        .device = "cpu of somebody else: c",
        .build = "x",
        .threads = 1,
        .targets = &target,
        .n_targets = 1,
    };
    struct timetable *t;
    struct error err;
    struct bytes b;
    struct rig r;

    rig_init(&r, 1, NULL);
    assert_int_equal(timetable_create(&t, &params), 0);
    assert_int_equal(timetable_encode(&b.data, &b.n, t), 0);
    assert_int_equal(engine_times_use(r.model, b.data, b.n, &err), -ESTALE);
    assert_non_null(strstr(err.text, "somebody else"));
    timetable_destroy(t);
    free(b.data);

    // What another model was timed with: no shape of this one.
    (void) tune(&r, (struct bytes){0});
    b = save(&r);
    unsigned char *p = b.data;
    assert_int_equal(engine_times_use(r.model, p, b.n, &err), 0);
    memset(p + MODELS_AT, 0, TIMETABLE_MODEL_BYTES);
    hash_bytes(p + b.n - HASH_BYTES, p, b.n - HASH_BYTES);
    assert_int_equal(engine_times_use(r.model, p, b.n, &err), -ENODATA);
    assert_non_null(strstr(err.text, "this model"));
    free(b.data);
    rig_finish(&r);
}

/*
 * A job that runs
 */

static const char *const texts[N_RECORDS] = {
    "bees honey rain the wheel", "bell tea dog bees",  "the rain the rain",
    "wheel bell wheel tea",      "dog dog honey",      "rain tea bell the",
    "honey honey bees wheel",    "tea the dog rain",   "bell bees rain tea",
    "the wheel the bell",        "dog tea honey rain", "bees the dog wheel",
};

// Runs `steps` (0: all) from a checkpoint, if there is one, with a table, if
// there is one: the checkpoint behind it, and the adapter's values.
static struct bytes run(struct bytes table, struct bytes from, uint64_t steps)
{
    struct record records[N_RECORDS] = {{0}};
    struct engine_train_params params = {
        .records = records,
        .n_records = N_RECORDS,
        .checkpoint = from.data,
        .checkpoint_bytes = from.n,
    };
    struct engine_train *t;
    struct error err = {0};
    struct bytes b;
    struct rig r;

    rig_init(&r, 1, NULL);
    params.recipe = &r.recipe;
    for (int i = 0; i < N_RECORDS; i++)
        records[i] = (struct record){
            .id = i + 1,
            .kind = RECORD_TEXT,
            .text = {texts[i], strlen(texts[i])},
        };
    if (table.data)
        ok(engine_times_use(r.model, table.data, table.n, &err), &err);
    ok(engine_train_create(&t, r.model, &params, &err), &err);
    assert_int_equal(engine_train_run(t, steps, NULL, NULL, &err), steps > 0);
    ok(engine_train_checkpoint(&b.data, &b.n, t, &err), &err);
    engine_train_destroy(t);
    rig_finish(&r);
    return b;
}

static void same(struct bytes a, struct bytes b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
}

// Whatever is measured, lost or damaged while a job waits: what it ends with
// is what it would have ended with.
static void a_run_keeps_the_kernels_it_began_with(void **state)
{
    const struct bytes none = {0};
    struct rig r;

    rig_init(&r, 1, NULL);
    (void) tune(&r, none);
    struct bytes table = save(&r);
    const char *kernel =
        strstr(engine_describe(r.engine), "cpu c,") ? NULL : "c";
    rig_finish(&r);
    if (!kernel)
        skip(); // there is nothing to choose between
    struct bytes plain = prefer(table, "c");
    struct bytes other = prefer(table, "none of them");

    struct bytes whole = run(plain, none, 0);
    struct bytes half = run(plain, none, 2);
    struct bytes retuned = run(other, half, 0);
    struct bytes lost = run(none, half, 0);
    same(whole, retuned);
    same(whole, lost);

    // And one that began without goes on without.
    struct bytes bare = run(none, none, 0);
    struct bytes bare_half = run(none, none, 2);
    struct bytes tuned_late = run(plain, bare_half, 0);
    same(bare, tuned_late);

    // The two do differ, or all this would say nothing: in the values, which
    // stand behind the history and before the table.
    const size_t values = bare.n - 32;
    assert_true(whole.n > bare.n);
    assert_memory_not_equal((char *) whole.data + 216, (char *) bare.data + 216,
                            values - 216);

    struct bytes all[] = {table, plain,     other,      whole, half,
                          lost,  bare_half, tuned_late, bare,  retuned};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i].data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_every_shape_once),
        cmocka_unit_test(without_a_table_nothing_is_predicted),
        cmocka_unit_test(leaves_what_there_is_no_time_for),
        cmocka_unit_test(stops_when_told_to),
        cmocka_unit_test(a_table_that_cannot_be_used_is_made_anew),
        cmocka_unit_test(a_table_of_another_device_or_model_is_not_used),
        cmocka_unit_test(a_run_keeps_the_kernels_it_began_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
