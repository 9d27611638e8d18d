// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/tools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/fileset.h"
#include "daemon/pockd.h"
#include "daemon/request.h"
#include "daemon/worker_link.h"

enum { TOOLS_MAX = 2 };

struct tool {
    struct tool *next;
    struct tools *tools;
    struct worker_link *worker;
    tools_done_fn done;
    void (*on_progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    bool is_answered;
};

struct tools {
    struct pockd *p;
    struct tool *first;
    int count;
};

static void answer(struct tool *t, int rc, struct worker_msg *m,
                   const struct error *err)
{
    if (t->is_answered)
        return;
    t->is_answered = true;
    t->done(t->arg, rc, m, err);
}

static void destroy(struct tool *t)
{
    struct tool **at = &t->tools->first;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->tools->count--;
    worker_link_destroy(t->worker);
    free(t);
}

static int rc_of(const struct worker_error *e)
{
    switch ((enum worker_severity) e->severity) {
    case WORKER_SEVERITY_TRANSIENT:
        return -EAGAIN;
    case WORKER_SEVERITY_PERMANENT:
    case WORKER_SEVERITY_POISON:
        return -EINVAL;
    }
    return -EINVAL;
}

static void on_message(struct worker_link *w, struct worker_msg *m, void *user)
{
    struct tool *t = user;
    struct error err = {0};

    if (m->type == WORKER_MSG_tool_progress) {
        if (t->on_progress)
            t->on_progress(t->arg, m->tool_progress.done,
                           m->tool_progress.total);
        return;
    }
    if (m->type == WORKER_MSG_error) {
        int rc = error_set(&err, rc_of(&m->error), "%s", m->error.msg);
        answer(t, rc, NULL, &err);
    } else {
        answer(t, 0, m, &err);
    }
    destroy(t);
}

static void on_exit_worker(struct worker_link *w,
                           const struct worker_exit *exit, void *user)
{
    struct tool *t = user;
    struct error err = {0};

    answer(t, error_set(&err, -EPIPE, "%.500s", exit->text), NULL, &err);
    destroy(t);
}

static int send_files(struct worker_link *w, const struct fileset *files,
                      struct error *err)
{
    struct worker_msg m;
    int rc = 0;

    for (uint32_t i = 0; files && i < files->n && rc == 0; i++) {
        worker_msg_init(&m, WORKER_MSG_file);
        _Static_assert(sizeof(m.file.name) >= FILESET_NAME_BYTES, "a name");
        memcpy(m.file.name, files->files[i].name, FILESET_NAME_BYTES);
        m.file.file_fd = files->files[i].fd;
        rc = worker_link_send(w, &m, err);
    }
    return rc;
}

int tools_run(struct tools *t, const struct worker_msg *m, tools_done_fn done,
              void *arg, struct error *err)
{
    return tools_run_with(t, m, &(struct tools_extra){0}, done, arg, err);
}

int tools_run_with(struct tools *t, const struct worker_msg *m,
                   const struct tools_extra *extra, tools_done_fn done,
                   void *arg, struct error *err)
{
    static const struct worker_link_callbacks callbacks = {.on_message =
                                                               on_message,
                                                           .on_exit =
                                                               on_exit_worker};
    const struct config *c = t->p->config;
    struct tool *tool;

    if (t->count >= TOOLS_MAX)
        return error_set(err, -EBUSY,
                         "%d files are being worked on: try again soon",
                         TOOLS_MAX);
    if (!(tool = calloc(1, sizeof(*tool))))
        return error_set(err, -ENOMEM, "out of memory");
    int rc =
        worker_link_create(&tool->worker,
                           &(struct worker_link_params){
                               .loop = &t->p->loop,
                               .kind = WORKER_KIND_TOOL,
                               .program = paths_worker_program(&t->p->paths),
                               .socket_path =
                                   paths_worker_socket(&t->p->paths,
                                                       PATHS_WORKER_TOOL),
                               .threads = (uint32_t) c->threads,
                           },
                           &callbacks, tool, err);
    if (rc == 0)
        rc = send_files(tool->worker, extra->files, err);
    if (rc == 0)
        rc = worker_link_send(tool->worker, m, err);
    if (rc < 0) {
        worker_link_destroy(tool->worker);
        free(tool);
        return rc;
    }
    tool->tools = t;
    tool->done = done;
    tool->on_progress = extra->on_progress;
    tool->arg = arg;
    tool->next = t->first;
    t->first = tool;
    t->count++;
    return 0;
}

int tools_call(struct tools *t, struct request *r, const struct worker_msg *m,
               tools_done_fn done, void *arg, void (*free_arg)(void *arg))
{
    struct error err = {0};
    const int rc = tools_run(t, m, done, arg, &err);

    if (rc < 0) {
        request_fail_errno(r, rc, &err);
        free_arg(arg);
    }
    return rc;
}

void tools_cancel(struct tools *t, const void *arg)
{
    struct error err = {0};

    for (struct tool *tool = t->first; tool; tool = tool->next)
        if (tool->arg == arg) {
            (void) error_set(&err, -ECANCELED, "it was cancelled");
            answer(tool, -ECANCELED, NULL, &err);
            destroy(tool);
            return;
        }
}

int tools_create(struct tools **out, struct pockd *p)
{
    struct tools *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->p = p;
    *out = t;
    return 0;
}

void tools_destroy(struct tools *t)
{
    struct error err = {0};

    if (!t)
        return;
    (void) error_set(&err, -ESHUTDOWN, "pockd is stopping");
    while (t->first) {
        answer(t->first, -ESHUTDOWN, NULL, &err);
        destroy(t->first);
    }
    free(t);
}

void tools_fail(struct request *r, int rc, const struct error *err)
{
    if (rc < 0)
        request_fail_errno(r, rc, err);
    else
        request_fail(r, RPC_ERROR_DEVICE, "the worker answered nonsense");
}
