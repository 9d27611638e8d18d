// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * The table of kernel times that came with a request
 */

#include <stdbool.h>
#include <stddef.h>

struct engine_model;

enum { WORKER_TIMES_TEXT = 512 };

// Programs of the model are placed by it from now on. `fd` below 0: there is
// none. Without one that can be used all goes on; then `why` gets a sentence
// (else ""), and true comes back when the table is good for nothing and should
// go, so that this is said once.
bool worker_times_use(char why[WORKER_TIMES_TEXT], struct engine_model *m,
                      int fd);
