// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NO_RECORDS "no records: `pockctl data import FILE` hands some in"

enum { PAGE_RECORDS = 500 };

// A request with the filter that the options name. A wrong time is told before
// anybody is asked.
static int filtered_request(struct ctl *c, struct pock_request **out,
                            const char *method)
{
    struct pock_filter filter = {.stream = c->line.values[FLAG_STREAM]};
    int status;

    if ((status = ctl_bounds(c, &filter.after_ms, &filter.before_ms)) ||
        (status = ctl_request(c, out, method)))
        return status;
    pock_set_filter(*out, &filter);
    return CTL_OK;
}

/*
 * data list
 */

static const struct out_column list_columns[] = {
    {"RECORD", true, false}, {"TIME", false, false}, {"STREAM", false, false},
    {"KIND", false, false},  {"SIZE", true, false},  {"TEXT", false, true},
};

static void add_heads(struct ctl *c, struct out_table *t,
                      const struct pock_value *records)
{
    char text[OUT_TIME_BYTES];

    for (size_t i = 0; i < pock_count(records); i++) {
        const struct pock_value *r = pock_at(records, i);
        out_table_cell(t, "%" PRId64, pock_get_int(r, "id", 0));
        out_table_text(t, ctl_time(c, text, pock_get_int(r, "time", 0)));
        out_table_text(t, pock_get_str(r, "stream", "?"));
        out_table_text(t, pock_get_str(r, "kind", "?"));
        out_bytes_format(text, pock_get_int(r, "bytes", 0));
        out_table_text(t, text);
        out_table_text(t, pock_get_str(r, "preview", ""));
    }
}

static void print_heads(struct ctl *c, const struct pock_value *records,
                        bool is_first)
{
    struct str s = {0};

    for (size_t i = 0; i < pock_count(records); i++) {
        const struct pock_value *r = pock_at(records, i);
        if (c->quiet) {
            printf("%" PRId64 "\n", pock_get_int(r, "id", 0));
            continue;
        }
        str_clear(&s);
        out_json_value(&s, r);
        printf("%s%s", is_first && i == 0 ? "" : ",",
               str_finish(&s) == 0 ? s.data : "null");
    }
    str_free(&s);
}

static int list_page(struct ctl *c, int64_t cursor, int64_t limit,
                     struct pock_reply **out)
{
    struct pock_request *r;
    int status;

    if ((status = filtered_request(c, &r, "data.list")) != CTL_OK)
        return status;
    if (cursor > 0)
        pock_set_int(r, "cursor", cursor);
    pock_set_int(r, "limit", limit < PAGE_RECORDS ? limit : PAGE_RECORDS);
    pock_set_bool(r, "preview", true);
    return ctl_send(c, r, NULL, out);
}

static int list_pages(struct ctl *c, struct out_table *t, int64_t limit)
{
    struct pock_reply *reply;
    int64_t cursor = 0;
    bool is_first = true;
    int status;

    do {
        if ((status = list_page(c, cursor, limit, &reply)) != CTL_OK)
            return status;
        const struct pock_value *v = pock_result(reply);
        const struct pock_value *records = pock_get(v, "records");
        if (c->json || c->quiet)
            print_heads(c, records, is_first);
        else
            add_heads(c, t, records);
        is_first = is_first && pock_count(records) == 0;
        limit -= (int64_t) pock_count(records);
        cursor = pock_get_int(v, "next", 0);
        pock_reply_destroy(reply);
    } while (cursor > 0 && limit > 0);
    return CTL_OK;
}

int cmd_data_list(struct ctl *c)
{
    struct out_table *t;
    int64_t limit = INT64_MAX;
    int status;

    if ((status = ctl_int_flag(c, FLAG_LIMIT, 1, INT64_MAX, &limit)) != CTL_OK)
        return status;
    if (out_table_create(&t, list_columns, 6) < 0)
        return ctl_no_memory(c);
    // The first page comes before the first byte of output, so that an error
    // is not found behind half a list.
    if (c->json && (status = ctl_connect(c)) != CTL_OK) {
        out_table_destroy(t);
        return status;
    }
    if (c->json)
        printf("{\"schema\":%d,\"records\":[", OUT_JSON_SCHEMA);
    status = list_pages(c, t, limit);
    if (c->json)
        printf("]}\n");
    if (status != CTL_OK || c->json || c->quiet) {
        out_table_destroy(t);
        return status;
    }
    if (out_table_rows(t) == 0)
        ctl_remark(c, NO_RECORDS);
    return ctl_table(c, t);
}

/*
 * data show
 */

static void print_text(struct ctl *c, const struct pock_value *v)
{
    size_t bytes;
    const char *text = pock_as_bytes(v, &bytes);
    struct str s = {0};

    if (!text)
        return;
    if (c->out.is_tty) {
        term_text(&s, text, bytes, false);
        text = str_finish(&s) == 0 && s.data ? s.data : "";
        bytes = s.bytes;
    }
    (void) fwrite(text, 1, bytes, stdout);
    if (bytes == 0 || text[bytes - 1] != '\n')
        putchar('\n');
    str_free(&s);
}

static void print_turn(struct ctl *c, const char *who,
                       const struct pock_value *v)
{
    if (!v)
        return;
    printf("%s%s:%s\n", term_on(&c->out, TERM_BOLD), who,
           term_off(&c->out, TERM_BOLD));
    print_text(c, v);
}

