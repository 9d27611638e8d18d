// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    WAIT_FIRST_MS = 1000,
    WAIT_LAST_MS = 60000,
};

static void drop(struct agent *a)
{
    pock_destroy(a->pock);
    a->pock = NULL;
    a->retry_ms = agent_now_ms() + a->wait_ms;
    a->wait_ms = 2 * a->wait_ms < WAIT_LAST_MS ? 2 * a->wait_ms : WAIT_LAST_MS;
}

static struct agent_question *find(struct agent *a, const char *app)
{
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->questions[i].app, app) == 0)
            return &a->questions[i];
    return NULL;
}

static void set_wants(struct agent_question *q, const struct pock_value *list)
{
    size_t at = 0;

    q->wants[0] = '\0';
    for (size_t i = 0; i < pock_count(list); i++) {
        const char *word = pock_as_str(pock_at(list, i), "");
        if (at + strlen(word) + 2 > sizeof(q->wants))
            break;
        at += (size_t) snprintf(q->wants + at, sizeof(q->wants) - at, "%s%s",
                                at ? " " : "", word);
    }
}

static void see_app(struct agent *a, const struct pock_value *v)
{
    const char *name = pock_get_str(v, "name", "");
    struct agent_question *q = find(a, name);

    if (strcmp(pock_get_str(v, "state", ""), "pending") != 0 ||
        strlen(name) >= AGENT_NAME_SIZE)
        return;
    if (!q) {
        if (a->count == AGENT_QUESTIONS_MAX)
            return;
        q = &a->questions[a->count++];
        *q = (struct agent_question){.id = 0};
        (void) snprintf(q->app, sizeof(q->app), "%s", name);
        set_wants(q, pock_get(v, "wants"));
        agent_bus_ask(a, q);
    }
    q->is_waiting = true;
}

// What waits is asked about once; what no longer waits is taken away.
static void on_list(void *user, const struct pock_value *result,
                    const struct pock_error *err)
{
    struct agent *a = user;
    const struct pock_value *apps = pock_get(result, "apps");
    int kept = 0;

    if (err)
        return;
    for (int i = 0; i < a->count; i++)
        a->questions[i].is_waiting = false;
    for (size_t i = 0; i < pock_count(apps); i++)
        see_app(a, pock_at(apps, i));
    for (int i = 0; i < a->count; i++) {
        if (a->questions[i].is_waiting)
            a->questions[kept++] = a->questions[i];
        else
            agent_bus_forget(a, &a->questions[i]);
    }
    a->count = kept;
}

static int list_apps(struct agent *a)
{
    struct pock_send_options how = {.on_reply = on_list, .user = a};
    struct pock_request *r;
    int rc = pock_request_create(&r, a->pock, "app.list");

    return rc < 0 ? rc : pock_send(r, &how, NULL);
}

static void on_event(void *user, const struct pock_value *item)
{
    (void) item;
    (void) list_apps(user);
}

static int watch(struct agent *a)
{
    static const char *const kinds[] = {"app_pending", "app_granted",
                                        "app_revoked"};
    struct pock_send_options how = {.on_item = on_event, .user = a};
    struct pock_request *r;
    int rc = pock_request_create(&r, a->pock, "events.watch");

    if (rc < 0)
        return rc;
    pock_open_list(r, "kinds");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        pock_set_str(r, NULL, kinds[i]);
    pock_close(r);
    return pock_send(r, &how, NULL);
}

void agent_link_try(struct agent *a)
{
    struct pock_options options = {.path = a->daemon_path,
                                   .client = "pock-agent/" POCK_VERSION,
                                   .as_owner = true};
    struct pock_error err;

    if (a->pock || agent_now_ms() < a->retry_ms)
        return;
    if (a->wait_ms == 0)
        a->wait_ms = WAIT_FIRST_MS;
    if (pock_connect_with(&a->pock, &options, &err) < 0) {
        agent_log("%s", err.text);
        drop(a);
        return;
    }
    agent_log("connected to %s", a->daemon_path);
    // Watched first: what asks between the two is not missed.
    if (watch(a) < 0 || list_apps(a) < 0)
        drop(a);
    else
        a->wait_ms = WAIT_FIRST_MS;
}

void agent_link_run(struct agent *a)
{
    int rc = 0;

    while (a->pock && (rc = pock_dispatch(a->pock, 0)) > 0)
        continue;
    if (a->pock && rc < 0 && rc != -EINTR) {
        agent_log("pockd hung up: %s", strerror(-rc));
        drop(a);
    }
}

void agent_link_close(struct agent *a)
{
    pock_destroy(a->pock);
    a->pock = NULL;
}

static void on_answered(void *user, const struct pock_value *result,
                        const struct pock_error *err)
{
    (void) user;
    (void) result;
    if (err)
        agent_log("the answer was not taken: %s", err->text);
}

static void put_purposes(struct pock_request *r, const char *words)
{
    pock_open_list(r, "purposes");
    while (*words) {
        size_t n = strcspn(words, " ");
        pock_set_text(r, NULL, words, n);
        words += n + (words[n] == ' ');
    }
    pock_close(r);
}

void agent_link_answer(struct agent *a, const struct agent_question *q,
                       bool is_allowed)
{
    struct pock_send_options how = {.on_reply = on_answered, .user = a};
    struct pock_request *r;
    int rc = a->pock
                 ? pock_request_create(&r, a->pock,
                                       is_allowed ? "app.grant" : "app.revoke")
                 : -ENOTCONN;

    if (rc == 0) {
        pock_set_str(r, "app", q->app);
        if (is_allowed)
            put_purposes(r, q->wants);
        rc = pock_send(r, &how, NULL);
    }
    agent_log("%s: %s%s%s", q->app, is_allowed ? "allowed" : "denied",
              rc < 0 ? ", but not told to pockd: " : "",
              rc < 0 ? strerror(-rc) : "");
}

void agent_link_attest(struct agent *a, int fd, const char *app)
{
    struct pock_send_options how = {.on_reply = on_answered,
                                    .user = a,
                                    .has_fd = true,
                                    .fd = fd};
    struct pock_request *r;
    int rc =
        a->pock ? pock_request_create(&r, a->pock, "app.attest") : -ENOTCONN;

    if (rc == 0) {
        pock_set_str(r, "app", app);
        rc = pock_send(r, &how, NULL);
    }
    if (rc < 0)
        agent_log("%s cannot be let in: %s", app ? app : "a program",
                  strerror(-rc));
    (void) close(fd);
}
