// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/timetable.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/hash.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TARGETS = 3, HEAD_BYTES = 232 };

static struct timetable *make(void)
{
    static const struct timetable_target targets[TARGETS] = {
        {"avx2", 2},
        {"avx2", 1},
        {"c", 1},
    };
    const struct timetable_params params = {
        .device = "cpu of a test: c, avx2",
        .build = "1.0 0123",
        .threads = 2,
        .targets = targets,
        .n_targets = TARGETS,
    };
    struct timetable *t;

    assert_int_equal(timetable_create(&t, &params), 0);
    return t;
}

static struct timetable_shape shape(uint64_t exact, uint64_t work)
{
    return (struct timetable_shape){exact, 7, 3, work};
}

static void put(struct timetable *t, struct timetable_shape s, uint64_t ns,
                uint64_t when)
{
    const uint64_t row[TARGETS] = {ns, 2 * ns, 0};

    assert_int_equal(timetable_put(t, &s, row, when), 0);
}

static struct timetable *make_full(void)
{
    struct timetable *t = make();
    const uint8_t model[TIMETABLE_MODEL_BYTES] = {1, 2, 3};

    put(t, shape(1, 100), 1000, 50);
    put(t, shape(2, 200), 1500, 60);
    put(t, (struct timetable_shape){3, 9, 3, 1000}, 9000, 55);
    timetable_put_model(t, model, 60);
    timetable_set_wake_ns(t, 40000);
    return t;
}

static void what_was_put_is_found(void **state)
{
    struct timetable *t = make_full();
    const struct timetable_shape s = shape(1, 100);
    double ns[TARGETS];

    assert_int_equal(timetable_find(ns, t, &s), TIMETABLE_MEASURED);
    assert_true(ns[0] == 1000 && ns[1] == 2000 && isinf(ns[2]));
    assert_true(timetable_has(t, &s));
    assert_int_equal(timetable_rows(t), 3);
    assert_int_equal(timetable_when(t), 60);
    put(t, s, 800, 70);
    assert_int_equal(timetable_rows(t), 3);
    assert_int_equal(timetable_find(ns, t, &s), TIMETABLE_MEASURED);
    assert_true(ns[0] == 800);
    timetable_destroy(t);
}

static void what_was_not_is_scaled_from_the_nearest(void **state)
{
    struct timetable *t = make_full();
    struct timetable_shape s = shape(5, 190); // 200 is nearer than 100
    double ns[TARGETS];

    assert_int_equal(timetable_find(ns, t, &s), TIMETABLE_SCALED);
    assert_true(fabs(ns[0] - 1425) < 1e-9);
    s.family = 8; // none of it; of this kind 1000 is nearest
    s.work = 4000;
    assert_int_equal(timetable_find(ns, t, &s), TIMETABLE_SCALED);
    assert_true(fabs(ns[0] - 36000) < 1e-9);
    s.kind = 4;
    assert_int_equal(timetable_find(ns, t, &s), TIMETABLE_NOTHING);
    assert_true(isinf(ns[0]) && isinf(ns[1]) && isinf(ns[2]));
    timetable_destroy(t);
}

static void comes_back_from_bytes_as_it_was(void **state)
{
    struct timetable *t = make_full();
    const uint8_t model[TIMETABLE_MODEL_BYTES] = {1, 2, 3};
    const uint8_t other[TIMETABLE_MODEL_BYTES] = {1, 2, 4};
    struct timetable *u;
    void *a, *b;
    size_t n, m;

    assert_int_equal(timetable_encode(&a, &n, t), 0);
    assert_int_equal(timetable_decode(&u, a, n, NULL), 0);
    assert_int_equal(timetable_encode(&b, &m, u), 0);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    assert_true(timetable_has_model(u, model));
    assert_false(timetable_has_model(u, other));
    assert_int_equal(timetable_wake_ns(u), 40000);
    assert_int_equal(timetable_threads(u), 2);
    assert_int_equal(timetable_targets(u), TARGETS);
    assert_string_equal(timetable_target(u, 2)->kernel, "c");
    assert_string_equal(timetable_device(u), "cpu of a test: c, avx2");
    free(a);
    free(b);
    timetable_destroy(t);
    timetable_destroy(u);
}

