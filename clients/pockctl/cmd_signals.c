// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/out_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    REPLAY_ARGS_MAX = 512,
    PATH_BYTES = 512,
};

static int print_table(struct ctl *c, const struct pock_value *list)
{
    static const struct out_column columns[] = {
        {"SIGNAL", false, false},
        {"VALUE", false, true},
        {"SOURCE", false, false},
        {"SINCE", false, false},
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 4) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *g = pock_at(list, i);
        bool is_known = strcmp(pock_get_str(g, "source", ""), "none") != 0;
        out_table_text(t, pock_get_str(g, "name", "?"));
        out_table_text(t, pock_get_str(g, "text", ""));
        out_table_style(t, is_known ? TERM_BOLD : TERM_DIM);
        out_table_text(t, pock_get_str(g, "source", ""));
        ctl_since(c, t, pock_get_int(g, "since", 0));
    }
    return ctl_table(c, t);
}

static void print_names(const struct pock_value *list)
{
    for (size_t i = 0; i < pock_count(list); i++)
        printf("%s\n", pock_get_str(pock_at(list, i), "name", "?"));
}

/*
 * --watch and --record
 */

static void print_changes(struct ctl *c, const struct pock_value *item)
{
    const struct pock_value *list = pock_get(item, "signals");
    char time[OUT_TIME_BYTES];

    ctl_time(c, time, pock_get_int(item, "time", 0));
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *g = pock_at(list, i);
        const char *text = pock_get_str(g, "text", "");
        struct str s = {0};
        term_text(&s, text, strlen(text), true);
        printf("%s%s%s  %-18s %-7s %s\n", term_on(&c->out, TERM_DIM), time,
               term_off(&c->out, TERM_DIM), pock_get_str(g, "name", "?"),
               pock_get_str(g, "source", ""),
               str_finish(&s) == 0 && s.data ? s.data : "");
        str_free(&s);
    }
}

static void on_change(void *user, const struct pock_value *item)
{
    struct ctl *c = user;

    if (!pock_get(item, "signals"))
        return;
    if (c->json)
        (void) ctl_json(c, item);
    else
        print_changes(c, item);
    (void) fflush(stdout);
}

static int watch(struct ctl *c, struct ctl_call *how)
{
    struct pock_request *r;
    int status;

    if ((status = ctl_request(c, &r, "signals.get")) != CTL_OK)
        return status;
    return ctl_send(c, r, how, NULL);
}

struct recording {
    FILE *f;
    int rc; // the first failure to write
};

// The minute of the day where it is recorded, which decides about windows.
static int local_minute(int64_t unix_ms)
{
    time_t seconds = (time_t) (unix_ms / 1000);
    struct tm tm;

    return localtime_r(&seconds, &tm) ? tm.tm_hour * 60 + tm.tm_min : 0;
}

static void put_line(struct str *s, const struct pock_value *item)
{
    const struct pock_value *list = pock_get(item, "signals");
    int64_t unix_ms = pock_get_int(item, "time", 0);

    str_printf(s,
               "{\"t\":%" PRId64 ",\"unix\":%" PRId64
               ",\"minute\":%d,\"signals\":{",
               pock_get_int(item, "monotonic", 0), unix_ms,
               local_minute(unix_ms));
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *g = pock_at(list, i);
        const struct pock_value *value = pock_get(g, "value");
        const char *name = pock_get_str(g, "name", "?");
        str_puts(s, i ? "," : "");
        str_json(s, name, strlen(name));
        str_putc(s, ':');
        if (value)
            out_json_value(s, value);
        else
            str_puts(s, "null");
    }
    str_puts(s, "},\"sources\":{");
    for (size_t i = 0; i < pock_count(list); i++) {
        const struct pock_value *g = pock_at(list, i);
        const char *name = pock_get_str(g, "name", "?");
        const char *source = pock_get_str(g, "source", "none");
        str_puts(s, i ? "," : "");
        str_json(s, name, strlen(name));
        str_putc(s, ':');
        str_json(s, source, strlen(source));
    }
    str_puts(s, "}}\n");
}

// Each line is on its way to the disk before the next one comes.
static void on_record(void *user, const struct pock_value *item)
{
    struct recording *rec = user;
    struct str s = {0};

    if (!pock_get(item, "signals") || rec->rc < 0)
        return;
    put_line(&s, item);
    rec->rc = str_finish(&s);
    if (rec->rc == 0 &&
        (fwrite(s.data, 1, s.bytes, rec->f) != s.bytes || fflush(rec->f) != 0))
        rec->rc = errno ? -errno : -EIO;
    str_free(&s);
}

