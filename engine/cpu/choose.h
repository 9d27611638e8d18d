// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What choose_rows does between the lengths of rows, which are in the scratch,
 * and their copies: rows and factors (N), both in the scratch as well. The same
 * for every version of it.
 */

#include <stdbool.h>
#include <stdint.h>

enum { CPU_CHOOSE_BYTES = 24 }; // of scratch, for each row of x

struct cpu_choose {
    double *lengths;  // (T) of rows; then p
    int32_t *order;   // (T) room
    float *factors;   // (N)
    bool *is_certain; // (T) room
};

struct cpu_choose cpu_choose_room(void *scratch, int64_t n_rows);
void cpu_choose(const struct cpu_choose *room, int32_t *rows,
                const float *norms, const int32_t *draw, uint32_t stream,
                int64_t n_chosen, int64_t n_rows);
