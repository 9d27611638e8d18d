// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Trials
 *
 * One instruction on a device by itself, with memory of its own: for what has
 * to be known of a device before a program runs there.
 */

#include "engine/backend.h"

struct trial {
    const struct backend *backend;
    struct device *dev;
    struct instr in;
    struct buffer *arena;
    struct buffer *weight;
    struct binding binding; // of the weight
    struct bindings bindings;
    struct prepared *prepared;
};

// `in` has its shapes; where its operands are is decided here. At most one is
// a weight, whose bytes are borrowed. -ENOTSUP when the device does not have
// the instruction. A trial that was zero or failed may be destroyed.
int trial_create(struct trial *t, const struct backend *backend,
                 struct device *dev, const struct instr *in, const void *weight,
                 struct error *err);
void trial_destroy(struct trial *t);

int trial_write(struct trial *t, int input, const void *data);
int trial_read(struct trial *t, int output, void *data);
int trial_run(struct trial *t); // 0, or a negative errno

// Of an operand's contents.
size_t trial_bytes(const struct operand *o);
// Rows and columns in the arena, or as a weight.
struct operand trial_operand(enum region region, enum dtype dtype, int64_t rows,
                             int64_t columns);
