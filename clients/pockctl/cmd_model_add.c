// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * model add, model convert
 */

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_progress(void *user, const struct pock_value *item)
{
    const struct ctl *c = user;
    int64_t done = pock_get_int(item, "done", 0);
    int64_t total = pock_get_int(item, "total", 0);
    char sizes[2][OUT_TIME_BYTES];

    if (c->quiet || !c->err.has_cursor || total <= 0)
        return;
    out_bytes_format(sizes[0], done);
    out_bytes_format(sizes[1], total);
    fprintf(stderr, "\r%s %3.0f %%, %s of %s\033[K",
            pock_get_str(item, "what", ""),
            100.0 * (double) done / (double) total, sizes[0], sizes[1]);
    (void) fflush(stderr);
}

static void end_progress(const struct ctl *c)
{
    if (!c->quiet && c->err.has_cursor)
        fprintf(stderr, "\r\033[K");
}

static int open_files(struct ctl *c, struct pock_model_files **out,
                      const char *path)
{
    struct pock_error err;

    if (pock_model_files_open(out, path, &err) == 0)
        return CTL_OK;
    return ctl_fail_pock(c, &err);
}

static int send_files(struct ctl *c, const struct pock_model_files *f)
{
    struct pock_error err;
    int status = ctl_connect(c);

    if (status == CTL_OK && pock_model_files_send(c->pock, f, &err) < 0)
        status = ctl_fail_pock(c, &err);
    return status;
}

/*
 * model add
 */

static const char *kept_text(const struct pock_value *v)
{
    static const char *const texts[][2] = {
        {"in place", "read where it lies"},
        {"cloned", "kept as a copy that shares its blocks on disk"},
        {"copied", "kept as a copy in the state directory"},
        {"converted", "kept as one GGUF file"},
    };
    const char *kept = pock_get_str(v, "kept", "");

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(kept, texts[i][0]) == 0)
            return texts[i][1];
    return "";
}

// What using it takes: the file is looked into once more.
static void tell_needs(struct ctl *c, const char *name, const char *chat)
{
    struct pock_request *r;
    struct pock_reply *reply;
    char size[2][OUT_TIME_BYTES];

    if (c->quiet || ctl_request(c, &r, "model.show") != CTL_OK)
        return;
    pock_set_str(r, "model", name);
    pock_set_bool(r, "details", true);
    if (ctl_send(c, r, NULL, &reply) != CTL_OK)
        return;
    const struct pock_value *d = pock_get(pock_result(reply), "details");
    const int64_t train = pock_get_int(d, "train_bytes", 0);
    const char *why = pock_get_str(d, "train_why", "");
    out_bytes_format(size[0], train);
    out_bytes_format(size[1], pock_get_int(d, "generate_bytes", 0));
    if (train > 0)
        ctl_remark(c,
                   "beside the file it takes %s of memory to train, %s to "
                   "generate; chat format: %s",
                   size[0], size[1],
                   chat[0] ? chat : pock_get_str(d, "chat", "?"));
    else if (why[0])
        ctl_remark(c, "it cannot be trained with the default recipe: %s", why);
    pock_reply_destroy(reply);
}

static int tell_added(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *model = pock_get(v, "model");
    const char *name = pock_get_str(model, "name", "?");
    const char *notice = pock_get_str(v, "notice", "");
    const bool is_new = pock_get_bool(v, "new", true);
    char count[OUT_TIME_BYTES], size[OUT_TIME_BYTES];

    if (c->json)
        return ctl_json(c, v);
    printf("%s\n", name);
    ctl_model_count(count, pock_get_int(model, "params", 0));
    out_bytes_format(size, pock_get_int(model, "bytes", 0));
    ctl_remark(c, "%s: %s, %s weights, %s, %s, context %" PRId64 "%s",
               is_new ? "added" : "known already",
               pock_get_str(model, "arch", "?"), count,
               pock_get_str(model, "quant", "?"), size,
               pock_get_int(model, "context", 0),
               pock_get_bool(model, "default", false) ? ", the default" : "");
    if (is_new)
        ctl_remark(c, "%s", kept_text(v));
    if (notice[0])
        ctl_remark(c, "%s", notice);
    if (is_new)
        tell_needs(c, name, pock_get_str(model, "chat", ""));
    if (strcmp(pock_get_str(model, "chat", ""), "unknown") == 0)
        ctl_tell_chat(c, model);
    return CTL_OK;
}

// One file goes with the request itself, unless it is to be made another.
static int send_add(struct ctl *c, const char *full,
                    const struct pock_model_files *f, struct pock_reply **out)
{
    const char *type = c->line.values[FLAG_TYPE];
    const bool is_plain = pock_model_files_count(f) == 1 && !type;
    struct ctl_call how = {.on_item = on_progress,
                           .user = c,
                           .has_fd = is_plain};
    struct pock_request *r;
    int status = is_plain ? CTL_OK : send_files(c, f);

    if (status != CTL_OK ||
        (status = ctl_request(c, &r, "model.add")) != CTL_OK)
        return status;
    pock_set_str(r, "path", full);
    pock_set_str(r, "name", c->line.values[FLAG_NAME]);
    pock_set_str(r, "type", type);
    pock_set_str(r, "chat_format", c->line.values[FLAG_CHAT_FORMAT]);
    if (is_plain)
        how.fd = pock_model_files_fd(f, 0);
    else
        pock_set_bool(r, "files", true);
    if (c->line.given[FLAG_COPY])
        pock_set_bool(r, "copy", true);
    status = ctl_send(c, r, &how, out);
    end_progress(c);
    return status;
}

