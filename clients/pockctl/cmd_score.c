// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/importer.h"
#include "clients/pockctl/out_json.h"
#include "engine/base/arena.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TEXTS = 64,
    BATCH_BYTES = 512 << 10,
};

// Texts of a file on their way to the daemon, a batch of one kind at a time.
struct scorer {
    struct ctl *ctl;
    const char *path;
    struct ctl_adapter ref;
    const char *adapter;
    int64_t version;
    struct arena *arena;
    const char *texts[BATCH_TEXTS];
    const char *completions[BATCH_TEXTS]; // of pairs
    uint64_t lines[BATCH_TEXTS];
    size_t count;
    size_t bytes;
    bool is_pairs;
    struct out_table *table;
    struct str json;
    uint64_t scored;
    uint64_t bad;
    double nll;
    int64_t tokens;
    int status;
};

static void set_options(struct scorer *s, struct pock_request *r)
{
    pock_set_str(r, "adapter", s->adapter);
    pock_set_str(r, "model", s->ctl->line.values[FLAG_MODEL]);
    if (s->version > 0)
        pock_set_int(r, "version", s->version);
}

static void add_score(struct scorer *s, const char *name,
                      const struct pock_value *v)
{
    double loss = pock_get_float(v, "loss", NAN);

    s->scored++;
    s->nll += pock_get_float(v, "nll", 0);
    s->tokens += pock_get_int(v, "tokens", 0);
    if (s->ctl->json) {
        str_puts(&s->json, s->json.bytes ? ",{\"text\":" : "{\"text\":");
        str_json(&s->json, name, strlen(name));
        str_puts(&s->json, ",\"score\":");
        out_json_value(&s->json, v);
        str_putc(&s->json, '}');
        return;
    }
    out_table_text(s->table, name);
    out_table_cell(s->table, "%" PRId64, pock_get_int(v, "tokens", 0));
    out_table_cell(s->table, isfinite(loss) ? "%.4f" : "-", loss);
    out_table_cell(s->table, isfinite(loss) ? "%.2f" : "-", exp(loss));
}

