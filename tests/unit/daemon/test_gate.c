// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/gate.h"

static const struct gate_input good = {
    .heldout_before = 4.9,
    .heldout_after = 3.9,
    .heldout_tokens = 2000,
    .probe_before = 4.0,
    .probe_after = 4.1,
};

static bool passes(struct gate_input in, const char *says)
{
    char reason[GATE_REASON_BYTES] = "";
    struct policy p;

    policy_init(&p);
    bool ok = gate_passes(reason, &in, &p);
    if (!strstr(reason, says))
        fail_msg("reason is: %s", reason);
    return ok;
}

static void a_better_version_passes(void **state)
{
    assert_true(passes(good, "4.9000 to 3.9000"));
}

static void a_version_that_is_hardly_better_does_not(void **state)
{
    struct gate_input in = good;

    in.heldout_after = in.heldout_before - 0.005;
    assert_false(passes(in, "held-out loss"));
    in.heldout_after = in.heldout_before + 1;
    assert_false(passes(in, "held-out loss"));
}

static void a_version_that_forgets_does_not(void **state)
{
    struct gate_input in = good;

    in.probe_after = 4.6;
    assert_false(passes(in, "general text rose"));
}

static const struct store_exposure harmless = {
    .sequences = 12,
    .bits = 6.5,
    .bits_base = 1.5,
    .bits_drawn = 1.2,
    .record_id = 17,
};

static void a_version_that_recites_does_not(void **state)
{
    struct gate_input in = good;

    in.exposure = harmless;
    assert_true(passes(in, "4.9000 to 3.9000"));
    in.exposure.recited = 1;
    assert_false(passes(in, "recites 1 of 12 rare sequences"));
    assert_false(passes(in, "(record 17)"));
    in.exposure.record_id = 0;
    assert_false(passes(in, "of its records: erase"));
}

static void a_version_that_knows_a_secret_by_heart_does_not(void **state)
{
    struct gate_input in = good;

    in.exposure = harmless;
    in.exposure.bits = 42;
    assert_false(passes(in, "exposure 42.0 bits, 1.5 before, limit 40"));
    // What the base model knows as well was not learned here.
    in.exposure.bits_base = 41;
    assert_true(passes(in, "4.9000 to 3.9000"));
}

static void what_was_not_measured_does_not_pass(void **state)
{
    struct gate_input in = good;

    in.heldout_after = NAN;
    assert_false(passes(in, "could not be measured"));
    in = good;
    in.heldout_tokens = 0;
    assert_false(passes(in, "held-out tokens"));
    in = good;
    in.probe_after = NAN;
    assert_false(passes(in, "general text could not"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_better_version_passes),
        cmocka_unit_test(a_version_that_is_hardly_better_does_not),
        cmocka_unit_test(a_version_that_forgets_does_not),
        cmocka_unit_test(a_version_that_recites_does_not),
        cmocka_unit_test(a_version_that_knows_a_secret_by_heart_does_not),
        cmocka_unit_test(what_was_not_measured_does_not_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
