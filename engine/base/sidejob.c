// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/sidejob.h"

#include "engine/base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

struct sidejob {
    pthread_mutex_t lock;
    pthread_cond_t change;
    pthread_t thread;
    void (*fn)(void *ctx); // NULL: nothing is begun
    void *ctx;
    bool quit;
};

static void *main_of_thread(void *arg)
{
    struct sidejob *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->quit) {
        if (!s->fn) {
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        s->fn(s->ctx);
        pthread_mutex_lock(&s->lock);
        s->fn = NULL;
        pthread_cond_broadcast(&s->change);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

// Signals are for the owner's thread.
static int start_thread(struct sidejob *s)
{
    sigset_t mask, old;

    sigfillset(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, &old);
    const int rc = fault_hit(FAULT_ALLOC)
                       ? EAGAIN
                       : pthread_create(&s->thread, NULL, main_of_thread, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

int sidejob_create(struct sidejob **out)
{
    struct sidejob *s = fault_calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->change, NULL);
    const int rc = start_thread(s);
    if (rc < 0) {
        pthread_cond_destroy(&s->change);
        pthread_mutex_destroy(&s->lock);
        free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sidejob_wait(struct sidejob *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->fn)
        pthread_cond_wait(&s->change, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void sidejob_start(struct sidejob *s, void (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&s->lock);
    while (s->fn)
        pthread_cond_wait(&s->change, &s->lock);
    s->fn = fn;
    s->ctx = ctx;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
}

void sidejob_destroy(struct sidejob *s)
{
    if (!s)
        return;
    sidejob_wait(s);
    pthread_mutex_lock(&s->lock);
    s->quit = true;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->change);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
