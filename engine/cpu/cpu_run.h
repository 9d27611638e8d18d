// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * From an instruction to a kernel call
 *
 * Each row of ops.def has a function here that takes the operands apart for
 * its kernel family.
 */

#include "engine/backend.h"

#include <stdbool.h>

struct cpu_kernels;
struct pool;

// One instruction with its operands as addresses; NULL where there is none.
struct cpu_run {
    const struct cpu_kernels *kernels;
    struct pool *pool;
    const struct instr *instr;
    void *in[OP_INPUTS_MAX];
    void *out[OP_OUTPUTS_MAX];
    void *scratch;
};

// Where a buffer's bytes are.
unsigned char *cpu_buffer_data(struct buffer *buf);

// Does the instruction have shapes and types that the kernels take?
bool cpu_supports(const struct device *dev, const struct instr *in);

void cpu_run_resolve(struct cpu_run *r, const struct instr *in,
                     const struct bindings *b);
// True when no output shares memory with an input.
bool cpu_run_is_pure(const struct cpu_run *r);
void cpu_run_instr(const struct cpu_run *r);