static int send_batch(struct scorer *s)
{
    struct pock_request *r;
    struct pock_reply *reply;
    char name[64];
    int status;

    if (s->count == 0)
        return CTL_OK;
    if ((status = ctl_request(s->ctl, &r, "score")) != CTL_OK)
        return status;
    pock_open_list(r, s->is_pairs ? "pairs" : "texts");
    for (size_t i = 0; i < s->count; i++) {
        if (!s->is_pairs) {
            pock_set_str(r, NULL, s->texts[i]);
            continue;
        }
        pock_open_map(r, NULL);
        pock_set_str(r, "prompt", s->texts[i]);
        pock_set_str(r, "completion", s->completions[i]);
        pock_close(r);
    }
    pock_close(r);
    set_options(s, r);
    if ((status = ctl_send(s->ctl, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *scores = pock_get(pock_result(reply), "scores");
    for (size_t i = 0; i < s->count; i++) {
        snprintf(name, sizeof(name), "line %" PRIu64, s->lines[i]);
        add_score(s, name, pock_at(scores, i));
    }
    pock_reply_destroy(reply);
    arena_destroy(s->arena);
    s->arena = NULL;
    s->count = s->bytes = 0;
    return CTL_OK;
}

static void on_bad(void *user, uint64_t line, const char *reason)
{
    struct scorer *s = user;

    s->bad++;
    (void) ctl_fail(s->ctl, CTL_FAILED, "%s:%" PRIu64 ": %s", s->path, line,
                    reason);
}

static int on_record(void *user, const struct import_record *r)
{
    struct scorer *s = user;
    bool is_pair = r->kind == IMPORT_PAIR;
    size_t bytes = r->text_bytes + r->completion_bytes + 64;

    if (r->kind == IMPORT_CHAT) {
        on_bad(s, r->line,
               "a chat cannot be scored: give prompt and "
               "completion");
        return 0;
    }
    if (s->count == BATCH_TEXTS || s->bytes + bytes > BATCH_BYTES ||
        (s->count > 0 && s->is_pairs != is_pair))
        s->status = send_batch(s);
    if (s->status != CTL_OK)
        return 1;
    if (!s->arena && arena_create(&s->arena, 4 * BATCH_BYTES) < 0) {
        s->status = ctl_no_memory(s->ctl);
        return 1;
    }
    s->texts[s->count] = arena_strdup(s->arena, r->text);
    s->completions[s->count] =
        is_pair ? arena_strdup(s->arena, r->completion) : "";
    if (!s->texts[s->count] || !s->completions[s->count]) {
        s->status = ctl_no_memory(s->ctl);
        return 1;
    }
    s->is_pairs = is_pair;
    s->lines[s->count++] = r->line;
    s->bytes += bytes;
    return 0;
}

static int score_whole(struct scorer *s, FILE *f)
{
    struct str text = {0};
    int status = ctl_read_all(s->ctl, f, s->path, IMPORT_RECORD_MAX, &text);

    if (status == CTL_OK) {
        s->texts[0] = text.data;
        s->lines[0] = 1;
        s->count = 1;
        status = send_batch(s);
    }
    s->count = 0;
    str_free(&text);
    return status;
}

static int choose_format(struct scorer *s, enum import_format *out)
{
    const char *name = s->ctl->line.values[FLAG_FORMAT];

    if (name && import_format_parse(out, name) < 0)
        return ctl_fail(s->ctl, CTL_USAGE,
                        "--format is \"%s\", but must be jsonl, txt or md",
                        name);
    if (!name && import_format_of_path(out, s->path) < 0)
        *out = IMPORT_TXT;
    return CTL_OK;
}

static int score_file(struct scorer *s)
{
    struct import_params params = {.stream = "score",
                                   .on_record = on_record,
                                   .on_bad = on_bad,
                                   .user = s};
    enum import_format format;
    int status;

    if ((status = choose_format(s, &format)) != CTL_OK)
        return status;
    FILE *f = strcmp(s->path, "-") == 0 ? stdin : fopen(s->path, "re");
    if (!f)
        return ctl_fail_errno(s->ctl, -errno, s->path);
    if (s->ctl->line.given[FLAG_RAW]) {
        status = score_whole(s, f);
    } else {
        int rc = import_read(f, format, &params);
        status = rc < 0 ? ctl_fail_errno(s->ctl, rc, s->path) : s->status;
        if (status == CTL_OK)
            status = send_batch(s);
    }
    if (f != stdin)
        fclose(f);
    return status;
}

static int score_held_out(struct scorer *s)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(s->ctl, &r, "score")) != CTL_OK)
        return status;
    pock_set_bool(r, "heldout", true);
    set_options(s, r);
    if ((status = ctl_send(s->ctl, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *scores = pock_get(v, "scores");
    for (size_t i = 0; i < pock_count(scores); i++)
        add_score(s, pock_as_str(pock_at(pock_get(v, "streams"), i), "?"),
                  pock_at(scores, i));
    pock_reply_destroy(reply);
    return CTL_OK;
}

static int report(struct scorer *s)
{
    double loss = s->tokens > 0 ? s->nll / (double) s->tokens : NAN;

    if (s->ctl->quiet) {
        printf("%.6f\n", loss);
        return CTL_OK;
    }
    out_table_text(s->table, "in all");
    out_table_cell(s->table, "%" PRId64, s->tokens);
    out_table_cell(s->table, isfinite(loss) ? "%.4f" : "-", loss);
    out_table_cell(s->table, isfinite(loss) ? "%.2f" : "-", exp(loss));
    int rc = out_table_print(s->table, &s->ctl->out, s->ctl->header);
    return rc < 0 ? ctl_no_memory(s->ctl) : CTL_OK;
}

static int report_json(struct scorer *s)
{
    double loss = s->tokens > 0 ? s->nll / (double) s->tokens : NAN;
    struct str total = {0};

    str_printf(&total, "{\"nll\":");
    out_json_float(&total, s->nll);
    str_printf(&total, ",\"tokens\":%" PRId64 ",\"loss\":", s->tokens);
    out_json_float(&total, loss);
    str_puts(&total, "},\"perplexity\":");
    out_json_float(&total, exp(loss));
    if (str_finish(&s->json) < 0 || str_finish(&total) < 0) {
        str_free(&total);
        return ctl_no_memory(s->ctl);
    }
    printf("{\"schema\":%d,\"scores\":[%s],\"total\":%s,\"bad\":%" PRIu64 "}\n",
           OUT_JSON_SCHEMA, s->json.data ? s->json.data : "", total.data,
           s->bad);
    str_free(&total);
    return CTL_OK;
}

int cmd_score(struct ctl *c)
{
    static const struct out_column columns[] = {
        {"TEXT", false, true},
        {"TOKENS", true, false},
        {"NATS/TOKEN", true, false},
        {"PERPLEXITY", true, false},
    };
    struct scorer s = {.ctl = c, .json = {.limit = (size_t) 256 << 20}};
    bool held_out = c->line.given[FLAG_HELD_OUT];
    int status;

    if (held_out == (c->line.arg_count > 0))
        return ctl_fail(c, CTL_USAGE,
                        held_out
                            ? "give a file or --held-out, not both"
                            : "give a FILE of texts, - for standard input, or "
                              "--held-out");
    if ((status = ctl_adapter_flag(c, &s.ref, &s.adapter, &s.version)) ||
        (status = ctl_connect(c)))
        return status;
    if (out_table_create(&s.table, columns, 4) < 0)
        return ctl_no_memory(c);
    if (!held_out)
        s.path = c->line.args[0];
    status = held_out ? score_held_out(&s) : score_file(&s);
    if (status == CTL_OK)
        status = c->json ? report_json(&s) : report(&s);
    if (status == CTL_OK && s.bad > 0)
        status = CTL_FAILED;
    out_table_destroy(s.table);
    arena_destroy(s.arena);
    str_free(&s.json);
    return status;
}
