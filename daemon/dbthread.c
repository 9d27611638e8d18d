// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#define LOG_MODULE "dbthread"

#include "daemon/dbthread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "engine/base/log.h"
#include "storage/store.h"

/*
 * Invariants
 * 1. `queued`, `finished` and `is_ending` are touched with the lock held;
 *    everything else of a task belongs to the side that has it.
 * 2. A group is finished only after its commit or rollback.
 * 3. Tasks of one lane come back in the order in which they were handed over.
 * 4. `queued` is in the order of rounds: a lane has one task in each, so that
 *    who hands over many does not keep others waiting.
 */

enum {
    GROUP_TASKS_MAX = 64,
    // Who comes while a group is gathered may wait for its commit and for that
    // of the next. On a disk that takes longer, a group is gathered as long as
    // its commit takes, so that fewer of them are needed.
    GROUP_NS = 5 * 1000 * 1000,
    GROUP_NS_MAX = 25 * 1000 * 1000,
    // For those who were just told that theirs is on disk and send the next,
    // a commit waits, but no longer than this part of what the last one took.
    COMEBACK_PART = 4,
    COMEBACK_NS_MAX = 1000 * 1000,
    LANES = 256, // those of the same number modulo this share one
};

struct task {
    struct task *next;
    uint64_t round;
    enum dbthread_kind kind;
    dbthread_run_fn run;
    dbthread_done_fn done;
    void *arg;
    int rc;
    struct error err;
};

struct list {
    struct task *first;
    struct task **last;
};

struct dbthread {
    struct store *store;
    size_t queue_max;
    size_t pending; // loop thread's
    uv_thread_t thread;
    uv_async_t *async; // outlives us while it closes
    uv_mutex_t lock;
    uv_cond_t wake;
    struct list queued;
    struct list finished;
    size_t queued_count;
    // Database thread's: how many were waiting or just told when the last group
    // ended, when that was, and what its commit took.
    size_t expected;
    uint64_t given_ns;
    uint64_t commit_ns;
    uint64_t round;         // of the task that was taken last
    uint64_t rounds[LANES]; // of the last task of each
    uint64_t lane;          // loop thread's
    bool is_ending;
    bool is_joined; // loop thread's
};

