// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/exec/program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/exec/lower.h"
#include "engine/models/scheme_text.h"
#include "tests/support/test_device.h"
#include "tests/support/tiny.h"

static struct device *dev;

static int open_device(void **state)
{
    const struct device_params params = {.threads = 1, .tier = "c"};
    return test_device_open(&dev, &params, NULL);
}

static int close_device(void **state)
{
    test_backend()->close(dev);
    return 0;
}

static struct program *compile(const struct model_config *m,
                               enum program_kind kind,
                               const struct scheme_lora *lora)
{
    struct scheme scheme;
    const struct program_params params = {
        .kind = kind,
        .batch = kind == PROGRAM_CACHED ? 0 : 2,
        .length = 12,
        .cache_length = 24,
        .n_rows = 3,
        .scheme = lora ? &scheme : NULL,
    };
    struct error err = {0};
    struct program *p;

    if (lora)
        scheme = tiny_scheme(m, lora);
    if (program_compile(&p, m, &params, test_backend(), dev, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

static uint32_t count_op(const struct program *p, enum op op)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_instrs; i++)
        n += p->instrs[i].op == op;
    return n;
}

static void every_product_has_the_precision_that_was_asked_for(void **state)
{
    static const struct scheme_lora lora = {2, 4, LORA_ALL, 0};
    const struct model_config m = tiny_config(DTYPE_f32, 2);
    const struct scheme scheme = tiny_scheme(&m, &lora);

    for (int precision = 0; precision < PRECISION_COUNT; precision++) {
        const struct program_params params = {
            .kind = PROGRAM_TRAIN,
            .batch = 2,
            .length = 12,
            .scheme = &scheme,
            .precision = (enum precision) precision,
        };
        struct program *p;
        assert_int_equal(program_compile(&p, &m, &params, test_backend(), dev,
                                         NULL),
                         0);
        for (uint32_t i = 0; i < p->n_instrs; i++) {
            const struct instr *in = &p->instrs[i];
            const bool has_products = op_infos[in->op].flags & OP_PRODUCTS;
            assert_int_equal(in->attr.precision, has_products ? precision : 0);
        }
        program_destroy(p);
    }
}

// Gradients of weights are the products that turn their first operand.
static uint32_t count_weight_gradients(const struct program *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_instrs; i++)
        n += p->instrs[i].op == OP_matmul && p->instrs[i].attr.trans_a;
    return n;
}

static bool is_product(const struct instr *in)
{
    return in->op == OP_matmul || in->op == OP_matmul_delta;
}

// Products dX = dY W with this weight.
static uint32_t count_input_gradients(const struct program *p, const char *name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct instr *in = &p->instrs[i];
        n += is_product(in) && !in->attr.trans_b &&
             in->in[1].region == REGION_WEIGHT &&
             strcmp(p->weights[in->in[1].slot].name, name) == 0;
    }
    return n;
}

static const struct scheme_lora everything = {2, 4, LORA_ALL, 0};

static void one_gradient_and_one_update_for_each_param(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 4);
    const struct scheme_lora specs[] = {
        everything,
        {2, 4, LORA_ALL, 1},
        {3, 4, LORA_Q | LORA_V, 0},
        {3, 4, LORA_DOWN, 2},
        {1, 4, LORA_K | LORA_GATE | LORA_O, 3},
    };
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        const struct scheme scheme = tiny_scheme(&m, &specs[i]);
        const uint32_t n = scheme_params(NULL, 0, &m, &scheme);
        struct program *p = compile(&m, PROGRAM_TRAIN, &specs[i]);
        assert_int_equal(count_op(p, OP_adamw), n);
        assert_int_equal(count_weight_gradients(p), n);
        program_destroy(p);
        p = compile(&m, PROGRAM_ACCUMULATE, &specs[i]);
        assert_int_equal(count_op(p, OP_accumulate), n);
        assert_int_equal(count_op(p, OP_adamw), 0);
        program_destroy(p);
        p = compile(&m, PROGRAM_UPDATE, &specs[i]);
        assert_int_equal(count_op(p, OP_adamw), n);
        assert_int_equal(count_op(p, OP_zero), n);
        assert_int_equal(count_op(p, OP_accumulate), n);
        program_destroy(p);
    }
}

