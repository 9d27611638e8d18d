// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// "default:2=0.7": a version and, where it is given, its weight.
static int put_part(struct ctl *c, struct pock_request *r, const char *text)
{
    const char *equals = strchr(text, '=');
    const size_t bytes = equals ? (size_t) (equals - text) : strlen(text);
    struct ctl_adapter ref;
    char name[160];
    char *end;
    int status;

    if (bytes >= sizeof(name))
        return ctl_fail(c, CTL_USAGE, "\"%.40s...\" is no adapter", text);
    memcpy(name, text, bytes);
    name[bytes] = '\0';
    if ((status = ctl_adapter_ref(c, name, &ref)) != CTL_OK)
        return status;
    pock_open_map(r, NULL);
    pock_set_str(r, "adapter", ref.name);
    if (ref.version > 0)
        pock_set_int(r, "version", ref.version);
    if (equals) {
        const double weight = strtod(equals + 1, &end);
        if (end == equals + 1 || *end || !isfinite(weight))
            status = ctl_fail(c, CTL_USAGE,
                              "\"%s\": a weight is a number, as in "
                              "default:2=0.7",
                              text);
        pock_set_float(r, "weight", weight);
    }
    pock_close(r);
    return status;
}

static int put_parts(struct ctl *c, struct pock_request *r)
{
    int status = CTL_OK;

    pock_open_list(r, "parts");
    for (int i = 0; i < c->line.arg_count && status == CTL_OK; i++)
        status = put_part(c, r, c->line.args[i]);
    pock_close(r);
    return status;
}

int cmd_adapter_merge(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int64_t rank = 0;
    int status;

    if ((status = ctl_int_flag(c, FLAG_RANK, 1, 256, &rank)) != CTL_OK ||
        (status = ctl_request(c, &r, "adapter.merge")) != CTL_OK)
        return status;
    if ((status = put_parts(c, r)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    pock_set_str(r, "adapter", c->line.values[FLAG_NAME]);
    if (rank > 0)
        pock_set_int(r, "rank", rank);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *version = pock_get(v, "version");
    const char *name = pock_get_str(v, "adapter", "?");
    const int64_t number = pock_get_int(version, "version", 0);
    if (c->json) {
        status = ctl_json(c, v);
    } else {
        printf("%s:%" PRId64 "\n", name, number);
        if (pock_get_bool(v, "new", true))
            ctl_remark(c,
                       "merged, rank %" PRId64 ", not active: activate it "
                       "with `pockctl adapter activate %s:%" PRId64 " --force`",
                       pock_get_int(version, "rank", 0), name, number);
        else
            ctl_remark(c, "the same bytes were known already");
        const double left_out = pock_get_float(v, "left_out", 0);
        if (left_out > 5e-5)
            ctl_remark(c,
                       "%.2f %% of the sum is left out: a higher --rank keeps "
                       "more",
                       100 * left_out);
    }
    pock_reply_destroy(reply);
    return status;
}

static void add_row(struct out_table *t, const struct pock_value *row)
{
    const char *linear = pock_get_str(row, "linear", NULL);
    const double cosine = pock_get_float(row, "cosine", NAN);

    if (!pock_get(row, "block"))
        out_table_text(t, "all");
    else if (linear)
        out_table_cell(t, "%" PRId64 " %s", pock_get_int(row, "block", 0),
                       linear);
    else
        out_table_cell(t, "%" PRId64, pock_get_int(row, "block", 0));
    out_table_cell(t, "%.4g", pock_get_float(row, "norm_a", 0));
    out_table_cell(t, "%.4g", pock_get_float(row, "norm_b", 0));
    out_table_cell(t, "%.4g", pock_get_float(row, "distance", 0));
    if (isfinite(cosine))
        out_table_cell(t, "%.3f", cosine);
    else
        out_table_text(t, "-");
}

static int print_difference(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *rows = pock_get(v, "rows");
    const struct pock_value *sides[] = {pock_get(v, "a"), pock_get(v, "b")};
    char names[2][96];
    struct out_table *t;

    for (int i = 0; i < 2; i++)
        snprintf(names[i], sizeof(names[i]), "%.70s:%" PRId64,
                 pock_get_str(sides[i], "adapter", "?"),
                 pock_get_int(sides[i], "version", 0));
    const struct out_column columns[] = {
        {"BLOCK", false, true},  {names[0], true, false},
        {names[1], true, false}, {"DISTANCE", true, false},
        {"COSINE", true, false},
    };
    if (out_table_create(&t, columns, 5) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(rows); i++)
        add_row(t, pock_at(rows, i));
    add_row(t, pock_get(v, "all"));
    return ctl_table(c, t);
}

int cmd_adapter_diff(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "adapter.diff")) != CTL_OK)
        return status;
    if ((status = put_parts(c, r)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    if (c->line.given[FLAG_ALL])
        pock_set_bool(r, "linears", true);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    status = c->json ? ctl_json(c, pock_result(reply))
                     : print_difference(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}
