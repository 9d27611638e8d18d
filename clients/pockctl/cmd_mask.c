// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <string.h>

enum { RECORDS_DEFAULT = 4, RECORDS_MAX = 64 };

// In colour what counts, dim what the model has for itself; without colour,
// brackets around what counts.
static void print_part(struct ctl *c, const struct pock_value *part)
{
    const bool counts = pock_get_bool(part, "counts", false);
    const bool is_special = pock_get_bool(part, "special", false);
    const enum term_style style = counts       ? TERM_GOOD
                                  : is_special ? TERM_DIM
                                               : TERM_PLAIN;
    struct str s = {.limit = 16 << 20};
    size_t bytes = 0;
    const char *text = pock_as_bytes(pock_get(part, "text"), &bytes);

    term_text(&s, text ? text : "", bytes, false);
    printf("%s%s%s", term_on(&c->out, style), s.data ? s.data : "",
           term_off(&c->out, style));
    str_free(&s);
}

static void print_record(struct ctl *c, const struct pock_value *r,
                         const char *chat)
{
    const struct pock_value *parts = pock_get(r, "parts");
    const bool has_color = c->out.has_color;
    bool is_counting = false;

    if (c->header)
        printf("%s%" PRId64 "  %" PRId64 " tokens, %" PRId64
               " of them learned, as %s%s\n\n",
               term_on(&c->out, TERM_DIM), pock_get_int(r, "id", 0),
               pock_get_int(r, "tokens", 0), pock_get_int(r, "learned", 0),
               chat, term_off(&c->out, TERM_DIM));
    for (size_t i = 0; i < pock_count(parts); i++) {
        const struct pock_value *part = pock_at(parts, i);
        const bool counts = pock_get_bool(part, "counts", false);
        if (!has_color && counts != is_counting)
            printf("%s", counts ? "[[" : "]]");
        is_counting = counts;
        print_part(c, part);
    }
    printf("%s\n", is_counting && !has_color ? "]]" : "");
}

static int put_first_ids(struct ctl *c, struct pock_request *to, int64_t limit)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "data.list")) != CTL_OK)
        return status;
    pock_set_int(r, "limit", limit);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *records = pock_get(pock_result(reply), "records");
    for (size_t i = 0; i < pock_count(records); i++)
        pock_set_int(to, NULL, pock_get_int(pock_at(records, i), "id", 0));
    if (pock_count(records) == 0)
        status = ctl_fail(c, CTL_NOT_FOUND,
                          "there are no records yet: hand some in with "
                          "`pockctl data import FILE`");
    pock_reply_destroy(reply);
    return status;
}

static int put_params(struct ctl *c, struct pock_request *r)
{
    struct error err;
    int64_t id, limit = RECORDS_DEFAULT;
    int status = ctl_int_flag(c, FLAG_LIMIT, 1, RECORDS_MAX, &limit);

    if (status != CTL_OK)
        return status;
    pock_open_list(r, "ids");
    if (c->line.arg_count == 0) {
        status = put_first_ids(c, r, limit);
    } else if (cmdline_int(&id, "the record", c->line.args[0], 1, INT64_MAX,
                           &err) < 0) {
        status = ctl_fail(c, CTL_USAGE, "%s", err.text);
    } else {
        pock_set_int(r, NULL, id);
    }
    pock_close(r);
    pock_set_str(r, "model", c->line.values[FLAG_MODEL]);
    pock_set_str(r, "loss_on", c->line.values[FLAG_LOSS_ON]);
    return status;
}

int ctl_mask(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "data.mask")) != CTL_OK)
        return status;
    if ((status = put_params(c, r)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *records = pock_get(v, "records");
    if (c->json)
        status = ctl_json(c, v);
    for (size_t i = 0; !c->json && i < pock_count(records); i++) {
        printf("%s", i ? "\n" : "");
        print_record(c, pock_at(records, i), pock_get_str(v, "chat", "?"));
    }
    pock_reply_destroy(reply);
    return status;
}