static void nothing_runs_backward_below_the_lowest_block_that_learns(void **s)
{
    const struct model_config m = tiny_config(DTYPE_f32, 4);
    for (uint32_t last = 1; last <= 4; last++) {
        const struct scheme_lora lora = {2, 4, LORA_ALL, last};
        struct program *p = compile(&m, PROGRAM_TRAIN, &lora);
        const uint32_t lowest = 4 - last;
        assert_int_equal(count_op(p, OP_attention_back), last);
        assert_int_equal(count_op(p, OP_swiglu_back), last);
        // One norm of each kind in each block and the last one, but for the
        // input of the lowest block, which no one needs the gradient of.
        assert_int_equal(count_op(p, OP_rmsnorm_dx), 2 * last);
        assert_int_equal(count_op(p, OP_rmsnorm_dw), 0);
        for (uint32_t block = 0; block < 4; block++) {
            for (int l = 0; l < MODEL_LINEARS; l++) {
                char name[MODEL_NAME_BYTES];
                const bool reads_input = l <= MODEL_LINEAR_v;
                const bool want =
                    block > lowest || (block == lowest && !reads_input);
                model_linear_name(name, &m, block, (enum model_linear) l);
                assert_int_equal(count_input_gradients(p, name), want);
            }
        }
        program_destroy(p);
    }
}

static struct program *compile_text(const struct model_config *m,
                                    struct scheme *scheme, const char *text)
{
    const struct scheme_defaults defaults = {3, 6};
    const struct program_params params = {
        .kind = PROGRAM_TRAIN,
        .batch = 2,
        .length = 12,
        .scheme = scheme,
    };
    struct error err = {0};
    struct program *p = NULL;

    if (scheme_parse(scheme, text, strlen(text), &defaults, m, &err) < 0 ||
        program_compile(&p, m, &params, test_backend(), dev, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return p;
}

// Nodes whose result an optimizer reads: what adamw's fourth input is made by.
static uint32_t count_gradients(const struct program *p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct operand *g = &p->instrs[i].in[3];
        if (p->instrs[i].op != OP_adamw)
            continue;
        uint32_t k = i;
        while (k-- > 0) {
            const struct operand *o = &p->instrs[k].out[0];
            if (o->region == g->region && o->offset == g->offset)
                break;
        }
        const enum op by = (enum op) p->instrs[k].op;
        assert_true(by == OP_matmul
                        ? p->instrs[k].attr.trans_a
                        : by == OP_rmsnorm_dw || by == OP_scale_columns ||
                              by == OP_dot_columns);
        n++;
    }
    return n;
}

// One gradient and one update for each tensor that learns, none for those that
// do not, and nothing backward below the lowest of them.
static void gradients_are_those_of_the_scheme(void **state)
{
    static const struct {
        const char *text;
        uint32_t lowest, blocks;
    } cases[] = {
        {"lora-all", 0, 4},
        {"lora-last:2", 2, 4},
        {"lora-fa:3", 1, 4},
        {"dora:1", 3, 4},
        {"pockengine:2", 2, 4},
        {"full", 0, 4},
        {"norms", 0, 4},
        {"window:1-2", 1, 3},
        {"{\"rules\":[{\"tensors\":\"ffn_up\",\"blocks\":2,"
         "\"learn\":\"delta\",\"part\":[1,5]}]}",
         2, 4},
        {"{\"exit\":3,\"rules\":[{\"tensors\":\"attn_v\",\"blocks\":1,"
         "\"learn\":\"dora\"},{\"tensors\":\"ffn_norm\",\"blocks\":2,"
         "\"learn\":\"delta\"}]}",
         1, 3},
    };
    const struct model_config m = tiny_config(DTYPE_f32, 4);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scheme s;
        struct param params[256];
        struct program *p = compile_text(&m, &s, cases[i].text);
        uint32_t learning = 0;
        const uint32_t n = scheme_params(params, 256, &m, &s);
        for (uint32_t k = 0; k < n; k++)
            learning += !params[k].is_frozen;
        assert_int_equal(count_op(p, OP_adamw), learning);
        assert_int_equal(count_gradients(p), learning);
        assert_int_equal(scheme_first_block(&s, &m), cases[i].lowest);
        assert_int_equal(count_op(p, OP_attention), cases[i].blocks);
        assert_in_range(count_op(p, OP_attention_back), 0,
                        cases[i].blocks - cases[i].lowest);
        for (uint32_t k = 0; k < p->n_instrs; k++) {
            const struct instr *in = &p->instrs[k];
            unsigned block;
            if (in->op != OP_matmul || in->attr.trans_b ||
                in->in[1].region != REGION_WEIGHT ||
                sscanf(p->weights[in->in[1].slot].name, "blk.%u.", &block) != 1)
                continue;
            assert_in_range(block, cases[i].lowest, cases[i].blocks - 1);
        }
        program_destroy(p);
    }
}

