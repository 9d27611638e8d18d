// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/reload.h"

#include "engine/base/arena.h"
#include "engine/base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_DEFAULT = 8080, ARENA_MAX = 256 << 10 };

static int refuse(struct error *err)
{
    return error_set(err, -EINVAL,
                     "it must be http://127.0.0.1:PORT, http://[::1]:PORT, "
                     "http://localhost:PORT or unix:/PATH: pockd speaks to "
                     "nobody outside this machine");
}

// "", "/", ":8080", ":8080/".
static int parse_port(uint16_t *out, const char *text, struct error *err)
{
    char *end = NULL;
    long port = PORT_DEFAULT;

    if (*text == ':') {
        if (text[1] < '1' || text[1] > '9')
            return refuse(err);
        port = strtol(text + 1, &end, 10);
        text = end;
    }
    if (port > UINT16_MAX || (*text && strcmp(text, "/") != 0))
        return refuse(err);
    *out = (uint16_t) port;
    return 0;
}

int reload_parse_url(struct reload_target *out, const char *url,
                     struct error *err)
{
    static const struct {
        const char *start;
        int is_ipv6;
    } hosts[] = {
        {"http://127.0.0.1", 0},
        {"http://localhost", 0},
        {"http://[::1]", 1},
    };
    struct reload_target t = {.port = PORT_DEFAULT};

    if (strncmp(url, "unix:/", 6) == 0) {
        if (strlen(url + 5) >= sizeof(t.path))
            return error_set(err, -EINVAL,
                             "the path of a socket has at most %zu characters",
                             sizeof(t.path) - 1);
        memcpy(t.path, url + 5, strlen(url + 5) + 1);
        *out = t;
        return 0;
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        const size_t n = strlen(hosts[i].start);
        if (strncmp(url, hosts[i].start, n) != 0)
            continue;
        int rc = parse_port(&t.port, url + n, err);
        t.is_ipv6 = hosts[i].is_ipv6;
        if (rc == 0)
            *out = t;
        return rc;
    }
    return refuse(err);
}

static int copy_args(char *args[RELOAD_ARGS_MAX], char *room, size_t size,
                     const struct json *list, struct error *err)
{
    size_t at = 0;
    int n = 0;

    if (list->type != JSON_ARRAY || list->count == 0)
        return error_set(err, -EINVAL,
                         "a command is a JSON array, as "
                         "[\"/usr/local/bin/reload\",\"--now\"]");
    if (list->count > RELOAD_ARGS_MAX - 3)
        return error_set(err, -EINVAL, "a command has at most %d words",
                         RELOAD_ARGS_MAX - 3);
    for (const struct json *j = list->first; j; j = j->next) {
        if (j->type != JSON_STRING || strlen(j->text) != j->bytes)
            return error_set(err, -EINVAL, "a command has strings only");
        if (at + j->bytes + 1 > size)
            return error_set(err, -E2BIG, "the command is too long");
        memcpy(room + at, j->text, j->bytes + 1);
        args[n++] = room + at;
        at += j->bytes + 1;
    }
    if (args[0][0] != '/')
        return error_set(err, -EINVAL,
                         "the program \"%.60s\" must be an absolute path",
                         args[0]);
    args[n] = NULL;
    return 0;
}

int reload_parse_command(char *args[RELOAD_ARGS_MAX], char *room, size_t size,
                         const char *json, struct error *err)
{
    const struct json *list;
    struct arena *a;
    int rc = arena_create(&a, ARENA_MAX);

    if (rc < 0)
        return error_set(err, rc, "out of memory");
    if ((rc = json_parse(&list, a, json, strlen(json), err)) == 0)
        rc = copy_args(args, room, size, list, err);
    arena_destroy(a);
    return rc;
}

int reload_check(const char *key, const char *text, struct error *err)
{
    char room[4096], *args[RELOAD_ARGS_MAX];
    struct reload_target t;

    if (strcmp(key, "reload_url") == 0)
        return reload_parse_url(&t, text, err);
    if (strcmp(key, "reload_command") == 0)
        return reload_parse_command(args, room, sizeof(room), text, err);
    return 0;
}
