// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/plan/timetables.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char cpu[] = "cpu of a test: c, avx2";
static const char gpu[] = "vulkan Card 7, driver 12, shaders 0a0b";
static const char later[] = "vulkan Card 7, driver 13, shaders 0a0b";
static const char card[] = "vulkan Card 71, driver 12, shaders 0a0b";
static const char build[] = "1.0 0123";

struct bytes {
    void *data;
    size_t n;
};

static struct timetable *make(const char *device, const char *of_build,
                              uint64_t ns)
{
    static const struct timetable_target targets[] = {
        {"best", 1},
        {"tile", 1},
        {"plain", 1},
    };
    const struct timetable_params params = {
        .device = device,
        .build = of_build,
        .threads = 1,
        .targets = targets,
        .n_targets = 3,
    };
    const struct timetable_shape shape = {1, 2, 3, 4};
    const uint64_t row[] = {ns, ns, 0};
    struct timetable *t;

    assert_int_equal(timetable_create(&t, &params), 0);
    assert_int_equal(timetable_put(t, &shape, row, 9), 0);
    return t;
}

// A table in front of what there was.
static struct bytes put(struct bytes before, const char *device,
                        const char *of_build, uint64_t ns)
{
    struct timetable *t = make(device, of_build, ns);
    struct bytes b;

    assert_int_equal(timetables_put(&b.data, &b.n, t, before.data, before.n),
                     0);
    timetable_destroy(t);
    free(before.data);
    return b;
}

// The ns of the device's table, or what comes of looking for it.
static int64_t find(struct bytes b, const char *device, const char *says)
{
    struct timetable_shape shape;
    struct timetable *t;
    struct error err = {0};
    const int rc = timetables_find(&t, b.data, b.n, device, build, 1, &err);

    if (rc < 0) {
        assert_non_null(strstr(err.text, says ? says : ""));
        return rc;
    }
    assert_string_equal(timetable_device(t), device);
    const int64_t ns = (int64_t) timetable_row(&shape, t, 0)[0];
    timetable_destroy(t);
    return ns;
}

static void each_device_has_its_own(void **state)
{
    struct bytes b = put((struct bytes){0}, cpu, build, 100);

    assert_int_equal(find(b, cpu, NULL), 100);
    assert_int_equal(find(b, gpu, "cpu of a test"), -ENODATA);
    b = put(b, gpu, build, 7);
    b = put(b, card, build, 8);
    assert_int_equal(find(b, cpu, NULL), 100);
    assert_int_equal(find(b, gpu, NULL), 7);
    assert_int_equal(find(b, card, NULL), 8);
    free(b.data);
}

static void a_new_one_takes_the_place_of_its_predecessor(void **state)
{
    struct bytes b = put((struct bytes){0}, cpu, build, 100);

    b = put(b, gpu, build, 7);
    const size_t bytes = b.n;
    b = put(b, cpu, build, 90);
    assert_int_equal(b.n, bytes);
    assert_int_equal(find(b, cpu, NULL), 90);
    // Of the same card with another driver.
    b = put(b, later, build, 6);
    assert_int_equal(b.n, bytes);
    assert_int_equal(find(b, later, NULL), 6);
    assert_int_equal(find(b, cpu, NULL), 90);
    free(b.data);
}

static void one_of_another_driver_build_or_processor_is_stale(void **state)
{
    struct bytes b = put((struct bytes){0}, cpu, build, 100);

    b = put(b, gpu, build, 7);
    assert_int_equal(find(b, later, "another device"), -ESTALE);
    assert_int_equal(find(b, "cpu of another: c", "another device"), -ESTALE);
    free(b.data);
    b = put((struct bytes){0}, cpu, "0.9 0123", 100);
    assert_int_equal(find(b, cpu, "another build"), -ESTALE);
    // A new one does not keep it.
    b = put(b, gpu, build, 7);
    assert_int_equal(find(b, cpu, "not on this one"), -ENODATA);
    free(b.data);
}

