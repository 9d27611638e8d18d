// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_event(struct ctl *c, const struct pock_value *e)
{
    char time[OUT_TIME_BYTES];
    const char *text = pock_get_str(e, "text", "");
    struct str s = {0};

    if (c->json) {
        (void) ctl_json(c, e);
        return;
    }
    if (c->quiet) {
        printf("%" PRId64 "\n", pock_get_int(e, "id", 0));
        return;
    }
    term_text(&s, text, strlen(text), true);
    printf("%s%s%s  %-20s %s\n", term_on(&c->out, TERM_DIM),
           ctl_time(c, time, pock_get_int(e, "time", 0)),
           term_off(&c->out, TERM_DIM), pock_get_str(e, "kind", "?"),
           str_finish(&s) == 0 && s.data ? s.data : "");
    str_free(&s);
}

static void on_item(void *user, const struct pock_value *item)
{
    const struct pock_value *event = pock_get(item, "event");

    if (event)
        print_event(user, event);
    (void) fflush(stdout);
}

static int print_stored(struct ctl *c, int64_t lines, int64_t *last)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "events.watch")) != CTL_OK)
        return status;
    pock_set_int(r, "limit", lines);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const struct pock_value *events = pock_get(v, "events");
    if (c->json && !c->line.given[FLAG_FOLLOW]) {
        status = ctl_json(c, v);
    } else {
        for (size_t i = 0; i < pock_count(events); i++)
            print_event(c, pock_at(events, i));
    }
    *last = pock_get_int(pock_at(events, pock_count(events) - 1), "id", 0);
    pock_reply_destroy(reply);
    (void) fflush(stdout);
    return status;
}

int cmd_events(struct ctl *c)
{
    struct ctl_call how = {.on_item = on_item, .user = c};
    struct pock_request *r;
    int64_t lines = 100;
    int64_t last = 0;
    int status;

    if ((status = ctl_int_flag(c, FLAG_LINES, 0, 1000, &lines)) != CTL_OK)
        return status;
    if (lines > 0 && (status = print_stored(c, lines, &last)) != CTL_OK)
        return status;
    if (!c->line.given[FLAG_FOLLOW])
        return CTL_OK;
    if ((status = ctl_request(c, &r, "events.watch")) != CTL_OK)
        return status;
    // Goes on behind what was printed, so that nothing falls in between.
    if (last > 0)
        pock_set_int(r, "after", last);
    return ctl_send(c, r, &how, NULL);
}

/*
 * logs
 */

// Where the daemon runs, as far as it can be asked.
struct place {
    bool is_system;
    char log[4096]; // of a daemon that writes a file
};

static void find_place(struct ctl *c, struct place *p)
{
    struct pock_reply *reply;
    struct pock_error err;

    char own[64];

    snprintf(own, sizeof(own), "/run/pockd/%ld", (long) geteuid());
    *p = (struct place){.is_system = access(own, F_OK) == 0};
    if (ctl_try_connect(c, &err) == 0 &&
        pock_server_info(c->pock, &reply, &err) == 0) {
        const struct pock_value *v = pock_result(reply);
        const char *dir = pock_get_str(v, "state_dir", "");
        p->is_system = strcmp(pock_get_str(v, "mode", ""), "system") == 0;
        if (*dir)
            snprintf(p->log, sizeof(p->log), "%s/pockd.log", dir);
        pock_reply_destroy(reply);
        return;
    }
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state && *state)
        snprintf(p->log, sizeof(p->log), "%s/pockd/pockd.log", state);
    else if (home)
        snprintf(p->log, sizeof(p->log), "%s/.local/state/pockd/pockd.log",
                 home);
}

// Returns when it failed. exec() takes char * and changes nothing.
static void replace_self(const char **argv)
{
    (void) fflush(stdout);
    execvp(argv[0], (char **) (uintptr_t) argv);
}

static int run_tail(struct ctl *c, const char *path, const char *lines)
{
    const char *argv[] = {"tail", "-n", lines, path, NULL, NULL};

    if (c->line.given[FLAG_FOLLOW]) {
        argv[3] = "-F";
        argv[4] = path;
    }
    replace_self(argv);
    return ctl_fail(c, CTL_FAILED, "cannot run tail: %s", strerror(errno));
}

static int run_journalctl(struct ctl *c, bool is_system, const char *lines)
{
    const char *argv[12];
    char unit[64] = "--unit=pockd.service";
    int n = 0;

    argv[n++] = "journalctl";
    if (!is_system) {
        argv[n++] = "--user";
        ctl_remark(c,
                   "of the user unit pockd.service; a pockd that was started "
                   "by hand writes its log to its standard error");
    } else {
        snprintf(unit, sizeof(unit), "--unit=pockd@%ld.service",
                 (long) geteuid());
    }
    argv[n++] = unit;
    argv[n++] = "--no-pager";
    argv[n++] = "-n";
    argv[n++] = lines;
    if (c->line.given[FLAG_FOLLOW])
        argv[n++] = "--follow";
    if (c->utc)
        argv[n++] = "--utc";
    if (c->json)
        argv[n++] = "--output=json";
    argv[n] = NULL;
    replace_self(argv);
    return ctl_fail(c, CTL_FAILED,
                    "cannot run journalctl: %s: a daemon that was started by "
                    "hand writes its log to its standard error",
                    strerror(errno));
}

int cmd_logs(struct ctl *c)
{
    struct place place;
    int64_t lines = 100;
    char text[24];
    int status;

    if ((status = ctl_int_flag(c, FLAG_LINES, 0, INT32_MAX, &lines)) != CTL_OK)
        return status;
    find_place(c, &place);
    snprintf(text, sizeof(text), "%" PRId64, lines);
    if (place.log[0] && access(place.log, R_OK) == 0)
        return run_tail(c, place.log, text);
    return run_journalctl(c, place.is_system, text);
}
