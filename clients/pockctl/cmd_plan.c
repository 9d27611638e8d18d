// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <stdlib.h>

static void row(struct out_table *t, const char *what, const char *value,
                const char *remark)
{
    out_table_text(t, what);
    out_table_text(t, value);
    out_table_text(t, remark);
}

static void row_bytes(struct out_table *t, const char *what,
                      const struct pock_value *v, const char *key,
                      const char *remark)
{
    char text[OUT_TIME_BYTES];

    out_bytes_format(text, pock_get_int(v, key, 0));
    row(t, what, text, remark);
}

static void add_sizes(struct out_table *t, const struct pock_value *v)
{
    char text[96];
    char remark[96];

    snprintf(text, sizeof(text), "%" PRId64, pock_get_int(v, "tensors", 0));
    snprintf(remark, sizeof(remark),
             "%" PRId64 " numbers, from block %" PRId64 " of %" PRId64 " on",
             pock_get_int(v, "params", 0), pock_get_int(v, "first_block", 0),
             pock_get_int(v, "blocks", 0));
    row(t, "learning tensors", text, remark);
    snprintf(text, sizeof(text), "%" PRId64 " x %" PRId64,
             pock_get_int(v, "rows", 0), pock_get_int(v, "length", 0));
    snprintf(remark, sizeof(remark),
             "rows x tokens; up to %" PRId64 " of them in a step",
             pock_get_int(v, "micro_batches", 0));
    row(t, "micro-batch", text, remark);
    snprintf(text, sizeof(text), "%.4g MFLOP",
             pock_get_float(v, "flops_token", 0) * 1e-6);
    snprintf(remark, sizeof(remark), "%.1f %% of it made again",
             pock_get_float(v, "again_pct", 0));
    row(t, "work for a token", text, remark);
    if (!pock_get(v, "step_ms"))
        return;
    snprintf(text, sizeof(text), "%.1f ms", pock_get_float(v, "step_ms", 0));
    snprintf(remark, sizeof(remark),
             "predicted; %" PRId64 " of %" PRId64 " instructions were timed",
             pock_get_int(v, "measured", 0),
             pock_get_int(v, "instructions", 0));
    row(t, "a step", text, remark);
}

static void add_memory(struct out_table *t, const struct pock_value *v)
{
    char text[96];
    char remark[96];

    row_bytes(t, "arena", v, "arena_bytes",
              "activations, gradients and scratch");
    row_bytes(t, "  at least", v, "live_bytes", "what is live at once");
    row_bytes(t, "  if all were kept", v, "kept_bytes", "");
    row_bytes(t, "state", v, "state_bytes", "adapter, optimizer and copies");
    snprintf(text, sizeof(text), "%" PRId64,
             pock_get_int(v, "instructions", 0));
    snprintf(remark, sizeof(remark), "compiled in %.0f ms",
             (double) pock_get_int(v, "compile_us", 0) * 1e-3);
    row(t, "instructions", text, remark);
}

static int show_sizes(struct ctl *c, const struct pock_value *v)
{
    static const struct out_column columns[] = {
        {"PLAN", false, false},
        {"VALUE", true, false},
        {"", false, true},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 3) < 0)
        return ctl_no_memory(c);
    row(t, "model", pock_get_str(v, "model", "?"), "");
    add_sizes(t, v);
    add_memory(t, v);
    return ctl_table(c, t);
}

static int show_groups(struct ctl *c, const struct pock_value *list,
                       const char *title)
{
    const struct out_column columns[] = {
        {title, false, true},
        {"KIND", false, false},
        {"COUNT", true, false},
        {"BYTES", true, false},
    };
    char text[OUT_TIME_BYTES];
    struct out_table *t;

    if (pock_count(list) == 0)
        return CTL_OK;
    if (out_table_create(&t, columns, 4) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *g = pock_at(list, i);
        out_bytes_format(text, pock_get_int(g, "bytes", 0));
        out_table_text(t, pock_get_str(g, "what", "?"));
        out_table_text(t, pock_get_str(g, "kind", "?"));
        out_table_cell(t, "%" PRId64, pock_get_int(g, "count", 0));
        out_table_text(t, text);
    }
    printf("\n");
    return ctl_table(c, t);
}