static void list_init(struct list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_push(struct list *l, struct task *t)
{
    t->next = NULL;
    *l->last = t;
    l->last = &t->next;
}

static struct task *list_pop(struct list *l)
{
    struct task *t = l->first;

    if (!t)
        return NULL;
    l->first = t->next;
    if (!l->first)
        l->last = &l->first;
    return t;
}

// Behind all of its round and of those before.
static void list_insert(struct list *l, struct task *t)
{
    struct task **at = &l->first;

    while (*at && (*at)->round <= t->round)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
    if (!t->next)
        l->last = &t->next;
}

static void list_append(struct list *to, struct list *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    list_init(from);
}

// The next task; NULL when there is none and `may_wait` is false, or at the
// end.
static struct task *take(struct dbthread *t, bool may_wait)
{
    uv_mutex_lock(&t->lock);
    while (may_wait && !t->queued.first && !t->is_ending)
        uv_cond_wait(&t->wake, &t->lock);
    struct task *task = list_pop(&t->queued);
    if (task) {
        t->round = task->round;
        t->queued_count--;
    }
    uv_mutex_unlock(&t->lock);
    return task;
}

// The next one of a group, waiting for it no longer than that.
static struct task *take_within(struct dbthread *t, uint64_t ns)
{
    uv_mutex_lock(&t->lock);
    if (!t->queued.first && !t->is_ending)
        (void) uv_cond_timedwait(&t->wake, &t->lock, ns);
    uv_mutex_unlock(&t->lock);
    return take(t, false);
}

static void give_back(struct dbthread *t, struct list *group)
{
    size_t count = 0;

    for (const struct task *p = group->first; p; p = p->next)
        count++;
    uv_mutex_lock(&t->lock);
    list_append(&t->finished, group);
    t->expected = count + t->queued_count;
    uv_mutex_unlock(&t->lock);
    t->given_ns = clock_monotonic_ns();
    (void) uv_async_send(t->async);
}

// How long a group that begins now may wait for more in all. Who did not come
// back at once is not waited for.
static uint64_t patience_ns(const struct dbthread *t, uint64_t now_ns)
{
    uint64_t ns = t->commit_ns / COMEBACK_PART;

    if (ns > COMEBACK_NS_MAX)
        ns = COMEBACK_NS_MAX;
    return now_ns - t->given_ns < ns ? ns : 0;
}

static uint64_t gather_ns(const struct dbthread *t)
{
    if (t->commit_ns < GROUP_NS)
        return GROUP_NS;
    return t->commit_ns < GROUP_NS_MAX ? t->commit_ns : GROUP_NS_MAX;
}

// NULL: nobody is there, nor expected.
static struct task *take_next(struct dbthread *t, size_t count,
                              uint64_t *patience)
{
    struct task *task = take(t, false);

    if (!task && count<t->expected && * patience> 0) {
        const uint64_t start = clock_monotonic_ns();
        task = take_within(t, *patience);
        const uint64_t took = clock_monotonic_ns() - start;
        *patience = took < *patience ? *patience - took : 0;
    }
    return task;
}

static void run_task(struct dbthread *t, struct task *task)
{
    memset(&task->err, 0, sizeof(task->err));
    task->rc = task->run ? task->run(t->store, task->arg, &task->err) : 0;
}

static void run_alone(struct dbthread *t, struct task *task)
{
    struct error err = {0};

    if ((task->rc = store_begin(t->store, &task->err)) < 0)
        return;
    run_task(t, task);
    if (task->rc == 0 && (task->rc = store_commit(t->store, &err)) < 0)
        task->err = err;
    if (task->rc < 0)
        store_rollback(t->store);
}

// One of them failed, or the commit did, and nothing of the group is on disk:
// run the writes again, each in a transaction of its own, so that only those
// fail that must.
static void run_each(struct dbthread *t, struct list *group)
{
    for (struct task *p = group->first; p; p = p->next)
        if (p->kind == DBTHREAD_WRITE)
            run_alone(t, p);
}

// Gather writes, and the reads between them, that begin with `task`. Returns
// a task that must run outside of them, or NULL.
static struct task *run_group(struct dbthread *t, struct task *task,
                              struct list *group)
{
    const uint64_t start = clock_monotonic_ns();
    uint64_t patience = patience_ns(t, start);
    struct task *alone = NULL;
    struct error err = {0};
    int rc = store_begin(t->store, &err);
    bool is_open = rc == 0;

    for (int n = 1; task; n++) {
        list_push(group, task);
        if (task->kind == DBTHREAD_READ || rc == 0)
            run_task(t, task);
        if (task->kind == DBTHREAD_WRITE && rc == 0)
            rc = task->rc;
        if (n >= GROUP_TASKS_MAX || rc < 0 ||
            clock_monotonic_ns() - start > gather_ns(t))
            break;
        task = take_next(t, (size_t) n, &patience);
        if (task && task->kind == DBTHREAD_ALONE) {
            alone = task;
            break;
        }
    }
    const uint64_t gathered = clock_monotonic_ns();
    if (rc == 0)
        rc = store_commit(t->store, &err);
    t->commit_ns = clock_monotonic_ns() - gathered;
    if (rc < 0 && is_open)
        store_rollback(t->store);
    if (rc < 0)
        run_each(t, group);
    return alone;
}

static void run_thread(void *arg)
{
    struct dbthread *t = arg;
    struct task *task;

    while ((task = take(t, true))) {
        struct list group;

        list_init(&group);
        if (task->kind == DBTHREAD_WRITE) {
            task = run_group(t, task, &group);
            give_back(t, &group);
            list_init(&group);
        }
        if (task) {
            list_push(&group, task);
            run_task(t, task);
            give_back(t, &group);
        }
    }
}

static void deliver(struct dbthread *t)
{
    struct list finished;
    struct task *task;

    list_init(&finished);
    uv_mutex_lock(&t->lock);
    list_append(&finished, &t->finished);
    uv_mutex_unlock(&t->lock);
    while ((task = list_pop(&finished))) {
        t->pending--;
        if (task->done)
            task->done(task->arg, task->rc, &task->err);
        free(task);
    }
}

static void on_async(uv_async_t *async)
{
    if (async->data)
        deliver(async->data);
}

static void on_async_closed(uv_handle_t *h)
{
    free(h);
}

int dbthread_create(struct dbthread **out, uv_loop_t *loop, struct store *store,
                    size_t queue_max, struct error *err)
{
    struct dbthread *t = calloc(1, sizeof(*t));
    int rc = -ENOMEM;

    if (!t || !(t->async = calloc(1, sizeof(*t->async))))
        goto error;
    t->store = store;
    t->queue_max = queue_max;
    list_init(&t->queued);
    list_init(&t->finished);
    if ((rc = uv_async_init(loop, t->async, on_async)) < 0)
        goto error;
    t->async->data = t;
    (void) uv_mutex_init(&t->lock);
    (void) uv_cond_init(&t->wake);
    if ((rc = uv_thread_create(&t->thread, run_thread, t)) < 0) {
        uv_close((uv_handle_t *) t->async, on_async_closed);
        uv_cond_destroy(&t->wake);
        uv_mutex_destroy(&t->lock);
        t->async = NULL;
        goto error;
    }
    *out = t;
    return 0;

error:
    if (t)
        free(t->async);
    free(t);
    return error_set(err, rc, "cannot start the database thread: %s",
                     uv_strerror(rc));
}

// With the lock held. What pockd wants for itself is in the round that runs.
static void enqueue(struct dbthread *t, struct task *task)
{
    uint64_t *last = &t->rounds[t->lane % LANES];

    task->round = t->round;
    if (t->lane != 0 && *last >= t->round)
        task->round = *last + 1;
    if (t->lane != 0)
        *last = task->round;
    t->queued_count++;
    list_insert(&t->queued, task);
}

void dbthread_set_lane(struct dbthread *t, uint64_t lane)
{
    if (t)
        t->lane = lane;
}

static int submit(struct dbthread *t, enum dbthread_kind kind,
                  dbthread_run_fn run, dbthread_done_fn done, void *arg)
{
    if (!t || t->is_joined)
        return -ESHUTDOWN;
    struct task *task = fault_calloc(1, sizeof(*task));
    if (!task)
        return -ENOMEM;
    *task = (struct task){.kind = kind, .run = run, .done = done, .arg = arg};
    t->pending++;
    uv_mutex_lock(&t->lock);
    enqueue(t, task);
    uv_cond_signal(&t->wake);
    uv_mutex_unlock(&t->lock);
    return 0;
}

int dbthread_submit(struct dbthread *t, enum dbthread_kind kind,
                    dbthread_run_fn run, dbthread_done_fn done, void *arg)
{
    if (t && t->pending >= t->queue_max)
        return -EAGAIN;
    return submit(t, kind, run, done, arg);
}

int dbthread_submit_own(struct dbthread *t, enum dbthread_kind kind,
                        dbthread_run_fn run, dbthread_done_fn done, void *arg)
{
    return submit(t, kind, run, done, arg);
}

size_t dbthread_pending(const struct dbthread *t)
{
    return t->pending;
}

void dbthread_destroy(struct dbthread *t)
{
    if (!t)
        return;
    uv_mutex_lock(&t->lock);
    t->is_ending = true;
    uv_cond_signal(&t->wake);
    uv_mutex_unlock(&t->lock);
    (void) uv_thread_join(&t->thread);
    t->is_joined = true;
    deliver(t);
    t->async->data = NULL;
    uv_close((uv_handle_t *) t->async, on_async_closed);
    uv_cond_destroy(&t->wake);
    uv_mutex_destroy(&t->lock);
    free(t);
}
