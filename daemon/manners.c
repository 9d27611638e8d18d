// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/manners.h"

enum daemon_manners manners_of(const struct snapshot *s)
{
    if (s->is_use_known && s->is_in_use)
        return DAEMON_MANNERS_ACTIVE;
    if (s->is_screen_off == TRI_NO && s->is_session_idle != TRI_YES)
        return DAEMON_MANNERS_IDLE;
    return DAEMON_MANNERS_UNUSED;
}

int manners_duty_pct(const struct snapshot *s, const struct policy *p)
{
    return s->thermal_level == 0 ? 100 : (int) p->warm_duty_pct;
}
