// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * pock-replay: what the scheduler would have done on a recorded night. It needs
 * no daemon and touches none; `pockctl signals --replay` runs it with the
 * policy of the daemon that it can reach.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/replay.h"
#include "engine/base/clock.h"
#include "engine/base/str.h"

enum { EXIT_USAGE = 2 };

struct player {
    bool is_json;
    bool is_utc;
    double speed; // 0: as fast as it goes
    int64_t first_ms;
    uint64_t started_ns; // 0: not yet
};

static void put_time(char out[40], int64_t unix_ms, bool is_utc)
{
    time_t seconds = (time_t) (unix_ms / 1000);
    struct tm tm;

    // A year that does not fit into an int.
    if (!(is_utc ? gmtime_r(&seconds, &tm) : localtime_r(&seconds, &tm)) ||
        strftime(out, 40, is_utc ? "%F %TZ" : "%F %T", &tm) == 0)
        snprintf(out, 40, "@%lld", (long long) unix_ms);
}

static const char *const kinds[] = {"start", "stop", "blocked"};

static void print_json(const struct replay_event *ev)
{
    struct str s = {0};

    str_printf(&s, "{\"unix\":%lld,\"event\":\"%s\"", (long long) ev->unix_ms,
               kinds[ev->kind]);
    if (ev->kind != REPLAY_START)
        str_printf(&s, ",\"reason\":\"%s\"", stop_reason_name(ev->reason));
    if (*ev->gate) {
        str_printf(&s, ",\"gate\":\"%s\",\"text\":", ev->gate);
        str_json(&s, ev->text, strlen(ev->text));
    }
    str_puts(&s, "}");
    if (str_finish(&s) == 0)
        puts(s.data);
    str_free(&s);
}

// Names of programs may hold anything; a terminal must not see it.
static void put_plain(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 1 < size; text++)
        out[n++] = (unsigned char) *text < 32 || *text == 127 ? '?' : *text;
    out[n] = '\0';
}

static void on_event(const struct replay_event *ev, void *user)
{
    const struct player *p = user;
    char time[40];
    char text[320];

    if (p->is_json) {
        print_json(ev);
    } else {
        put_time(time, ev->unix_ms, p->is_utc);
        put_plain(text, sizeof(text), ev->text);
        printf("%s  %s", time, kinds[ev->kind]);
        if (ev->kind != REPLAY_START)
            printf("%*s%s", (int) (8 - strlen(kinds[ev->kind])), "",
                   stop_reason_name(ev->reason));
        if (*ev->gate)
            printf("  %s: %s", ev->gate, text);
        printf("\n");
    }
    (void) fflush(stdout);
}

static void on_time(int64_t now_ms, void *user)
{
    struct player *p = user;

    if (p->speed <= 0)
        return;
    if (p->started_ns == 0) {
        p->started_ns = clock_monotonic_ns();
        p->first_ms = now_ms;
    }
    double due = (double) (now_ms - p->first_ms) * 1e6 / p->speed;
    double left = due - (double) (clock_monotonic_ns() - p->started_ns);
    if (left <= 0 || left > 1e18)
        return;
    struct timespec t = {.tv_sec = (time_t) (left / 1e9),
                         .tv_nsec = (long) fmod(left, 1e9)};
    (void) nanosleep(&t, NULL);
}

