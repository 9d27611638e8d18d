// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "bus"

#include "daemon/bus.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"

/*
 * Invariants
 * 1. A connection and its poll handle live and die together: the descriptor
 *    is closed after the handle is.
 * 2. At most BURST attempts in a row; a connection that held for a minute
 *    starts a new row, and so does a socket that appears.
 */

enum {
    BURST = 6,
    RETRY_FIRST_MS = 100,
    RETRY_REST_MS = 15 * 1000,
    STABLE_MS = 60 * 1000,
    PATH_BYTES = 512,
};

#define SOCKET_DEFAULT "unix:path=/run/dbus/system_bus_socket"

struct link {
    sd_bus *bus;
    uv_poll_t poll;
    struct bus *owner; // NULL: it is being closed
    uint64_t up_at_ms;
};

struct bus {
    struct bus_params params;
    struct link *link;
    uv_timer_t due;   // what sd-bus waits for
    uv_timer_t retry; // of a row of attempts
    uv_fs_event_t watch;
    char dir[PATH_BYTES];  // of the bus's socket; "" when it has none
    char name[PATH_BYTES]; // of the socket in it
    int handles;
    int attempts;
    uint64_t tried_at_ms;
    bool is_ending;
};

static void process(struct bus *b);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *l = poll->data;

    if (l->owner)
        process(l->owner);
}

static void on_due(uv_timer_t *t)
{
    struct bus *b = t->data;

    if (b->link)
        process(b);
}

// sd-bus says what it waits for; it changes with every message.
void bus_flush(struct bus *b)
{
    uint64_t due_us = UINT64_MAX;
    int events = 0;

    if (!b->link)
        return;
    int wanted = sd_bus_get_events(b->link->bus);
    if (wanted < 0)
        return;
    events |= wanted & POLLIN ? UV_READABLE : 0;
    events |= wanted & POLLOUT ? UV_WRITABLE : 0;
    (void) uv_poll_start(&b->link->poll, events, on_poll);
    if (sd_bus_get_timeout(b->link->bus, &due_us) < 0 || due_us == UINT64_MAX) {
        (void) uv_timer_stop(&b->due);
        return;
    }
    uint64_t now_us = clock_monotonic_ns() / 1000;
    (void) uv_timer_start(&b->due, on_due,
                          due_us > now_us ? (due_us - now_us + 999) / 1000 : 0,
                          0);
}

static void on_link_closed(uv_handle_t *h)
{
    struct link *l = h->data;

    (void) sd_bus_close_unref(l->bus);
    free(l);
}

static void drop_link(struct bus *b)
{
    struct link *l = b->link;

    b->link = NULL;
    (void) uv_timer_stop(&b->due);
    l->owner = NULL;
    uv_close((uv_handle_t *) &l->poll, on_link_closed);
}

static int connect_once(struct bus *b)
{
    struct link *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return -ENOMEM;
    b->tried_at_ms = uv_now(b->params.loop);
    if ((rc = sd_bus_open_system(&l->bus)) < 0) {
        free(l);
        return rc;
    }
    if ((rc = uv_poll_init(b->params.loop, &l->poll, sd_bus_get_fd(l->bus))) <
        0) {
        (void) sd_bus_close_unref(l->bus);
        free(l);
        return rc;
    }
    l->poll.data = l;
    l->owner = b;
    l->up_at_ms = b->tried_at_ms;
    b->link = l;
    (void) uv_timer_stop(&b->retry);
    (void) uv_fs_event_stop(&b->watch);
    b->params.on_up(l->bus, b->params.user);
    process(b);
    return 0;
}

static void on_retry(uv_timer_t *t);

static void on_dir(uv_fs_event_t *w, const char *name, int events, int status)
{
    struct bus *b = w->data;

    // Others may live in that directory.
    if (name && strcmp(name, b->name) != 0)
        return;
    b->attempts = 0;
    (void) uv_timer_start(&b->retry, on_retry, RETRY_FIRST_MS, 0);
}

// Wait for the next attempt of this row, or for the socket.
static void wait_for_bus(struct bus *b)
{
    if (b->dir[0])
        (void) uv_fs_event_start(&b->watch, on_dir, b->dir, 0);
    if (b->attempts >= BURST)
        return;
    (void) uv_timer_start(&b->retry, on_retry,
                          (uint64_t) RETRY_FIRST_MS << b->attempts, 0);
    b->attempts++;
}

static void on_retry(uv_timer_t *t)
{
    struct bus *b = t->data;

    if (!b->link && connect_once(b) < 0)
        wait_for_bus(b);
}

static void process(struct bus *b)
{
    struct link *l = b->link;
    int rc;

    // A callback may end everything.
    while ((rc = sd_bus_process(l->bus, NULL)) > 0)
        if (b->is_ending)
            return;
    if (rc == 0) {
        bus_flush(b);
        return;
    }
    log_warn("event=bus_lost error=%s", strerror(-rc));
    if (uv_now(b->params.loop) - l->up_at_ms >= STABLE_MS)
        b->attempts = 0;
    drop_link(b);
    b->params.on_down(b->params.user);
    // Whoever was told may have connected already.
    if (!b->is_ending && !b->link)
        wait_for_bus(b);
}

