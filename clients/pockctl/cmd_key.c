// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <inttypes.h>
#include <string.h>

/*
 * key show, key rotate
 */

static void print_key(const struct pock_value *v)
{
    const char *file = pock_get_str(v, "file", NULL);
    const char *source = pock_get_str(v, "source", "");

    printf("key     %s\n", pock_get_str(v, "key", "?"));
    if (file)
        printf("file    %s%s\n", file,
               pock_get_bool(v, "beside", false)
                   ? " (beside what it seals: a copy of both can be read)"
                   : "");
    else if (strcmp(source, "secret-service") == 0)
        printf("file    none: the Secret Service of the session keeps it\n");
    else
        printf("file    none: systemd hands it over as a credential\n");
    printf("seals   %" PRId64 " keys of records, one for each app and month\n",
           pock_get_int(v, "keys", 0));
    if (pock_get_bool(v, "left", false))
        printf("left    an old key could not be removed yet: the next start "
               "tries again\n");
}

int cmd_key_show(struct ctl *c)
{
    struct pock_reply *reply;
    int status = ctl_ask(c, "key.show", NULL, NULL, &reply);

    if (status != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        printf("%s\n", pock_get_str(v, "key", "?"));
    else
        print_key(v);
    pock_reply_destroy(reply);
    return status;
}

static void print_rotated(const struct ctl *c, const struct pock_value *v)
{
    const char *source = pock_get_str(v, "source", "");
    const bool is_kept = strcmp(source, "secret-service") == 0;

    printf("%s%s%s\n", c->quiet ? "" : "sealed anew by key ",
           pock_get_str(v, "key", "?"),
           is_kept && !c->quiet ? ", which the Secret Service keeps" : "");
    if (!c->quiet && pock_get_bool(v, "left", false))
        printf("the key before it could not be removed yet: the next start "
               "tries again\n");
}

int cmd_key_rotate(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status = ctl_request(c, &r, "key.rotate");

    if (status != CTL_OK)
        return status;
    pock_set_str(r, "to", c->line.values[FLAG_TO]);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else
        print_rotated(c, v);
    pock_reply_destroy(reply);
    return status;
}

/*
 * data retention
 */

static int print_days(struct ctl *c, const struct pock_value *streams)
{
    static const struct out_column columns[] = {
        {"STREAM", false, true},
        {"KEPT", false, false},
        {"BY", false, false},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 3) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(streams); i++) {
        const struct pock_value *s = pock_at(streams, i);
        const int64_t days = pock_get_int(s, "days", 0);
        out_table_text(t, pock_get_str(s, "stream", "?"));
        if (days == 0)
            out_table_text(t, "for ever");
        else
            out_table_cell(t, "%" PRId64 " day%s", days, days == 1 ? "" : "s");
        out_table_text(t, pock_get_bool(s, "own", false) ? "this stream"
                                                         : "the policy");
    }
    return ctl_table(c, t);
}

int cmd_data_retention(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    struct error err;
    int64_t days = -1;
    int status;

    if (c->line.arg_count == 1)
        return ctl_fail(c, CTL_USAGE,
                        "how many days? 0 is for ever, default as the policy "
                        "says");
    if (c->line.arg_count == 2 && strcmp(c->line.args[1], "default") != 0 &&
        cmdline_int(&days, "the days", c->line.args[1], 0, 36500, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    if ((status = ctl_request(c, &r, "data.retention")) != CTL_OK)
        return status;
    if (c->line.arg_count == 2) {
        pock_set_str(r, "stream", c->line.args[0]);
        pock_set_int(r, "days", days);
    }
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (!c->quiet)
        status = print_days(c, pock_get(v, "streams"));
    pock_reply_destroy(reply);
    return status;
}
