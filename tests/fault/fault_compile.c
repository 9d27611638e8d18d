// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Every allocation of a compile, a print and an executor fails in turn: the
 * call says -ENOMEM, leaves its result alone, and nothing leaks (ASan tells).
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "tests/support/tiny.h"

static struct device *dev;

static int scenario(struct bank *bank, enum program_kind kind)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 2);
    const struct scheme_lora lora = {2, 4, LORA_ALL, 0};
    const struct scheme scheme = tiny_scheme(&m, &lora);
    const struct program_params params = {.kind = kind,
                                          .batch =
                                              kind == PROGRAM_CACHED ? 0 : 1,
                                          .length = 8,
                                          .cache_length = 8,
                                          .n_rows = 1,
                                          .scheme = &scheme};
    const struct executor_params ep = bank_executor_params(bank);
    struct program *p = NULL;
    struct executor *e = NULL;
    struct error err = {0};
    char *text = NULL;
    int rc;

    if ((rc = program_compile(&p, &m, &params, &cpu_backend, dev, &err)) < 0) {
        assert_null(p);
        assert_string_equal(err.text, "compiling the program: out of memory");
        return rc;
    }
    if ((rc = program_print(&text, p)) < 0)
        assert_null(text);
    else if ((rc = executor_create(&e, p, &ep, &err)) < 0)
        assert_null(e);
    free(text);
    executor_destroy(e);
    program_destroy(p);
    return rc;
}

static void check(enum program_kind kind)
{
    const struct device_params dp = {.threads = 1, .tier = "c"};
    struct bank bank;
    unsigned long n = 0;
    int rc;

    assert_int_equal(cpu_backend.open(&dev, &dp, NULL), 0);
    do {
        bank_init(&bank, &cpu_backend, dev, 1);
        fault_arm(FAULT_ALLOC, ++n);
        rc = scenario(&bank, kind);
        const bool fired = fault_fired(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(rc, fired ? -ENOMEM : 0);
        bank_finish(&bank);
    } while (rc < 0);
    assert_in_range(n, 10, 100000);
    cpu_backend.close(dev);
}

static void training_survives_every_failed_allocation(void **state)
{
    check(PROGRAM_TRAIN);
}

static void generation_survives_every_failed_allocation(void **state)
{
    check(PROGRAM_CACHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_survives_every_failed_allocation),
        cmocka_unit_test(generation_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
