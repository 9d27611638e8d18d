// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/fault.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong countdown[FAULT_COUNT];
static atomic_bool fired[FAULT_COUNT];

void fault_arm(enum fault_kind kind, unsigned long n)
{
    atomic_store(&countdown[kind], n);
    atomic_store(&fired[kind], false);
}

void fault_arm_from_env(void)
{
    static const char *const names[FAULT_COUNT] = {"alloc", "write", "read",
                                                   "device", "result"};
    const char *s = getenv("POCK_FAULT");
    char name[16];
    unsigned long n;

    if (!s || sscanf(s, "%15[a-z]:%lu", name, &n) != 2)
        return;
    for (int i = 0; i < FAULT_COUNT; i++)
        if (strcmp(name, names[i]) == 0)
            fault_arm((enum fault_kind) i, n);
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
    return true;
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