// LoRA-FA keeps x A^T alone of the input of a linear.
static void a_fixed_a_keeps_less(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 4);
    struct scheme s;
    struct program *a = compile_text(&m, &s, "lora-all");
    struct program *b = compile_text(&m, &s, "lora-fa");

    assert_true(program_arena_bytes(b) < program_arena_bytes(a));
    program_destroy(a);
    program_destroy(b);
}

static void rates_are_factors_of_the_optimizer(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 1);
    struct scheme s;
    struct program *p = compile_text(&m, &s, "lora-plus");

    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct instr *in = &p->instrs[i];
        if (in->op != OP_adamw)
            continue;
        const bool is_b = strstr(p->states[in->in[0].slot].name, ".lora_b");
        assert_true(in->attr.alpha == (is_b ? 16 : 0));
    }
    program_destroy(p);
}

// Adapters on the queries alone: no gradient of keys and values is made.
static void outputs_that_no_one_reads_are_not_computed(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 1);
    const struct scheme_lora lora = {2, 4, LORA_Q, 0};
    struct program *p = compile(&m, PROGRAM_TRAIN, &lora);

    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct instr *in = &p->instrs[i];
        if (in->op != OP_attention_back)
            continue;
        assert_int_equal(in->out[0].region, REGION_ARENA);
        assert_int_equal(in->out[1].region, REGION_NONE);
        assert_int_equal(in->out[2].region, REGION_NONE);
    }
    program_destroy(p);
    p = compile(&m, PROGRAM_EVAL, &everything);
    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct instr *in = &p->instrs[i];
        if (in->op == OP_rmsnorm || in->op == OP_attention)
            assert_int_equal(in->out[1].region, REGION_NONE);
        if (in->op == OP_xent)
            assert_int_equal(in->out[2].region, REGION_NONE);
    }
    program_destroy(p);
}

static void the_arena_shrinks_with_the_scheme(void **state)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 4);
    size_t before = SIZE_MAX;

    for (uint32_t last = 4; last >= 1; last--) {
        const struct scheme_lora lora = {2, 4, LORA_ALL, last};
        struct program *p = compile(&m, PROGRAM_TRAIN, &lora);
        assert_true(program_arena_bytes(p) < before);
        before = program_arena_bytes(p);
        program_destroy(p);
    }
    struct program *p = compile(&m, PROGRAM_EVAL, &everything);
    assert_true(program_arena_bytes(p) < before);
    program_destroy(p);
}

static void arenas_are_as_small_as_what_is_live(void **state)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 6);
    for (int kind = PROGRAM_TRAIN; kind <= PROGRAM_CACHED; kind++) {
        struct program *p = compile(&m, (enum program_kind) kind, &everything);
        assert_true((double) p->arena_bytes <= 1.05 * (double) p->live_bytes);
        program_destroy(p);
    }
}

