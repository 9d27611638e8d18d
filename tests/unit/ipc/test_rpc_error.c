// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "ipc/rpc_error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void names_and_codes_are_the_published_ones(void **state)
{
    assert_string_equal(rpc_error_name(-32700), "PARSE");
    assert_string_equal(rpc_error_name(-32800), "CANCELLED");
    assert_string_equal(rpc_error_name(1), "NOT_READY");
    assert_string_equal(rpc_error_name(20), "UNSUPPORTED");
    assert_string_equal(rpc_error_name(4711), "INTERNAL");
    assert_int_equal(rpc_error_from_name("NOT_FOUND"), 5);
    assert_int_equal(rpc_error_from_name("nonsense"), RPC_ERROR_NONE);
}

static void exit_codes_are_the_published_ones(void **state)
{
    assert_int_equal(rpc_error_exit(RPC_ERROR_BAD_PARAMS), 2);
    assert_int_equal(rpc_error_exit(RPC_ERROR_SHUTTING_DOWN), 3);
    assert_int_equal(rpc_error_exit(RPC_ERROR_DENIED), 4);
    assert_int_equal(rpc_error_exit(RPC_ERROR_NO_MODEL), 5);
    assert_int_equal(rpc_error_exit(RPC_ERROR_CONFLICT), 6);
    assert_int_equal(rpc_error_exit(RPC_ERROR_CONDITIONS), 7);
    assert_int_equal(rpc_error_exit(RPC_ERROR_TIMEOUT), 8);
    assert_int_equal(rpc_error_exit(RPC_ERROR_VERSION), 9);
    assert_int_equal(rpc_error_exit(RPC_ERROR_CANCELLED), 130);
    assert_int_equal(rpc_error_exit(RPC_ERROR_DB), 1);
}

static void errnos_become_errors(void **state)
{
    assert_int_equal(rpc_error_from_errno(0), RPC_ERROR_NONE);
    assert_int_equal(rpc_error_from_errno(-ENOENT), RPC_ERROR_NOT_FOUND);
    assert_int_equal(rpc_error_from_errno(-ENOSPC), RPC_ERROR_DISK_FULL);
    assert_int_equal(rpc_error_from_errno(-E2BIG), RPC_ERROR_TOO_LARGE);
    assert_int_equal(rpc_error_from_errno(-ENOTUNIQ), RPC_ERROR_CONFLICT);
    assert_int_equal(rpc_error_from_errno(-ENOKEY), RPC_ERROR_ERASED);
    assert_int_equal(rpc_error_from_errno(-ENXIO), RPC_ERROR_INTERNAL);
}

static void stop_reasons_have_stable_names(void **state)
{
    enum stop_reason r;

    for (int i = 0; i < STOP_REASON_COUNT; i++) {
        const char *name = stop_reason_name((enum stop_reason) i);
        assert_int_equal(stop_reason_from_name(&r, name), 0);
        assert_int_equal(r, i);
        assert_true(strlen(stop_reason_doc(r)) > 0);
    }
    assert_string_equal(stop_reason_name(STOP_REASON_POWER), "POWER");
    assert_string_equal(stop_reason_name(STOP_REASON_BATTERY_TEMP),
                        "BATTERY_TEMP");
    assert_int_equal(stop_reason_from_name(&r, "power"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_codes_are_the_published_ones),
        cmocka_unit_test(exit_codes_are_the_published_ones),
        cmocka_unit_test(errnos_become_errors),
        cmocka_unit_test(stop_reasons_have_stable_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
