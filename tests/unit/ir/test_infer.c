// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/infer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"

static struct value val(uint8_t dtype, int64_t d0, int64_t d1)
{
    struct value v = {.dtype = dtype, .name = "x"};
    v.shape = (struct shape){d1 ? 2 : 1, {d0, d1}};
    return v;
}

// One node: up to 7 inputs, what must come out or the sentence of refusal.
struct row {
    enum op op;
    struct op_attr attr;
    int n_in;
    struct value in[7];
    const char *want; // "f32[2,3] f32[2]", or the sentence
};

#define F(d0, d1)                                              \
    {                                                          \
        .dtype = DTYPE_f32, .shape = {(d1) ? 2 : 1, {d0, d1} } \
    }
#define I(d0)                                    \
    {                                            \
        .dtype = DTYPE_i32, .shape = { 1, {d0} } \
    }
#define Q(d0, d1)                                     \
    {                                                 \
        .dtype = DTYPE_q8_0, .shape = { 2, {d0, d1} } \
    }
#define HEADS .n_heads = 4, .n_kv_heads = 2, .head_dim = 3

#define NONE       \
    {              \
        .alpha = 0 \
    }

static const struct row rows[] = {
    {OP_embed, NONE, 2, {I(5), Q(7, 32)}, "f32[5,32]"},
    {OP_embed,
     NONE,
     2,
     {F(5, 0), Q(7, 32)},
     "embed: input 0 is f32[5], but must be i32[*]"},
    {OP_rmsnorm, NONE, 2, {F(4, 8), F(8, 0)}, "f32[4,8] f32[4]"},
    {OP_rmsnorm, NONE, 2, {F(4, 8), F(4, 0)}, "f32[4,8] f32[8]"},
    {OP_rmsnorm,
     NONE,
     2,
     {F(4, 8), F(3, 0)},
     "rmsnorm: input 1 is f32[3], but must be as long as the columns, or a "
     "part of them"},
    {OP_geglu, NONE, 2, {F(4, 8), F(4, 8)}, "f32[4,8]"},
    {OP_geglu_back, NONE, 3, {F(4, 8), F(4, 8), F(4, 8)}, "f32[4,8] f32[4,8]"},
    {OP_add_columns, NONE, 2, {F(4, 8), F(8, 0)}, "f32[4,8]"},
    {OP_add_columns,
     NONE,
     2,
     {F(4, 8), F(4, 0)},
     "add_columns: input 1 is f32[4], but must be f32[8]"},
    {OP_soft_cap, {.alpha = 2}, 1, {F(4, 8)}, "f32[4,8]"},
    {OP_soft_cap_back, {.alpha = 2}, 2, {F(4, 8), F(4, 8)}, "f32[4,8]"},
    {OP_split, {.width = 3}, 1, {F(4, 8)}, "f32[4,3] f32[4,5]"},
    {OP_split,
     {.width = 8},
     1,
     {F(4, 8)},
     "split: width must be a part of the columns"},
    {OP_join, NONE, 2, {F(4, 3), F(4, 5)}, "f32[4,8]"},
    {OP_join,
     NONE,
     2,
     {F(4, 3), F(3, 5)},
     "join: input 1 is f32[3,5], but must be f32[4,*]"},
    {OP_rmsnorm_dx, NONE, 4, {F(4, 8), F(4, 8), F(8, 0), F(4, 0)}, "f32[4,8]"},
    {OP_rmsnorm_dx,
     NONE,
     4,
     {F(4, 8), F(4, 9), F(8, 0), F(4, 0)},
     "rmsnorm_dx: input 1 is f32[4,9], but must be f32[4,8]"},
    {OP_rmsnorm_dx, NONE, 4, {F(4, 8), F(4, 8), F(2, 0), F(16, 0)}, "f32[4,8]"},
    {OP_rmsnorm_dw, NONE, 3, {F(4, 8), F(4, 8), F(4, 0)}, "f32[8]"},
    {OP_rmsnorm_dw, NONE, 3, {F(4, 8), F(4, 8), F(16, 0)}, "f32[2]"},
    {OP_rmsnorm_dw,
     NONE,
     3,
     {F(4, 8), F(4, 8), F(6, 0)},
     "rmsnorm_dw: input 2 is f32[6], but must be one value for each run of "
     "columns"},
    {OP_matmul, NONE, 2, {F(4, 8), F(8, 3)}, "f32[4,3]"},
    {OP_matmul, {.trans_a = 1}, 2, {F(8, 4), F(8, 3)}, "f32[4,3]"},
    {OP_matmul, {.trans_b = 1}, 2, {F(4, 32), Q(3, 32)}, "f32[4,3]"},
    {OP_matmul,
     {.trans_a = 1, .trans_b = 1},
     3,
     {F(8, 4), F(3, 8), F(4, 3)},
     "f32[4,3]"},
    {OP_matmul,
     NONE,
     2,
     {F(4, 8), F(3, 8)},
     "matmul: input 1 is f32[3,8], but must be [8,8]"},
    {OP_matmul,
     NONE,
     3,
     {F(4, 8), F(8, 3), F(3, 4)},
     "matmul: input 2 is f32[3,4], but must be f32[4,3]"},
    {OP_matmul,
     NONE,
     2,
     {Q(4, 32), F(32, 3)},
     "matmul: input 0 is q8_0[4,32], but must be f32[*,*]"},
    {OP_matmul, NONE, 1, {F(4, 8)}, "matmul: takes 2 to 3 inputs, got 1"},
    {OP_matmul_delta, NONE, 3, {F(4, 8), F(8, 3), F(8, 3)}, "f32[4,3]"},
    {OP_matmul_delta,
     {.trans_b = 1},
     4,
     {F(4, 32), Q(3, 32), F(3, 32), F(4, 3)},
     "f32[4,3]"},
    {OP_matmul_delta,
     {.trans_b = 1},
     3,
     {F(4, 8), F(3, 8), F(8, 3)},
     "matmul_delta: input 2 is f32[8,3], but must be f32[3,8]"},
    {OP_matmul_lora,
     NONE,
     5,
     {F(4, 32), Q(3, 32), F(2, 32), F(3, 2), F(4, 3)},
     "f32[4,3]"},
    {OP_matmul_lora,
     NONE,
     4,
     {F(4, 32), Q(3, 32), F(2, 32), F(3, 4)},
     "matmul_lora: input 3 is f32[3,4], but must be f32[3,2]"},
    {OP_matmul_lora,
     NONE,
     4,
     {F(4, 32), Q(3, 32), Q(2, 32), F(3, 2)},
     "matmul_lora: input 2 is q8_0[2,32], but must be f32 or bf16"},
    {OP_matmul_lora,
     NONE,
     4,
     {F(4, 32), Q(3, 32), F(129, 32), F(3, 129)},
     "matmul_lora: input 2 is f32[129,32], but must be of few rows"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 2, HEADS},
     2,
     {F(5, 12), I(5)},
     "f32[5,12]"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 3, HEADS},
     2,
     {F(5, 12), I(5)},
     "rope: rope_dims must be even and at most head_dim"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 0, .rope_dims = 2, HEADS},
     2,
     {F(5, 12), I(5)},
     "rope: rope_sign must be 1 or -1"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 2, HEADS},
     3,
     {F(5, 12), I(5), F(1, 0)},
     "f32[5,12]"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 2, HEADS},
     3,
     {F(5, 12), I(5), F(2, 0)},
     "rope: input 2 is f32[2], but must be f32[1]"},
    {OP_attention,
     {.length = 3, .cap = -1, HEADS},
     4,
     {F(6, 12), F(6, 6), F(6, 6), I(6)},
     "attention: alpha and cap must be positive"},
    {OP_attention,
     {.length = 3, HEADS},
     4,
     {F(6, 12), F(6, 6), F(6, 6), I(6)},
     "f32[6,12] f32[6,4]"},
    {OP_attention,
     {.length = 4, HEADS},
     4,
     {F(6, 12), F(6, 6), F(6, 6), I(6)},
     "attention: length must divide the number of rows"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 2, HEADS},
     3,
     {F(5, 12), I(5), F(1, 0)},
     "f32[5,12]"},
    {OP_rope,
     {.rope_base = 10, .rope_sign = 1, .rope_dims = 2, HEADS},
     3,
     {F(5, 12), I(5), F(2, 0)},
     "rope: input 2 is f32[2], but must be f32[1]"},
    {OP_attention,
     {.length = 3, .cap = -1, HEADS},
     4,
     {F(6, 12), F(6, 6), F(6, 6), I(6)},
     "attention: alpha and cap must be positive"},
    {OP_attention,
     {.length = 3, HEADS},
     4,
     {F(6, 12), F(6, 12), F(6, 6), I(6)},
     "attention: input 1 is f32[6,12], but must be f32[6,6]"},
    {OP_attention_back,
     {.length = 3, HEADS},
     7,
     {F(6, 12), F(6, 12), F(6, 6), F(6, 6), F(6, 12), F(6, 4), I(6)},
     "f32[6,12] f32[6,6] f32[6,6]"},
    {OP_swiglu, NONE, 2, {F(4, 8), F(4, 8)}, "f32[4,8]"},
    {OP_swiglu_back, NONE, 3, {F(4, 8), F(4, 8), F(4, 8)}, "f32[4,8] f32[4,8]"},
    {OP_add,
     NONE,
     2,
     {F(4, 8), F(4, 0)},
     "add: input 1 is f32[4], but must be f32[4,8]"},
    {OP_scale, NONE, 1, {F(4, 0)}, "f32[4]"},
    {OP_scale, NONE, 1, {I(4)}, "scale: input 0 is i32[4], but must be f32[4]"},
    {OP_scale_columns, NONE, 2, {F(4, 8), F(8, 0)}, "f32[4,8]"},
    {OP_scale_columns, NONE, 2, {F(8, 0), F(8, 0)}, "f32[8]"},
    {OP_scale_columns,
     NONE,
     2,
     {F(4, 8), F(4, 0)},
     "scale_columns: input 1 is f32[4], but must be f32[8]"},
    {OP_dot_columns, NONE, 2, {F(4, 8), F(4, 8)}, "f32[8]"},
    {OP_dot_columns, NONE, 2, {F(8, 0), F(8, 0)}, "f32[8]"},
    {OP_dot_columns,
     NONE,
     2,
     {F(4, 8), F(5, 8)},
     "dot_columns: input 1 is f32[5,8], but must be f32[4,8]"},
    {OP_columns, {.part = 3}, 1, {F(4, 20)}, "f32[4,5]"},
    {OP_columns, NONE, 1, {F(4, 20)}, "f32[4,20]"},
    {OP_columns, {.part = 1}, 1, {F(4, 7)}, "columns: part must hold a column"},
    {OP_columns_back, {.part = 3, .width = 20}, 1, {F(4, 5)}, "f32[4,20]"},
    {OP_columns_back,
     {.part = 3, .width = 20},
     1,
     {F(4, 6)},
     "columns_back: input 0 is f32[4,6], but must be f32[*,5]"},
    {OP_row_ratio, NONE, 3, {F(2, 32), Q(9, 32), F(9, 2)}, "f32[9]"},
    {OP_row_ratio,
     NONE,
     3,
     {F(2, 32), Q(9, 32), F(9, 3)},
     "row_ratio: input 2 is f32[9,3], but must be f32[9,2]"},
    {OP_matmul_kept,
     NONE,
     4,
     {F(4, 32), Q(3, 32), F(4, 8), F(4, 0)},
     "f32[4,3]"},
    {OP_matmul_kept,
     NONE,
     5,
     {F(4, 8), F(3, 8), F(4, 2), F(4, 0), F(4, 4)},
     "matmul_kept: input 4 is f32[4,4], but must be f32[4,3]"},
    {OP_matmul_kept,
     NONE,
     4,
     {F(4, 8), F(3, 8), F(4, 4), F(4, 0)},
     "matmul_kept: input 2 is f32[4,4], but must be f32[4,2]"},
    {OP_matmul_kept,
     NONE,
     4,
     {F(4, 8), F(3, 8), F(4, 2), F(3, 0)},
     "matmul_kept: sub-tokens must divide the columns"},
    {OP_matmul_kept, NONE, 4, {F(4, 8), F(3, 8), F(2, 8), I(2)}, "f32[4,3]"},
    {OP_matmul_kept,
     NONE,
     4,
     {F(4, 8), F(3, 8), F(3, 8), I(2)},
     "matmul_kept: input 2 is f32[3,8], but must be f32[2,8]"},
    {OP_choose_rows,
     {.n_rows = 3},
     3,
     {F(4, 8), F(4, 0), I(4)},
     "f32[3,8] i32[3]"},
    {OP_choose_rows,
     {.n_rows = 5},
     3,
     {F(4, 8), F(4, 0), I(4)},
     "choose_rows: n_rows must be 1 to the rows there are"},
    {OP_choose_rows,
     {.n_rows = 3},
     3,
     {F(4, 8), F(4, 0), I(3)},
     "choose_rows: input 2 is i32[3], but must be i32[4]"},
    {OP_row_squares, NONE, 1, {F(4, 8)}, "f32[4]"},
    {OP_row_squares,
     NONE,
     2,
     {F(4, 8), F(5, 0)},
     "row_squares: input 1 is f32[5], but must be f32[4]"},
    {OP_subtoken_mean, NONE, 2, {F(4, 8), F(2, 0)}, "f32[2]"},
    {OP_subtoken_mean,
     NONE,
     2,
     {F(4, 8), F(3, 0)},
     "subtoken_mean: sub-tokens must divide the columns"},
    {OP_subtoken_dot, NONE, 2, {F(4, 8), F(2, 0)}, "f32[4,4]"},
    {OP_subtoken_dot,
     NONE,
     2,
     {F(4, 8), F(2, 2)},
     "subtoken_dot: input 1 is f32[2,2], but must be f32[*]"},
    {OP_subtoken_spread, NONE, 2, {F(3, 4), F(2, 0)}, "f32[3,8]"},
    {OP_subtoken_spread,
     NONE,
     2,
     {F(3, 0), F(2, 0)},
     "subtoken_spread: input 0 is f32[3], but must be f32[*,*]"},
    {OP_rows, NONE, 2, {F(9, 8), I(2)}, "f32[2,8]"},
    {OP_xent,
     NONE,
     4,
     {F(6, 32), Q(9, 32), I(6), F(6, 0)},
     "f32[1] f32[6] f32[6,32]"},
    {OP_xent,
     NONE,
     4,
     {F(6, 32), Q(9, 64), I(6), F(6, 0)},
     "xent: input 1 is q8_0[9,64], but must be [*,32]"},
    {OP_kv_store, NONE, 3, {F(2, 6), I(2), F(16, 6)}, "f32[16,6]"},
    {OP_kv_store,
     NONE,
     3,
     {F(2, 6), I(2), F(16, 7)},
     "kv_store: input 2 is f32[16,7], but must be f32[*,6]"},
    {OP_attention_cached,
     {HEADS},
     4,
     {F(2, 12), F(9, 6), F(9, 6), I(2)},
     "f32[2,12]"},
    {OP_attention_cached,
     {HEADS},
     4,
     {F(2, 12), F(9, 6), F(8, 6), I(2)},
     "attention_cached: input 2 is f32[8,6], but must be f32[9,6]"},
    {OP_accumulate, NONE, 2, {F(4, 8), F(4, 8)}, "f32[4,8]"},
    {OP_zero, NONE, 1, {F(4, 8)}, "f32[4,8]"},
    {OP_adamw,
     NONE,
     5,
     {F(4, 8), F(4, 8), F(4, 8), F(4, 8), F(8, 0)},
     "f32[4,8] f32[4,8] f32[4,8]"},
    {OP_adamw,
     NONE,
     5,
     {F(4, 8), F(4, 8), F(4, 8), F(4, 8), F(7, 0)},
     "adamw: input 4 is f32[7], but must be f32[8]"},
    {OP_momentum,
     NONE,
     4,
     {F(4, 8), F(4, 8), F(4, 8), F(8, 0)},
     "f32[4,8] f32[4,8]"},
    {OP_momentum,
     NONE,
     4,
     {F(4, 8), F(4, 8), F(4, 8), F(7, 0)},
     "momentum: input 3 is f32[7], but must be f32[8]"},
    {OP_perturb, NONE, 4, {F(4, 8), I(4), I(3), F(3, 0)}, "f32[12,8]"},
    {OP_perturb, NONE, 4, {F(8, 0), I(4), I(2), F(2, 0)}, "f32[16]"},
    {OP_perturb,
     NONE,
     4,
     {F(4, 8), I(4), I(3), F(2, 0)},
     "perturb: input 3 is f32[2], but must be f32[3]"},
    {OP_perturb,
     {.stream = 2},
     5,
     {F(4, 8), I(4), I(3), F(3, 0), F(2, 0)},
     "perturb: input 4 is f32[2], but must be long enough for the stream"},
    {OP_noise_sum, NONE, 4, {F(4, 8), I(4), I(3), F(3, 0)}, "f32[4,8]"},
    {OP_noise_sum,
     {.noise = 2},
     4,
     {F(4, 8), I(4), I(3), F(3, 0)},
     "noise_sum: there is no such noise"},
    {OP_matmul_copies, {.copies = 2}, 2, {F(4, 8), F(6, 8)}, "f32[4,3]"},
    {OP_matmul_copies,
     {.copies = 2},
     3,
     {F(4, 8), F(6, 8), F(4, 6)},
     "matmul_copies: input 2 is f32[4,6], but must be f32[4,3]"},
    {OP_matmul_copies,
     {.copies = 3},
     2,
     {F(4, 8), F(6, 8)},
     "matmul_copies: copies must divide the rows of both factors"},
};