// Where instructions run: what was chosen, and the fastest that was not.
static int show_steps(struct ctl *c, const struct pock_value *list)
{
    static const struct out_column columns[] = {
        {"RUNS", false, true},       {"COUNT", true, false},
        {"ON", false, false},        {"MS", true, false},
        {"NEXT BEST", false, false}, {"MS", true, false},
    };
    struct out_table *t;

    if (pock_count(list) == 0)
        return CTL_OK;
    if (out_table_create(&t, columns, 6) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *s = pock_at(list, i);
        const char *about = pock_get_bool(s, "measured", true) ? "" : "~";
        out_table_text(t, pock_get_str(s, "what", "?"));
        out_table_cell(t, "%" PRId64, pock_get_int(s, "count", 0));
        out_table_cell(t, "%s x %" PRId64, pock_get_str(s, "kernel", "?"),
                       pock_get_int(s, "threads", 0));
        out_table_cell(t, "%s%.2f", about, pock_get_float(s, "ms", 0));
        if (!pock_get(s, "other_kernel")) {
            out_table_text(t, "-");
            out_table_text(t, "");
            continue;
        }
        out_table_cell(t, "%s x %" PRId64, pock_get_str(s, "other_kernel", "?"),
                       pock_get_int(s, "other_threads", 0));
        out_table_cell(t, "%s%.2f", about, pock_get_float(s, "other_ms", 0));
    }
    printf("\n");
    return ctl_table(c, t);
}

static int show(struct ctl *c, const struct pock_value *v)
{
    int status;

    if (c->json)
        return ctl_json(c, v);
    if (c->quiet) {
        printf("%" PRId64 "\n", pock_get_int(v, "arena_bytes", 0) +
                                    pock_get_int(v, "state_bytes", 0));
        return CTL_OK;
    }
    if ((status = show_sizes(c, v)) ||
        (status = show_groups(c, pock_get(v, "largest"), "LIVE AT THE PEAK")) ||
        (status = show_groups(c, pock_get(v, "again"), "MADE AGAIN")) ||
        (status = show_steps(c, pock_get(v, "steps"))))
        return status;
    printf("\n%s\n", pock_get_str(v, "why", ""));
    if (*pock_get_str(v, "times", ""))
        printf("%s\n", pock_get_str(v, "times", ""));
    return CTL_OK;
}

static int ask(struct ctl *c, struct ctl_call *how, struct pock_reply **reply)
{
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "plan")) != CTL_OK)
        return status;
    pock_set_str(r, "model", c->line.values[FLAG_MODEL]);
    if ((status = ctl_set_recipe(c, r)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    return ctl_send(c, r, how, reply);
}

int cmd_plan(struct ctl *c)
{
    static const enum flag of_search[] = {FLAG_MEMORY,  FLAG_TIME,
                                          FLAG_SAMPLES, FLAG_SAVE,
                                          FLAG_STREAM,  FLAG_UNTIL};
    const char *path = c->line.values[FLAG_SVG];
    struct ctl_call how = {.has_fd = path != NULL};
    struct pock_reply *reply = NULL;
    struct ctl_output o;
    int status;

    if (c->line.given[FLAG_SEARCH])
        return ctl_search(c);
    for (size_t i = 0; i < sizeof(of_search) / sizeof(of_search[0]); i++)
        if (c->line.given[of_search[i]])
            return ctl_fail(c, CTL_USAGE, "--%s belongs to --search",
                            flag_table[of_search[i]].name);
    if (path) {
        if ((status = ctl_output_open(c, path, &o)) != CTL_OK)
            return status;
        how.fd = o.fd;
    }
    status = ask(c, &how, &reply);
    if (path)
        status = ctl_output_close(c, &o, status);
    if (status == CTL_OK)
        status = show(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}
