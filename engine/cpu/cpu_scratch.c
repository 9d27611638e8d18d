// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

// The scratch of a kernel is what its hungriest version needs, so that one
// program fits every tier of a machine.

static int64_t rows_of(const struct operand *o)
{
    return o->ne[0] * o->ne[1] * o->ne[2];
}

static int64_t cols_of(const struct operand *o)
{
    return o->ne[3];
}

static size_t attention_bytes(int64_t length)
{
    return (size_t) length * sizeof(double);
}

static size_t xent_bytes(int64_t cols, int64_t vocab)
{
    return (size_t) (vocab + 2 * cols) * sizeof(double);
}

static size_t matmul_bytes(const struct instr *in)
{
    const struct operand *a = &in->in[0];
    const struct operand *y = &in->out[0];
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(rows_of(y), cols_of(y),
                        in->attr.trans_a ? rows_of(a) : cols_of(a),
                        in->attr.trans_a, in->attr.trans_b,
                        (enum dtype) in->in[1].dtype);
    return (plan.a_floats + plan.b_floats) * sizeof(float);
}

size_t cpu_scratch_bytes(const struct instr *in, uint32_t threads)
{
    (void) threads;
    switch ((enum op) in->op) {
    case OP_attention:
    case OP_attention_back:
        return attention_bytes(in->attr.length);
    case OP_attention_cached:
        return attention_bytes(rows_of(&in->in[1]));
    case OP_matmul:
        return matmul_bytes(in);
    case OP_xent:
        return xent_bytes(cols_of(&in->in[0]), rows_of(&in->in[1]));
    case OP_embed:
    case OP_rmsnorm:
    case OP_rmsnorm_dx:
    case OP_rmsnorm_dw:
    case OP_rope:
    case OP_swiglu:
    case OP_swiglu_back:
    case OP_add:
    case OP_scale:
    case OP_rows:
    case OP_kv_store:
    case OP_accumulate:
    case OP_zero:
    case OP_adamw:
    case OP_COUNT:
        break;
    }
    return 0;
}
