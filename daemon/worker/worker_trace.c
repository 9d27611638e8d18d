// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/worker/worker_trace.h"

#include "daemon/worker/worker_control.h"
#include "engine/base/clock.h"
#include "engine/base/fault.h"
#include "ipc/worker_trace.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum {
    REST_STEP_NS = 10 * 1000 * 1000, // a stop is seen so soon
};

static size_t bytes_of(const struct record *r)
{
    size_t n = r->text.bytes + r->prompt.bytes + r->completion.bytes;

    for (uint32_t i = 0; i < r->n_messages; i++)
        n += r->messages[i].content.bytes;
    return n;
}

static void on_records(void *user, uint64_t step, const uint32_t *records,
                       uint32_t n)
{
    struct worker_tracer *t = user;

    if (t->map) {
        t->map->count = 0;
        atomic_thread_fence(memory_order_release);
        t->map->step = step < WORKER_TRACE_READING ? (uint32_t) step
                                                   : WORKER_TRACE_READING;
        if (n <= WORKER_TRACE_RECORDS)
            memcpy(t->map->records, records, n * sizeof(*records));
        atomic_thread_fence(memory_order_release);
        t->map->count = n <= WORKER_TRACE_RECORDS ? n : 0;
    }
    if (step == DATASET_READING)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (fault_is(FAULT_RECORD, bytes_of(&t->records[records[i]])))
            (void) raise(SIGKILL);
}

void worker_tracer_open(struct worker_tracer *t, int fd)
{
    struct stat st;

    t->watch = (struct dataset_watch){on_records, t};
    t->map = NULL;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t) sizeof(*t->map))
        return;
    void *map =
        mmap(NULL, sizeof(*t->map), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        t->map = map;
}

void worker_tracer_close(struct worker_tracer *t)
{
    if (t->map)
        (void) munmap(t->map, sizeof(*t->map));
    t->map = NULL;
}

void worker_rest(struct worker_control *c, uint64_t step_ns)
{
    const uint64_t begin = clock_monotonic_ns();

    for (;;) {
        const uint64_t duty = (uint64_t) worker_control_duty(c);
        const uint64_t rested = clock_monotonic_ns() - begin;
        const uint64_t due = step_ns * (100 - duty) / duty;
        // The duty may change, and a stop may come, while it rests.
        if (rested >= due || worker_control_is_stopping(c))
            return;
        const uint64_t left = due - rested;
        (void) nanosleep(&(struct timespec){.tv_nsec =
                                                (long) (left < REST_STEP_NS
                                                            ? left
                                                            : REST_STEP_NS)},
                         NULL);
    }
}
