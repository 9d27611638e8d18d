// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Frozen prefix
 *
 * When the first blocks of a model do not learn, what leaves them depends on
 * the model and a window's tokens alone. It is computed once, rounded to what
 * a prefix cache keeps, and read from there afterwards. The blocks behind it
 * always start from the rounded states, so that the same run gives the same
 * bytes with a file, without one, and with one that was lost on the way.
 */

#include "engine/ir/op.h"
#include "engine/train/prefix_values.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_model;
struct dataset;
struct error;
struct executor;
struct packing;
struct prefix;
struct prefix_cache_stats;
struct program_cache;

// Where a cache may keep the states.
struct prefix_file {
    int fd; // a regular file, open for both; borrowed
    uint64_t bytes_max;
    const uint8_t *key; // seals the states; NULL: in the clear
};

struct prefix_params {
    struct base_model *base;        // borrowed; its hash is known
    struct program_cache *programs; // borrowed
    uint32_t first_block;           // not 0
    enum prefix_values values;      // not OFF
    uint32_t length;                // places in the longest row
    uint32_t rows;                  // rows of that length in a program
    const struct prefix_file *file; // NULL: every state is computed each time
    bool is_ahead; // prefix_expect() reads also where the processor computes
};

// A file that is of no use is no failure; prefix_notice() says so.
int prefix_create(struct prefix **out, const struct prefix_params *params,
                  struct error *err);
void prefix_destroy(struct prefix *p);

// Rows [first, first + n) of a packing. What is learned from may be rounded as
// the recipe allows; what is judged by is f32.
struct prefix_rows {
    const struct dataset *data;
    const struct packing *packing;
    uint32_t first, n;
    enum precision precision;
};

// Their states. -EINTR when the device was stopped: call again.
int prefix_fill(struct prefix *p, const struct prefix_rows *r,
                struct error *err);
// Those that prefix_fill() is likely to ask for next: begins to read what the
// cache has of them on a thread of its own, so that a device need not wait. A
// wrong guess costs that work and changes nothing.
void prefix_expect(struct prefix *p, const struct prefix_rows *r);
// Gives them to a program that begins at first_block.
int prefix_write(const struct prefix *p, struct executor *x);

uint32_t prefix_first_block(const struct prefix *p);
// Memory for so many places.
size_t prefix_bytes(const struct base_model *base, enum prefix_values values,
                    size_t places);
// Zeros without a file.
void prefix_stats(struct prefix_cache_stats *out, const struct prefix *p);
// A sentence for the owner, once; then NULL.
const char *prefix_notice(struct prefix *p);
