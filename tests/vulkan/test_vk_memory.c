// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Memory of a device that the host does not see: what goes there through
 * staging memory, or from memory that was lent to the host. A CPU that plays a
 * GPU would show it all, so that it is told to keep it apart.
 */

#include "engine/backend.h"
#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/vulkan/vk_device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 70 << 20, DEVICES = 8 }; // more than staging memory has

static const struct backend *const vk = &vulkan_backend;

struct rig {
    struct device *dev;
    struct buffer *buffer;
    unsigned char *data, *back;
};

// The first question to a driver is about each of its devices.
static bool open_apart(struct rig *r)
{
    const char *which = getenv("POCK_TEST_VULKAN");
    const struct device_params params = {.tier = which ? which : "cpu"};
    struct error err = {0};

    for (unsigned long n = 2; n < DEVICES; n++) {
        fault_arm(FAULT_DRIVER, n);
        const int rc = vk->open(&r->dev, &params, &err);
        const bool has_fired = fault_fired(FAULT_DRIVER);
        fault_arm(FAULT_DRIVER, 0);
        if (rc == -ENODEV && !which)
            return false;
        if (rc == 0 && (has_fired || which))
            return true;
        if (rc == 0)
            vk->close(r->dev);
    }
    fail_msg("no device keeps its memory apart: %s", err.text);
    return false;
}

static void rig_init(struct rig *r, size_t bytes)
{
    *r = (struct rig){0};
    if (!open_apart(r))
        skip();
    assert_false(r->dev->local.is_mapped);
    assert_int_equal(vk->buffer_create(&r->buffer, r->dev, bytes), 0);
    r->data = malloc(bytes);
    r->back = malloc(bytes);
    assert_true(r->data && r->back);
    for (size_t i = 0; i < bytes; i++)
        r->data[i] = (unsigned char) (i * 2654435761u >> 24);
}

static void rig_finish(struct rig *r)
{
    vk->buffer_destroy(r->buffer);
    vk->close(r->dev);
    free(r->data);
    free(r->back);
}

static void is_there(struct rig *r, size_t offset, const void *data,
                     size_t bytes)
{
    assert_int_equal(vk->buffer_read(r->buffer, offset, r->back, bytes), 0);
    assert_memory_equal(r->back, data, bytes);
}

static void more_than_staging_memory_goes_there_and_back(void **state)
{
    struct rig r;

    rig_init(&r, BYTES);
    assert_int_equal(vk->buffer_write(r.buffer, 0, r.data, BYTES), 0);
    is_there(&r, 0, r.data, BYTES);
    // Those that meet come in their order.
    memset(r.data + 100, 7, 1000);
    assert_int_equal(vk->buffer_write(r.buffer, 0, r.back, 4096), 0);
    assert_int_equal(vk->buffer_write(r.buffer, 100, r.data + 100, 1000), 0);
    is_there(&r, 0, r.data, BYTES);
    rig_finish(&r);
}

static void new_memory_is_zero(void **state)
{
    static const unsigned char zeros[4096];
    struct rig r;

    rig_init(&r, sizeof zeros);
    is_there(&r, 0, zeros, sizeof zeros);
    rig_finish(&r);
}

static void what_was_lent_is_read_from_where_it_lies(void **state)
{
    enum { N = 1 << 20 };
    struct rig r;

    rig_init(&r, 2 * N);
    const size_t used = r.dev->used_bytes;
    unsigned char *lent = vk->host_alloc(r.dev, N);
    assert_non_null(lent);
    for (int i = 0; i < N; i++)
        assert_int_equal(lent[i], 0);
    memcpy(lent, r.data, N);
    assert_int_equal(vk->buffer_write(r.buffer, 0, lent, N), 0);
    // Part of it, over the end of what came before.
    assert_int_equal(vk->buffer_write(r.buffer, N - 64, lent + 64, 128), 0);
    // Nothing was copied yet: it is read when the device comes to it.
    lent[5] ^= 0xff;
    r.data[5] ^= 0xff;
    assert_int_equal(vk->buffer_read(r.buffer, 0, r.back, N + 64), 0);
    assert_memory_equal(r.back, r.data, N - 64);
    assert_memory_equal(r.back + N - 64, r.data + 64, 128);
    // It is the host's, not the device's.
    assert_int_equal(r.dev->used_bytes, used);
    // What still waits is read before it goes.
    assert_int_equal(vk->buffer_write(r.buffer, N, lent, N), 0);
    vk->host_free(r.dev, lent);
    is_there(&r, N, r.data, N);
    rig_finish(&r);
}

static void none_to_lend_is_no_failure(void **state)
{
    struct rig r;

    rig_init(&r, 4096);
    for (unsigned long n = 1; n <= 2; n++) {
        fault_arm(FAULT_ALLOC, n);
        assert_null(vk->host_alloc(r.dev, 4096));
        assert_true(fault_fired(FAULT_ALLOC));
        fault_arm(FAULT_ALLOC, 0);
    }
    vk->host_free(r.dev, NULL);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_staging_memory_goes_there_and_back),
        cmocka_unit_test(new_memory_is_zero),
        cmocka_unit_test(what_was_lent_is_read_from_where_it_lies),
        cmocka_unit_test(none_to_lend_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