// An adapter's update runs before the gradients of the block below it start.
static void updates_run_as_soon_as_they_can(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 3);
    struct program *p = compile(&m, PROGRAM_TRAIN, &everything);
    uint32_t block = 3;

    for (uint32_t i = 0; i < p->n_instrs; i++) {
        const struct instr *in = &p->instrs[i];
        unsigned of;
        if (in->op == OP_attention_back)
            block--;
        if (in->op != OP_adamw)
            continue;
        assert_int_equal(sscanf(p->states[in->in[0].slot].name, "blk.%u.", &of),
                         1);
        assert_true(of == block || of + 1 == block);
    }
    program_destroy(p);
}

static void names_what_it_wants_bound(void **state)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 2);
    struct program *p = compile(&m, PROGRAM_TRAIN, &everything);
    const struct scheme scheme = tiny_scheme(&m, &everything);
    const uint32_t n = scheme_params(NULL, 0, &m, &scheme);

    // 2 blocks of 7 linears and 2 norms, the last norm, the tied table.
    assert_int_equal(program_weight_count(p), 2 * 9 + 2);
    assert_int_equal(program_state_count(p), 3 * n);
    assert_null(program_weight(p, 2 * 9 + 2));
    assert_null(program_state(p, 3 * n));
    const struct program_slot *s = program_weight(p, 0);
    assert_string_equal(s->name, "token_embd.weight");
    assert_int_equal(s->dtype, DTYPE_q8_0);
    assert_int_equal(s->bytes, 37 * 34);
    assert_non_null(program_io(p, "hyper"));
    assert_non_null(program_io(p, "loss"));
    assert_null(program_io(p, "logits"));
    program_destroy(p);

    p = compile(&m, PROGRAM_CACHED, &everything);
    assert_int_equal(program_state_count(p), n + 4);
    const struct operand *o = program_io(p, "logits");
    assert_non_null(o);
    assert_int_equal(o->ne[2], 3);
    assert_int_equal(o->ne[3], 37);
    program_destroy(p);

    // The base model alone has no adapter to bind.
    p = compile(&m, PROGRAM_EVAL, NULL);
    assert_int_equal(program_state_count(p), 0);
    assert_int_equal(program_weight_count(p), 2 * 9 + 2);
    program_destroy(p);
}

// To read all of a weight for each token would cost more than the product.
static void generation_takes_the_gains_of_rows_as_states(void **state)
{
    const struct model_config m = tiny_config(DTYPE_q8_0, 2);
    const struct scheme_defaults defaults = {2, 4};
    struct scheme scheme;
    struct program_params params = {.kind = PROGRAM_CACHED,
                                    .length = 4,
                                    .cache_length = 8,
                                    .n_rows = 1,
                                    .scheme = &scheme};
    struct program *p;

    assert_int_equal(scheme_parse(&scheme, "dora:1", 6, &defaults, &m, NULL),
                     0);
    assert_int_equal(program_compile(&p, &m, &params, test_backend(), dev,
                                     NULL),
                     0);
    assert_int_equal(count_op(p, OP_row_ratio), 0);
    program_destroy(p);
    params.kind = PROGRAM_GAINS;
    assert_int_equal(program_compile(&p, &m, &params, test_backend(), dev,
                                     NULL),
                     0);
    assert_int_equal(count_op(p, OP_row_ratio), MODEL_LINEARS);
    assert_int_equal(count_op(p, OP_matmul), 0);
    assert_non_null(program_io(p, "blk.1.attn_q.weight.magnitude.gain"));
    program_destroy(p);
}

// Depth costs time that is nearly linear, and no precision of the plan.
static void compiles_a_deep_model(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 24);
    struct program *p = compile(&m, PROGRAM_TRAIN, &everything);
    assert_int_equal(count_op(p, OP_adamw), 24 * 14);
    assert_true((double) p->arena_bytes <= 1.05 * (double) p->live_bytes);
    program_destroy(p);
}

