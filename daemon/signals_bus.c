// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/signals_bus.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/bus.h"
#include "daemon/signals_logind.h"
#include "daemon/signals_upower.h"

struct signals_bus {
    struct bus *bus;
    struct signals_logind *logind;
    struct signals_upower *upower;
    void (*on_change)(void *user);
    void *user;
    bool is_ready; // created: before that nobody is told
};

static void on_news(void *user)
{
    struct signals_bus *b = user;

    if (b->is_ready)
        b->on_change(b->user);
}

static void on_up(sd_bus *bus, void *user)
{
    struct signals_bus *b = user;

    signals_logind_on_up(b->logind, bus);
    signals_upower_on_up(b->upower, bus);
}

static void on_down(void *user)
{
    struct signals_bus *b = user;

    signals_logind_on_down(b->logind);
    signals_upower_on_down(b->upower);
    on_news(b);
}

int signals_bus_create(struct signals_bus **out, uv_loop_t *loop,
                       void (*on_change)(void *user), void *user)
{
    struct signals_bus *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    b->on_change = on_change;
    b->user = user;
    if (signals_logind_create(&b->logind, on_news, b) < 0 ||
        signals_upower_create(&b->upower, on_news, b) < 0 ||
        bus_create(&b->bus, &(struct bus_params){.loop = loop,
                                                 .on_up = on_up,
                                                 .on_down = on_down,
                                                 .user = b}) < 0) {
        signals_bus_destroy(b);
        return -ENOMEM;
    }
    b->is_ready = true;
    *out = b;
    return 0;
}

void signals_bus_destroy(struct signals_bus *b)
{
    if (!b)
        return;
    bus_destroy(b->bus);
    signals_logind_destroy(b->logind);
    signals_upower_destroy(b->upower);
    free(b);
}

void signals_bus_read(const struct signals_bus *b, struct snapshot *s,
                      int64_t *idle_since_ms)
{
    signals_upower_read(b->upower, s);
    signals_logind_read(b->logind, s, idle_since_ms);
}

void signals_bus_poll(struct signals_bus *b)
{
    bus_retry(b->bus);
    signals_logind_poll(b->logind);
    bus_flush(b->bus);
}

void signals_bus_hold_awake(struct signals_bus *b, bool is_held)
{
    signals_logind_hold_awake(b->logind, is_held);
    bus_flush(b->bus);
}

void signals_bus_release_sleep(struct signals_bus *b)
{
    signals_logind_release_sleep(b->logind);
}