static void every_damaged_byte_is_found(void **state)
{
    struct timetable *t = make_full();
    struct timetable *u = NULL;
    struct error err;
    unsigned char *p;
    void *data;
    size_t n;

    assert_int_equal(timetable_encode(&data, &n, t), 0);
    p = data;
    for (size_t i = 0; i < n; i++) {
        p[i] ^= 0x10;
        assert_int_equal(timetable_decode(&u, p, n, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "doctor --tune"));
        p[i] ^= 0x10;
        assert_int_equal(timetable_decode(&u, p, i, &err), -EBADMSG);
    }
    assert_null(u);
    free(data);
    timetable_destroy(t);
}

// With a checksum that is right.
static int decode_changed(size_t at, const void *bytes, size_t count)
{
    struct timetable *t = make_full();
    struct timetable *u = NULL;
    unsigned char *p;
    void *data;
    size_t n;

    assert_int_equal(timetable_encode(&data, &n, t), 0);
    p = data;
    memcpy(p + at, bytes, count);
    hash_bytes(p + n - HASH_BYTES, p, n - HASH_BYTES);
    int rc = timetable_decode(&u, p, n, NULL);
    timetable_destroy(u);
    timetable_destroy(t);
    free(data);
    return rc;
}

static void nonsense_with_a_good_checksum_is_refused(void **state)
{
    const size_t targets = HEAD_BYTES + TIMETABLE_MODEL_BYTES + 8;
    const size_t rows = targets + TARGETS * 24;
    const size_t row = 40 + TARGETS * 8;
    const uint64_t huge = UINT64_MAX;
    const uint64_t zero = 0;
    const uint32_t many = 3;

    assert_int_equal(decode_changed(8, "\1", 1), 0); // as it was
    assert_int_equal(decode_changed(8, "\2", 1), -EBADMSG);
    assert_int_equal(decode_changed(12, &huge, 4), -EBADMSG);
    assert_int_equal(decode_changed(16, &huge, 4), -EBADMSG);
    assert_int_equal(decode_changed(32, &huge, 8), -EBADMSG);
    assert_int_equal(decode_changed(41, "\n", 1), -EBADMSG);
    assert_int_equal(decode_changed(40 + 120, "x", 1), -EBADMSG);
    assert_int_equal(decode_changed(targets + 16, &many, 4), -EBADMSG);
    assert_int_equal(decode_changed(targets + 16, &zero, 4), -EBADMSG);
    assert_int_equal(decode_changed(rows + 24, &zero, 8), -EBADMSG);
    assert_int_equal(decode_changed(rows + 40, &huge, 8), -EBADMSG);
    // Out of order.
    assert_int_equal(decode_changed(rows + row + 24, &zero, 8), -EBADMSG);
}

static void another_device_build_or_thread_is_stale(void **state)
{
    static const char device[] = "cpu of a test: c, avx2";
    static const char build[] = "1.0 0123";
    struct timetable *t = make_full();
    struct error err;

    assert_int_equal(timetable_match(t, device, build, 2, &err), 0);
    assert_int_equal(timetable_match(t, device, build, 1, &err), 0);
    assert_int_equal(timetable_match(t, device, NULL, 2, &err), 0);
    assert_int_equal(timetable_match(t, device, build, 3, &err), -ESTALE);
    assert_non_null(strstr(err.text, "2 threads"));
    assert_int_equal(timetable_match(t, device, "1.1 4567", 2, &err), -ESTALE);
    assert_non_null(strstr(err.text, "another build"));
    assert_int_equal(timetable_match(t, "cpu", build, 2, &err), -ESTALE);
    assert_non_null(strstr(err.text, "cpu of a test"));
    timetable_destroy(t);
}

