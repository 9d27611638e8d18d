// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/pool.h"

#include "engine/base/fault.h"
#include "engine/base/fpmode.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

// How often a thread looks again before it sleeps: some 10 us. Instructions of
// a program follow each other faster than a sleeper can be woken.
enum { SPINS = 800 };

/*
 * 1. `ticket` holds the number of the current job (high half) and how many of
 *    its tasks nobody has taken yet (low half).
 * 2. fn, ctx and tasks change only while the low half is 0 and every task
 *    taken is finished. Whoever takes a task by compare-and-swap of a ticket
 *    with a low half above 0 has therefore read the values of that job.
 * 3. `limit` changes only between jobs, so a helper that reads it after a
 * ticket with a low half above 0 has read that job's, if it then takes a task.
 * 4. The caller waits for tasks, not for threads: a helper that the system
 *    does not let run holds nobody up unless it has taken a task.
 * 5. seen[cpu] is the last job (modulo 2^32) that a thread of the pool began
 *    on that CPU.
 */
struct pool {
    _Atomic uint64_t ticket;
    _Atomic uint32_t finished;
    _Atomic(pool_fn) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t tasks;
    _Atomic uint32_t limit; // threads that may take tasks
    _Atomic uint32_t seen[CPU_SETSIZE];

    const atomic_bool *_Atomic stop;
    atomic_bool gave_up;

    pthread_mutex_t lock;
    pthread_cond_t wake; // helpers wait for a job
    pthread_cond_t done; // the caller waits for the last task
    _Atomic uint32_t sleepers;
    atomic_bool is_caller_asleep;
    atomic_bool quit;

