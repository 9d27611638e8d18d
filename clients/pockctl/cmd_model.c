// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void ctl_model_count(char out[OUT_TIME_BYTES], int64_t n)
{
    if (n >= 1000000000)
        snprintf(out, OUT_TIME_BYTES, "%.1f G", (double) n / 1e9);
    else if (n >= 1000000)
        snprintf(out, OUT_TIME_BYTES, "%.1f M", (double) n / 1e6);
    else if (n > 0)
        snprintf(out, OUT_TIME_BYTES, "%" PRId64, n);
    else
        snprintf(out, OUT_TIME_BYTES, "-");
}

// That the template of the file is not known is said at once: else training on
// conversations would only fail at night.
void ctl_tell_chat(struct ctl *c, const struct pock_value *model)
{
    const char *name = pock_get_str(model, "name", "MODEL");
    const char *chat = pock_get_str(model, "chat", "");

    if (strcmp(chat, "unknown") == 0)
        ctl_remark(c,
                   "its chat template is none that pockd knows: name the "
                   "format with `pockctl model set %s --chat-format NAME`, or "
                   "none for texts only",
                   name);
    else if (strcmp(chat, "none") == 0)
        ctl_remark(c, "for texts only");
    else if (chat[0])
        ctl_remark(c, "conversations as %s", chat);
}

static int print_models(struct ctl *c, const struct pock_value *models)
{
    static const struct out_column columns[] = {
        {"NAME", false, true},    {"ARCH", false, false},
        {"WEIGHTS", true, false}, {"TYPE", false, false},
        {"CONTEXT", true, false}, {"SIZE", true, false},
        {"STATE", false, false},  {"DEFAULT", false, false},
    };
    struct out_table *t;
    char text[OUT_TIME_BYTES];

    if (out_table_create(&t, columns, 8) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(models); i++) {
        const struct pock_value *m = pock_at(models, i);
        const char *state = pock_get_str(m, "state", "?");
        out_table_text(t, pock_get_str(m, "name", "?"));
        out_table_text(t, pock_get_str(m, "arch", "-"));
        ctl_model_count(text, pock_get_int(m, "params", 0));
        out_table_text(t, text);
        out_table_text(t, pock_get_str(m, "quant", "-"));
        out_table_cell(t, "%" PRId64, pock_get_int(m, "context", 0));
        out_bytes_format(text, pock_get_int(m, "bytes", 0));
        out_table_text(t, text);
        out_table_text(t, state);
        out_table_style(t, strcmp(state, "ready") ? TERM_BAD : TERM_PLAIN);
        out_table_text(t, pock_get_bool(m, "default", false) ? "yes" : "");
    }
    return ctl_table(c, t);
}

int cmd_model_list(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if ((status = ctl_ask(c, "model.list", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *models = pock_get(pock_result(reply), "models");
    if (c->json) {
        status = ctl_json(c, pock_result(reply));
    } else if (c->quiet) {
        for (size_t i = 0; i < pock_count(models); i++)
            printf("%s\n", pock_get_str(pock_at(models, i), "name", "?"));
    } else if (pock_count(models) == 0) {
        ctl_remark(c, "no base model yet: add one with `pockctl model add "
                      "PATH`");
    } else {
        status = print_models(c, models);
    }
    pock_reply_destroy(reply);
    return status;
}

int cmd_model_set(struct ctl *c)
{
    const char *format = c->line.values[FLAG_CHAT_FORMAT];
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if (!format && !c->line.given[FLAG_DEFAULT])
        return ctl_fail(c, CTL_USAGE,
                        "nothing to set: give --chat-format or --default");
    if ((status = ctl_request(c, &r, "model.set")) != CTL_OK)
        return status;
    pock_set_str(r, "model", c->line.args[0]);
    pock_set_str(r, "chat_format", format);
    if (c->line.given[FLAG_DEFAULT])
        pock_set_bool(r, "default", true);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const char *remark = pock_get_str(v, "remark", NULL);
    if (c->json)
        status = ctl_json(c, v);
    else
        printf("%s\n", pock_get_str(pock_get(v, "model"), "name", "?"));
    if (remark)
        ctl_remark(c, "%s", remark);
    else if (!c->json)
        ctl_tell_chat(c, pock_get(v, "model"));
    pock_reply_destroy(reply);
    return status;
}

/*
 * model tokenize
 */

// A file of ours with the text, standing at its end.
static int copy_text(struct ctl *c, const char *path, int *out)
{
    char buffer[16 << 10];
    ssize_t n = 0;
    int to = memfd_create("pockctl-text", MFD_CLOEXEC);
    int from = strcmp(path, "-") == 0 ? STDIN_FILENO
                                      : open(path, O_RDONLY | O_CLOEXEC);

    while (to >= 0 && from >= 0 && (n = read(from, buffer, sizeof(buffer))) > 0)
        if (write(to, buffer, (size_t) n) != n)
            n = -1;
    int rc = to < 0 || from < 0 || n < 0 ? -errno : 0;
    if (from > STDIN_FILENO)
        (void) close(from);
    if (rc < 0) {
        if (to >= 0)
            (void) close(to);
        return ctl_fail_errno(c, rc, path);
    }
    *out = to;
    return CTL_OK;
}

// What was written behind the text.
static int print_tokens(struct ctl *c, int fd, off_t from)
{
    char buffer[16 << 10];
    ssize_t n;

    while ((n = pread(fd, buffer, sizeof(buffer), from)) > 0) {
        (void) fwrite(buffer, 1, (size_t) n, stdout);
        from += n;
    }
    return n < 0 ? ctl_fail_errno(c, -errno, "the tokens") : CTL_OK;
}

static int tokenize(struct ctl *c, int fd, off_t text_bytes)
{
    struct ctl_call how = {.has_fd = true, .fd = fd};
    struct pock_request *r;
    struct pock_reply *reply;
    int status = ctl_request(c, &r, "model.tokenize");

    if (status != CTL_OK)
        return status;
    pock_set_str(r, "model", c->line.args[0]);
    pock_set_bool(r, "ids", c->line.given[FLAG_IDS]);
    if ((status = ctl_send(c, r, &how, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if ((status = print_tokens(c, fd, text_bytes)) == CTL_OK)
        ctl_remark(c, "%lld tokens", (long long) pock_get_int(v, "tokens", 0));
    pock_reply_destroy(reply);
    return status;
}

int cmd_model_tokenize(struct ctl *c)
{
    int fd;
    int status = copy_text(c, c->line.args[1], &fd);

    if (status != CTL_OK)
        return status;
    const off_t bytes = lseek(fd, 0, SEEK_END);
    // An empty text has no tokens, and is nothing to ask about.
    if (bytes > 0)
        status = tokenize(c, fd, bytes);
    (void) close(fd);
    return status;
}

int cmd_model_rm(struct ctl *c)
{
    struct pock_reply *reply;
    char question[160];
    int status;

    snprintf(question, sizeof(question), "Forget the base model %.64s?",
             c->line.args[0]);
    // A wrong name is told before a question about it is asked.
    if ((status = ctl_ask(c, "model.show", "model", c->line.args[0], NULL)) !=
            CTL_OK ||
        (status = ctl_confirm(c, question)) != CTL_OK ||
        (status = ctl_ask(c, "model.remove", "model", c->line.args[0],
                          &reply)) != CTL_OK)
        return status;
    const bool is_deleted = pock_get_bool(pock_result(reply), "deleted", false);
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    pock_reply_destroy(reply);
    ctl_remark(c, is_deleted ? "forgotten, and pockd's copy of it deleted"
                             : "forgotten; the file stays where it is");
    return status;
}
