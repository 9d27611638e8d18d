// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What the daemon would mask in a text, found here by the same code: nothing is
 * sent anywhere.
 */

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"
#include "ipc/redact.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TEXT_MAX = 64 << 20 };

struct redacting {
    struct ctl *ctl;
    const char *text;
    size_t done;
    struct str json;
    uint64_t found[REDACT_CLASSES];
};

static void print_text(const char *text, size_t bytes)
{
    struct str s = {.limit = TEXT_MAX + 64};

    term_text(&s, text, bytes, false);
    printf("%s", s.data ? s.data : "");
    str_free(&s);
}

// In colour with what is masked in its place; else as it would be stored, as it
// may go on into a file.
static int print_find(void *user, enum redact_class c, size_t begin, size_t end)
{
    struct redacting *x = user;
    const struct term *t = &x->ctl->out;
    const char *from = x->text + x->done;

    x->found[c]++;
    if (x->ctl->json) {
        str_printf(&x->json, "%s{\"class\":\"%s\",\"begin\":%zu,\"end\":%zu}",
                   x->json.bytes ? "," : "", redact_class_name(c), begin, end);
        return 0;
    }
    if (t->has_color) {
        print_text(from, begin - x->done);
        printf("%s", term_on(t, TERM_BAD));
        print_text(x->text + begin, end - begin);
        printf("%s%s%s%s", term_off(t, TERM_BAD), term_on(t, TERM_DIM),
               redact_class_tag(c), term_off(t, TERM_DIM));
    } else {
        fwrite(from, 1, begin - x->done, stdout);
        printf("%s", redact_class_tag(c));
    }
    x->done = end;
    return 0;
}

static void tell_counts(struct redacting *x)
{
    struct str s = {.limit = 0};

    for (int k = 0; k < REDACT_CLASSES; k++)
        if (x->found[k])
            str_printf(&s, "%s%" PRIu64 " %s", s.bytes ? ", " : "", x->found[k],
                       redact_class_name((enum redact_class) k));
    ctl_remark(x->ctl, "masked: %s", s.data ? s.data : "nothing was found");
    str_free(&s);
}

static int print_all(struct redacting *x, const struct str *text)
{
    struct redact rules;

    redact_init(&rules, REDACT_MASK);
    x->text = text->data ? text->data : "";
    if (redact_find(&rules, x->text, text->bytes, print_find, x) < 0 ||
        str_finish(&x->json) < 0)
        return ctl_no_memory(x->ctl);
    if (x->ctl->json)
        printf("{\"schema\":%d,\"found\":[%s]}\n", OUT_JSON_SCHEMA,
               x->json.data ? x->json.data : "");
    else if (x->ctl->out.has_color)
        print_text(x->text + x->done, text->bytes - x->done);
    else
        fwrite(x->text + x->done, 1, text->bytes - x->done, stdout);
    if (!x->ctl->json)
        tell_counts(x);
    return CTL_OK;
}

int cmd_redact(struct ctl *c)
{
    const char *path = c->line.arg_count ? c->line.args[0] : "-";
    struct redacting x = {.ctl = c};
    struct str text = {.limit = TEXT_MAX};
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

    if (!f)
        return ctl_fail_errno(c, -errno, path);
    int status = ctl_read_all(c, f, path, TEXT_MAX, &text);
    if (f != stdin)
        fclose(f);
    if (status == CTL_OK)
        status = print_all(&x, &text);
    str_free(&text);
    str_free(&x.json);
    return status;
}
