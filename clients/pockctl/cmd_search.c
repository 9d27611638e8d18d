// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "engine/base/str.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_MEMORY = 1 << 20 };

/*
 * What was found
 */

static void row(struct out_table *t, const char *what, const char *value,
                const char *remark)
{
    out_table_text(t, what);
    out_table_text(t, value);
    out_table_text(t, remark);
}

static void add_memory(struct out_table *t, const struct pock_value *v)
{
    const int64_t arena = pock_get_int(v, "arena_bytes", 0);
    const int64_t state = pock_get_int(v, "state_bytes", 0);
    char text[OUT_TIME_BYTES];
    char remark[96];

    out_bytes_format(text, arena + state);
    row(t, "memory", text, "beside the mapped weights");
    out_bytes_format(text, arena);
    snprintf(remark, sizeof(remark),
             "activations and gradients; %" PRId64
             " instructions run again to save memory",
             pock_get_int(v, "recomputed", 0));
    row(t, "  arena", text, remark);
    out_bytes_format(text, state);
    row(t, "  state", text, "adapter, optimizer and copies");
}

static int show_sums(struct ctl *c, const struct pock_value *v)
{
    static const struct out_column columns[] = {
        {"FOUND", false, false},
        {"VALUE", true, false},
        {"", false, true},
    };
    char text[OUT_TIME_BYTES];
    char remark[96];
    struct out_table *t;

    if (out_table_create(&t, columns, 3) < 0)
        return ctl_no_memory(c);
    row(t, "model", pock_get_str(v, "model", "?"), "");
    snprintf(text, sizeof(text), "%" PRId64, pock_get_int(v, "params", 0));
    row(t, "numbers that learn", text, "");
    add_memory(t, v);
    out_duration_format(text,
                        (int64_t) (pock_get_float(v, "seconds", 0) * 1000));
    row(t, "time", text, "of the whole training, predicted");
    snprintf(text, sizeof(text), "%.1f %%", 100 * pock_get_float(v, "gain", 0));
    row(t, "gain", text, "of what learning everything would gain");
    out_duration_format(text,
                        (int64_t) (pock_get_float(v, "search_seconds", 0) *
                                   1000));
    snprintf(remark, sizeof(remark), "measured on %" PRId64 " records",
             pock_get_int(v, "records", 0));
    row(t, "search", text, remark);
    return ctl_table(c, t);
}

/*
 * What learns in each block
 */

enum { BLOCK_ALL = -1 }; // of a rule that names no blocks

struct span {
    int64_t first, last;
};

// "blocks": 3 or "3-7".
static struct span span_of(const struct json *rule)
{
    const struct json *blocks = json_get(rule, "blocks");
    const char *text = json_get_text(rule, "blocks");
    struct span s = {BLOCK_ALL, BLOCK_ALL};
    char *end;

    if (blocks && blocks->is_integer) {
        s.first = s.last = blocks->integer;
    } else if (text) {
        s.first = s.last = strtoll(text, &end, 10);
        if (*end == '-')
            s.last = strtoll(end + 1, NULL, 10);
    }
    return s;
}

// "q,k,v rank 8": one rule, as it holds in a block.
static void put_rule(struct str *s, const struct json *rule)
{
    const struct json *tensors = json_get(rule, "tensors");
    const struct json *rank = json_get(rule, "rank");
    const char *comma = s->bytes ? "; " : "";

    for (const struct json *n = tensors ? tensors->first : NULL; n;
         n = n->next) {
        str_printf(s, "%s%s", comma, n->type == JSON_STRING ? n->text : "?");
        comma = ",";
    }
    if (rank && rank->is_integer)
        str_printf(s, " rank %" PRId64, rank->integer);
    else
        str_printf(s, " %s", json_get_text(rule, "learn"));
}

static bool put_block(struct str *s, const struct json *rules, int64_t block)
{
    str_clear(s);
    for (const struct json *r = rules->first; r; r = r->next) {
        const struct span at = span_of(r);
        if (at.first <= block && block <= at.last)
            put_rule(s, r);
    }
    return str_finish(s) == 0 && s->bytes > 0;
}

static int64_t last_block(const struct json *rules)
{
    int64_t last = BLOCK_ALL;

    for (const struct json *r = rules->first; r; r = r->next) {
        const int64_t n = span_of(r).last;
        last = n > last ? n : last;
    }
    return last;
}

