// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Ranges for kernels that go over values or rows one after another, for
 * *_vec.c files. How a range is cut depends on its length only.
 */

#include "engine/cpu/ints.h"

enum { SPLIT_VALUES = 16384 }; // of a task: some microseconds

// How many tasks `count` items are, `unit` to a task.
static inline uint32_t split_tasks(int64_t count, int64_t unit)
{
    return parts(count, unit);
}

// Rows of a task.
static inline int64_t split_rows(int64_t cols)
{
    return cols < SPLIT_VALUES ? SPLIT_VALUES / cols : 1;
}

static inline int64_t split_end(int64_t count, int64_t unit, uint32_t task)
{
    return min(count, (task + (int64_t) 1) * unit);
}
