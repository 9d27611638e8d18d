// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * A hook is one allocation with its libuv handles; it is freed when the last of
 * them is closed. Handles of a destroyed module are closed by the loop's end.
 */

#include "daemon/reload.h"

#include "daemon/events.h"
#include "daemon/pockd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    HOOKS_MAX = 4, // at a time
    SERVER_MS = 10000,
    COMMAND_MS = 60000,
    ANSWER_BYTES = 64,
};

struct hook {
    struct reload *r; // NULL: nobody listens any more
    struct hook *next;
    int open; // handles
    bool is_told;
    char what[160]; // "the server at unix:/x", for sentences
    char adapter[72];
    uint32_t version;
    uv_timer_t timer;
    union {
        uv_tcp_t tcp;
        uv_pipe_t pipe;
        uv_stream_t stream;
        uv_process_t process;
    } h;
    uv_connect_t connect;
    uv_write_t write;
    char request[320];
    char answer[ANSWER_BYTES];
    size_t answered;
    char room[4096];
    char number[16];
    char *args[RELOAD_ARGS_MAX];
};

struct reload {
    struct pockd *p;
    struct hook *first;
    int count;
};

static void on_close(uv_handle_t *handle)
{
    struct hook *k = handle->data;

    if (--k->open > 0)
        return;
    if (k->r) {
        struct hook **at = &k->r->first;
        while (*at != k)
            at = &(*at)->next;
        *at = k->next;
        k->r->count--;
    }
    free(k);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_close);
}

static void end(struct hook *k)
{
    close_handle((uv_handle_t *) &k->timer);
    if (k->open > 1)
        close_handle((uv_handle_t *) &k->h);
}

// Once for each hook. NULL: all went well.
static void tell(struct hook *k, const char *why)
{
    char text[512];

    if (k->is_told || !k->r)
        return;
    k->is_told = true;
    if (why)
        (void) snprintf(text, sizeof(text), "%s was not told: %.330s", k->what,
                        why);
    else
        (void) snprintf(text, sizeof(text), "%s was told", k->what);
    events_emit(k->r->p, &(struct event_params){.kind = why ? "reload_failed"
                                                            : "reloaded",
                                                .adapter = k->adapter,
                                                .version = k->version,
                                                .text = text});
}

static void on_timeout(uv_timer_t *timer)
{
    struct hook *k = timer->data;

    tell(k, "it did not answer in time");
    if (k->h.stream.type == UV_PROCESS) {
        (void) uv_process_kill(&k->h.process, SIGKILL);
        uv_timer_stop(timer);
        return; // its end closes the handles
    }
    end(k);
}

static struct hook *hook_create(struct reload *r, const char *adapter,
                                uint32_t version, uint64_t timeout_ms)
{
    struct hook *k = r->count < HOOKS_MAX ? calloc(1, sizeof(*k)) : NULL;

    if (!k)
        return NULL;
    k->r = r;
    k->next = r->first;
    r->first = k;
    r->count++;
    k->version = version;
    (void) snprintf(k->adapter, sizeof(k->adapter), "%s", adapter);
    (void) uv_timer_init(&r->p->loop, &k->timer);
    k->timer.data = k;
    k->open = 1;
    (void) uv_timer_start(&k->timer, on_timeout, timeout_ms, 0);
    return k;
}

/*
 * A server
 */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct hook *k = handle->data;

    *buf = uv_buf_init(k->answer + k->answered,
                       (unsigned) (ANSWER_BYTES - 1 - k->answered));
}

// "HTTP/1.1 200 OK": more than the first line is not read.
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct hook *k = stream->data;
    char why[96];
    int status = 0;

    if (n == 0)
        return;
    if (n > 0)
        k->answered += (size_t) n;
    k->answer[k->answered] = '\0';
    char *line = strpbrk(k->answer, "\r\n");
    if (n > 0 && !line && k->answered < ANSWER_BYTES - 1)
        return;
    if (line)
        *line = '\0';
    if (sscanf(k->answer, "HTTP/1.%*1d %3d", &status) != 1) {
        tell(k, "its answer is not HTTP");
    } else if (status < 200 || status > 299) {
        (void) snprintf(why, sizeof(why),
                        "it answered with status %d: does it have that "
                        "adapter?",
                        status);
        tell(k, why);
    } else {
        tell(k, NULL);
    }
    end(k);
}

static void on_written(uv_write_t *write, int rc)
{
    struct hook *k = write->data;

    if (rc < 0) {
        tell(k, uv_strerror(rc));
        end(k);
    }
}

static void on_connected(uv_connect_t *connect, int rc)
{
    struct hook *k = connect->data;
    uv_buf_t buf = uv_buf_init(k->request, (unsigned) strlen(k->request));

    k->write.data = k;
    if (rc == 0 && uv_is_closing((uv_handle_t *) &k->h))
        return;
    if (rc == 0)
        rc = uv_read_start(&k->h.stream, on_alloc, on_read);
    if (rc == 0)
        rc = uv_write(&k->write, &k->h.stream, &buf, 1, on_written);
    if (rc < 0) {
        tell(k, uv_strerror(rc));
        end(k);
    }
}