static int table_of(struct ctl *c, const struct json *rules)
{
    static const struct out_column columns[] = {
        {"BLOCK", true, false},
        {"LEARNS", false, true},
    };
    const int64_t last = last_block(rules);
    struct str s = {0};
    struct out_table *t;

    if (out_table_create(&t, columns, 2) < 0)
        return ctl_no_memory(c);
    for (int64_t b = BLOCK_ALL; b <= last && b < 4096; b++) {
        if (!put_block(&s, rules, b))
            continue;
        if (b == BLOCK_ALL)
            out_table_text(t, "all");
        else
            out_table_cell(t, "%" PRId64, b);
        out_table_text(t, s.data);
    }
    str_free(&s);
    printf("\n");
    return ctl_table(c, t);
}

static int show_blocks(struct ctl *c, const struct pock_value *v)
{
    const char *text = pock_get_str(v, "scheme", "");
    const struct json *root = NULL;
    struct arena *a;
    struct error err;
    int status = CTL_OK;

    if (arena_create(&a, JSON_MEMORY) < 0)
        return ctl_no_memory(c);
    if (json_parse(&root, a, text, strlen(text), &err) == 0) {
        const struct json *rules = json_get(root, "rules");
        if (rules && rules->type == JSON_ARRAY && rules->first)
            status = table_of(c, rules);
    }
    arena_destroy(a);
    return status;
}

static int show(struct ctl *c, const struct pock_value *v)
{
    const char *saved = pock_get_str(v, "saved", NULL);
    int status;

    if (c->json)
        return ctl_json(c, v);
    if (c->quiet) {
        printf("%s\n", saved ? saved : pock_get_str(v, "scheme", ""));
        return CTL_OK;
    }
    if ((status = show_sums(c, v)) || (status = show_blocks(c, v)))
        return status;
    if (!saved)
        printf("\n%s\n", pock_get_str(v, "scheme", ""));
    fflush(stdout);
    if (saved)
        ctl_remark(c,
                   "saved; train with `pockctl train now --recipe "
                   "scheme=@%s,memory_mib=%" PRId64 "`",
                   saved, pock_get_int(v, "memory_mib", 0));
    else
        ctl_remark(c, "not kept: --save NAME keeps it for `pockctl train now "
                      "--recipe scheme=@NAME`");
    return CTL_OK;
}

/*
 * Asking
 */

static int fill_limits(struct ctl *c, struct pock_request *r)
{
    const char *memory = c->line.values[FLAG_MEMORY];
    const char *time = c->line.values[FLAG_TIME];
    struct error err;
    int64_t n = 0;
    int status;

    if (memory) {
        if (out_bytes_parse(&n, "--memory", memory, &err) < 0)
            return ctl_fail(c, CTL_USAGE, "%s", err.text);
        if (n < 1 << 20)
            return ctl_fail(c, CTL_USAGE, "--memory must be at least 1M");
        pock_set_int(r, "memory_mib", n >> 20);
    }
    if (time) {
        if (out_duration_parse(&n, "--time", time, &err) < 0)
            return ctl_fail(c, CTL_USAGE, "%s", err.text);
        if (n == 0)
            return ctl_fail(c, CTL_USAGE, "--time must be above 0");
        pock_set_float(r, "seconds", (double) n * 1e-3);
    }
    n = 0;
    if ((status = ctl_int_flag(c, FLAG_SAMPLES, 1, 4096, &n)) != CTL_OK)
        return status;
    if (n > 0)
        pock_set_int(r, "samples", n);
    return CTL_OK;
}

static int fill(struct ctl *c, struct pock_request *r, int64_t before)
{
    int status;

    pock_set_str(r, "model", c->line.values[FLAG_MODEL]);
    pock_set_str(r, "save", c->line.values[FLAG_SAVE]);
    if (c->line.values[FLAG_STREAM]) {
        pock_open_list(r, "streams");
        pock_set_str(r, NULL, c->line.values[FLAG_STREAM]);
        pock_close(r);
    }
    if (before > 0)
        pock_set_int(r, "before", before);
    if ((status = fill_limits(c, r)) != CTL_OK)
        return status;
    return ctl_set_recipe(c, r);
}

int ctl_search(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int64_t after;
    int64_t before;
    int status;

    if (c->line.given[FLAG_SVG])
        return ctl_fail(c, CTL_USAGE, "--svg draws a plan, not a search");
    if ((status = ctl_bounds(c, &after, &before)) != CTL_OK ||
        (status = ctl_request(c, &r, "scheme.search")) != CTL_OK)
        return status;
    if ((status = fill(c, r, before)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    status = show(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}
