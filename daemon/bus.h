// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Bus (loop thread)
 *
 * The connection to the system bus on the loop, made again when it was lost.
 * Nothing here ever waits for the bus, and there is no timer that runs for
 * ever: after a loss a few attempts are made within seconds, then the next one
 * comes when the bus's socket is made anew, or when bus_retry() is called by
 * somebody who is awake anyway.
 */

#include <systemd/sd-bus.h>
#include <uv.h>

struct bus;

struct bus_params {
    uv_loop_t *loop;
    // A new connection: ask and watch; what was known of the old one is void.
    void (*on_up)(sd_bus *b, void *user);
    void (*on_down)(void *user); // the connection was lost
    void *user;
};

// 0 also when there is no bus yet.
int bus_create(struct bus **out, const struct bus_params *params);
// NULL is fine. No callback comes any more. The loop must still run until its
// handles are closed.
void bus_destroy(struct bus *b);

// NULL while there is no connection.
sd_bus *bus_get(const struct bus *b);
// After calls that were not made within a callback of sd-bus: send them.
void bus_flush(struct bus *b);
// Try to connect, if there is no connection and that was not tried just now.
void bus_retry(struct bus *b);

// What one property of a reply holds. Types other than these are 0.
struct bus_value {
    char type;     // 'b', 's', 'd', 'u' for all unsigned, 'i' for all signed
    const char *s; // points into the message; "" when it is none
    double d;      // of any number
    int64_t i;     // of any whole number, saturated
};

typedef void (*bus_property_fn)(void *user, const char *name,
                                const struct bus_value *v);

// fn for each property of an a{sv}; a value of another type than it should have
// is fn's to refuse. 0, or what broke the message.
int bus_read_properties(sd_bus_message *m, bus_property_fn fn, void *user);
