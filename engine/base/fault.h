// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Fault injection
 *
 * Makes the n-th guarded call fail, once, so that a test can walk through
 * every failure of a scenario: for n = 1, 2, ... until fault_fired() says that
 * the scenario ended before the n-th call. Without a test it costs one branch.
 * POCK_FAULT=KIND:N in the environment arms it in a whole process, KIND:N:TIMES
 * as often, each time for the n-th call after the last.
 */

#include <stdbool.h>
#include <stddef.h>

enum fault_kind {
    FAULT_ALLOC,  // malloc and friends: ENOMEM
    FAULT_WRITE,  // write, fsync, rename: ENOSPC
    FAULT_READ,   // read, mmap, open: EIO
    FAULT_DEVICE, // a submission to a GPU: the device is lost
    FAULT_RESULT, // a GPU's self-test: the result is wrong
    FAULT_DRIVER, // a GPU's driver lacks a feature
    FAULT_MEMORY, // of a GPU: it has no more
    FAULT_STEP,   // between two steps of what must go on later: SIGKILL
    FAULT_RECORD, // a worker dies over each record of N bytes
    FAULT_COUNT
};

// Fail the n-th call of this kind from now on; 0 disarms.
void fault_arm(enum fault_kind kind, unsigned long n);
void fault_arm_often(enum fault_kind kind, unsigned long n,
                     unsigned long times);
// Read POCK_FAULT. For main() of the programs, once.
void fault_arm_from_env(void);
bool fault_fired(enum fault_kind kind);

// True when this call must fail.
bool fault_hit(enum fault_kind kind);
// True, each time, for the very n that was armed.
bool fault_is(enum fault_kind kind, unsigned long n);

// A place where a process may be killed, and its next life must go on.
void fault_step(void);

void *fault_malloc(size_t bytes);
void *fault_calloc(size_t count, size_t size);
void *fault_realloc(void *p, size_t bytes);