static void a_full_table_forgets_the_oldest(void **state)
{
    struct timetable *t = make();
    struct rng rng;

    rng_init(&rng, 4, 0);
    // The row with exact == 17 is the oldest, the others come in any order.
    for (uint64_t i = 0; i < TIMETABLE_ROWS_MAX; i++)
        put(t, shape(i, 1 + rng_u64(&rng) % 1000), 10, i == 17 ? 1 : 2 + i);
    assert_int_equal(timetable_rows(t), TIMETABLE_ROWS_MAX);
    put(t, shape(99999, 5), 10, 9000);
    assert_int_equal(timetable_rows(t), TIMETABLE_ROWS_MAX);

    void *data;
    size_t n;
    struct timetable *u;
    assert_int_equal(timetable_encode(&data, &n, t), 0);
    assert_in_range(n, 1, TIMETABLE_BYTES_MAX);
    assert_int_equal(timetable_decode(&u, data, n, NULL), 0);
    rng_init(&rng, 4, 0);
    for (uint64_t i = 0; i < TIMETABLE_ROWS_MAX; i++) {
        const struct timetable_shape s = shape(i, 1 + rng_u64(&rng) % 1000);
        assert_int_equal(timetable_has(u, &s), i != 17);
    }
    free(data);
    timetable_destroy(t);
    timetable_destroy(u);
}

static void the_largest_table_is_within_its_bound(void **state)
{
    const size_t most = HEAD_BYTES + HASH_BYTES +
                        TIMETABLE_MODELS_MAX * (TIMETABLE_MODEL_BYTES + 8) +
                        TIMETABLE_TARGETS_MAX * 24 +
                        TIMETABLE_ROWS_MAX * (40 + TIMETABLE_TARGETS_MAX * 8);

    assert_true(most <= TIMETABLE_BYTES_MAX);
}

static void the_oldest_model_makes_room(void **state)
{
    struct timetable *t = make();
    uint8_t model[TIMETABLE_MODEL_BYTES] = {0};

    for (uint8_t i = 0; i <= TIMETABLE_MODELS_MAX; i++) {
        model[0] = i;
        timetable_put_model(t, model, i == 3 ? 1 : 10 + i);
    }
    for (uint8_t i = 0; i <= TIMETABLE_MODELS_MAX; i++) {
        model[0] = i;
        assert_int_equal(timetable_has_model(t, model), i != 3);
    }
    timetable_destroy(t);
}

static void an_empty_row_is_not_put(void **state)
{
    const uint64_t nothing[TARGETS] = {0};
    const uint64_t some[TARGETS] = {1};
    struct timetable *t = make();
    struct timetable_shape s = shape(1, 1);

    assert_int_equal(timetable_put(t, &s, nothing, 1), -EINVAL);
    s.work = 0;
    assert_int_equal(timetable_put(t, &s, some, 1), -EINVAL);
    assert_int_equal(timetable_rows(t), 0);
    timetable_destroy(t);
}

static void every_lack_of_memory_is_said(void **state)
{
    struct timetable *t = make_full();
    void *data;
    size_t n;

    assert_int_equal(timetable_encode(&data, &n, t), 0);
    for (unsigned long k = 1;; k++) {
        struct timetable *u = NULL;
        struct timetable *v = NULL;
        fault_arm(FAULT_ALLOC, k);
        int rc = timetable_decode(&u, data, n, NULL);
        if (rc == 0)
            rc = timetable_copy(&v, u);
        const bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        timetable_destroy(u);
        timetable_destroy(v);
        if (!fired)
            break;
    }
    free(data);
    timetable_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found),
        cmocka_unit_test(what_was_not_is_scaled_from_the_nearest),
        cmocka_unit_test(comes_back_from_bytes_as_it_was),
        cmocka_unit_test(every_damaged_byte_is_found),
        cmocka_unit_test(nonsense_with_a_good_checksum_is_refused),
        cmocka_unit_test(another_device_build_or_thread_is_stale),
        cmocka_unit_test(a_full_table_forgets_the_oldest),
        cmocka_unit_test(the_largest_table_is_within_its_bound),
        cmocka_unit_test(the_oldest_model_makes_room),
        cmocka_unit_test(an_empty_row_is_not_put),
        cmocka_unit_test(every_lack_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
