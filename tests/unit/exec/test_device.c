// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/rates.h"
#include "engine/selftest.h"

static const struct device_params params = {.threads = 1};

// Is there a CPU that plays a GPU? Without one its tests have nothing to do.
static bool has_player(void)
{
    struct device_opened d;
    struct error err = {0};
    int rc = device_open(&d, "vulkan:cpu", &params, &err);

    if (rc == -ENODEV || rc == -ENOTSUP) {
        print_message("# %s: skipped\n", err.text);
        return false;
    }
    assert_int_equal(rc, 0);
    device_close(&d);
    return true;
}

static void opens_the_cpu_by_name(void **state)
{
    struct device_opened d;

    assert_int_equal(device_open(&d, "cpu:c", &params, NULL), 0);
    assert_ptr_equal(d.backend, &cpu_backend);
    assert_string_equal(d.backend->describe(d.dev), "cpu c, 1 thread");
    assert_string_equal(d.why, "");
    device_close(&d);
    device_close(&d);
}

static void refuses_what_is_not_there(void **state)
{
    struct device_opened d;
    struct error err = {0};

    assert_int_equal(device_open(&d, "tpu", &params, &err), -EINVAL);
    assert_int_equal(device_open(&d, "cpu:sse9", &params, &err), -EINVAL);
    assert_null(d.dev);
}

// Whatever there is, "auto" gives something and says why.
static void auto_always_finds_one(void **state)
{
    struct device_opened d;
    struct error err = {0};

    assert_int_equal(device_open(&d, "auto", &params, &err), 0);
    assert_non_null(d.dev);
    assert_true(strlen(d.why) > 10);
    device_close(&d);
}

static void a_player_passes_its_selftest(void **state)
{
    struct device_opened d;
    struct selftest t;
    struct error err = {0};

    if (!has_player())
        return;
    assert_int_equal(device_open(&d, "vulkan:cpu", &params, &err), 0);
    assert_ptr_not_equal(d.backend, &cpu_backend);
    assert_int_equal(selftest_run(&t, d.backend, d.dev, &err), 0);
    assert_true(t.n_run > 0);
    device_close(&d);
}

static void one_that_computes_wrongly_is_refused_by_name(void **state)
{
    struct device_opened d;
    struct error err = {0};

    if (!has_player())
        return;
    fault_arm(FAULT_RESULT, 1);
    assert_int_equal(device_open(&d, "vulkan:cpu", &params, &err), -EBADE);
    assert_true(fault_fired(FAULT_RESULT));
    fault_arm(FAULT_RESULT, 0);
    assert_null(d.dev);
    assert_non_null(strstr(err.text, "llvmpipe"));
    assert_non_null(strstr(err.text, "computes wrongly"));
}

static void a_stop_does_not_make_it_fail(void **state)
{
    const atomic_bool stop = true;
    const struct device_params stopped = {.threads = 1, .stop = &stop};
    struct device_opened d;
    struct error err = {0};

    if (!has_player())
        return;
    assert_int_equal(device_open(&d, "vulkan:cpu", &stopped, &err), 0);
    device_close(&d);
}

static void one_that_is_lost_at_once_is_refused(void **state)
{
    struct device_opened d;
    struct error err = {0};
    unsigned long n = 1;

    if (!has_player())
        return;
    for (;; n++) {
        fault_arm(FAULT_DEVICE, n);
        int rc = device_open(&d, "vulkan:cpu", &params, &err);
        const bool has_fired = fault_fired(FAULT_DEVICE);
        fault_arm(FAULT_DEVICE, 0);
        if (rc == 0)
            device_close(&d);
        if (!has_fired)
            break;
        assert_int_equal(rc, -EIO);
        assert_non_null(strstr(err.text, "llvmpipe"));
    }
    assert_true(n > 3);
}

static void there_may_be_no_library(void **state)
{
    struct device_opened d;
    struct error err = {0};

    if (!has_player())
        return;
    fault_arm(FAULT_READ, 1);
    assert_int_equal(device_open(&d, "vulkan", &params, &err), -ENODEV);
    fault_arm(FAULT_READ, 0);
    assert_non_null(strstr(err.text, "libvulkan.so.1"));
}

static void there_may_be_no_driver(void **state)
{
    struct device_opened d;
    struct error err = {0};

    if (!has_player())
        return;
    setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
    setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
    assert_int_equal(device_open(&d, "vulkan:cpu", &params, &err), -ENODEV);
    unsetenv("VK_ICD_FILENAMES");
    unsetenv("VK_DRIVER_FILES");
    assert_true(err.text[0]);
}

static void a_driver_may_lack_what_is_needed(void **state)
{
    struct device_opened d;
    struct error err = {0};

    if (!has_player())
        return;
    fault_arm(FAULT_DRIVER, 1);
    int rc = device_open(&d, "vulkan:cpu", &params, &err);
    fault_arm(FAULT_DRIVER, 0);
    assert_int_equal(rc, -ENOTSUP);
    assert_non_null(strstr(err.text, "cannot be used: it lacks"));
}

// It is lost as often as it was told to be.
static void faults_come_again(void **state)
{
    int hits = 0;

    fault_arm_often(FAULT_DEVICE, 3, 2);
    for (int i = 1; i <= 12; i++)
        hits += fault_hit(FAULT_DEVICE) ? i : 0;
    assert_int_equal(hits, 3 + 6);
}

static void memory_may_run_out_while_opening(void **state)
{
    struct device_opened d;
    struct error err = {0};
    unsigned long n = 1;

    if (!has_player())
        return;
    // Each compiles what was compiled before the failure.
    for (;; n += n < 12 ? 1 : 5) {
        fault_arm(FAULT_ALLOC, n);
        int rc = device_open(&d, "vulkan:cpu", &params, &err);
        const bool has_fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (!has_fired) {
            assert_int_equal(rc, 0);
            device_close(&d);
            break;
        }
        if (rc == 0)
            device_close(&d);
        else
            assert_int_equal(rc, -ENOMEM);
    }
    assert_true(n > 3);
}

static void rates_of_the_cpu_are_sensible(void **state)
{
    struct device_opened d;
    struct rates r;
    struct error err = {0};

    assert_int_equal(device_open(&d, "cpu", &params, &err), 0);
    assert_int_equal(rates_measure(&r, d.backend, d.dev, 0.02, &err), 0);
    // From the slowest emulator to more than any core has.
    assert_in_range((uintmax_t) (r.flops / 1e6), 10, 10000000);
    assert_in_range((uintmax_t) (r.bytes_s / 1e6), 10, 10000000);
    device_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_the_cpu_by_name),
        cmocka_unit_test(refuses_what_is_not_there),
        cmocka_unit_test(auto_always_finds_one),
        cmocka_unit_test(a_player_passes_its_selftest),
        cmocka_unit_test(one_that_computes_wrongly_is_refused_by_name),
        cmocka_unit_test(a_stop_does_not_make_it_fail),
        cmocka_unit_test(one_that_is_lost_at_once_is_refused),
        cmocka_unit_test(there_may_be_no_library),
        cmocka_unit_test(there_may_be_no_driver),
        cmocka_unit_test(a_driver_may_lack_what_is_needed),
        cmocka_unit_test(faults_come_again),
        cmocka_unit_test(memory_may_run_out_while_opening),
        cmocka_unit_test(rates_of_the_cpu_are_sensible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
