// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/vulkan/vk_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static atomic_int who;

static struct device device(void)
{
    return (struct device){.manners = &who, .behaves = -1};
}

// Depth times slice is what others wait for at most.
static double wait_ms(const struct device *dev)
{
    return dev->slice_ns * dev->depth * 1e-6;
}

static void who_is_at_work_waits_least(void **state)
{
    struct device dev = device();

    atomic_store(&who, MANNERS_ACTIVE);
    assert_true(vk_behave(&dev));
    assert_true(wait_ms(&dev) <= 2);
    assert_int_equal(dev.gap, 200);
    assert_false(vk_behave(&dev));
    atomic_store(&who, MANNERS_IDLE);
    assert_true(vk_behave(&dev));
    assert_true(wait_ms(&dev) <= 4);
    assert_int_equal(dev.gap, 100);
    atomic_store(&who, MANNERS_UNUSED);
    assert_true(vk_behave(&dev));
    assert_true(dev.slice_ns > 10e6);
    assert_int_equal(dev.gap, 0);
    assert_int_equal(dev.depth, VK_FLIGHTS);
}

static void a_queue_behind_all_others_may_take_longer(void **state)
{
    struct device dev = device();

    dev.traits.has_low_priority = true;
    atomic_store(&who, MANNERS_ACTIVE);
    assert_true(vk_behave(&dev));
    assert_true(wait_ms(&dev) <= 4 && wait_ms(&dev) > 2);
    assert_int_equal(dev.depth, 1);
}

static void a_ceiling_holds_whoever_is_there(void **state)
{
    struct device dev = device();

    dev.slice_most_ns = 1e6;
    for (int m = MANNERS_UNUSED; m <= MANNERS_ACTIVE; m++) {
        atomic_store(&who, m);
        assert_true(vk_behave(&dev));
        assert_true(dev.slice_ns <= 1e6);
    }
}

static void nonsense_is_somebody_at_work(void **state)
{
    struct device dev = device();

    atomic_store(&who, 77);
    assert_true(vk_behave(&dev));
    assert_true(wait_ms(&dev) <= 2);
    dev = device();
    dev.manners = NULL;
    assert_true(vk_behave(&dev));
    assert_int_equal(dev.gap, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_at_work_waits_least),
        cmocka_unit_test(a_queue_behind_all_others_may_take_longer),
        cmocka_unit_test(a_ceiling_holds_whoever_is_there),
        cmocka_unit_test(nonsense_is_somebody_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
