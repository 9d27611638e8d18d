// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

// "5.067 -> 4.069", "4.069" without a version before, "-" without either.
static void add_losses(struct out_table *t, const struct pock_value *v,
                       const char *before, const char *after)
{
    double old = pock_get_float(v, before, NAN);
    double new = pock_get_float(v, after, NAN);

    if (isfinite(old) && isfinite(new))
        out_table_cell(t, "%.3f -> %.3f", old, new);
    else
        out_table_cell(t, isfinite(new) ? "%.3f" : "-", new);
}

static void add_version(struct ctl *c, struct out_table *t, const char *adapter,
                        const struct pock_value *v)
{
    const char *gate = pock_get_str(v, "gate", "?");
    const char *state = pock_get_str(v, "state", "?");
    int64_t parent = pock_get_int(v, "parent", 0);
    char text[OUT_TIME_BYTES];

    out_table_cell(t, "%s:%" PRId64, adapter, pock_get_int(v, "version", 0));
    out_table_text(t, state);
    out_table_style(t, strcmp(state, "active") ? TERM_PLAIN : TERM_GOOD);
    if (parent > 0)
        out_table_cell(t, "%s:%" PRId64, adapter, parent);
    else
        out_table_text(t, strcmp(pock_get_str(v, "origin", ""), "merged")
                              ? "base"
                              : "merged");
    out_table_text(t, gate);
    out_table_style(t, strcmp(gate, "failed") ? TERM_PLAIN : TERM_BAD);
    add_losses(t, v, "heldout_before", "heldout_after");
    add_losses(t, v, "probe_before", "probe_after");
    out_table_cell(t, "%" PRId64, pock_get_int(v, "records", 0));
    out_bytes_format(text, pock_get_int(v, "bytes", 0));
    out_table_text(t, text);
    out_table_text(t, ctl_time(c, text, pock_get_int(v, "created", 0)));
}

static int print_versions(struct ctl *c, const struct pock_value *adapters)
{
    static const struct out_column columns[] = {
        {"ADAPTER", false, true},  {"STATE", false, false},
        {"FROM", false, true},     {"GATE", false, false},
        {"HELD OUT", true, false}, {"PROBE", true, false},
        {"RECORDS", true, false},  {"SIZE", true, false},
        {"CREATED", false, false},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 9) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(adapters); i++) {
        const struct pock_value *a = pock_at(adapters, i);
        const struct pock_value *versions = pock_get(a, "versions");
        for (size_t k = 0; k < pock_count(versions); k++)
            add_version(c, t, pock_get_str(a, "name", "?"),
                        pock_at(versions, k));
    }
    if (out_table_rows(t) == 0) {
        out_table_destroy(t);
        ctl_remark(c, "no version yet: training makes one");
        return CTL_OK;
    }
    return ctl_table(c, t);
}

static void print_refs(const struct pock_value *adapters)
{
    for (size_t i = 0; i < pock_count(adapters); i++) {
        const struct pock_value *a = pock_at(adapters, i);
        const struct pock_value *versions = pock_get(a, "versions");
        for (size_t k = 0; k < pock_count(versions); k++)
            printf("%s:%" PRId64 "\n", pock_get_str(a, "name", "?"),
                   pock_get_int(pock_at(versions, k), "version", 0));
    }
}

int cmd_adapter_list(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "adapter.list", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *adapters =
        pock_get(pock_result(reply), "adapters");
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    else if (c->quiet)
        print_refs(adapters);
    else
        status = print_versions(c, adapters);
    pock_reply_destroy(reply);
    return status;
}

// The version of an "adapter.show" answer, or the active one.
static const struct pock_value *find_version(const struct pock_value *adapter,
                                             int64_t version)
{
    const struct pock_value *versions = pock_get(adapter, "versions");

    if (version == 0)
        version = pock_get_int(adapter, "active", 0);
    for (size_t i = 0; i < pock_count(versions); i++)
        if (pock_get_int(pock_at(versions, i), "version", 0) == version)
            return pock_at(versions, i);
    return NULL;
}

static int print_adapter(struct ctl *c, const struct pock_value *v,
                         int64_t version)
{
    const struct pock_value *adapter = pock_get(v, "adapter");
    const struct pock_value *streams = pock_get(v, "streams");
    const struct pock_value *one = find_version(adapter, version);
    int status = CTL_OK;

    printf("adapter  %s\nmodel    %s\n", pock_get_str(adapter, "name", "?"),
           pock_get_str(adapter, "model", "?"));
    for (size_t i = 0; i < pock_count(streams); i++) {
        const struct pock_value *s = pock_at(streams, i);
        printf("%s%s (%" PRId64 " records)\n",
               i == 0 ? "learned  " : "         ", pock_get_str(s, "name", "?"),
               pock_get_int(s, "records", 0));
    }
    const struct pock_value *parts = pock_get(v, "merged_from");
    for (size_t i = 0; i < pock_count(parts); i++) {
        const struct pock_value *p = pock_at(parts, i);
        printf("%s%s:%" PRId64 " x %g\n", i == 0 ? "merged   " : "         ",
               pock_get_str(p, "adapter", "?"), pock_get_int(p, "version", 0),
               pock_get_float(p, "weight", 0));
    }
    putchar('\n');
    if (one)
        status = ctl_show(c, one);
    else
        ctl_remark(c, "no version of it is active: the base model answers");
    return status;
}

