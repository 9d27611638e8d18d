// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any properties as the answer of UPower, logind or the power profiles: names
 * that count with values of any type and size, other shapes than a{sv}
 * included. What is taken is in its range, or unknown.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/bus_take.h"
#include "tests/fuzz/deadbus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
    "OnBattery",     "IsPresent",    "Type",
    "State",         "WarningLevel", "Percentage",
    "EnergyRate",    "Energy",       "EnergyFull",
    "Class",         "IdleHint",     "LockedHint",
    "Temperature",   "Name",         "IdleSinceHintMonotonic",
    "ActiveProfile",
};

struct input {
    const uint8_t *data;
    size_t left;
};

static void take_bytes(struct input *in, void *out, size_t bytes)
{
    size_t n = bytes < in->left ? bytes : in->left;

    memset(out, 0, bytes);
    memcpy(out, in->data, n);
    in->data += n;
    in->left -= n;
}

static uint8_t take_byte(struct input *in)
{
    uint8_t v;

    take_bytes(in, &v, 1);
    return v;
}

// Text without what no message may hold.
static void take_text(struct input *in, char out[16])
{
    take_bytes(in, out, 15);
    out[15] = '\0';
    for (char *p = out; *p; p++)
        *p = (char) (*p & 0x7f);
}

static int put_basic(sd_bus_message *m, struct input *in, char type)
{
    union {
        uint64_t t;
        double d;
        int b;
    } v;
    char text[16];

    if (type == 's') {
        take_text(in, text);
        return sd_bus_message_append_basic(m, 's', text);
    }
    take_bytes(in, &v, sizeof(v));
    if (type == 'b')
        v.b &= 1;
    return sd_bus_message_append_basic(m, type, &v);
}

static int put_variant(sd_bus_message *m, struct input *in)
{
    static const char types[] = "bsdynqiuxt";
    uint8_t kind = take_byte(in) % 14;
    char text[16];

    switch (kind) {
    case 10: // an array of texts
        take_text(in, text);
        return sd_bus_message_append(m, "v", "as", 1, text);
    case 11:
        return sd_bus_message_append(m, "v", "v", "s", "within");
    case 12:
        return sd_bus_message_append(m, "v", "(so)", "id", "/o");
    case 13:
        return sd_bus_message_append(m, "v", "a{sv}", 1, "k", "u", 7u);
    default: {
        const char contents[2] = {types[kind], '\0'};
        int rc;
        if ((rc = sd_bus_message_open_container(m, 'v', contents)) < 0 ||
            (rc = put_basic(m, in, types[kind])) < 0)
            return rc;
        return sd_bus_message_close_container(m);
    }
    }
}

static int put_properties(sd_bus_message *m, struct input *in)
{
    int rc = sd_bus_message_open_container(m, 'a', "{sv}");

    while (rc >= 0 && in->left > 1) {
        const char *name = names[take_byte(in) % 16];
        if ((rc = sd_bus_message_open_container(m, 'e', "sv")) >= 0 &&
            (rc = sd_bus_message_append_basic(m, 's', name)) >= 0 &&
            (rc = put_variant(m, in)) >= 0)
            rc = sd_bus_message_close_container(m);
    }
    return rc < 0 ? rc : sd_bus_message_close_container(m);
}

static void want(bool is_true)
{
    if (!is_true)
        abort();
}

static void want_within(double v, double least, double most)
{
    want(isnan(v) || (v >= least && v <= most));
}

static void check(const struct take_power *p)
{
    struct snapshot s;

    want_within(p->pct, 0, 100);
    want_within(p->temp_c, -40, 200);
    want_within(p->rate_w, 0, 10000);
    want(p->warning >= 0 && p->warning <= 5);
    snapshot_init(&s);
    take_power_apply(p, &s);
    want(isnan(s.battery_wh) == isnan(s.battery_full_wh));
    want(s.has_battery || isnan(s.battery_pct));
}

static void read_as(sd_bus_message *m, bus_property_fn fn, void *user)
{
    want(sd_bus_message_rewind(m, 1) >= 0);
    (void) bus_read_properties(m, fn, user);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_bus *bus;
    struct input in = {data, size};
    struct take_session session = {0};
    enum tri is_saver = TRI_UNKNOWN;
    struct take_power power;
    sd_bus_message *m = NULL;

    if (!bus)
        bus = deadbus();
    take_power_init(&power);
    if (sd_bus_message_new_signal(bus, &m, "/o", "i.i", "S") < 0)
        abort();
    int rc = take_byte(&in) % 8 ? put_properties(m, &in) : put_variant(m, &in);
    if (rc >= 0 && sd_bus_message_seal(m, 1, 0) >= 0) {
        read_as(m, take_power, &power);
        read_as(m, take_session, &session);
        read_as(m, take_profile, &is_saver);
    }
    check(&power);
    want(is_saver <= TRI_YES);
    (void) sd_bus_message_unref(m);
    return 0;
}
