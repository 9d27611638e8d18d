// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "engine/base/arena.h"
#include "engine/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_ARENA_BYTES = 4 << 20, COLUMNS = 5 };

static double number(const struct json *j, const char *key)
{
    const struct json *v = json_get(j, key);

    return v && v->type == JSON_NUMBER ? v->number : 0;
}

static const char *text(const struct json *j, const char *key)
{
    const char *t = json_get_text(j, key);

    return t ? t : "?";
}

// What is the same for all steps. The key of a step's noise is the seed and its
// number.
static void print_head(const struct json *j)
{
    printf("steps    %.0f, of which the first %.0f made the adapter\n"
           "queries  %.0f a step\n"
           "seed     %.0f: with the step's number the key of its directions\n"
           "recipe   %s\n"
           "base     SHA-256 %s\n"
           "start    SHA-256 %s\n"
           "adapter  SHA-256 %s of its values\n\n",
           number(j, "steps"), number(j, "best"), number(j, "queries"),
           number(j, "seed"), text(j, "recipe"), text(j, "base"),
           text(j, "start"), text(j, "values"));
}

static void add_step(struct out_table *t, const struct json *j,
                     const struct json *head)
{
    const struct json *g = json_get(j, "g");
    struct str all = {0};

    out_table_cell(t, "%.0f", number(j, "step"));
    out_table_cell(t, "%.0f/%.0f", number(head, "seed"), number(j, "step") - 1);
    out_table_cell(t, "%.6g", number(j, "rate"));
    out_table_cell(t, "%.6g", number(j, "eps"));
    for (const struct json *v = g ? g->first : NULL; v; v = v->next)
        str_printf(&all, "%s%.6g", all.bytes ? " " : "", v->number);
    out_table_text(t, all.data ? all.data : "");
    str_free(&all);
}

static int print_lines(struct ctl *c, FILE *f)
{
    static const struct out_column columns[COLUMNS] = {
        {"STEP", true, false}, {"KEY", true, false},     {"RATE", true, false},
        {"EPS", true, false},  {"SCALARS", false, true},
    };
    const struct json *head = NULL, *j;
    struct arena *heads = NULL, *a;
    struct out_table *t;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;

    if (out_table_create(&t, columns, COLUMNS) < 0)
        return ctl_no_memory(c);
    if (arena_create(&heads, LINE_ARENA_BYTES) < 0) {
        out_table_destroy(t);
        return ctl_no_memory(c);
    }
    while ((n = getline(&line, &size, f)) > 0) {
        if (!head) {
            if (json_parse(&head, heads, line, (size_t) n, NULL) < 0)
                break;
            print_head(head);
            continue;
        }
        if (arena_create(&a, LINE_ARENA_BYTES) < 0)
            break;
        if (json_parse(&j, a, line, (size_t) n, NULL) == 0)
            add_step(t, j, head);
        arena_destroy(a);
    }
    free(line);
    arena_destroy(heads);
    return ctl_table(c, t);
}

static int copy_lines(FILE *f)
{
    char piece[4096];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        (void) fwrite(piece, 1, n, stdout);
    return CTL_OK;
}

int ctl_journal(struct ctl *c)
{
    struct ctl_call how = {.has_fd = true};
    struct pock_reply *reply = NULL;
    struct ctl_adapter ref;
    struct pock_request *r;
    int status;

    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK)
        return status;
    FILE *f = tmpfile();
    if (!f)
        return ctl_fail_errno(c, -errno, "a temporary file");
    if ((status = ctl_request(c, &r, "adapter.export")) == CTL_OK) {
        pock_set_str(r, "adapter", ref.name);
        if (ref.version > 0)
            pock_set_int(r, "version", ref.version);
        pock_set_str(r, "format", "journal");
        how.fd = fileno(f);
        status = ctl_send(c, r, &how, &reply);
        pock_reply_destroy(reply);
    }
    if (status == CTL_OK) {
        rewind(f);
        status = c->json ? copy_lines(f) : print_lines(c, f);
    }
    (void) fclose(f);
    return status;
}
