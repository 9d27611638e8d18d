// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/devname.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"

static void reads_each_kind(void **state)
{
    static const struct {
        const char *text;
        enum devname_kind kind;
        const char *which;
    } good[] = {
        {NULL, DEVNAME_AUTO, NULL},
        {"", DEVNAME_AUTO, NULL},
        {"auto", DEVNAME_AUTO, NULL},
        {"cpu", DEVNAME_CPU, NULL},
        {"cpu:avx2", DEVNAME_CPU, "avx2"},
        {"vulkan", DEVNAME_VULKAN, NULL},
        {"vulkan:cpu", DEVNAME_VULKAN, "cpu"},
        {"vulkan:0", DEVNAME_VULKAN, "0"},
        {"vulkan:Radeon: RX", DEVNAME_VULKAN, "Radeon: RX"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct devname d;
        assert_int_equal(devname_parse(&d, good[i].text, NULL), 0);
        assert_int_equal(d.kind, good[i].kind);
        if (good[i].which)
            assert_string_equal(d.which, good[i].which);
        else
            assert_null(d.which);
    }
}

static void says_what_there_is(void **state)
{
    static const char *const bad[] = {
        "gpu",
        "cpus",
        "vulkan:",
        "cpu:",
        ":cpu",
        "auto:vulkan",
        " cpu",
        "VULKAN",
        "vulkan ",
        "vulkan:a\nb",
        "vulkan:\x7f",
        "vulkan:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct devname d;
        struct error err = {0};
        assert_int_equal(devname_parse(&d, bad[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "vulkan:NUMBER"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each_kind),
        cmocka_unit_test(says_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
