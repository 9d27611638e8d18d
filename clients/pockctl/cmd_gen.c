// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_BYTES_MAX = 256 << 10 };

int ctl_read_all(struct ctl *c, FILE *f, const char *name, size_t limit,
                 struct str *out)
{
    char buffer[16384];
    size_t n;

    out->limit = limit;
    while ((n = fread(buffer, 1, sizeof(buffer), f)) > 0)
        str_append(out, buffer, n);
    if (ferror(f))
        return ctl_fail(c, CTL_FAILED, "cannot read %s", name);
    str_append(out, "", 0);
    if (str_finish(out) < 0)
        return ctl_fail(c, CTL_FAILED,
                        "%s has more than the %zu KiB that may be sent", name,
                        limit >> 10);
    return CTL_OK;
}

static void on_item(void *user, const struct pock_value *item)
{
    struct ctl *c = user;
    size_t bytes;
    const char *text = pock_as_bytes(pock_get(item, "text"), &bytes);
    struct str s = {0};

    if (!text)
        return;
    if (c->out.is_tty) {
        term_text(&s, text, bytes, false);
        text = str_finish(&s) == 0 && s.data ? s.data : "";
        bytes = s.bytes;
    }
    (void) fwrite(text, 1, bytes, stdout);
    (void) fflush(stdout);
    str_free(&s);
}

static int read_options(struct ctl *c, struct pock_gen_params *g)
{
    int64_t tokens = 0;
    int64_t top_k = 0;
    int status;

    if ((status = ctl_float_flag(c, FLAG_TEMP, 0, 10, &g->temperature)) ||
        (status = ctl_int_flag(c, FLAG_TOP_K, 0, 1000000, &top_k)) ||
        (status = ctl_float_flag(c, FLAG_TOP_P, 1e-6, 1, &g->top_p)) ||
        (status = ctl_int_flag(c, FLAG_SEED, 0, INT64_MAX, &g->seed)) ||
        (status = ctl_int_flag(c, FLAG_MAX_TOKENS, 1, 65536, &tokens)))
        return status;
    g->has_temperature = c->line.given[FLAG_TEMP];
    g->has_top_k = c->line.given[FLAG_TOP_K];
    g->has_seed = c->line.given[FLAG_SEED];
    g->top_k = (int) top_k;
    g->max_tokens = (int) tokens;
    g->model = c->line.values[FLAG_MODEL];
    return CTL_OK;
}

int ctl_adapter_flag(struct ctl *c, struct ctl_adapter *ref, const char **name,
                     int64_t *version)
{
    const char *text = c->line.values[FLAG_ADAPTER];
    int status;

    *name = NULL;
    *version = 0;
    if (!text || strcmp(text, "active") == 0)
        return CTL_OK;
    if (strcmp(text, "none") == 0) {
        *name = "none";
        return CTL_OK;
    }
    if ((status = ctl_adapter_ref(c, text, ref)) != CTL_OK)
        return status;
    *name = ref->name;
    *version = ref->version;
    return CTL_OK;
}

static int get_prompt(struct ctl *c, struct str *out)
{
    bool is_argument =
        c->line.arg_count > 0 && strcmp(c->line.args[0], "-") != 0;
    int status = CTL_OK;

    if (is_argument) {
        str_puts(out, c->line.args[0]);
        status = str_finish(out) < 0 ? ctl_no_memory(c) : CTL_OK;
    } else {
        if (isatty(STDIN_FILENO))
            ctl_remark(c, "reading the prompt; end it with Ctrl-D");
        status =
            ctl_read_all(c, stdin, "standard input", PROMPT_BYTES_MAX, out);
    }
    // The newline that an editor or echo puts at the end is no part of it.
    if (status == CTL_OK && !is_argument && out->bytes > 0 &&
        out->data[out->bytes - 1] == '\n')
        out->data[--out->bytes] = '\0';
    if (status != CTL_OK || out->bytes > 0)
        return status;
    return ctl_fail(c, CTL_USAGE, "the prompt is empty");
}

static void tell_numbers(struct ctl *c, const struct pock_value *v)
{
    const char *adapter = pock_get_str(v, "adapter", NULL);
    char who[96];

    if (!c->err.is_tty)
        return;
    snprintf(who, sizeof(who), "%s", pock_get_str(v, "model", "?"));
    if (adapter)
        snprintf(who, sizeof(who), "%s:%" PRId64, adapter,
                 pock_get_int(v, "version", 0));
    ctl_remark(c,
               "%s%s, %" PRId64 " tokens, %.0f tokens/s, seed %" PRId64 "%s%s",
               term_on(&c->err, TERM_DIM), who, pock_get_int(v, "tokens", 0),
               pock_get_float(v, "tokens_s", 0), pock_get_int(v, "seed", 0),
               strcmp(pock_get_str(v, "finish", ""), "length") == 0
                   ? ", cut at --max-tokens"
                   : "",
               term_off(&c->err, TERM_DIM));
}

static int generate(struct ctl *c, const struct pock_gen_params *g)
{
    struct ctl_call how = {.on_item = c->json ? NULL : on_item, .user = c};
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_connect(c)) != CTL_OK)
        return status;
    if (pock_gen_request(&r, c->pock, g) < 0)
        return ctl_no_memory(c);
    status = ctl_send(c, r, &how, &reply);
    // What was written so far keeps a line of its own, also when cut off.
    if (!c->json && (status == CTL_OK || status == CTL_INTERRUPTED))
        putchar('\n');
    if (status != CTL_OK)
        return status;
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    else
        tell_numbers(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

int cmd_gen(struct ctl *c)
{
    struct pock_gen_params g = {0};
    struct pock_message message = {.role = "user"};
    struct ctl_adapter ref;
    struct str prompt = {0};
    int status;

    if ((status = read_options(c, &g)) == CTL_OK &&
        (status = ctl_adapter_flag(c, &ref, &g.adapter, &g.version)) == CTL_OK)
        status = get_prompt(c, &prompt);
    if (status == CTL_OK) {
        message.content = prompt.data;
        if (c->line.given[FLAG_RAW]) {
            g.prompt = prompt.data;
        } else {
            g.messages = &message;
            g.message_count = 1;
        }
        status = generate(c, &g);
    }
    str_free(&prompt);
    return status;
}