static void check_row(const struct row *r)
{
    const struct value *in[OP_INPUTS_MAX] = {NULL};
    struct infer_type out[OP_OUTPUTS_MAX];
    struct error err = {0};
    char got[256] = "";

    for (int i = 0; i < r->n_in; i++)
        in[i] = &r->in[i];
    if (infer_node(out, r->op, &r->attr, in, r->n_in, &err) < 0) {
        assert_string_equal(err.text, r->want);
        return;
    }
    for (int i = 0; i < op_infos[r->op].n_out; i++) {
        const size_t n = strlen(got);
        if (i)
            strcat(got, " ");
        infer_describe(got + n + (i > 0), sizeof(got) - n - 1, out[i].dtype,
                       &out[i].shape);
    }
    assert_string_equal(got, r->want);
}

static void rules_say_what_fits_and_what_comes_out(void **state)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(&rows[i]);
}

static void every_operator_is_in_the_table(void **state)
{
    for (int op = 0; op < OP_COUNT; op++) {
        bool found = false;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            found |= (int) rows[i].op == op;
        if (!found)
            fail_msg("%s has no row", op_infos[op].name);
    }
}

static void missing_and_huge_inputs_are_refused(void **state)
{
    const struct value tall = val(DTYPE_f32, INT32_MAX, 1);
    const struct value wide = val(DTYPE_f32, 1, INT32_MAX);
    const struct value *in[OP_INPUTS_MAX] = {&tall, &wide};
    const struct op_attr attr = {0};
    struct infer_type out[OP_OUTPUTS_MAX];
    struct error err = {0};

    assert_int_equal(infer_node(out, OP_matmul, &attr, in, 2, &err), -EINVAL);
    assert_string_equal(err.text, "matmul: the output is too large");
    in[1] = NULL;
    assert_int_equal(infer_node(out, OP_matmul, &attr, in, 2, &err), -EINVAL);
    assert_string_equal(err.text, "matmul: input 1 is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_say_what_fits_and_what_comes_out),
        cmocka_unit_test(every_operator_is_in_the_table),
        cmocka_unit_test(missing_and_huge_inputs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