static void print_record(struct ctl *c, const struct pock_value *r)
{
    const struct pock_value *messages = pock_get(r, "messages");
    char time[OUT_TIME_BYTES];

    if (c->header)
        printf("%s%" PRId64 "  %s  %s  %s%s\n\n", term_on(&c->out, TERM_DIM),
               pock_get_int(r, "id", 0), pock_get_str(r, "stream", "?"),
               pock_get_str(r, "kind", "?"),
               ctl_time(c, time, pock_get_int(r, "time", 0)),
               term_off(&c->out, TERM_DIM));
    print_text(c, pock_get(r, "text"));
    print_turn(c, "prompt", pock_get(r, "prompt"));
    print_turn(c, "completion", pock_get(r, "completion"));
    for (size_t i = 0; i < pock_count(messages); i++) {
        const struct pock_value *m = pock_at(messages, i);
        print_turn(c, pock_get_str(m, "role", "?"), pock_get(m, "content"));
    }
}

int cmd_data_show(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    struct error err;
    int64_t id;
    int status;

    if (c->line.given[FLAG_MASK])
        return ctl_mask(c);
    if (c->line.arg_count == 0)
        return ctl_fail(
            c, CTL_USAGE,
            "which record? `pockctl data list` shows their numbers");
    if (cmdline_int(&id, "the record", c->line.args[0], 1, INT64_MAX, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    if (c->line.given[FLAG_USED_BY])
        return ctl_used_by(c, id);
    if ((status = ctl_request(c, &r, "data.get")) != CTL_OK)
        return status;
    pock_open_list(r, "ids");
    pock_set_int(r, NULL, id);
    pock_close(r);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        printf("%" PRId64 "\n", id);
    else
        print_record(c, pock_at(pock_get(v, "records"), 0));
    pock_reply_destroy(reply);
    return status;
}

/*
 * data count
 */

static void add_count(struct ctl *c, struct out_table *t, const char *name,
                      const char *app, const struct pock_value *v)
{
    char text[OUT_TIME_BYTES];

    out_table_text(t, name);
    out_table_cell(t, "%" PRId64, pock_get_int(v, "records", 0));
    out_bytes_format(text, pock_get_int(v, "bytes", 0));
    out_table_text(t, text);
    out_table_text(t, ctl_time(c, text, pock_get_int(v, "first", 0)));
    out_table_text(t, ctl_time(c, text, pock_get_int(v, "last", 0)));
    out_table_text(t, app);
}

static int print_counts(struct ctl *c, const struct pock_value *v)
{
    static const struct out_column columns[] = {
        {"STREAM", false, true}, {"RECORDS", true, false},
        {"SIZE", true, false},   {"FIRST", false, false},
        {"LAST", false, false},  {"APP", false, true},
    };
    const struct pock_value *streams = pock_get(v, "streams");
    struct out_table *t;

    if (out_table_create(&t, columns, 6) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(streams); i++) {
        const struct pock_value *s = pock_at(streams, i);
        add_count(c, t, pock_get_str(s, "name", "?"),
                  pock_get_str(s, "app", "?"), s);
    }
    add_count(c, t, "in all", "", v);
    if (pock_count(streams) == 0)
        ctl_remark(c, NO_RECORDS);
    return ctl_table(c, t);
}

int cmd_data_count(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = filtered_request(c, &r, "data.count")) != CTL_OK ||
        (status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        printf("%" PRId64 "\n", pock_get_int(v, "records", 0));
    else
        status = print_counts(c, v);
    pock_reply_destroy(reply);
    return status;
}

/*
 * data export
 */

static int export_to(struct ctl *c, int fd, struct pock_reply **out)
{
    struct ctl_call how = {.has_fd = true, .fd = fd};
    struct pock_request *r;
    int status;

    if ((status = filtered_request(c, &r, "data.export")) != CTL_OK)
        return status;
    return ctl_send(c, r, &how, out);
}

int cmd_data_export(struct ctl *c)
{
    const char *path = c->line.values[FLAG_OUTPUT];
    struct ctl_output o;
    struct pock_reply *reply = NULL;
    char size[OUT_TIME_BYTES];
    int status;

    if (c->json && (!path || strcmp(path, "-") == 0))
        return ctl_fail(c, CTL_USAGE,
                        "--json needs --output PATH here: the "
                        "records themselves would go to standard output");
    if ((status = ctl_connect(c)) != CTL_OK ||
        (status = ctl_output_open(c, path ? path : "-", &o)) != CTL_OK)
        return status;
    status = export_to(c, o.fd, &reply);
    status = ctl_output_close(c, &o, status);
    if (status != CTL_OK) {
        pock_reply_destroy(reply);
        return status;
    }
    const struct pock_value *v = pock_result(reply);
    if (c->json) {
        status = ctl_json(c, v);
    } else {
        out_bytes_format(size, pock_get_int(v, "bytes", 0));
        ctl_remark(c, "%" PRId64 " records, %s, SHA-256 %s",
                   pock_get_int(v, "records", 0), size,
                   pock_get_str(v, "sha256", "?"));
    }
    pock_reply_destroy(reply);
    return status;
}
