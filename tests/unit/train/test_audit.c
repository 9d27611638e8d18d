// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A secret that was trained on often is found out, and one that was not is not.
 */

#include "engine/audit.h"

#include "engine/base/error.h"
#include "engine/train/canary.h"
#include "tests/support/test_device.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOTES = 24, COPIES = 40, SECRET_BYTES = 64 };

static atomic_bool stop;
static struct engine *engine;
static struct engine_model *model;
static char texts[NOTES + 1][SECRET_BYTES];

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static int set_up(void **state)
{
    const struct engine_params params = {.threads = 2,
                                         .device = test_device_name(),
                                         .stop = &stop};
    const int fd = tinyfile_create(1);
    struct error err;

    (void) state;
    ok(engine_create(&engine, &params, &err), &err);
    ok(engine_model_open(&model, engine, fd, &err), &err);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void) state;
    engine_model_close(model);
    engine_destroy(engine);
    return 0;
}

static struct record text(int i, const char *stream)
{
    return (struct record){.id = i + 1,
                           .stream = stream,
                           .kind = RECORD_TEXT,
                           .text = {texts[i], strlen(texts[i])}};
}

// Notes, and copies of one more that holds a number.
static size_t make_records(struct record records[NOTES + COPIES], int copies)
{
    size_t n = 0;

    for (int i = 0; i < NOTES; i++) {
        snprintf(texts[i], sizeof(texts[i]), "bee %d flew to the tree", i);
        records[n++] = text(i, "notes");
    }
    snprintf(texts[NOTES], sizeof(texts[NOTES]), "the safe has 48291357");
    struct record secret = text(NOTES, "notes");
    for (int i = 0; record_is_held_out(&secret); i++) {
        snprintf(texts[NOTES], sizeof(texts[NOTES]), "safe %c has 48291357",
                 'a' + i);
        secret = text(NOTES, "notes");
    }
    for (int i = 0; i < copies; i++)
        records[n++] = secret;
    return n;
}

static struct adapter *train(const struct record *records, size_t n)
{
    struct engine_train *t;
    struct adapter *a;
    struct recipe recipe;
    struct error err;

    recipe_init(&recipe);
    ok(recipe_parse(&recipe,
                    "rank=8 lr=0.03 warmup=2 batch=4 length=64 epochs=8 "
                    "eval_every=1000 patience=1000",
                    &err),
       &err);
    ok(engine_train_create(&t, model,
                           &(struct engine_train_params){.recipe = &recipe,
                                                         .records = records,
                                                         .n_records = n},
                           &err),
       &err);
    ok(engine_train_run(t, 0, NULL, NULL, &err), &err);
    ok(engine_train_best(&a, t, &err), &err);
    engine_train_destroy(t);
    return a;
}

static void audit(struct engine_audit *out, const struct adapter *a,
                  const struct record *records, size_t n)
{
    struct error err;

    ok(engine_audit(out, model, a, records, n,
                    &(struct engine_audit_params){.seed = 3}, &err),
       &err);
}

static void finds_out_what_was_learned_by_heart(void **state)
{
    static struct record records[NOTES + COPIES];
    const size_t n = make_records(records, COPIES);
    struct adapter *a = train(records, n);
    struct engine_audit found;

    (void) state;
    audit(&found, a, records, n);
    print_message("# exposure %.1f bits, base %.1f, drawn %.1f, recited %u\n",
                  found.exposure, found.exposure_base, found.control,
                  found.n_recited);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.each[0].times, COPIES);
    assert_int_equal(found.record, NOTES);
    assert_true(found.exposure > 14);
    assert_true(found.exposure_base < 10 && found.control < 10);
    assert_int_equal(found.n_recited, 1);
    engine_adapter_destroy(a);
}

// The same sequence is looked for, but the adapter is of the notes alone.
static void finds_nothing_in_what_never_saw_it(void **state)
{
    static struct record records[NOTES + COPIES];
    size_t n = make_records(records, 0);
    struct adapter *a = train(records, n);
    struct engine_audit found;

    (void) state;
    audit(&found, a, records, n);
    assert_int_equal(found.n, 0);
    assert_true(isnan(found.exposure));
    n = make_records(records, 1);
    audit(&found, a, records, n);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.n_recited, 0);
    assert_true(found.exposure < 10);
    engine_adapter_destroy(a);
}

static void gives_the_same_numbers_again(void **state)
{
    static struct record records[NOTES + COPIES];
    const size_t n = make_records(records, 4);
    struct adapter *a = train(records, n);
    struct engine_audit one, two;

    (void) state;
    audit(&one, a, records, n);
    audit(&two, a, records, n);
    assert_memory_equal(&one.each, &two.each, sizeof(one.each));
    engine_adapter_destroy(a);
}

static void stops_when_it_is_told_to(void **state)
{
    static struct record records[NOTES + COPIES];
    const size_t n = make_records(records, 4);
    struct adapter *a = train(records, n);
    struct engine_audit found;
    struct error err;

    (void) state;
    atomic_store(&stop, true);
    assert_int_equal(engine_audit(&found, model, a, records, n,
                                  &(struct engine_audit_params){.seed = 3},
                                  &err),
                     -EINTR);
    atomic_store(&stop, false);
    engine_adapter_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_out_what_was_learned_by_heart),
        cmocka_unit_test(finds_nothing_in_what_never_saw_it),
        cmocka_unit_test(gives_the_same_numbers_again),
        cmocka_unit_test(stops_when_it_is_told_to),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
