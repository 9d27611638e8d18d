// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/job_text.h"
#include "engine/base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const struct out_column columns[] = {{NULL, false, false},
                                            {NULL, false, OUT_WRAPS}};

static void add_problems(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *problems = pock_get(s, "problems");

    for (size_t i = 0; i < pock_count(problems); i++) {
        out_table_text(t, "problem");
        out_table_style(t, TERM_WARN);
        out_table_text(t, pock_as_str(pock_at(problems, i), ""));
    }
}

static void add_consent(struct out_table *t, const struct pock_value *s)
{
    int64_t pending = pock_get_int(s, "apps_pending", 0);

    if (pock_get_bool(s, "off", false)) {
        out_table_text(t, "off");
        out_table_style(t, TERM_WARN);
        out_table_text(t, "nothing is taken in: `pockctl on` ends that");
    }
    if (pending > 0) {
        out_table_text(t, "apps");
        out_table_cell(t,
                       "%" PRId64 " wait%s for an answer: see `pockctl apps`",
                       pending, pending == 1 ? "s" : "");
    }
}

static void add_gates(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *gates = pock_get(s, "gates");

    for (size_t i = 0; i < pock_count(gates); i++) {
        const struct pock_value *g = pock_at(gates, i);
        out_table_text(t, i == 0 ? "blocked by" : "");
        out_table_cell(t, "%s: %s, needs %s", pock_get_str(g, "gate", ""),
                       pock_get_str(g, "value", ""),
                       pock_get_str(g, "threshold", ""));
    }
}

static void add_inhibitors(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *list = pock_get(s, "inhibitors");

    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *v = pock_at(list, i);
        const char *why = pock_get_str(v, "why", "");
        out_table_text(t, "inhibited by");
        out_table_cell(t, "%s%s%s", pock_get_str(v, "who", ""),
                       *why ? ": " : "", why);
    }
}

static void add_job(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *job = pock_get(s, "job");
    int64_t queue = pock_get_int(s, "queue", 0);
    char line[JOB_TEXT_BYTES];

    if (!job)
        return;
    job_text(line, job);
    out_table_text(t, "job");
    out_table_cell(t, "%" PRId64 " %s", pock_get_int(job, "id", 0), line);
    if (queue > 1) {
        out_table_text(t, "queue");
        out_table_cell(t, "%" PRId64 " more", queue - 1);
    }
}

static void add_remerges(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *list = pock_get(s, "remerges");
    char line[JOB_TEXT_BYTES];

    for (size_t i = 0; i < pock_count(list); i++) {
        remerge_text(line, pock_at(list, i));
        out_table_text(t, i == 0 ? "merging" : "");
        out_table_text(t, line);
    }
}

static void add_adapters(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *list = pock_get(s, "adapters");
    int64_t now = clock_unix_ms();

    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *v = pock_at(list, i);
        double before = pock_get_float(v, "heldout_before", NAN);
        double after = pock_get_float(v, "heldout_after", NAN);
        char age[OUT_TIME_BYTES];
        char loss[64] = "";
        out_duration_format(age, now - pock_get_int(v, "created", now));
        if (isfinite(before) && isfinite(after))
            snprintf(loss, sizeof(loss), ", held-out loss %.3f (%.3f before)",
                     after, before);
        out_table_text(t, "adapter");
        out_table_cell(t, "%s:%" PRId64 ", %s old%s",
                       pock_get_str(v, "adapter", "?"),
                       pock_get_int(v, "version", 0), age, loss);
    }
    if (pock_count(list) == 0) {
        out_table_text(t, "adapter");
        out_table_text(t, pock_get_int(s, "models", 0) > 0
                              ? "none yet: the base model answers"
                              : "none, and no base model: see `pockctl help "
                                "model add`");
    }
}

