// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "upower"

#include "daemon/signals_upower.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/bus_take.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. No call waits. What is known of an object is what its last full answer
 *    said, changed by what was announced since.
 * 2. An object whose service is gone is not known at all.
 */

#define PROPS  "org.freedesktop.DBus.Properties"
#define UPOWER "org.freedesktop.UPower"

// Objects whose properties are read, each with its own meaning.
enum object {
    OBJECT_POWER,
    OBJECT_DISPLAY,
    OBJECT_PROFILE,
    OBJECT_PROFILE_OLD,
    OBJECT_COUNT
};

static const struct {
    const char *service;
    const char *path;
    const char *interface;
} objects[OBJECT_COUNT] = {
    [OBJECT_POWER] = {UPOWER, "/org/freedesktop/UPower", UPOWER},
    [OBJECT_DISPLAY] = {UPOWER, "/org/freedesktop/UPower/devices/DisplayDevice",
                        UPOWER ".Device"},
    [OBJECT_PROFILE] = {UPOWER ".PowerProfiles",
                        "/org/freedesktop/UPower/PowerProfiles",
                        UPOWER ".PowerProfiles"},
    [OBJECT_PROFILE_OLD] = {"net.hadess.PowerProfiles",
                            "/net/hadess/PowerProfiles",
                            "net.hadess.PowerProfiles"},
};

struct watched {
    struct signals_upower *u;
    enum object object;
    enum tri is_saver; // of a profile
};

struct signals_upower {
    void (*on_change)(void *user);
    void *user;
    sd_bus *bus; // NULL: down
    struct take_power power;
    struct watched watched[OBJECT_COUNT];
};

static void forget(struct signals_upower *u, enum object object)
{
    enum tri is_on_battery = u->power.is_on_battery;

    switch (object) {
    case OBJECT_POWER:
        u->power.is_on_battery = TRI_UNKNOWN;
        return;
    case OBJECT_DISPLAY:
        take_power_init(&u->power);
        u->power.is_on_battery = is_on_battery;
        return;
    case OBJECT_PROFILE:
    case OBJECT_PROFILE_OLD:
        u->watched[object].is_saver = TRI_UNKNOWN;
        return;
    case OBJECT_COUNT:
        return;
    }
}

static int take(sd_bus_message *m, struct watched *w)
{
    if (w->object == OBJECT_POWER || w->object == OBJECT_DISPLAY)
        return bus_read_properties(m, take_power, &w->u->power);
    return bus_read_properties(m, take_profile, &w->is_saver);
}

static int on_all(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct watched *w = user;
    int rc = 0;

    forget(w->u, w->object);
    if (!sd_bus_message_is_method_error(m, NULL) && (rc = take(m, w)) < 0) {
        log_warn("event=odd_answer service=%s error=%s",
                 objects[w->object].service, strerror(-rc));
        forget(w->u, w->object);
    }
    w->u->on_change(w->u->user);
    return 0;
}

static void ask(struct watched *w)
{
    sd_bus_message *m = NULL;

    if (sd_bus_message_new_method_call(w->u->bus, &m,
                                       objects[w->object].service,
                                       objects[w->object].path, PROPS,
                                       "GetAll") >= 0 &&
        sd_bus_message_append(m, "s", objects[w->object].interface) >= 0 &&
        sd_bus_message_set_auto_start(m, 0) >= 0)
        (void) sd_bus_call_async(w->u->bus, NULL, m, on_all, w, 0);
    (void) sd_bus_message_unref(m);
}

static int on_changed(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct watched *w = user;
    const char *interface;

    if (sd_bus_message_read_basic(m, 's', &interface) <= 0 ||
        strcmp(interface, objects[w->object].interface) != 0)
        return 0;
    // Names without values follow where a service does not say them at once.
    if (take(m, w) < 0 || sd_bus_message_enter_container(m, 'a', "s") <= 0 ||
        sd_bus_message_at_end(m, 0) == 0)
        ask(w);
    w->u->on_change(w->u->user);
    return 0;
}

static int on_owner(sd_bus_message *m, void *user, sd_bus_error *err)
{
    struct watched *w = user;
    const char *owner = "";

    if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0)
        return 0;
    if (w->object != OBJECT_DISPLAY) // UPower has been told of.
        log_info("event=%s service=%s", *owner ? "service_up" : "service_gone",
                 objects[w->object].service);
    forget(w->u, w->object);
    if (*owner)
        ask(w);
    w->u->on_change(w->u->user);
    return 0;
}

static void watch(struct watched *w)
{
    char match[400];

    snprintf(match, sizeof(match),
             "type='signal',sender='%s',path='%s',interface='" PROPS
             "',member='PropertiesChanged'",
             objects[w->object].service, objects[w->object].path);
    (void) sd_bus_add_match_async(w->u->bus, NULL, match, on_changed, NULL, w);
    snprintf(match, sizeof(match),
             "type='signal',sender='org.freedesktop.DBus',"
             "member='NameOwnerChanged',arg0='%s'",
             objects[w->object].service);
    (void) sd_bus_add_match_async(w->u->bus, NULL, match, on_owner, NULL, w);
}

void signals_upower_on_up(struct signals_upower *u, sd_bus *bus)
{
    u->bus = bus;
    for (int i = 0; i < OBJECT_COUNT; i++) {
        watch(&u->watched[i]);
        ask(&u->watched[i]);
    }
}

void signals_upower_on_down(struct signals_upower *u)
{
    u->bus = NULL;
    for (int i = 0; i < OBJECT_COUNT; i++)
        forget(u, (enum object) i);
}

int signals_upower_create(struct signals_upower **out,
                          void (*on_change)(void *user), void *user)
{
    struct signals_upower *u = calloc(1, sizeof(*u));

    if (!u)
        return -ENOMEM;
    u->on_change = on_change;
    u->user = user;
    take_power_init(&u->power);
    for (int i = 0; i < OBJECT_COUNT; i++)
        u->watched[i] = (struct watched){.u = u, .object = (enum object) i};
    *out = u;
    return 0;
}

void signals_upower_destroy(struct signals_upower *u)
{
    free(u);
}

void signals_upower_read(const struct signals_upower *u, struct snapshot *s)
{
    enum tri is_saver = u->watched[OBJECT_PROFILE].is_saver;

    take_power_apply(&u->power, s);
    if (is_saver == TRI_UNKNOWN)
        is_saver = u->watched[OBJECT_PROFILE_OLD].is_saver;
    if (is_saver == TRI_UNKNOWN)
        return;
    s->is_power_saver = is_saver;
    s->source[SIGNAL_power_saver] = SIGNAL_SOURCE_DBUS;
}