    uint32_t n_helpers;
    struct helper {
        struct pool *pool;
        uint32_t worker;
        pthread_t thread;
    } helpers[];
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Is there something to do for this one?
static bool has_task(const struct pool *p, uint32_t worker)
{
    return (uint32_t) atomic_load(&p->ticket) > 0 &&
           worker < atomic_load(&p->limit);
}

static bool is_stopped(struct pool *p)
{
    const atomic_bool *stop =
        atomic_load_explicit(&p->stop, memory_order_relaxed);
    if (!stop || !atomic_load_explicit(stop, memory_order_relaxed))
        return false;
    atomic_store(&p->gave_up, true);
    return true;
}

static void finish_task(struct pool *p, uint32_t tasks)
{
    if (atomic_fetch_add(&p->finished, 1) + 1 != tasks ||
        !atomic_load(&p->is_caller_asleep))
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

// True when another thread of the pool began this job on the caller's CPU.
static bool meets_another(struct pool *p, uint32_t job)
{
    const int cpu = sched_getcpu();

    return cpu >= 0 && cpu < CPU_SETSIZE &&
           atomic_exchange_explicit(&p->seen[cpu], job, memory_order_relaxed) ==
               job;
}

/*
 * Beside another program's busy thread a pool of two ends up on one core of
 * two, as each job's start wakes a helper where its caller is; and stays, since
 * the system does not balance two threads against one. So a helper that meets
 * another thread of its job leaves for any other CPU, and is free again at
 * once. In the idle class it would only wait there for what never pauses.
 */
static void spread(struct pool *p, uint32_t job)
{
    cpu_set_t all;

    if (!meets_another(p, job) || sched_getscheduler(0) == SCHED_IDLE ||
        sched_getaffinity(0, sizeof(all), &all) < 0)
        return;
    cpu_set_t others = all;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (atomic_load_explicit(&p->seen[i], memory_order_relaxed) == job)
            CPU_CLR(i, &others);
    if (CPU_COUNT(&others) > 0 &&
        sched_setaffinity(0, sizeof(others), &others) == 0)
        (void) sched_setaffinity(0, sizeof(all), &all);
}

// Take tasks until none is left.
static void work(struct pool *p, uint32_t worker)
{
    uint64_t t = atomic_load(&p->ticket);
    uint32_t job = (uint32_t) (t >> 32) - 1;

    while ((uint32_t) t > 0 && worker < atomic_load(&p->limit)) {
        if (worker > 0 && job != (uint32_t) (t >> 32)) {
            job = (uint32_t) (t >> 32);
            // Before it has a task: who waits for a CPU then holds nobody up.
            spread(p, job);
            t = atomic_load(&p->ticket);
            continue;
        }
        pool_fn fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
        uint32_t tasks = atomic_load_explicit(&p->tasks, memory_order_relaxed);

        if (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1))
            continue;
        if (!is_stopped(p))
            fn(ctx, tasks - (uint32_t) t, worker);
        finish_task(p, tasks);
        t = atomic_load(&p->ticket);
    }
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct pool *p = h->pool;

    (void) fpmode_flush();
    while (!atomic_load(&p->quit)) {
        work(p, h->worker);
        for (int i = 0; i < SPINS && !has_task(p, h->worker); i++)
            relax();
        if (has_task(p, h->worker))
            continue;
        pthread_mutex_lock(&p->lock);
        atomic_fetch_add(&p->sleepers, 1);
        while (!has_task(p, h->worker) && !atomic_load(&p->quit))
            pthread_cond_wait(&p->wake, &p->lock);
        atomic_fetch_sub(&p->sleepers, 1);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

int pool_create(struct pool **out, uint32_t threads)
{
    if (threads < 1 || threads > POOL_THREADS_MAX)
        return -EINVAL;
    struct pool *p =
        fault_calloc(1, sizeof(*p) + (threads - 1) * sizeof(p->helpers[0]));
    if (!p)
        return -ENOMEM;
    p->limit = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);

    // Signals are for the threads that know what to do with them; but a fault
    // belongs to the thread that made it: were it blocked, the kernel would
    // end the process without asking its handler.
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t mask;
    sigset_t old;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&mask, faults[i]);
    pthread_sigmask(SIG_SETMASK, &mask, &old);
    int rc = 0;
    while (rc == 0 && p->n_helpers + 1 < threads) {
        struct helper *h = &p->helpers[p->n_helpers];
        h->pool = p;
        h->worker = p->n_helpers + 1;
        rc = -pthread_create(&h->thread, NULL, helper_main, h);
        if (rc == 0)
            p->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc < 0) {
        pool_destroy(p);
        return rc;
    }
    *out = p;
    return 0;
}

void pool_destroy(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->quit, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_helpers; i++)
        pthread_join(p->helpers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p ? p->n_helpers + 1 : 1;
}

static void publish(struct pool *p, uint32_t tasks, pool_fn fn, void *ctx)
{
    uint64_t job = (atomic_load(&p->ticket) >> 32) + 1;

    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&p->tasks, tasks, memory_order_relaxed);
    atomic_store(&p->finished, 0);
    (void) meets_another(p, (uint32_t) job);
    atomic_store(&p->ticket, job << 32 | tasks);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

static void wait_finished(struct pool *p, uint32_t tasks)
{
    for (int i = 0; i < SPINS && atomic_load(&p->finished) != tasks; i++)
        relax();
    if (atomic_load(&p->finished) == tasks)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->is_caller_asleep, true);
    while (atomic_load(&p->finished) != tasks)
        pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->is_caller_asleep, false);
    pthread_mutex_unlock(&p->lock);
}

bool pool_run(struct pool *p, uint32_t tasks, pool_fn fn, void *ctx)
{
    if (p && atomic_load(&p->limit) > 1 && tasks > 1) {
        publish(p, tasks, fn, ctx);
        work(p, 0);
        wait_finished(p, tasks);
        return !pool_gave_up(p);
    }
    for (uint32_t i = 0; i < tasks; i++) {
        if (p && is_stopped(p))
            return false;
        fn(ctx, i, 0);
    }
    return !pool_gave_up(p);
}

void pool_limit(struct pool *p, uint32_t threads)
{
    const uint32_t all = pool_threads(p);

    if (p)
        atomic_store(&p->limit, threads > 0 && threads < all ? threads : all);
}

void pool_watch(struct pool *p, const atomic_bool *stop)
{
    atomic_store(&p->stop, stop);
    atomic_store(&p->gave_up, false);
}

bool pool_gave_up(const struct pool *p)
{
    return p && atomic_load(&p->gave_up);
}
