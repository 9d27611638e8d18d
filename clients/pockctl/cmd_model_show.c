// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * model show
 */

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { TEMPLATE_LINES = 6, TEMPLATE_COLUMNS = 100 };

// One row of two cells: its name, and what printf makes.
static void row(struct out_table *t, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void row(struct out_table *t, const char *name, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    out_table_text(t, name);
    out_table_text(t, text);
}

static void show_model(struct ctl *c, struct out_table *t,
                       const struct pock_value *m)
{
    char count[OUT_TIME_BYTES], size[OUT_TIME_BYTES], when[OUT_TIME_BYTES];
    const char *state = pock_get_str(m, "state", "?");

    ctl_model_count(count, pock_get_int(m, "params", 0));
    out_bytes_format(size, pock_get_int(m, "bytes", 0));
    row(t, "name", "%s%s", pock_get_str(m, "name", "?"),
        pock_get_bool(m, "default", false) ? " (the default)" : "");
    row(t, "file", "%s", pock_get_str(m, "path", "?"));
    row(t, "size", "%s", size);
    row(t, "state", "%s, added %s", state,
        ctl_time(c, when, pock_get_int(m, "added", 0)));
    row(t, "SHA-256", "%s", pock_get_str(m, "sha256", "?"));
    row(t, "architecture",
        "%s, %s weights, %" PRId64 " blocks of width %" PRId64,
        pock_get_str(m, "arch", "?"), count, pock_get_int(m, "layers", 0),
        pock_get_int(m, "width", 0));
    row(t, "context", "%" PRId64 " tokens", pock_get_int(m, "context", 0));
}

static void show_specials(struct out_table *t, const struct pock_value *list)
{
    struct str s = {0};

    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *k = pock_at(list, i);
        str_printf(&s, "%s%s %s (%" PRId64 ")", i ? ", " : "",
                   pock_get_str(k, "role", "?"), pock_get_str(k, "text", "?"),
                   pock_get_int(k, "id", 0));
    }
    row(t, "special tokens", "%s",
        str_finish(&s) == 0 && s.data ? s.data : "none");
    str_free(&s);
}

static void show_needs(struct out_table *t, const struct pock_value *d)
{
    char size[OUT_TIME_BYTES];
    const int64_t train = pock_get_int(d, "train_bytes", 0);

    out_bytes_format(size, train);
    if (train > 0)
        row(t, "to train", "%s beside the mapped file, with the default recipe",
            size);
    else
        row(t, "to train", "not with the default recipe: %s",
            pock_get_str(d, "train_why", "?"));
    out_bytes_format(size, pock_get_int(d, "generate_bytes", 0));
    row(t, "to generate", "%s beside the mapped file, over the whole context",
        size);
}

// What the owner said goes before what the file says.
static void show_chat(struct out_table *t, const struct pock_value *m,
                      const struct pock_value *d)
{
    const char *of_file = pock_get_str(d, "chat", "?");
    const char *chat = pock_get_str(m, "chat", of_file);
    const int64_t bytes = pock_get_int(d, "template_bytes", 0);
    char template[64] = "no template";

    if (bytes > 0)
        (void) snprintf(template, sizeof(template),
                        "a template of %" PRId64 " bytes", bytes);
    if (pock_get(m, "chat_of_file"))
        row(t, "chat format", "%s, as you set it (of the file: %s, %s)", chat,
            of_file, template);
    else
        row(t, "chat format", "%s (%s)", chat, template);
}

static void show_details(struct out_table *t, const struct pock_value *m,
                         const struct pock_value *d)
{
    struct str types = {0};

    ctl_model_types(&types, pock_get(d, "types"));
    row(t, "types", "%s",
        str_finish(&types) == 0 && types.data ? types.data : "?");
    str_free(&types);
    row(t, "attention",
        "%" PRId64 " heads of %" PRId64 ", %" PRId64
        " of keys and values, rope base %g",
        pock_get_int(d, "heads", 0), pock_get_int(d, "head_dim", 0),
        pock_get_int(d, "kv_heads", 0), pock_get_float(d, "rope_base", 0));
    row(t, "feed-forward", "width %" PRId64, pock_get_int(d, "ffn_width", 0));
    row(t, "vocabulary", "%" PRId64 " tokens (%s)%s",
        pock_get_int(m, "vocab", 0), pock_get_str(d, "tokenizer", "?"),
        pock_get_bool(d, "tied", false) ? ", the head is the embeddings" : "");
    show_specials(t, pock_get(d, "specials"));
    show_chat(t, m, d);
    row(t, "license", "%s", pock_get_str(d, "license", "not said"));
    show_needs(t, d);
}

static void show_adapters(struct out_table *t, const struct pock_value *list)
{
    struct str s = {0};

    for (size_t i = 0; i < pock_count(list); i++)
        str_printf(&s, "%s%s", i ? ", " : "",
                   pock_as_str(pock_at(list, i), "?"));
    row(t, "adapters", "%s", str_finish(&s) == 0 && s.data ? s.data : "none");
    str_free(&s);
}

// The first lines of the template, below the table.
static void print_template(const struct ctl *c, const char *text,
                           int64_t template_bytes)
{
    struct str s = {0};
    const char *at;
    int line = 0;

    term_text(&s, text, strlen(text), false);
    if (str_finish(&s) < 0 || !s.data) {
        str_free(&s);
        return;
    }
    printf("\n%schat template%s\n", term_on(&c->out, TERM_DIM),
           term_off(&c->out, TERM_DIM));
    for (at = s.data; *at && line < TEMPLATE_LINES; line++) {
        const size_t n = strcspn(at, "\n");
        const size_t fit = term_fit(at, n, TEMPLATE_COLUMNS);
        printf("  %.*s%s\n", (int) fit, at, fit < n ? " ..." : "");
        at += n + (at[n] == '\n');
    }
    if (*at || (size_t) template_bytes > strlen(text))
        printf("  ...\n");
    str_free(&s);
}

static int print_model(struct ctl *c, const struct pock_value *v)
{
    static const struct out_column columns[] = {{NULL, false, false},
                                                {NULL, false, false}};
    const struct pock_value *details = pock_get(v, "details");
    const char *head = pock_get_str(details, "template_head", "");
    struct out_table *t;

    if (out_table_create(&t, columns, 2) < 0)
        return ctl_no_memory(c);
    show_model(c, t, pock_get(v, "model"));
    if (details)
        show_details(t, pock_get(v, "model"), details);
    else
        row(t, "details", "none: %s", pock_get_str(v, "why", "?"));
    show_adapters(t, pock_get(v, "adapters"));
    int status = ctl_table(c, t);
    if (status == CTL_OK && head[0])
        print_template(c, head, pock_get_int(details, "template_bytes", 0));
    return status;
}

int cmd_model_show(struct ctl *c)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status = ctl_request(c, &r, "model.show");

    if (status != CTL_OK)
        return status;
    pock_set_str(r, "model", c->line.args[0]);
    if (!c->quiet)
        pock_set_bool(r, "details", true);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        printf("%s\n", pock_get_str(pock_get(v, "model"), "name", "?"));
    else
        status = print_model(c, v);
    pock_reply_destroy(reply);
    return status;
}
