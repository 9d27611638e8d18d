// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/manners.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void follow_who_uses_the_machine(void **state)
{
    static const struct {
        bool is_known, is_in_use;
        enum tri is_screen_off, is_session_idle;
        enum daemon_manners want;
    } cases[] = {
        {true, true, TRI_NO, TRI_NO, DAEMON_MANNERS_ACTIVE},
        {true, true, TRI_UNKNOWN, TRI_NO, DAEMON_MANNERS_ACTIVE},
        {true, false, TRI_NO, TRI_UNKNOWN, DAEMON_MANNERS_IDLE},
        {false, false, TRI_NO, TRI_UNKNOWN, DAEMON_MANNERS_IDLE},
        // Locked, with the screen still on.
        {true, false, TRI_NO, TRI_YES, DAEMON_MANNERS_UNUSED},
        {true, false, TRI_YES, TRI_UNKNOWN, DAEMON_MANNERS_UNUSED},
        // A server without a screen.
        {false, false, TRI_UNKNOWN, TRI_UNKNOWN, DAEMON_MANNERS_UNUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct snapshot s;
        snapshot_init(&s);
        s.is_use_known = cases[i].is_known;
        s.is_in_use = cases[i].is_in_use;
        s.is_screen_off = cases[i].is_screen_off;
        s.is_session_idle = cases[i].is_session_idle;
        assert_int_equal(manners_of(&s), cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follow_who_uses_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
