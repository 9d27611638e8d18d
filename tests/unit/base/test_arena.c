// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/arena.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    struct arena *a = NULL;
    assert_int_equal(arena_create(&a, 1 << 20), 0);
    unsigned char *last = NULL;
    for (size_t n = 1; n < 1000; n += 37) {
        unsigned char *p = arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t) p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
        assert_true(p != last);
        last = p;
    }
    arena_destroy(a);
}

static void refuses_what_passes_the_limit(void **state)
{
    struct arena *a = NULL;
    assert_int_equal(arena_create(&a, 4096), 0);
    assert_null(arena_alloc(a, 8192));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_calloc(a, SIZE_MAX / 2, 4));
    assert_non_null(arena_alloc(a, 4096));
    assert_null(arena_alloc(a, 1));
    assert_int_equal(arena_bytes(a), 4096);
    arena_destroy(a);
}

static void formats_text(void **state)
{
    struct arena *a = NULL;
    assert_int_equal(arena_create(&a, 4096), 0);
    assert_string_equal(arena_printf(a, "blk.%d.%s", 3, "attn_q"),
                        "blk.3.attn_q");
    assert_string_equal(arena_strdup(a, "x"), "x");
    arena_destroy(a);
}

static void survives_every_failed_allocation(void **state)
{
    for (unsigned long n = 1;; n++) {
        fault_arm(FAULT_ALLOC, n);
        struct arena *a = NULL;
        if (arena_create(&a, 1 << 20) == 0)
            for (int i = 0; i < 4; i++)
                (void) arena_alloc(a, 100 << 10);
        arena_destroy(a);
        if (!fault_fired(FAULT_ALLOC))
            break;
        assert_in_range(n, 1, 100);
    }
    fault_arm(FAULT_ALLOC, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(refuses_what_passes_the_limit),
        cmocka_unit_test(formats_text),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
