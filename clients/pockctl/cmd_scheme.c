// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

static int print_schemes(struct ctl *c, const struct pock_value *list)
{
    static const struct out_column columns[] = {
        {"NAME", false, false},
        {"MODEL", false, false},
        {"CREATED", false, false},
        {"SCHEME", false, true},
    };
    char text[OUT_TIME_BYTES];
    struct out_table *t;

    if (out_table_create(&t, columns, 4) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *v = pock_at(list, i);
        out_table_text(t, pock_get_str(v, "name", "?"));
        out_table_text(t, pock_get_str(v, "model", "?"));
        out_table_text(t, ctl_time(c, text, pock_get_int(v, "created", 0)));
        out_table_text(t, pock_get_str(v, "scheme", "?"));
    }
    return ctl_table(c, t);
}

int cmd_scheme_list(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "scheme.list", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *list = pock_get(pock_result(reply), "schemes");
    if (c->json) {
        status = ctl_json(c, pock_result(reply));
    } else if (c->quiet) {
        for (size_t i = 0; i < pock_count(list); i++)
            printf("%s\n", pock_get_str(pock_at(list, i), "name", "?"));
    } else if (pock_count(list) == 0) {
        ctl_remark(c, "no scheme is saved: `pockctl plan --search --save NAME` "
                      "finds one");
    } else {
        status = print_schemes(c, list);
    }
    pock_reply_destroy(reply);
    return status;
}

int cmd_scheme_rm(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    // It can be found again, and no job needs it: nothing is asked.
    if ((status = ctl_ask(c, "scheme.remove", "scheme", c->line.args[0],
                          &reply)) != CTL_OK)
        return status;
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    pock_reply_destroy(reply);
    ctl_remark(c, "forgotten; jobs that were queued with it keep a copy");
    return status;
}
