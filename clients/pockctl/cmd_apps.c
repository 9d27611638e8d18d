// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Apps and consent: apps, grant, revoke, off, on
 */

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <string.h>

enum { DAY_MS = 86400000 };

// The words of a list, with ", " between, or "-".
static void add_words(struct out_table *t, const struct pock_value *list)
{
    struct str s = {0};

    for (size_t i = 0; i < pock_count(list); i++)
        str_printf(&s, "%s%s", i ? ", " : "",
                   pock_as_str(pock_at(list, i), "?"));
    out_table_text(t, str_finish(&s) == 0 && s.bytes > 0 ? s.data : "-");
    str_free(&s);
}

static void add_app(struct ctl *c, struct out_table *t,
                    const struct pock_value *a)
{
    const char *state = pock_get_str(a, "state", "?");
    int64_t days = pock_get_int(a, "retention_days", 0);
    char text[OUT_TIME_BYTES];

    out_table_text(t, pock_get_str(a, "name", "?"));
    out_table_text(t, pock_get_str(a, "strength", "?"));
    out_table_text(t, state);
    out_table_style(t, strcmp(state, "granted") == 0   ? TERM_GOOD
                       : strcmp(state, "pending") == 0 ? TERM_WARN
                                                       : TERM_BAD);
    add_words(t, pock_get(a, strcmp(state, "pending") == 0 ? "wants"
                                                           : "purposes"));
    out_table_text(t, ctl_time(c, text, pock_get_int(a, "expires", 0)));
    if (days > 0)
        out_table_cell(t, "%" PRId64 " d", days);
    else
        out_table_text(t, "-");
    out_table_cell(t, "%" PRId64, pock_get_int(a, "records", 0));
    out_table_text(t, ctl_time(c, text, pock_get_int(a, "last", 0)));
}

static int print_apps(struct ctl *c, const struct pock_value *apps)
{
    static const struct out_column columns[] = {
        {"APP", false, true},     {"KNOWN BY", false, false},
        {"STATE", false, false},  {"PURPOSES", false, true},
        {"UNTIL", false, false},  {"KEPT", true, false},
        {"RECORDS", true, false}, {"LAST", false, false},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, sizeof(columns) / sizeof(columns[0])) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(apps); i++)
        add_app(c, t, pock_at(apps, i));
    return ctl_table(c, t);
}

int cmd_apps(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "app.list", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *apps = pock_get(v, "apps");
    if (c->json) {
        status = ctl_json(c, v);
    } else if (c->quiet) {
        for (size_t i = 0; i < pock_count(apps); i++)
            printf("%s\n", pock_get_str(pock_at(apps, i), "name", "?"));
    } else if (pock_count(apps) == 0) {
        ctl_remark(c, "no app has asked yet");
    } else {
        status = print_apps(c, apps);
    }
    if (pock_get_bool(v, "off", false))
        ctl_remark(c, "pockd is switched off: `pockctl on` opens it again");
    pock_reply_destroy(reply);
    return status;
}

// The arguments behind the app's name.
static void set_purposes(struct ctl *c, struct pock_request *r)
{
    if (c->line.arg_count < 2)
        return;
    pock_open_list(r, "purposes");
    for (int i = 1; i < c->line.arg_count; i++)
        pock_set_str(r, NULL, c->line.args[i]);
    pock_close(r);
}

static int report(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *app = pock_get(v, "app");
    const struct pock_value *purposes = pock_get(app, "purposes");

    if (c->json)
        return ctl_json(c, v);
    if (c->quiet) {
        printf("%s\n", pock_get_str(app, "name", "?"));
        return CTL_OK;
    }
    printf("%s may", pock_get_str(app, "name", "?"));
    for (size_t i = 0; i < pock_count(purposes); i++)
        printf("%s %s", i ? "," : "", pock_as_str(pock_at(purposes, i), "?"));
    printf("%s\n", pock_count(purposes) == 0 ? " do nothing" : "");
    return CTL_OK;
}

int cmd_grant(struct ctl *c)
{
    const char *until = c->line.values[FLAG_FOR];
    const char *kept = c->line.values[FLAG_RETENTION];
    struct pock_request *r;
    struct pock_reply *reply;
    struct error err;
    int64_t until_ms = 0;
    int64_t kept_ms = 0;
    int status;

    if ((until && out_duration_parse(&until_ms, "--for", until, &err) < 0) ||
        (kept && out_duration_parse(&kept_ms, "--retention", kept, &err) < 0))
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    if (kept && kept_ms < DAY_MS)
        return ctl_fail(c, CTL_USAGE,
                        "--retention is less than a day: records are kept for "
                        "whole days");
    if ((status = ctl_request(c, &r, "app.grant")) != CTL_OK)
        return status;
    pock_set_str(r, "app", c->line.args[0]);
    set_purposes(c, r);
    if (until)
        pock_set_int(r, "duration_ms", until_ms);
    if (kept)
        pock_set_int(r, "retention_days", kept_ms / DAY_MS);
    if (c->line.values[FLAG_STREAM]) {
        pock_open_list(r, "streams");
        pock_set_str(r, NULL, c->line.values[FLAG_STREAM]);
        pock_close(r);
    }
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    status = report(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

static int erase(struct ctl *c, const char *app)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_confirm(c, "Erase for good what it gave?")) != CTL_OK ||
        (status = ctl_request(c, &r, "data.erase")) != CTL_OK)
        return status;
    pock_set_str(r, "app", app);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    int64_t records = pock_get_int(pock_result(reply), "records", 0);
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    else if (!c->quiet)
        printf("erased %" PRId64 " record%s\n", records,
               records == 1 ? "" : "s");
    pock_reply_destroy(reply);
    return status;
}

int cmd_revoke(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    char app[80];
    int status;

    if ((status = ctl_request(c, &r, "app.revoke")) != CTL_OK)
        return status;
    pock_set_str(r, "app", c->line.args[0]);
    set_purposes(c, r);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    (void) snprintf(app, sizeof(app), "%s",
                    pock_get_str(pock_get(pock_result(reply), "app"), "name",
                                 c->line.args[0]));
    if (!c->json || !c->line.given[FLAG_ERASE])
        status = report(c, pock_result(reply));
    pock_reply_destroy(reply);
    if (status == CTL_OK && c->line.given[FLAG_ERASE])
        return erase(c, app);
    ctl_remark(c,
               "what it gave is kept, and no job learns from it: `pockctl "
               "revoke %s --erase` erases it, with the versions that did",
               app);
    return status;
}

static int turn(struct ctl *c, bool off)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "app.switch")) != CTL_OK)
        return status;
    pock_set_bool(r, "off", off);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    pock_reply_destroy(reply);
    ctl_remark(c, "%s",
               off ? "switched off: nothing is taken in and nothing "
                     "trains until `pockctl on`"
                   : "switched on");
    return status;
}

int cmd_off(struct ctl *c)
{
    return turn(c, true);
}

int cmd_on(struct ctl *c)
{
    return turn(c, false);
}
