// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/choose.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"

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

static int64_t count_of(const struct operand *o)
{
    return rows_of(o) * cols_of(o);
}

enum { STRIP = 8 }; // rows of the tallest tile, and two to spare

// Packed keys; for each thread a strip of queries, outputs and scores.
static size_t attention_bytes(const struct instr *in, uint32_t threads)
{
    const struct op_attr *at = &in->attr;
    const int64_t length = round_up(at->length, CPU_MATMUL_TILE);
    const int64_t sequences =
        (rows_of(&in->in[0]) + at->length - 1) / at->length;
    const int64_t packed = sequences * at->n_kv_heads * length * at->head_dim;
    const int64_t room = STRIP * (2 * (int64_t) at->head_dim + length);
    return larger((size_t) (packed + threads * room) * sizeof(float),
                  (size_t) at->length * sizeof(double));
}

// Packed keys and values, dk and dv of each head; for each thread a block of
// queries and output gradients, of probabilities and score gradients.
static size_t attention_back_bytes(const struct instr *in, uint32_t threads)
{
    const struct op_attr *at = &in->attr;
    const int64_t length = round_up(at->length, CPU_MATMUL_TILE);
    const int64_t dim = at->head_dim;
    const int64_t sequences =
        (rows_of(&in->in[0]) + at->length - 1) / at->length;
    const int64_t packed = 2 * sequences * at->n_kv_heads * length * dim;
    const int64_t heads = 2 * sequences * at->n_heads * (length + STRIP) * dim;
    const int64_t room =
        (2 * CPU_ATTENTION_ROWS + STRIP) * dim +
        2 * max(CPU_ATTENTION_VALUES, 2 * STRIP * (length + 4 * STRIP));
    return larger((size_t) (packed + heads + threads * room) * sizeof(float),
                  (size_t) at->length * sizeof(double));
}

static size_t attention_cached_bytes(const struct instr *in, uint32_t threads)
{
    const struct op_attr *at = &in->attr;
    const int64_t length = rows_of(&in->in[1]);
    const struct cpu_cached_plan plan =
        cpu_cached_plan(rows_of(&in->in[0]), length,
                        at->n_heads / at->n_kv_heads, at->head_dim);

    return larger(threads * plan.floats * sizeof(float),
                  (size_t) length * sizeof(double));
}

static size_t xent_bytes(const struct instr *in)
{
    const int64_t rows = rows_of(&in->in[0]);
    const int64_t cols = cols_of(&in->in[0]);
    const int64_t vocab = rows_of(&in->in[1]);
    const struct cpu_xent_plan plan =
        cpu_xent_plan(rows, cols, vocab, (enum dtype) in->in[1].dtype,
                      (enum precision) in->attr.precision,
                      in->out[2].region != REGION_NONE);
    return larger(plan.floats * sizeof(float),
                  (size_t) (vocab + 2 * cols) * sizeof(double));
}

// A double for each task.
static size_t adamw_bytes(int64_t count)
{
    return split_tasks(count, SPLIT_VALUES) * sizeof(double);
}

static size_t matmul_bytes(const struct instr *in)
{
    const struct operand *a = &in->in[0];
    const struct operand *y = &in->out[0];
    const int64_t m = rows_of(y);
    const int64_t n = cols_of(y);
    const int64_t k = in->attr.trans_a ? rows_of(a) : cols_of(a);
    const enum precision precision = (enum precision) in->attr.precision;
    const bool trans_b = in->attr.trans_b || in->op == OP_matmul_kept;
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(m, n, k, in->attr.trans_a, trans_b,
                        (enum dtype) in->in[1].dtype);
    size_t rounded =
        op_rounds(in->attr.precision, m, n, k) ? cpu_rounded_floats(m, k) : 0;
    if (cpu_rounds_rows(precision, m, k, in->attr.trans_a, trans_b,
                        (enum dtype) in->in[1].dtype))
        rounded = (size_t) (m * k);
    return larger(plan.a_floats + plan.b_floats, rounded) * sizeof(float);
}

static size_t matmul_lora_bytes(const struct instr *in)
{
    const struct operand *p = &in->in[2];
    const struct operand *y = &in->out[0];
    const struct cpu_lora_plan plan =
        cpu_lora_plan(rows_of(y), cols_of(y), cols_of(p), rows_of(p),
                      (enum dtype) in->in[1].dtype, (enum dtype) p->dtype,
                      (enum precision) in->attr.precision);
    return plan.floats * sizeof(float);
}

// That of one copy.
static size_t matmul_copies_bytes(const struct instr *in)
{
    const int64_t copies = in->attr.copies;
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(rows_of(&in->out[0]) / copies, cols_of(&in->out[0]),
                        cols_of(&in->in[0]), false, true, DTYPE_f32);
    struct instr one = *in;

    one.attr.trans_b = 1;
    one.out[0].ne[0] = 1;
    one.out[0].ne[1] = 1;
    one.out[0].ne[2] = rows_of(&in->out[0]) / copies;
    return larger(matmul_bytes(&one),
                  (plan.a_floats + plan.b_floats) * sizeof(float));
}

size_t cpu_scratch_bytes(const struct instr *in, uint32_t threads)
{
    switch ((enum op) in->op) {
    case OP_attention:
        return attention_bytes(in, threads);
    case OP_attention_back:
        return attention_back_bytes(in, threads);
    case OP_attention_cached:
        return attention_cached_bytes(in, threads);
    case OP_adamw:
        return adamw_bytes(count_of(&in->in[0]));
    case OP_matmul:
    case OP_matmul_kept:
    case OP_matmul_delta:
        return matmul_bytes(in);
    case OP_matmul_lora:
        return matmul_lora_bytes(in);
    case OP_matmul_copies:
        return matmul_copies_bytes(in);
    case OP_xent:
        return xent_bytes(in);
    case OP_row_ratio: // for each thread a row of w, and of the sum
        return (size_t) threads * 2 *
               (size_t) round_up(cols_of(&in->in[1]), 16) * sizeof(float);
    case OP_choose_rows:
        return CPU_CHOOSE_BYTES * (size_t) rows_of(&in->in[0]);
    case OP_row_squares:
        return (size_t) rows_of(&in->in[0]) * sizeof(double);
    case OP_subtoken_mean:
        return (size_t) count_of(&in->in[1]) * sizeof(double);
    case OP_subtoken_dot:
    case OP_subtoken_spread:
    case OP_embed:
    case OP_rmsnorm:
    case OP_rmsnorm_dx:
    case OP_rmsnorm_dw:
    case OP_rope:
    case OP_swiglu:
    case OP_swiglu_back:
    case OP_geglu:
    case OP_geglu_back:
    case OP_add:
    case OP_scale:
    case OP_scale_columns:
    case OP_add_columns:
    case OP_soft_cap:
    case OP_soft_cap_back:
    case OP_split:
    case OP_join:
    case OP_dot_columns:
    case OP_columns:
    case OP_columns_back:
    case OP_rows:
    case OP_kv_store:
    case OP_accumulate:
    case OP_zero:
    case OP_momentum:
    case OP_perturb:
    case OP_noise_sum:
    case OP_COUNT:
        break;
    }
    return 0;
}
