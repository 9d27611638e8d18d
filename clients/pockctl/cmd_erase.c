// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <stdlib.h>

enum { IDS_MAX = 1024 };

static int read_ids(struct ctl *c, int64_t *ids)
{
    struct error err;

    if (c->line.arg_count > IDS_MAX)
        return ctl_fail(c, CTL_USAGE,
                        "%d records are named, but at most %d may be: erase "
                        "them in parts",
                        c->line.arg_count, IDS_MAX);
    for (int i = 0; i < c->line.arg_count; i++)
        if (cmdline_int(&ids[i], "the record", c->line.args[i], 1, INT64_MAX,
                        &err) < 0)
            return ctl_fail(c, CTL_USAGE, "%s", err.text);
    return CTL_OK;
}

static int erase(struct ctl *c, const struct pock_filter *filter, bool dry_run,
                 struct pock_reply **out)
{
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "data.erase")) != CTL_OK)
        return status;
    pock_set_filter(r, filter);
    if (c->line.given[FLAG_ALL])
        pock_set_bool(r, "all", true);
    if (dry_run)
        pock_set_bool(r, "dry_run", true);
    return ctl_send(c, r, NULL, out);
}

static void print_merged_again(const struct pock_value *u)
{
    const struct pock_value *parts = pock_get(u, "merged_again");

    if (!parts)
        return;
    printf("merged again: %s from", pock_get_str(u, "adapter", "?"));
    for (size_t i = 0; i < pock_count(parts); i++) {
        const struct pock_value *p = pock_at(parts, i);
        printf(" %s=%g", pock_get_str(p, "adapter", "?"),
               pock_get_float(p, "weight", 0));
    }
    printf("\n");
}

static void print_plan(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *used = pock_get(v, "used_by");
    char size[OUT_TIME_BYTES];

    out_bytes_format(size, pock_get_int(v, "bytes", 0));
    printf("records   %" PRId64 " (%s)\n", pock_get_int(v, "records", 0), size);
    for (size_t i = 0; i < pock_count(used); i++) {
        const struct pock_value *u = pock_at(used, i);
        printf("%s%s:%" PRId64 "%s\n", i == 0 ? "adapters  " : "          ",
               pock_get_str(u, "adapter", "?"), pock_get_int(u, "version", 0),
               pock_get_bool(u, "active", false) ? " (active)" : "");
    }
    for (size_t i = 0; i < pock_count(used); i++)
        print_merged_again(pock_at(used, i));
    if (pock_count(used) == 0)
        printf("adapters  none learned from them\n");
    else
        ctl_remark(c,
                   "these versions learned from the records and are erased "
                   "with them; %" PRId64 " job%s to learn again from the "
                   "rest",
                   pock_get_int(v, "jobs", 0),
                   pock_get_int(v, "jobs", 0) == 1 ? " is queued"
                                                   : "s are queued");
}

static int report(struct ctl *c, const struct pock_value *v)
{
    if (c->json)
        return ctl_json(c, v);
    if (c->quiet)
        printf("%" PRId64 "\n", pock_get_int(v, "records", 0));
    else
        printf("erased %" PRId64 " record%s\n", pock_get_int(v, "records", 0),
               pock_get_int(v, "records", 0) == 1 ? "" : "s");
    return CTL_OK;
}

static int ask_and_erase(struct ctl *c, const struct pock_filter *filter)
{
    bool dry_run = c->line.given[FLAG_DRY_RUN];
    struct pock_reply *reply;
    int status;

    if ((status = erase(c, filter, true, &reply)) != CTL_OK)
        return status;
    const struct pock_value *plan = pock_result(reply);
    int64_t records = pock_get_int(plan, "records", 0) +
                      (int64_t) pock_count(pock_get(plan, "used_by"));
    if (c->json && dry_run)
        status = ctl_json(c, plan);
    else if (!c->json && !c->quiet)
        print_plan(c, plan);
    pock_reply_destroy(reply);
    if (status != CTL_OK || dry_run)
        return status;
    if (records == 0 && !c->json) {
        ctl_remark(c, "nothing to erase: no such record is there; `pockctl "
                      "data count` names the streams");
        return CTL_OK;
    }
    if ((status = ctl_confirm(c, "Erase them for good?")) != CTL_OK ||
        (status = erase(c, filter, false, &reply)) != CTL_OK)
        return status;
    status = report(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

int cmd_data_erase(struct ctl *c)
{
    int64_t ids[IDS_MAX];
    struct pock_filter filter = {.stream = c->line.values[FLAG_STREAM],
                                 .ids = ids,
                                 .id_count = (size_t) c->line.arg_count};
    int status;

    if ((status = read_ids(c, ids)) != CTL_OK ||
        (status = ctl_bounds(c, &filter.after_ms, &filter.before_ms)) != CTL_OK)
        return status;
    if (!filter.stream && filter.id_count == 0 && !filter.after_ms &&
        !filter.before_ms && !c->line.given[FLAG_ALL])
        return ctl_fail(c, CTL_USAGE,
                        "nothing says which records to erase: name them, give "
                        "--stream, --since or --until, or --all");
    return ask_and_erase(c, &filter);
}