static int connect_to(struct hook *k, const struct reload_target *t)
{
    struct sockaddr_storage to = {0};
    uv_loop_t *loop = &k->r->p->loop;
    int rc = t->path[0] ? uv_pipe_init(loop, &k->h.pipe, 0)
                        : uv_tcp_init(loop, &k->h.tcp);

    if (rc < 0)
        return rc;
    k->h.stream.data = k;
    k->connect.data = k;
    k->open = 2;
    if (t->path[0]) {
        uv_pipe_connect(&k->connect, &k->h.pipe, t->path, on_connected);
        return 0;
    }
    rc = t->is_ipv6
             ? uv_ip6_addr("::1", t->port, (struct sockaddr_in6 *) &to)
             : uv_ip4_addr("127.0.0.1", t->port, (struct sockaddr_in *) &to);
    return rc < 0 ? rc
                  : uv_tcp_connect(&k->connect, &k->h.tcp,
                                   (struct sockaddr *) &to, on_connected);
}

static void tell_server(struct reload *r, const char *adapter, uint32_t version)
{
    const struct policy *policy = &r->p->policy;
    struct reload_target t;
    struct error err = {0};
    char body[96];
    struct hook *k = hook_create(r, adapter, version, SERVER_MS);

    if (!k)
        return;
    (void) snprintf(k->what, sizeof(k->what), "the server at %.120s",
                    policy->reload_url);
    (void) snprintf(body, sizeof(body), "[{\"id\": %.0f, \"scale\": %.6g}]",
                    policy_get(policy, policy_find("reload_id")),
                    version ? policy->reload_scale : 0.0);
    (void) snprintf(k->request, sizeof(k->request),
                    "POST /lora-adapters HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\n"
                    "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                    strlen(body), body);
    int rc = reload_parse_url(&t, policy->reload_url, &err);
    if (rc == 0 && (rc = connect_to(k, &t)) < 0)
        (void) error_set(&err, rc, "%s", uv_strerror(rc));
    if (rc < 0) {
        tell(k, err.text);
        end(k);
    }
}

/*
 * A command
 */

static void on_exit_command(uv_process_t *process, int64_t status, int sig)
{
    struct hook *k = process->data;
    char why[96];

    if (sig)
        (void) snprintf(why, sizeof(why), "it was ended by signal %d", sig);
    else
        (void) snprintf(why, sizeof(why), "it ended with status %" PRId64,
                        status);
    tell(k, status || sig ? why : NULL);
    end(k);
}

static int spawn(struct hook *k)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_IGNORE},
                                     {.flags = UV_IGNORE}};
    const uv_process_options_t options = {
        .exit_cb = on_exit_command,
        .file = k->args[0],
        .args = k->args,
        .cwd = "/",
        .flags = UV_PROCESS_DETACHED, // not ended with pockd
        .stdio = stdio,
        .stdio_count = 3,
    };

    int rc = uv_spawn(&k->r->p->loop, &k->h.process, &options);
    k->h.process.data = k;
    k->open = 2; // also when it failed
    return rc;
}

static void run_command(struct reload *r, const char *adapter, uint32_t version)
{
    struct hook *k = hook_create(r, adapter, version, COMMAND_MS);
    struct error err = {0};
    int n = 0;

    if (!k)
        return;
    (void) snprintf(k->what, sizeof(k->what), "the reload command");
    int rc = reload_parse_command(k->args, k->room, sizeof(k->room),
                                  r->p->policy.reload_command, &err);
    if (rc == 0) {
        (void) snprintf(k->what, sizeof(k->what), "%.150s", k->args[0]);
        (void) snprintf(k->number, sizeof(k->number), "%" PRIu32, version);
        while (k->args[n])
            n++;
        k->args[n] = k->adapter;
        k->args[n + 1] = k->number;
        k->args[n + 2] = NULL;
        if ((rc = spawn(k)) < 0)
            (void) error_set(&err, rc, "%s", uv_strerror(rc));
    }
    if (rc < 0) {
        tell(k, err.text);
        end(k);
    }
}

int reload_create(struct reload **out, struct pockd *p)
{
    struct reload *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->p = p;
    *out = r;
    return 0;
}

void reload_destroy(struct reload *r)
{
    if (!r)
        return;
    for (struct hook *k = r->first, *next; k; k = next) {
        next = k->next;
        k->r = NULL;
        end(k);
    }
    free(r);
}

void reload_run(struct reload *r, const char *adapter, uint32_t version)
{
    const struct policy *policy = &r->p->policy;

    if (policy->reload_name[0] && strcmp(policy->reload_name, adapter) != 0)
        return;
    if (policy->reload_url[0])
        tell_server(r, adapter, version);
    if (policy->reload_command[0])
        run_command(r, adapter, version);
}