int cmd_adapter_show(struct ctl *c)
{
    struct ctl_adapter ref;
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if (c->line.given[FLAG_LINEAGE])
        return ctl_lineage(c);
    if (c->line.given[FLAG_JOURNAL])
        return ctl_journal(c);
    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK ||
        (status = ctl_request(c, &r, "adapter.show")) != CTL_OK)
        return status;
    pock_set_str(r, "adapter", ref.name);
    if (ref.version > 0)
        pock_set_int(r, "version", ref.version);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        printf("%s:%" PRId64 "\n", ref.name,
               ref.version ? ref.version
                           : pock_get_int(pock_get(v, "adapter"), "active", 0));
    else
        status = print_adapter(c, v, ref.version);
    pock_reply_destroy(reply);
    return status;
}

// What an activation or rollback led to.
static int tell_active(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *adapter = pock_get(v, "adapter");
    int64_t active = pock_get_int(adapter, "active", 0);
    const char *name = pock_get_str(adapter, "name", "?");

    if (c->json)
        return ctl_json(c, v);
    if (active > 0)
        printf("%s:%" PRId64 "%s\n", name, active,
               c->quiet ? "" : " is active");
    else
        printf("%s%s\n", c->quiet ? "none" : name,
               c->quiet ? "" : ": the base model answers");
    return CTL_OK;
}

// Send an activation or a rollback, and say what it led to. Takes `r`.
static int send_and_tell(struct ctl *c, struct pock_request *r)
{
    struct pock_reply *reply;
    int status = ctl_send(c, r, NULL, &reply);

    if (status != CTL_OK)
        return status;
    status = tell_active(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

int cmd_adapter_activate(struct ctl *c)
{
    struct ctl_adapter ref;
    struct pock_request *r;
    int status;

    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK)
        return status;
    if (ref.version == 0)
        return ctl_fail(c, CTL_USAGE,
                        "\"%s\" names no version: give one as "
                        "2 or default:2",
                        c->line.args[0]);
    if ((status = ctl_request(c, &r, "adapter.activate")) != CTL_OK)
        return status;
    pock_set_str(r, "adapter", ref.name);
    pock_set_int(r, "version", ref.version);
    if (c->line.given[FLAG_FORCE])
        pock_set_bool(r, "force", true);
    return send_and_tell(c, r);
}

int cmd_adapter_rollback(struct ctl *c)
{
    struct ctl_adapter ref;
    struct pock_request *r;
    const char *text = c->line.arg_count > 0 ? c->line.args[0] : "active";
    int status;

    if ((status = ctl_adapter_ref(c, text, &ref)) != CTL_OK ||
        (status = ctl_request(c, &r, "adapter.rollback")) != CTL_OK)
        return status;
    pock_set_str(r, "adapter", ref.name);
    if (ref.version > 0)
        pock_set_int(r, "version", ref.version);
    return send_and_tell(c, r);
}

int cmd_adapter_rm(struct ctl *c)
{
    struct ctl_adapter ref;
    struct pock_request *r;
    struct pock_reply *reply;
    char question[160];
    int status;

    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK)
        return status;
    if (ref.version > 0)
        snprintf(question, sizeof(question), "Delete %s:%" PRId64 " for good?",
                 ref.name, ref.version);
    else
        snprintf(question, sizeof(question),
                 "Delete %s with all its versions for good?", ref.name);
    // A wrong name is told before a question about it is asked.
    if ((status = ctl_ask(c, "adapter.show", "adapter", ref.name, NULL)) ||
        (status = ctl_confirm(c, question)) != CTL_OK ||
        (status = ctl_request(c, &r, "adapter.delete")) != CTL_OK)
        return status;
    pock_set_str(r, "adapter", ref.name);
    if (ref.version > 0)
        pock_set_int(r, "version", ref.version);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (!c->quiet)
        printf("deleted %" PRId64 " version%s\n",
               pock_get_int(v, "versions", 0),
               pock_get_int(v, "versions", 0) == 1 ? "" : "s");
    pock_reply_destroy(reply);
    return status;
}
