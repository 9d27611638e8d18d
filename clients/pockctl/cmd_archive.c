// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_progress(void *user, const struct pock_value *item)
{
    struct ctl *c = user;
    char done[OUT_TIME_BYTES], total[OUT_TIME_BYTES];
    const int64_t of = pock_get_int(item, "total", 0);

    if (!c->err.is_tty || c->quiet)
        return;
    out_bytes_format(done, pock_get_int(item, "done", 0));
    out_bytes_format(total, of);
    fprintf(stderr, "\r\033[K%s %s%s%s", pock_get_str(item, "what", "?"), done,
            of > 0 ? " of " : "", of > 0 ? total : "");
}

static void end_progress(struct ctl *c)
{
    if (c->err.is_tty && !c->quiet)
        fputs("\r\033[K", stderr);
}

static int64_t count_of(const struct pock_value *kinds, const char *kind,
                        const char *what)
{
    for (size_t i = 0; i < pock_count(kinds); i++)
        if (strcmp(pock_get_str(pock_at(kinds, i), "kind", ""), kind) == 0)
            return pock_get_int(pock_at(kinds, i), what, 0);
    return 0;
}

/*
 * export
 */

static int tell_export(struct ctl *c, const struct pock_value *v)
{
    const struct pock_value *kinds = pock_get(v, "kinds");
    char size[OUT_TIME_BYTES];

    if (c->json)
        return ctl_json(c, v);
    out_bytes_format(size, pock_get_int(v, "bytes", 0));
    ctl_remark(c,
               "%" PRId64 " records, %" PRId64 " versions, %" PRId64
               " jobs, in all %s, signed by %s",
               count_of(kinds, "records", "found"),
               count_of(kinds, "versions", "found"),
               count_of(kinds, "jobs", "found"), size,
               pock_get_str(v, "key", "?"));
    return CTL_OK;
}

int cmd_export(struct ctl *c)
{
    const char *path = c->line.args[0];
    struct ctl_call how = {.on_item = on_progress, .user = c, .has_fd = true};
    struct pock_reply *reply = NULL;
    struct pock_request *r;
    struct ctl_output o;
    int status;

    if (c->json && strcmp(path, "-") == 0)
        return ctl_fail(c, CTL_USAGE,
                        "--json needs a file to write to: the archive would "
                        "go to standard output");
    if ((status = ctl_request(c, &r, "archive.export")) != CTL_OK)
        return status;
    if ((status = ctl_output_open(c, path, &o)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    how.fd = o.fd;
    status = ctl_send(c, r, &how, &reply);
    end_progress(c);
    status = ctl_output_close(c, &o, status);
    if (status == CTL_OK)
        status = tell_export(c, pock_result(reply));
    pock_reply_destroy(reply);
    return status;
}

/*
 * import
 */

static int print_kinds(struct ctl *c, const struct pock_value *v)
{
    static const struct out_column columns[] = {
        {"KIND", false, true},
        {"FOUND", true, false},
        {"NEW", true, false},
        {"REFUSED", true, false},
    };
    const struct pock_value *kinds = pock_get(v, "kinds");
    const struct pock_value *remarks = pock_get(v, "remarks");
    struct out_table *t;
    int status;

    if (out_table_create(&t, columns, 4) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(kinds); i++) {
        const struct pock_value *k = pock_at(kinds, i);
        if (pock_get_int(k, "found", 0) == 0)
            continue;
        out_table_text(t, pock_get_str(k, "kind", "?"));
        out_table_cell(t, "%" PRId64, pock_get_int(k, "found", 0));
        out_table_cell(t, "%" PRId64, pock_get_int(k, "taken", 0));
        out_table_cell(t, "%" PRId64, pock_get_int(k, "refused", 0));
    }
    status = ctl_table(c, t);
    for (size_t i = 0; i < pock_count(remarks); i++) {
        size_t bytes;
        const char *text = pock_as_bytes(pock_at(remarks, i), &bytes);
        ctl_remark(c, "%.*s", text ? (int) bytes : 0, text ? text : "");
    }
    return status;
}

static int tell_import(struct ctl *c, const struct pock_value *v)
{
    char time[OUT_TIME_BYTES];

    if (c->json)
        return ctl_json(c, v);
    ctl_remark(c, "an archive of %s, whole and signed by %s key %s",
               ctl_time(c, time, pock_get_int(v, "created", 0)),
               pock_get_bool(v, "own", false) ? "this pockd's" : "the",
               pock_get_str(v, "signer", "?"));
    if (!pock_get_bool(v, "done", false))
        return CTL_OK;
    return c->quiet ? CTL_OK : print_kinds(c, v);
}

// Another key signed it: which, for the question.
static char stranger[72];

static bool on_stranger(struct ctl *c, const struct pock_error *err,
                        const struct pock_value *data)
{
    const char *key = pock_get_str(data, "signer", "");

    (void) err;
    (void) snprintf(stranger, sizeof(stranger), "%s", key);
    return key[0] != '\0' && !c->line.values[FLAG_TRUST];
}

static int send_import(struct ctl *c, int fd, const char *trust,
                       struct pock_reply **out)
{
    struct ctl_call how = {.on_item = on_progress,
                           .user = c,
                           .has_fd = true,
                           .fd = fd,
                           .on_error = on_stranger};
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "archive.import")) != CTL_OK)
        return status;
    pock_set_str(r, "trust", trust);
    pock_set_bool(r, "dry_run", c->line.given[FLAG_DRY_RUN]);
    status = ctl_send(c, r, &how, out);
    end_progress(c);
    return status;
}

static int ask_and_send(struct ctl *c, int fd, struct pock_reply **out)
{
    const char *trust = c->line.values[FLAG_TRUST];
    int status = send_import(c, fd, trust, out);

    if (status == CTL_OK || trust || !stranger[0])
        return status;
    fprintf(stderr,
            "pockctl: the archive is whole, but was signed by another key "
            "than that of this pockd:\n  %s\nThe pockd that wrote it shows its "
            "key in `pockctl doctor`.\n",
            stranger);
    if (ctl_confirm(c, "Take it from there?") != CTL_OK) {
        ctl_remark(c, "to take it without being asked: --trust %s", stranger);
        return status;
    }
    return send_import(c, fd, stranger, out);
}

int cmd_import(struct ctl *c)
{
    struct pock_reply *reply = NULL;
    int status;

    int fd = open(c->line.args[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ctl_fail_errno(c, -errno, c->line.args[0]);
    if ((status = ask_and_send(c, fd, &reply)) == CTL_OK)
        status = tell_import(c, pock_result(reply));
    pock_reply_destroy(reply);
    (void) close(fd);
    return status;
}
