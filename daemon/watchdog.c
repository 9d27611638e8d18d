// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "watchdog"

#include "daemon/watchdog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "daemon/pockd.h"
#include "engine/base/log.h"
#include "engine/base/sdnotify.h"
#include "storage/store_policy.h"

// Longer than the 15 minutes below which nothing may wake a machine on battery.
static const uint64_t QUIET_MS = 20 * 60 * 1000;

static uint64_t wanted_ms(const struct watchdog *w)
{
    return w->is_busy || w->unit_ms > QUIET_MS ? w->unit_ms : QUIET_MS;
}

static int look(struct store *s, void *arg, struct error *err)
{
    char value[POLICY_TEXT_BYTES];
    const int rc = store_policy_get(s, "enabled", value, sizeof(value), err);

    return rc == -ENOENT ? 0 : rc;
}

static void check(struct pockd *p);

static void on_timer(uv_timer_t *t)
{
    check(t->data);
}

static void tell_period(struct watchdog *w)
{
    char text[64];

    w->told_ms = wanted_ms(w);
    (void) snprintf(text, sizeof(text), "WATCHDOG_USEC=%" PRIu64,
                    w->told_ms * 2000);
    sdnotify_send(text);
    (void) uv_timer_start(&w->timer, on_timer, w->told_ms, w->told_ms);
}

// The ping goes first: the manager counts a shorter period from the last one.
static void on_answer(void *arg, int rc, const struct error *err)
{
    struct pockd *p = arg;
    struct watchdog *w = &p->watchdog;

    w->is_checking = false;
    if (rc == -ESHUTDOWN || p->is_stopping)
        return;
    if (rc < 0) {
        log_error("event=self_check_failed text=%s", err->text);
        return;
    }
    sdnotify_send("WATCHDOG=1");
    if (w->told_ms != wanted_ms(w))
        tell_period(w);
}

static void check(struct pockd *p)
{
    struct watchdog *w = &p->watchdog;

    if (w->is_checking)
        return; // It hangs: the manager gets no ping.
    w->is_checking = dbthread_submit_own(p->dbthread, DBTHREAD_READ, look,
                                         on_answer, p) == 0;
}

void watchdog_start(struct pockd *p)
{
    struct watchdog *w = &p->watchdog;

    w->unit_ms = sdnotify_watchdog_ms();
    w->told_ms = w->unit_ms;
    if (w->unit_ms == 0)
        return;
    w->timer.data = p;
    (void) uv_timer_start(&w->timer, on_timer, w->unit_ms, w->unit_ms);
    check(p);
}

void watchdog_set_busy(struct pockd *p, bool is_busy)
{
    struct watchdog *w = &p->watchdog;

    w->is_busy = is_busy;
    if (w->unit_ms > 0 && w->told_ms != wanted_ms(w))
        check(p);
}
