// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/checkpoint.h"

#include "engine/base/error.h"
#include "engine/base/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float values[4 * 5];
static float kept[3] = {0.5F, -1, 2};
static char times[] = "how long kernels take";
static struct checkpoint_eval evals[2] = {{0, 4.5}, {20, 4.25}};

static struct checkpoint sample(void)
{
    struct checkpoint c = {
        .step = 21,
        .best_step = 20,
        .best_loss = 4.25,
        .step_loss = 4.5,
        .evals_since_best = 1,
        .micro_rows = 2,
        .n_evals = 2,
        .evals = evals,
        .n_floats = 5,
        .values = values,
        .n_kept = 3,
        .kept = kept,
        .times_bytes = sizeof times,
        .times = times,
    };
    for (int i = 0; i < 20; i++)
        values[i] = (float) i / 3;
    memset(&c.key.base, 1, sizeof c.key.base);
    memset(&c.key.recipe, 2, sizeof c.key.recipe);
    memset(&c.key.data, 3, sizeof c.key.data);
    memset(&c.key.start, 4, sizeof c.key.start);
    return c;
}

static void reads_back_what_was_written(void **state)
{
    const struct checkpoint c = sample();
    struct checkpoint back;
    struct error err;
    void *bytes;
    size_t n;

    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    assert_int_equal(checkpoint_decode(&back, bytes, n, &err), 0);
    assert_memory_equal(&back.key, &c.key, sizeof c.key);
    assert_int_equal(back.step, 21);
    assert_int_equal(back.best_step, 20);
    assert_int_equal(back.evals_since_best, 1);
    assert_int_equal(back.micro_rows, 2);
    assert_int_equal(back.n_evals, 2);
    assert_memory_equal(back.evals, evals, sizeof evals);
    assert_int_equal(back.n_floats, 5);
    assert_memory_equal(back.values, values, sizeof values);
    assert_int_equal(back.n_kept, 3);
    assert_memory_equal(back.kept, kept, sizeof kept);
    assert_int_equal(back.times_bytes, sizeof times);
    assert_memory_equal(back.times, times, sizeof times);
    checkpoint_finish(&back);
    free(bytes);
}

static void gives_its_times_alone(void **state)
{
    struct checkpoint c = sample();
    struct error err;
    unsigned char *p;
    void *bytes, *alone;
    size_t n, m;

    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    assert_int_equal(checkpoint_times(&alone, &m, bytes, n, &err), 0);
    assert_int_equal(m, sizeof times);
    assert_memory_equal(alone, times, sizeof times);
    free(alone);
    p = bytes;
    p[n / 2] ^= 1;
    assert_int_equal(checkpoint_times(&alone, &m, bytes, n, &err), -EBADMSG);
    free(bytes);
    c.times_bytes = 0;
    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    assert_int_equal(checkpoint_times(&alone, &m, bytes, n, &err), 0);
    assert_int_equal(m, 0);
    free(alone);
    free(bytes);
}

static void any_changed_byte_is_refused(void **state)
{
    const struct checkpoint c = sample();
    struct checkpoint back;
    void *bytes;
    size_t n;

    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct error err = {0};
            ((uint8_t *) bytes)[i] ^= (uint8_t) (1 << bit);
            assert_int_equal(checkpoint_decode(&back, bytes, n, &err),
                             -EBADMSG);
            assert_non_null(strstr(err.text, "checkpoint cannot be used"));
            ((uint8_t *) bytes)[i] ^= (uint8_t) (1 << bit);
        }
    }
    free(bytes);
}

static void any_lost_byte_is_refused(void **state)
{
    const struct checkpoint c = sample();
    struct checkpoint back;
    struct error err;
    void *bytes;
    size_t n;

    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(checkpoint_decode(&back, bytes, i, &err), -EBADMSG);
    free(bytes);
}

// A file whose checksum is right may still have been made to lie.
static void sizes_that_lie_are_refused(void **state)
{
    const struct checkpoint c = sample();
    // n_kept; n_evals and n_floats lie behind the hashes and seven counters.
    static const size_t at[] = {12, 16 + 128 + 32 + 12, 16 + 128 + 32 + 16};
    static const uint32_t lies[] = {0, 1, 4, 0x10000000, 0xffffffff};
    void *bytes;
    size_t n;

    assert_int_equal(checkpoint_encode(&bytes, &n, &c), 0);
    for (int field = 0; field < 3; field++) {
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
            struct checkpoint back;
            struct error err;
            uint8_t *copy = malloc(n);
            memcpy(copy, bytes, n);
            memcpy(copy + at[field], &lies[i], sizeof lies[i]);
            hash_bytes(copy + n - HASH_BYTES, copy, n - HASH_BYTES);
            assert_int_equal(checkpoint_decode(&back, copy, n, &err), -EBADMSG);
            free(copy);
        }
    }
    free(bytes);
}

static void another_run_is_named(void **state)
{
    const struct checkpoint c = sample();
    static const struct {
        size_t at;
        const char *says;
    } parts[] = {
        {offsetof(struct checkpoint_key, base), "another base model"},
        {offsetof(struct checkpoint_key, recipe), "another recipe"},
        {offsetof(struct checkpoint_key, data), "another set of records"},
        {offsetof(struct checkpoint_key, start), "another start adapter"},
    };

    struct error err = {0};
    assert_int_equal(checkpoint_match(&c, &c.key, &err), 0);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct checkpoint_key key = c.key;
        ((uint8_t *) &key)[parts[i].at] ^= 1;
        assert_int_equal(checkpoint_match(&c, &key, &err), -ESTALE);
        assert_non_null(strstr(err.text, parts[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(gives_its_times_alone),
        cmocka_unit_test(any_changed_byte_is_refused),
        cmocka_unit_test(any_lost_byte_is_refused),
        cmocka_unit_test(sizes_that_lie_are_refused),
        cmocka_unit_test(another_run_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
