// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Operators
 *
 * The vocabulary of the graph: one row of ops.def each. Everything that is
 * known about an operator without looking at its inputs is in op_infos[].
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OP_INPUTS_MAX = 8,
    OP_OUTPUTS_MAX = 4,
};

// Output `out` is a new version of input `in`, in the same storage.
#define OP_UPDATES(out, in) (((in) + 1u) << (4 * (out)))
// Output 0 may take the storage of input `in`.
#define OP_INPLACE(in) (((in) + 1u) << 16)
#define OP_POINTWISE   (1u << 24) // element i depends on elements i only
#define OP_COMMUTES    (1u << 25) // the first two inputs may be swapped
#define OP_PRODUCTS    (1u << 26) // looks at the attribute `precision`

enum op {
#define OP(name, ...) OP_##name,
#include "engine/ir/ops.def"
#undef OP
    OP_COUNT
};

struct op_info {
    const char *name;
    uint8_t n_in_min;
    uint8_t n_in_max;
    uint8_t n_out;
    uint32_t flags;
};

extern const struct op_info op_infos[OP_COUNT];

// The input whose storage output `out` always has, or -1.
int op_updates(enum op op, int out);
// The input whose storage output 0 may take, or -1.
int op_inplace(enum op op);
// -ENOENT when there is no such operator. The name need not end with a NUL.
int op_from_name(enum op *out, const char *name, size_t bytes);

// How RoPE pairs the values of a head of D: (2i, 2i+1), or (i, i + D/2).
enum rope_mode {
    ROPE_PAIRS,
    ROPE_HALVES,
};

// What products do with their operands. With bf16 a device may round both to
// the nearest bf16 (to even when in between) before it multiplies them, if that
// is faster there; the sums are f32. With q8 it may round activations of few
// rows to eight bits where they meet weights of few bits. The C kernels do it.
enum precision { PRECISION_F32, PRECISION_BF16, PRECISION_Q8, PRECISION_COUNT };

// Is matmul (M,K) (K,N) one that may be rounded? Those with a short side are
// not: they are LoRA's own, and single rows, which are bound by memory.
static inline bool op_rounds(uint8_t precision, int64_t m, int64_t n, int64_t k)
{
    return precision == PRECISION_BF16 && m > 16 && n > 16 && k > 16;
}

enum { OP_LORA_RANK_MAX = 128 }; // of matmul_lora

// One struct for all operators; zero where an operator does not look.
struct op_attr {
    float alpha;       // matmul, scale, soft_cap*; adamw: of the learning rate,
                       // 0: 1; attention*: of scores, 0: 1 / sqrt(head_dim)
    float eps;         // rmsnorm
    float cap;         // attention*, xent: of scores, of logits; 0: none
    float rope_base;   // rope
    float rope_slower; // rope: what angles are divided by; 0: 1
    float rope_gain;   // rope: what values are multiplied with; 0: 1
    uint8_t trans_a;   // matmul
    uint8_t trans_b;
    uint8_t rope_mode;   // enum rope_mode
    int8_t rope_sign;    // +1 forward, -1 backward
    uint32_t n_heads;    // rope, attention*
    uint32_t n_kv_heads; // attention*
    uint32_t head_dim;   // rope, attention*
    uint32_t rope_dims;  // rope: the first values of a head that turn; even
    uint32_t length;     // attention, attention_back: L, rows of one sequence
    uint32_t window;     // attention*: latest tokens seen; 0: all
    uint32_t width;      // columns_back: C; split: of output 0
    uint32_t n_rows;     // choose_rows: N
    uint32_t stream;     // choose_rows, perturb, noise_sum: of random numbers
    uint32_t copies;     // matmul_copies: D
    uint8_t part;        // columns*: eighths of the columns, as bits; 0: all
    uint8_t precision;   // enum precision, of operators that are products
    uint8_t noise;       // perturb, noise_sum: enum noise
};

// Columns [from, to) are eighth `e` of `columns`.
static inline void op_part_range(int64_t *from, int64_t *to, int64_t columns,
                                 int e)
{
    *from = columns * e / 8;
    *to = columns * (e + 1) / 8;
}

// How many of `columns` a part has.
static inline int64_t op_part_columns(uint8_t part, int64_t columns)
{
    int64_t n = 0, from, to;

    for (int e = 0; e < 8; e++) {
        op_part_range(&from, &to, columns, e);
        n += part == 0 || part >> e & 1 ? to - from : 0;
    }
    return n;
}

// The fields of op_attr by name, for printing, parsing and comparing.
struct op_attr_field {
    const char *name;
    enum { ATTR_F32, ATTR_U8, ATTR_I8, ATTR_U32 } kind;
    size_t offset;
};

extern const struct op_attr_field op_attr_fields[];
extern const int op_attr_field_count;

// Every field is exact in a double.
double op_attr_get(const struct op_attr *a, const struct op_attr_field *f);
// -ERANGE when the field cannot hold the value.
int op_attr_set(struct op_attr *a, const struct op_attr_field *f, double value);
bool op_attr_equal(const struct op_attr *a, const struct op_attr *b);

// Layout of the `hyper` input of adamw. The learning rate already holds the
// schedule; the bias corrections are 1 - beta^t. clip > 0 scales the gradient
// of each tensor to at most this L2 norm.
enum adamw_hyper {
    ADAMW_LR,
    ADAMW_BETA1,
    ADAMW_BETA2,
    ADAMW_EPS,
    ADAMW_DECAY, // decoupled: p -= lr * decay * p
    ADAMW_CORRECT1,
    ADAMW_CORRECT2,
    ADAMW_CLIP,
    ADAMW_HYPERS
};
