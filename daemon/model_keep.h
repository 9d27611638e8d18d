// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Copies of models (loop thread)
 *
 * A file of gigabytes becomes pockd's own, away from the loop and from the
 * database: shared on disk where that can be, else copied.
 */

#include "engine/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct model_keep;

struct model_keep_params {
    int to, from;   // borrowed until done
    uint64_t bytes; // of `from`
    // Now and then; may be NULL.
    void (*on_progress)(void *arg, uint64_t done, uint64_t total);
    // In the end, once. With `bytes` 0 nothing was copied: `to` is on disk.
    void (*on_done)(void *arg, int rc, bool is_clone, const struct error *err);
    void *arg;
};

int model_keep_start(struct model_keep **out, uv_loop_t *loop,
                     const struct model_keep_params *params, struct error *err);
// on_done() comes soon, with -ECANCELED.
void model_keep_cancel(struct model_keep *k);
