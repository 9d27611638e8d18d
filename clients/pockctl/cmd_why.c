// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/gate_text.h"
#include "clients/pockctl/job_text.h"

int gate_table(struct ctl *c, const struct pock_value *gates)
{
    static const struct out_column columns[] = {
        {"GATE", false, false},  {"STATE", false, false},
        {"VALUE", false, true},  {"NEEDED", false, true},
        {"SINCE", false, false}, {"SOURCE", false, false},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 6) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(gates); i++) {
        const struct pock_value *g = pock_at(gates, i);
        bool ok = pock_get_bool(g, "ok", false);
        out_table_text(t, pock_get_str(g, "gate", "?"));
        out_table_text(t, ok ? "ok" : "blocked");
        out_table_style(t, ok ? TERM_GOOD : TERM_BAD);
        out_table_text(t, pock_get_str(g, "value", ""));
        out_table_text(t, pock_get_str(g, "threshold", ""));
        ctl_since(c, t, pock_get_int(g, "since", 0));
        out_table_text(t, pock_get_str(g, "source", ""));
    }
    return ctl_table(c, t);
}

static void print_blocked(const struct pock_value *gates)
{
    for (size_t i = 0; i < pock_count(gates); i++)
        if (!pock_get_bool(pock_at(gates, i), "ok", false))
            printf("%s\n", pock_get_str(pock_at(gates, i), "gate", "?"));
}

static void print_remerges(const struct pock_value *list)
{
    char line[JOB_TEXT_BYTES];

    for (size_t i = 0; i < pock_count(list); i++) {
        remerge_text(line, pock_at(list, i));
        printf("%s\n", line);
    }
}

int cmd_why(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "why", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    bool would_run = pock_get_bool(v, "would_run", false);
    if (c->json) {
        status = ctl_json(c, v);
    } else if (c->quiet) {
        print_blocked(pock_get(v, "gates"));
    } else {
        status = gate_table(c, pock_get(v, "gates"));
        printf("\n%s\n", pock_get_str(v, "line", ""));
        print_remerges(pock_get(v, "remerges"));
    }
    pock_reply_destroy(reply);
    if (status != CTL_OK)
        return status;
    return would_run ? CTL_OK : CTL_BLOCKED;
}