static void prints_itself(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 1);
    struct program *p = compile(&m, PROGRAM_TRAIN, &everything);
    char *text;

    assert_int_equal(program_print(&text, p), 0);
    assert_non_null(strstr(text, "arena map"));
    assert_non_null(strstr(text, "attention_back"));
    assert_non_null(strstr(text, "@blk.0.attn_q.weight f32[24,20]"));
    free(text);
    program_destroy(p);
}

static void check_refusal(const struct program_params *params, int rc,
                          const char *sentence)
{
    const struct model_config m = tiny_config(DTYPE_f32, 2);
    struct program *p = NULL;
    struct error err = {0};

    assert_int_equal(program_compile(&p, &m, params, test_backend(), dev, &err),
                     rc);
    assert_null(p);
    assert_string_equal(err.text, sentence);
}

static void refuses_what_cannot_be(void **state)
{
    const struct model_config m = tiny_config(DTYPE_f32, 2);
    struct scheme scheme = tiny_scheme(&m, &everything);
    struct program_params p = {.kind = PROGRAM_TRAIN,
                               .batch = 1,
                               .length = 8,
                               .scheme = &scheme};

    p.length = 65;
    check_refusal(&p, -EINVAL,
                  "length is 65 tokens, but the model takes 1 to 64");
    p.length = 8;
    p.batch = 0;
    check_refusal(&p, -EINVAL,
                  "batch of 0 sequences of 8 tokens: there must be 1 to "
                  "1048576 tokens");
    p.batch = 1;
    scheme.linears[1][MODEL_LINEAR_up].rank = 300;
    check_refusal(&p, -EINVAL,
                  "scheme: blk.1.ffn_up.weight has LoRA rank 300, but must "
                  "have 1 to 256");
    p.scheme = NULL;
    check_refusal(&p, -EINVAL,
                  "a program that learns needs a scheme in which something "
                  "learns");
    p.scheme = &scheme;
    scheme = tiny_scheme(&m, &everything);
    scheme.linears[2][MODEL_LINEAR_q] = scheme.linears[1][MODEL_LINEAR_q];
    check_refusal(&p, -EINVAL,
                  "scheme: block 2 learns, but the model has 2 blocks");
    p.kind = PROGRAM_CACHED;
    scheme = tiny_scheme(&m, &everything);
    check_refusal(&p, -EINVAL,
                  "cache of 0 tokens: must be at least 8, and at most the "
                  "model's context of 64");
    p.cache_length = 8;
    p.n_rows = 9;
    check_refusal(&p, -EINVAL, "9 rows of logits: must be 1 to the length 8");
    p = (struct program_params){.kind = PROGRAM_GAINS};
    check_refusal(&p, -EINVAL, "gains are of a scheme");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_product_has_the_precision_that_was_asked_for),
        cmocka_unit_test(one_gradient_and_one_update_for_each_param),
        cmocka_unit_test(
            nothing_runs_backward_below_the_lowest_block_that_learns),
        cmocka_unit_test(gradients_are_those_of_the_scheme),
        cmocka_unit_test(a_fixed_a_keeps_less),
        cmocka_unit_test(rates_are_factors_of_the_optimizer),
        cmocka_unit_test(outputs_that_no_one_reads_are_not_computed),
        cmocka_unit_test(the_arena_shrinks_with_the_scheme),
        cmocka_unit_test(arenas_are_as_small_as_what_is_live),
        cmocka_unit_test(updates_run_as_soon_as_they_can),
        cmocka_unit_test(names_what_it_wants_bound),
        cmocka_unit_test(generation_takes_the_gains_of_rows_as_states),
        cmocka_unit_test(compiles_a_deep_model),
        cmocka_unit_test(prints_itself),
        cmocka_unit_test(refuses_what_cannot_be),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, open_device, close_device);
}
