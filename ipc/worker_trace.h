// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Trace of a training worker
 *
 * Memory that pockd and a worker share: which records the worker is about to
 * compute with, so that pockd knows when the worker is dead. The worker may
 * write anything there: whoever reads it checks every number.
 */

#include <stdint.h>

enum { WORKER_TRACE_RECORDS = 256 };

#define WORKER_TRACE_READING UINT32_MAX // step: records become tokens

struct worker_trace {
    uint32_t count; // written last; 0: nothing, or more than there is room for
    uint32_t step;  // from 0
    uint32_t records[WORKER_TRACE_RECORDS]; // places in the records file
};