static void add_records(struct out_table *t, const struct pock_value *s)
{
    const struct pock_value *streams = pock_get(s, "streams");
    struct str line = {0};

    str_printf(&line, "%" PRId64, pock_get_int(s, "records", 0));
    for (size_t i = 0; i < pock_count(streams); i++) {
        const struct pock_value *v = pock_at(streams, i);
        const char *app = pock_get_str(v, "app", "host");
        bool is_own = strcmp(app, "host") == 0;
        str_printf(&line, "%s%s%s%s %" PRId64, i == 0 ? " (" : ", ",
                   pock_get_str(v, "name", ""), is_own ? "" : " of ",
                   is_own ? "" : app, pock_get_int(v, "records", 0));
    }
    if (pock_count(streams) > 0)
        str_putc(&line, ')');
    out_table_text(t, "records");
    out_table_text(t, str_finish(&line) == 0 ? line.data : "");
    str_free(&line);
}

static void add_machine(struct out_table *t, const struct pock_value *s)
{
    char store[OUT_TIME_BYTES];
    char files[OUT_TIME_BYTES];
    char prefix[OUT_TIME_BYTES];
    char room[OUT_TIME_BYTES];
    char uptime[OUT_TIME_BYTES];

    out_bytes_format(store, pock_get_int(s, "store_bytes", 0));
    out_bytes_format(files, pock_get_int(s, "adapter_bytes", 0));
    out_bytes_format(room, pock_get_int(s, "free_bytes", 0));
    out_duration_format(uptime, pock_get_int(s, "uptime_s", 0) * 1000);
    out_table_text(t, "disk");
    out_bytes_format(prefix, pock_get_int(s, "prefix_bytes", 0));
    out_table_cell(t, "store %s, adapters %s, kept states %s, %s free", store,
                   files, prefix, room);
    out_table_text(t, "device");
    out_table_cell(t, "%s, %" PRId64 " threads", pock_get_str(s, "device", "?"),
                   pock_get_int(s, "threads", 0));
    out_table_text(t, "daemon");
    out_table_cell(t, "pockd %s, up %s", pock_get_str(s, "version", "?"),
                   uptime);
}

static int print_status(struct ctl *c, const struct pock_value *s)
{
    struct out_table *t;
    bool degraded = pock_get_bool(s, "degraded", false);
    const char *state = pock_get_str(s, "state", "?");

    if (c->quiet) {
        printf("%s\n", state);
        return CTL_OK;
    }
    if (out_table_create(&t, columns, 2) < 0)
        return ctl_no_memory(c);
    out_table_text(t, degraded ? "degraded" : state);
    out_table_style(t, degraded ? TERM_WARN : TERM_BOLD);
    out_table_text(t, pock_get_str(s, "line", ""));
    add_problems(t, s);
    add_consent(t, s);
    add_gates(t, s);
    add_inhibitors(t, s);
    add_job(t, s);
    add_remerges(t, s);
    add_adapters(t, s);
    add_records(t, s);
    add_machine(t, s);
    c->header = false;
    return ctl_table(c, t);
}

// Clears what the picture before left on the screen.
static void on_status(void *user, const struct pock_value *item)
{
    struct ctl *c = user;
    const struct pock_value *s = pock_get(item, "status");

    if (!s)
        return;
    if (!c->out.has_cursor || c->json) {
        (void) ctl_json(c, s);
    } else {
        char now[OUT_TIME_BYTES];
        printf("\033[H\033[J");
        (void) print_status(c, s);
        printf("\n%s (Ctrl-C ends)\n", ctl_time(c, now, clock_unix_ms()));
    }
    (void) fflush(stdout);
}

static int watch(struct ctl *c)
{
    struct ctl_call how = {.on_item = on_status, .user = c};
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "status")) != CTL_OK)
        return status;
    if (c->out.has_cursor && !c->json)
        printf("\033[2J");
    return ctl_send(c, r, &how, NULL);
}

int cmd_status(struct ctl *c)
{
    struct pock_reply *reply;
    int status;

    if (c->line.given[FLAG_WATCH])
        return watch(c);
    if ((status = ctl_ask(c, "status", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *s = pock_result(reply);
    status = c->json ? ctl_json(c, s) : print_status(c, s);
    if (status == CTL_OK && pock_get_bool(s, "degraded", false))
        status = CTL_DEGRADED;
    pock_reply_destroy(reply);
    return status;
}