int cmd_model_add(struct ctl *c)
{
    const char *path = c->line.args[0];
    struct pock_model_files *f;
    struct pock_reply *reply;
    int status = open_files(c, &f, path);

    if (status != CTL_OK)
        return status;
    char *full = realpath(path, NULL);
    status =
        full ? send_add(c, full, f, &reply) : ctl_fail_errno(c, -errno, path);
    free(full);
    pock_model_files_close(f);
    if (status != CTL_OK)
        return status;
    status = tell_added(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

/*
 * model convert
 */

void ctl_model_types(struct str *out, const struct pock_value *types)
{
    char size[OUT_TIME_BYTES];

    for (size_t i = 0; i < pock_count(types); i++) {
        const struct pock_value *t = pock_at(types, i);
        out_bytes_format(size, pock_get_int(t, "bytes", 0));
        str_printf(out, "%s%s %s in %" PRId64 "%s", i ? ", " : "",
                   pock_get_str(t, "name", "?"), size,
                   pock_get_int(t, "tensors", 0), i ? "" : " tensors");
    }
}

static void tell_converted(struct ctl *c, const struct pock_value *v)
{
    const int64_t fallback = pock_get_int(v, "fallback", 0);
    const int64_t skipped = pock_get_int(v, "skipped", 0);
    const char *notice = pock_get_str(v, "notice", "");
    struct str types = {0};

    ctl_model_types(&types, pock_get(v, "types"));
    if (str_finish(&types) == 0)
        ctl_remark(c, "from %s: %s", pock_get_str(v, "format", "?"),
                   types.data ? types.data : "no tensors");
    str_free(&types);
    if (fallback > 0)
        ctl_remark(c,
                   "%" PRId64 " tensors have rows that the type's blocks of "
                   "256 do not divide, and got the next larger type",
                   fallback);
    if (skipped > 0)
        ctl_remark(c,
                   "%" PRId64 " tensors have no place in a language model's "
                   "file and were left out",
                   skipped);
    if (notice[0])
        ctl_remark(c, "pockd itself cannot use the file: %s", notice);
}

// "models/smol" or "smol.gguf", and q4_k: "smol-q4_k.gguf"
static void output_name(char *out, size_t size, const char *full,
                        const char *type)
{
    const char *slash = strrchr(full, '/');
    const char *name = slash ? slash + 1 : full;
    size_t n = strlen(name);

    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    snprintf(out, size, "%.*s-%s.gguf", (int) n, name, type);
}

static int convert_into(struct ctl *c, const char *full, const char *path,
                        const struct pock_model_files *f,
                        struct pock_reply **out)
{
    struct ctl_call how = {.on_item = on_progress, .user = c, .has_fd = true};
    const char *slash = strrchr(full, '/');
    struct ctl_output o;
    struct pock_request *r;
    int status = send_files(c, f);

    if (status != CTL_OK ||
        (status = ctl_request(c, &r, "model.convert")) != CTL_OK)
        return status;
    if ((status = ctl_output_open(c, path, &o)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    pock_set_str(r, "type", c->line.values[FLAG_TYPE]);
    pock_set_str(r, "name",
                 c->line.given[FLAG_NAME] ? c->line.values[FLAG_NAME]
                 : strlen(slash ? slash + 1 : full) <= 64
                     ? (slash ? slash + 1 : full)
                     : NULL);
    how.fd = o.fd;
    status = ctl_send(c, r, &how, out);
    end_progress(c);
    return ctl_output_close(c, &o, status);
}

int cmd_model_convert(struct ctl *c)
{
    const char *type = c->line.values[FLAG_TYPE];
    const char *path = c->line.values[FLAG_OUTPUT];
    struct pock_model_files *f;
    struct pock_reply *reply = NULL;
    char name[512];
    int status = open_files(c, &f, c->line.args[0]);

    if (status != CTL_OK)
        return status;
    char *full = realpath(c->line.args[0], NULL);
    if (!path && full) {
        output_name(name, sizeof(name), full, type ? type : "keep");
        path = name;
    }
    status = full ? convert_into(c, full, path, f, &reply)
                  : ctl_fail_errno(c, -errno, c->line.args[0]);
    free(full);
    pock_model_files_close(f);
    if (status == CTL_OK && c->json && strcmp(path, "-") != 0) {
        status = ctl_json(c, pock_result(reply));
    } else if (status == CTL_OK) {
        if (strcmp(path, "-") != 0)
            printf("%s\n", path);
        tell_converted(c, pock_result(reply));
    }
    pock_reply_destroy(reply);
    return status;
}
