// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong countdown[FAULT_COUNT];
static atomic_bool fired[FAULT_COUNT];
static atomic_ulong period[FAULT_COUNT];
static atomic_ulong more[FAULT_COUNT]; // times after the next

void fault_arm_often(enum fault_kind kind, unsigned long n, unsigned long times)
{
    atomic_store(&period[kind], n);
    atomic_store(&more[kind], times > 0 ? times - 1 : 0);
    atomic_store(&fired[kind], false);
    atomic_store(&countdown[kind], times > 0 ? n : 0);
}

void fault_arm(enum fault_kind kind, unsigned long n)
{
    fault_arm_often(kind, n, 1);
}

void fault_arm_from_env(void)
{
    static const char *const names[FAULT_COUNT] = {"alloc",  "write",
                                                   "read",   "device",
                                                   "result", "driver",
                                                   "memory", "step",
                                                   "record"};
    const char *s = getenv("POCK_FAULT");
    char name[16];
    unsigned long n;
    unsigned long times = 1;

    if (!s || sscanf(s, "%15[a-z]:%lu:%lu", name, &n, &times) < 2)
        return;
    for (int i = 0; i < FAULT_COUNT; i++)
        if (strcmp(name, names[i]) == 0)
            fault_arm_often((enum fault_kind) i, n, times);
}

bool fault_fired(enum fault_kind kind)
{
    return atomic_load(&fired[kind]);
}

bool fault_hit(enum fault_kind kind)
{
    unsigned long left =
        atomic_load_explicit(&countdown[kind], memory_order_relaxed);
    if (left == 0)
        return false;
    if (atomic_fetch_sub(&countdown[kind], 1) != 1)
        return false;
    atomic_store(&fired[kind], true);
    if (atomic_load(&more[kind]) > 0) {
        atomic_fetch_sub(&more[kind], 1);
        atomic_store(&countdown[kind], atomic_load(&period[kind]));
    }
    return true;
}

void fault_step(void)
{
    if (fault_hit(FAULT_STEP))
        (void) raise(SIGKILL);
}

bool fault_is(enum fault_kind kind, unsigned long n)
{
    return n > 0 &&
           atomic_load_explicit(&countdown[kind], memory_order_relaxed) == n;
}

void *fault_malloc(size_t bytes)
{
    return fault_hit(FAULT_ALLOC) ? NULL : malloc(bytes);
}

void *fault_calloc(size_t count, size_t size)
{
    return fault_hit(FAULT_ALLOC) ? NULL : calloc(count, size);
}

void *fault_realloc(void *p, size_t bytes)
{
    return fault_hit(FAULT_ALLOC) ? NULL : realloc(p, bytes);
}