static void print_totals(const struct player *p, const struct replay *r)
{
    struct replay_totals t = replay_totals(r);
    const char *separator = "";

    if (p->is_json) {
        printf("{\"event\":\"end\",\"lines\":%lld,\"span_ms\":%lld,"
               "\"trained_ms\":%lld,\"starts\":%lld,\"running\":%s,\"stops\":{",
               (long long) t.lines, (long long) t.span_ms,
               (long long) t.trained_ms, (long long) t.starts,
               replay_is_running(r) ? "true" : "false");
        for (int i = 0; i < STOP_REASON_COUNT; i++)
            if (t.stops[i] > 0) {
                printf("%s\"%s\":%lld", separator,
                       stop_reason_name((enum stop_reason) i),
                       (long long) t.stops[i]);
                separator = ",";
            }
        printf("}}\n");
        return;
    }
    printf("%lld changes over %lld min: trained %lld min in %lld runs",
           (long long) t.lines, (long long) t.span_ms / 60000,
           (long long) t.trained_ms / 60000, (long long) t.starts);
    separator = "; stopped by ";
    for (int i = 0; i < STOP_REASON_COUNT; i++)
        if (t.stops[i] > 0) {
            printf("%s%s %lld", separator,
                   stop_reason_name((enum stop_reason) i),
                   (long long) t.stops[i]);
            separator = ", ";
        }
    printf("%s\n", replay_is_running(r) ? "; runs at its end" : "");
}

static int play(struct player *p, const char *path, const struct policy *policy)
{
    struct error err = {0};
    struct replay *r = NULL;
    char *line = NULL;
    size_t size = 0;
    int64_t number = 0;
    ssize_t n;
    int rc;

    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f) {
        fprintf(stderr, "pock-replay: cannot read %s: %s\n", path,
                strerror(errno));
        return EXIT_FAILURE;
    }
    rc = replay_create(&r, &(struct replay_params){.policy = policy,
                                                   .on_event = on_event,
                                                   .on_time = on_time,
                                                   .user = p});
    while (rc == 0 && (n = getline(&line, &size, f)) >= 0) {
        number++;
        rc = replay_line(r, line, (size_t) n, &err);
    }
    if (rc < 0)
        fprintf(stderr,
                "pock-replay: %s: line %lld: %s: record it again with "
                "`pockctl signals --record`\n",
                path, (long long) number, err.text);
    else if (ferror(f)) {
        fprintf(stderr, "pock-replay: cannot read %s\n", path);
        rc = -EIO;
    } else {
        print_totals(p, r);
    }
    free(line);
    replay_destroy(r);
    if (f != stdin)
        (void) fclose(f);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

// "KEY=VALUE". A key that is not known here belongs to another version.
static int set_policy(struct policy *policy, char *text)
{
    struct error err = {0};
    char *equals = strchr(text, '=');

    if (!equals) {
        fprintf(stderr, "pock-replay: \"%s\" is not of the form KEY=VALUE\n",
                text);
        return -EINVAL;
    }
    *equals = '\0';
    if (!policy_find(text)) {
        fprintf(stderr,
                "pock-replay: the policy has no key %s here: not "
                "looked at\n",
                text);
        return 0;
    }
    int rc = policy_set_text(policy, text, equals + 1, &err);
    if (rc < 0)
        fprintf(stderr, "pock-replay: %s\n", err.text);
    return rc;
}

static int usage(void)
{
    fprintf(stderr, "usage: pock-replay [--json] [--utc] [--speed N] [--policy "
                    "KEY=VALUE]... FILE\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct player p = {0};
    struct policy *policy = calloc(1, sizeof(*policy));
    const char *path = NULL;
    int status = EXIT_SUCCESS;

    if (!policy)
        return EXIT_FAILURE;
    policy_init(policy);
    for (int i = 1; i < argc && status == EXIT_SUCCESS; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0) {
            p.is_json = true;
        } else if (strcmp(argv[i], "--utc") == 0) {
            p.is_utc = true;
        } else if (strcmp(argv[i], "--speed") == 0 && has_value) {
            char *end;
            p.speed = strtod(argv[++i], &end);
            if (*end || !(p.speed > 0) || !isfinite(p.speed))
                status = usage();
        } else if (strcmp(argv[i], "--policy") == 0 && has_value) {
            if (set_policy(policy, argv[++i]) < 0)
                status = EXIT_USAGE;
        } else if (!path && (argv[i][0] != '-' || !argv[i][1])) {
            path = argv[i];
        } else {
            status = usage();
        }
    }
    if (status == EXIT_SUCCESS)
        status = path ? play(&p, path, policy) : usage();
    free(policy);
    return status;
}