static int record(struct ctl *c, const char *path)
{
    struct recording rec = {0};
    struct ctl_call how = {.on_item = on_record, .user = &rec};
    bool is_stdout = strcmp(path, "-") == 0;
    int status;

    if ((status = ctl_connect(c)) != CTL_OK)
        return status;
    rec.f = is_stdout ? stdout : fopen(path, "we");
    if (!rec.f)
        return ctl_fail_errno(c, -errno, path);
    fprintf(rec.f, "{\"schema\":%d,\"recording\":\"signals of pockd\"}\n",
            OUT_JSON_SCHEMA);
    if (!is_stdout)
        ctl_remark(c, "recording into %s: Ctrl-C ends", path);
    status = watch(c, &how);
    if (!is_stdout && fclose(rec.f) != 0 && rec.rc == 0)
        rec.rc = errno ? -errno : -EIO;
    return rec.rc < 0 ? ctl_fail_errno(c, rec.rc, path) : status;
}

/*
 * --replay
 */

struct args {
    const char *list[REPLAY_ARGS_MAX];
    size_t count;
};

static void add(struct args *a, const char *arg)
{
    if (arg && a->count + 1 < REPLAY_ARGS_MAX)
        a->list[a->count++] = arg;
}

// The numbers of the owner's policy, where a daemon can be asked.
static void add_policy(struct ctl *c, struct args *a,
                       const struct pock_value *policy)
{
    for (size_t i = 0; i < pock_count(policy); i++) {
        const struct pock_value *k = pock_at(policy, i);
        const struct pock_value *value = pock_get(k, "value");
        struct str s = {0};
        if (pock_kind(value) == POCK_KIND_STR)
            continue;
        str_printf(&s, "%s=", pock_get_str(k, "key", "?"));
        out_json_value(&s, value);
        if (str_finish(&s) < 0) {
            str_free(&s);
            continue;
        }
        add(a, "--policy");
        add(a, s.data); // Lives until the other program does.
    }
}

static int replay(struct ctl *c, const char *path)
{
    struct args a = {.count = 0};
    struct pock_reply *policy;
    struct pock_error err;
    char player[PATH_BYTES];
    double speed;
    int status;

    if (c->line.given[FLAG_SPEED] &&
        (status = ctl_float_flag(c, FLAG_SPEED, 1e-3, 1e9, &speed)) != CTL_OK)
        return status;
    if (!ctl_find_program(player, sizeof(player), "pock-replay", "daemon"))
        return ctl_fail(c, CTL_FAILED,
                        "cannot find pock-replay in %s: install pockd "
                        "completely",
                        POCK_LIBEXECDIR);
    add(&a, player);
    add(&a, c->json ? "--json" : NULL);
    add(&a, c->utc ? "--utc" : NULL);
    add(&a, c->line.given[FLAG_SPEED] ? "--speed" : NULL);
    add(&a, c->line.values[FLAG_SPEED]);
    if (ctl_try_connect(c, &err) != 0) {
        ctl_remark(c, "no daemon could be asked: by the default policy");
    } else if ((status = ctl_ask(c, "policy.get", NULL, NULL, &policy)) !=
               CTL_OK) {
        return status;
    } else {
        add_policy(c, &a, pock_get(pock_result(policy), "policy"));
        pock_reply_destroy(policy);
    }
    add(&a, path);
    a.list[a.count] = NULL;
    (void) fflush(stdout);
    // exec() takes char * and changes nothing.
    execv(player, (char **) (uintptr_t) a.list);
    return ctl_fail_errno(c, -errno, player);
}

int cmd_signals(struct ctl *c)
{
    struct ctl_call how = {.on_item = on_change, .user = c};
    struct pock_reply *reply;
    int status;

    if (c->line.given[FLAG_WATCH] + c->line.given[FLAG_RECORD] +
            c->line.given[FLAG_REPLAY] >
        1)
        return ctl_fail(c, CTL_USAGE,
                        "--watch, --record and --replay exclude each other");
    if (c->line.given[FLAG_SPEED] && !c->line.given[FLAG_REPLAY])
        return ctl_fail(c, CTL_USAGE, "--speed belongs to --replay");
    if (c->line.given[FLAG_REPLAY])
        return replay(c, c->line.values[FLAG_REPLAY]);
    if (c->line.given[FLAG_RECORD])
        return record(c, c->line.values[FLAG_RECORD]);
    if (c->line.given[FLAG_WATCH])
        return watch(c, &how);
    if ((status = ctl_ask(c, "signals.get", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    if (c->json)
        status = ctl_json(c, v);
    else if (c->quiet)
        print_names(pock_get(v, "signals"));
    else
        status = print_table(c, pock_get(v, "signals"));
    pock_reply_destroy(reply);
    return status;
}
