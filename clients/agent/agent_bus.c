// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/agent/agent.h"

#include "engine/base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define NAME  "org.freedesktop.Notifications"
#define PATH  "/org/freedesktop/Notifications"
#define ALLOW "allow"
#define DENY  "deny"

static struct agent_question *find_id(struct agent *a, uint32_t id)
{
    for (int i = 0; id != 0 && i < a->count; i++)
        if (a->questions[i].id == id)
            return &a->questions[i];
    return NULL;
}

// The rules of both matches name the sender: the bus lets nobody else's
// through.
static int on_action(sd_bus_message *m, void *user, sd_bus_error *error)
{
    struct agent *a = user;
    const char *key = "";
    uint32_t id = 0;

    (void) error;
    if (sd_bus_message_read(m, "us", &id, &key) < 0)
        return 0;
    struct agent_question *q = find_id(a, id);
    if (q && (strcmp(key, ALLOW) == 0 || strcmp(key, DENY) == 0))
        agent_link_answer(a, q, strcmp(key, ALLOW) == 0);
    return 0;
}

static int on_notification_closed(sd_bus_message *m, void *user,
                                  sd_bus_error *error)
{
    struct agent_question *q;
    uint32_t id = 0;
    uint32_t reason = 0;

    (void) error;
    if (sd_bus_message_read(m, "uu", &id, &reason) >= 0 &&
        (q = find_id(user, id)))
        q->id = 0; // It waits on, and `pockctl apps` shows it.
    return 0;
}

int agent_bus_open(struct agent *a)
{
    int rc = sd_bus_open_user(&a->bus);

    if (rc < 0 ||
        (rc = sd_bus_match_signal(a->bus, NULL, NAME, PATH, NAME,
                                  "ActionInvoked", on_action, a)) < 0 ||
        (rc = sd_bus_match_signal(a->bus, NULL, NAME, PATH, NAME,
                                  "NotificationClosed", on_notification_closed,
                                  a)) < 0) {
        agent_log("no session bus (%s): nobody is asked, and apps wait until "
                  "`pockctl grant`",
                  strerror(-rc));
        agent_bus_close(a);
        return rc;
    }
    return 0;
}

void agent_bus_close(struct agent *a)
{
    a->bus = sd_bus_flush_close_unref(a->bus);
}

short agent_bus_poll(struct agent *a, int *fd, int *timeout_ms)
{
    uint64_t until_us = UINT64_MAX;

    if (!a->bus)
        return 0;
    *fd = sd_bus_get_fd(a->bus);
    int events = sd_bus_get_events(a->bus);
    if (*fd < 0 || events < 0 || sd_bus_get_timeout(a->bus, &until_us) < 0) {
        agent_bus_close(a);
        return 0;
    }
    if (until_us != UINT64_MAX) {
        int64_t left = (int64_t) (until_us / 1000) - agent_now_ms();
        int ms = left < 0 ? 0 : left > 3600000 ? 3600000 : (int) left;
        if (*timeout_ms < 0 || ms < *timeout_ms)
            *timeout_ms = ms;
    }
    return (short) events;
}

void agent_bus_run(struct agent *a)
{
    int rc = 1;

    while (a->bus && (rc = sd_bus_process(a->bus, NULL)) > 0)
        continue;
    if (rc < 0) {
        agent_log("the session bus is gone: %s", strerror(-rc));
        agent_bus_close(a);
        a->is_over = true;
    }
}

// By name: questions move in their array while the answer is on its way.
struct asking {
    struct agent *a;
    char app[AGENT_NAME_SIZE];
};

static struct agent_question *find_app(struct agent *a, const char *app)
{
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->questions[i].app, app) == 0)
            return &a->questions[i];
    return NULL;
}

static void close_id(struct agent *a, uint32_t id)
{
    (void) sd_bus_call_method_async(a->bus, NULL, NAME, PATH, NAME,
                                    "CloseNotification", NULL, NULL, "u", id);
}

static int on_notified(sd_bus_message *m, void *user, sd_bus_error *error)
{
    struct asking *x = user;
    struct agent_question *q = find_app(x->a, x->app);
    uint32_t id = 0;

    (void) error;
    if (q)
        q->is_asking = false;
    if (sd_bus_message_is_method_error(m, NULL) ||
        sd_bus_message_read(m, "u", &id) < 0)
        agent_log("nobody shows notifications here (%s): %s waits until "
                  "`pockctl grant`",
                  sd_bus_message_get_error(m)
                      ? sd_bus_message_get_error(m)->name
                      : "no answer",
                  x->app);
    else if (q)
        q->id = id;
    else
        close_id(x->a, id); // answered elsewhere meanwhile
    return 0;
}

static const struct {
    const char *purpose;
    const char *text;
} meanings[] = {
    {"train", "hand over what you write in it, to be learned from"},
    {"generate", "have texts written with what was learned"},
    {"score", "ask how well texts fit to what was learned"},
};

static void put_body(struct str *s, const struct agent_question *q)
{
    str_puts(s, "It asks to:");
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (strstr(q->wants, meanings[i].purpose))
            str_printf(s, "\n- %s", meanings[i].text);
    str_puts(s, strncmp(q->app, "flatpak:", 8) == 0
                    ? "\nIts sandbox says who it is."
                    : "\nAny program may take this name.");
}

static int put_notification(sd_bus_message *m, const struct agent_question *q)
{
    const char *name = strchr(q->app, ':');
    char summary[160];
    struct str body = {.limit = 1024};
    int rc;

    (void) snprintf(summary, sizeof(summary), "%s wants to use pockd",
                    name ? name + 1 : q->app);
    put_body(&body, q);
    if ((rc = str_finish(&body)) == 0)
        rc = sd_bus_message_append(m, "susssasa{sv}i", "pockd", UINT32_C(0),
                                   "dialog-question", summary, body.data, 4,
                                   ALLOW, "Allow", DENY, "Deny", 2, "urgency",
                                   "y", 1, "desktop-entry", "s", "pock-agent",
                                   INT32_C(0));
    str_free(&body);
    return rc;
}

static void forget_asking(void *user)
{
    free(user);
}

void agent_bus_ask(struct agent *a, struct agent_question *q)
{
    struct asking *x;
    sd_bus_message *m = NULL;
    sd_bus_slot *slot = NULL;
    int rc;

    if (!a->bus || q->id != 0 || q->is_asking)
        return;
    x = calloc(1, sizeof(*x));
    if (!x)
        return;
    x->a = a;
    memcpy(x->app, q->app, sizeof(x->app));
    rc = sd_bus_message_new_method_call(a->bus, &m, NAME, PATH, NAME, "Notify");
    if (rc >= 0)
        rc = put_notification(m, q);
    if (rc >= 0)
        rc = sd_bus_call_async(a->bus, &slot, m, on_notified, x, 0);
    if (rc >= 0) {
        (void) sd_bus_slot_set_destroy_callback(slot, forget_asking);
        (void) sd_bus_slot_set_floating(slot, 1);
        q->is_asking = true;
    } else {
        agent_log("%s cannot be asked about: %s", q->app, strerror(-rc));
        free(x);
    }
    sd_bus_slot_unref(slot);
    sd_bus_message_unref(m);
}

void agent_bus_forget(struct agent *a, struct agent_question *q)
{
    if (a->bus && q->id != 0)
        close_id(a, q->id);
    q->id = 0;
}
