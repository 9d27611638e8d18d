// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <string.h>

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

static void add_entry(struct ctl *c, struct out_table *t,
                      const struct pock_value *e)
{
    const int64_t id = pock_get_int(e, "id", 0);
    const int64_t pid = pock_get_int(e, "pid", 0);
    char text[OUT_TIME_BYTES];

    out_table_cell(t, id ? "%" PRId64 : "open", id);
    out_table_text(t, ctl_time(c, text, pock_get_int(e, "time", 0)));
    out_table_text(t, ctl_time(c, text, pock_get_int(e, "until", 0)));
    out_table_cell(t, "%" PRId64, pock_get_int(e, "uid", 0));
    out_table_cell(t, pid ? "%" PRId64 : "-", pid);
    out_table_text(t, pock_get_str(e, "app", "?"));
    out_table_text(t, pock_get_str(e, "action", "?"));
    out_table_cell(t, "%" PRId64, pock_get_int(e, "count", 0));
    out_table_text(t, pock_get_str(e, "text", ""));
}

static int print_entries(struct ctl *c, const struct pock_value *entries)
{
    static const struct out_column columns[] = {
        {"ID", true, false},      {"TIME", false, false},
        {"UNTIL", false, false},  {"USER", true, false},
        {"PROCESS", true, false}, {"APP", false, true},
        {"ACTION", false, false}, {"COUNT", true, false},
        {"WHAT", false, true},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 9) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(entries); i++)
        add_entry(c, t, pock_at(entries, i));
    if (out_table_rows(t) == 0)
        ctl_remark(c, "nothing happened yet");
    return ctl_table(c, t);
}

static int list(struct ctl *c)
{
    int64_t since = 0, before = 0, limit = LIMIT_DEFAULT;
    struct pock_reply *reply;
    struct pock_request *r;
    int status;

    if ((status = ctl_bounds(c, &since, &before)) != CTL_OK ||
        (status = ctl_int_flag(c, FLAG_LIMIT, 1, LIMIT_MAX, &limit)) !=
            CTL_OK ||
        (status = ctl_request(c, &r, "audit.list")) != CTL_OK)
        return status;
    if (since > 0)
        pock_set_int(r, "since", since);
    pock_set_int(r, "limit", limit);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *entries = pock_get(pock_result(reply), "entries");
    if (c->json) {
        status = ctl_json(c, pock_result(reply));
    } else if (c->quiet) {
        for (size_t i = 0; i < pock_count(entries); i++)
            printf("%" PRId64 "\n", pock_get_int(pock_at(entries, i), "id", 0));
    } else {
        status = print_entries(c, entries);
    }
    pock_reply_destroy(reply);
    return status;
}

static int tell_chain(struct ctl *c, const struct pock_value *v)
{
    const char *wanted = c->line.values[FLAG_HEAD];
    const bool is_whole = pock_get_bool(v, "whole", false);
    const int64_t dropped = pock_get_int(v, "dropped", 0);
    const int64_t found = pock_get_int(v, "found", -1);

    if (c->json)
        (void) ctl_json(c, v);
    else if (is_whole)
        printf("%s\n", pock_get_str(v, "head", "?"));
    if (!is_whole)
        return ctl_fail(c, CTL_UNHEALTHY, "the audit log is not whole: %s",
                        pock_get_str(v, "problem", "?"));
    ctl_remark(c, "%" PRId64 " entries, none changed or removed",
               pock_get_int(v, "rows", 0));
    if (dropped > 0)
        ctl_remark(c, "%" PRId64 " older ones went by age or number", dropped);
    if (!wanted) {
        ctl_remark(c, "keep that hash elsewhere: --head HASH asks later "
                      "whether the log still goes on from it");
        return CTL_OK;
    }
    if (found < 0)
        return ctl_fail(c, CTL_UNHEALTHY,
                        "the audit log does not go on from %s: it was made "
                        "anew, or what that hash covered was dropped by age",
                        wanted);
    ctl_remark(c, "it goes on from entry %" PRId64, found);
    return CTL_OK;
}

static int verify(struct ctl *c)
{
    struct pock_reply *reply;
    int status =
        ctl_ask(c, "audit.verify", c->line.values[FLAG_HEAD] ? "head" : NULL,
                c->line.values[FLAG_HEAD], &reply);

    if (status != CTL_OK)
        return status;
    status = tell_chain(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

int cmd_audit(struct ctl *c)
{
    if (c->line.values[FLAG_HEAD] && !c->line.given[FLAG_VERIFY])
        return ctl_fail(c, CTL_USAGE, "--head goes with --verify");
    return c->line.given[FLAG_VERIFY] ? verify(c) : list(c);
}