void bus_retry(struct bus *b)
{
    if (b->link || uv_is_active((uv_handle_t *) &b->retry) ||
        uv_now(b->params.loop) - b->tried_at_ms < RETRY_REST_MS)
        return;
    if (connect_once(b) < 0)
        wait_for_bus(b);
}

sd_bus *bus_get(const struct bus *b)
{
    return b->link ? b->link->bus : NULL;
}

// The directory of the first socket of the address that has one.
static void find_dir(struct bus *b)
{
    const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
    const char *at =
        strstr(address && *address ? address : SOCKET_DEFAULT, "unix:path=");

    if (!at)
        return;
    at += strlen("unix:path=");
    size_t bytes = strcspn(at, ",;");
    size_t n = bytes;
    while (n > 0 && at[n - 1] != '/')
        n--;
    if (n == 0 || bytes >= sizeof(b->dir))
        return;
    memcpy(b->dir, at, n);
    memcpy(b->name, at + n, bytes - n);
}

int bus_create(struct bus **out, const struct bus_params *params)
{
    struct bus *b = calloc(1, sizeof(*b));
    int rc;

    if (!b)
        return -ENOMEM;
    b->params = *params;
    find_dir(b);
    (void) uv_timer_init(params->loop, &b->due);
    (void) uv_timer_init(params->loop, &b->retry);
    (void) uv_fs_event_init(params->loop, &b->watch);
    b->due.data = b->retry.data = b->watch.data = b;
    b->handles = 3;
    // Whoever made us must know us before the first callback.
    *out = b;
    if ((rc = connect_once(b)) < 0) {
        log_info("event=no_bus error=%s", strerror(-rc));
        b->attempts = BURST;
        wait_for_bus(b);
    }
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct bus *b = h->data;

    if (--b->handles == 0)
        free(b);
}

void bus_destroy(struct bus *b)
{
    if (!b)
        return;
    b->is_ending = true;
    if (b->link)
        drop_link(b);
    uv_close((uv_handle_t *) &b->due, on_closed);
    uv_close((uv_handle_t *) &b->retry, on_closed);
    uv_close((uv_handle_t *) &b->watch, on_closed);
}

static void put_signed(struct bus_value *v, int64_t i)
{
    v->type = 'i';
    v->i = i;
    v->d = (double) i;
}

static void put_unsigned(struct bus_value *v, uint64_t u)
{
    v->type = 'u';
    v->i = u > INT64_MAX ? INT64_MAX : (int64_t) u;
    v->d = (double) u;
}

// The value of a basic type that the message is at.
static int read_basic(sd_bus_message *m, char type, struct bus_value *v)
{
    union {
        uint8_t y;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
        const char *s;
        int b;
    } raw = {0};
    int rc = sd_bus_message_read_basic(m, type, &raw);

    if (rc <= 0)
        return rc < 0 ? rc : -EBADMSG;
    switch (type) {
    case 'b':
        v->type = 'b';
        v->i = raw.b != 0;
        break;
    case 's':
        v->type = 's';
        v->s = raw.s;
        break;
    case 'd':
        v->type = 'd';
        v->d = raw.d;
        break;
    case 'y':
        put_unsigned(v, raw.y);
        break;
    case 'n':
        put_signed(v, raw.n);
        break;
    case 'q':
        put_unsigned(v, raw.q);
        break;
    case 'i':
        put_signed(v, raw.i);
        break;
    case 'u':
        put_unsigned(v, raw.u);
        break;
    case 'x':
        put_signed(v, raw.x);
        break;
    case 't':
        put_unsigned(v, raw.t);
        break;
    }
    return 0;
}

static int read_variant(sd_bus_message *m, struct bus_value *v)
{
    const char *contents;
    char type;
    int rc;

    *v = (struct bus_value){.s = ""};
    if ((rc = sd_bus_message_peek_type(m, &type, &contents)) <= 0)
        return rc < 0 ? rc : -EBADMSG;
    if (type != 'v')
        return -EBADMSG;
    if (strlen(contents) != 1 || !strchr("bsdynqiuxt", contents[0])) {
        rc = sd_bus_message_skip(m, "v");
        return rc < 0 ? rc : 0;
    }
    if ((rc = sd_bus_message_enter_container(m, 'v', contents)) < 0 ||
        (rc = read_basic(m, contents[0], v)) < 0)
        return rc;
    rc = sd_bus_message_exit_container(m);
    return rc < 0 ? rc : 0;
}

int bus_read_properties(sd_bus_message *m, bus_property_fn fn, void *user)
{
    const char *name;
    struct bus_value v;
    int rc = sd_bus_message_enter_container(m, 'a', "{sv}");

    if (rc <= 0)
        return rc < 0 ? rc : -EBADMSG;
    while ((rc = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        if ((rc = sd_bus_message_read_basic(m, 's', &name)) <= 0 ||
            (rc = read_variant(m, &v)) < 0)
            return rc < 0 ? rc : -EBADMSG;
        fn(user, name, &v);
        if ((rc = sd_bus_message_exit_container(m)) < 0)
            return rc;
    }
    if (rc == 0)
        rc = sd_bus_message_exit_container(m);
    return rc < 0 ? rc : 0;
}