static void as_many_are_kept_as_have_room(void **state)
{
    struct bytes b = {0};
    char name[40];

    for (int i = 0; i < 7; i++) {
        (void) snprintf(name, sizeof(name), "vulkan %d, driver 1", i);
        b = put(b, name, build, (uint64_t) (10 + i));
    }
    for (int i = 0; i < 7; i++) {
        (void) snprintf(name, sizeof(name), "vulkan %d, driver 1", i);
        assert_int_equal(find(b, name, NULL),
                         i < 7 - TIMETABLES_MAX ? -ENODATA : 10 + i);
    }
    free(b.data);
}

// Whoever looks for whichever.
static void any_damage_is_told_of(void **state)
{
    struct bytes b = put((struct bytes){0}, cpu, build, 100);

    b = put(b, gpu, build, 7);
    unsigned char *p = b.data;
    for (size_t i = 0; i < b.n; i++) {
        p[i] ^= 4;
        assert_int_equal(find(b, cpu, "cannot be used"), -EBADMSG);
        p[i] ^= 4;
    }
    for (size_t n = 0; n < b.n; n++)
        if (n != b.n / 2)
            assert_int_equal(find((struct bytes){p, n}, gpu, "cannot be used"),
                             -EBADMSG);
    assert_int_equal(find((struct bytes){p, b.n / 2}, gpu, NULL), 7);
    // Of damaged ones a new one keeps what it can.
    p[b.n - 1] ^= 1;
    b = put(b, card, build, 8);
    assert_int_equal(find(b, gpu, NULL), 7);
    assert_int_equal(find(b, cpu, NULL), -ENODATA);
    free(b.data);
}

static void more_than_are_written_are_not_read(void **state)
{
    struct bytes one = put((struct bytes){0}, cpu, build, 100);
    struct bytes b = {malloc(one.n * (TIMETABLES_MAX + 1)), 0};

    assert_non_null(b.data);
    for (int i = 0; i <= TIMETABLES_MAX; i++, b.n += one.n)
        memcpy((char *) b.data + b.n, one.data, one.n);
    assert_int_equal(find(b, cpu, "more than 4"), -EBADMSG);
    free(b.data);
    free(one.data);
}

static void winners_are_counted(void **state)
{
    static const uint64_t rows[][3] = {
        {100, 90, 0},  // tile
        {100, 97, 0},  // not by so little
        {100, 95, 50}, // plain
        {0, 90, 89},   // tile is what is usual there
        {100, 0, 80},  // plain
        {100, 40, 0},  // tile
    };
    struct timetable *t = make(gpu, build, 5); // best
    char text[64];

    for (uint64_t i = 0; i < 6; i++) {
        const struct timetable_shape shape = {10 + i, 2, 3, 4};
        assert_int_equal(timetable_put(t, &shape, rows[i], 9), 0);
    }
    timetable_winners(text, sizeof(text), t);
    assert_string_equal(text, "tile 3, best 2, plain 2");
    timetable_winners(text, 34, t);
    assert_string_equal(text, "tile 3");
    timetable_destroy(t);
}

static void every_lack_of_memory_is_said(void **state)
{
    struct bytes b = put((struct bytes){0}, cpu, build, 100), out;
    struct timetable *t = make(gpu, build, 7), *found;
    struct error err;
    unsigned long n = 0;
    bool fired;

    do {
        fault_arm(FAULT_ALLOC, ++n);
        const int rc = timetables_put(&out.data, &out.n, t, b.data, b.n);
        fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
    } while (fired);
    assert_true(n > 4);
    free(out.data);
    n = 0;
    do {
        fault_arm(FAULT_ALLOC, ++n);
        const int rc =
            timetables_find(&found, b.data, b.n, cpu, build, 1, &err);
        fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
    } while (fired);
    assert_true(n > 1);
    timetable_destroy(found);
    timetable_destroy(t);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_device_has_its_own),
        cmocka_unit_test(a_new_one_takes_the_place_of_its_predecessor),
        cmocka_unit_test(one_of_another_driver_build_or_processor_is_stale),
        cmocka_unit_test(as_many_are_kept_as_have_room),
        cmocka_unit_test(any_damage_is_told_of),
        cmocka_unit_test(more_than_are_written_are_not_read),
        cmocka_unit_test(winners_are_counted),
        cmocka_unit_test(every_lack_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
