// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The gradient of every operator by central differences, each in a graph of
 * its own behind a cross entropy. The kernels are the plain C ones.
 */

#include "tests/support/bank.h"
#include "tests/support/test_device.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/autodiff/autodiff.h"
#include "engine/autodiff/optim.h"
#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/exec/lower.h"
#include "engine/ir/builder.h"

// A third of the slopes: sanitizers look at how they are computed, and an
// emulated GPU's kernels have cases of their own.
static bool is_brief;

enum {
    T = 6, // rows of every batch
    V = 5, // classes behind every loss
    PARAMS_MAX = 4,
    COUNT_MAX = 512,
};

// A graph under construction: the params are states "random.N".
struct ctx {
    struct builder b;
    value_id params[PARAMS_MAX];
    int n_params;
};

static value_id param(struct ctx *c, int64_t d0, int64_t d1)
{
    const struct shape s = d1 ? shape2(d0, d1) : shape1(d0);
    char name[32];
    (void) snprintf(name, sizeof(name), "random.%d", c->n_params);
    const value_id v = builder_state(&c->b, name, &s);
    c->params[c->n_params++] = v;
    return v;
}

// Random, and nobody learns it.
static value_id fixed(struct ctx *c, const char *name, int64_t d0, int64_t d1)
{
    const struct shape s = shape2(d0, d1);
    return builder_state(&c->b, name, &s);
}

static value_id index_input(struct ctx *c, const char *name)
{
    const struct shape s = shape1(T);
    return builder_input(&c->b, name, DTYPE_i32, &s);
}

// loss = cross entropy of x (T,C) against a fixed random table
static value_id loss_with_cap(struct ctx *c, value_id x, float cap)
{
    const struct op_attr attr = {.cap = cap};
    const struct shape s = shape1(T);
    value_id out[3];

    if (c->b.rc < 0)
        return VALUE_NONE;
    const int64_t width = c->b.g->values[x].shape.ne[1];
    const value_id in[] = {x, fixed(c, "random.table", V, width),
                           index_input(c, "targets"),
                           builder_input(&c->b, "weights", DTYPE_f32, &s)};
    builder_apply(&c->b, out, OP_xent, &attr, in, 4);
    builder_output(&c->b, out[0], "loss");
    builder_output(&c->b, out[1], "nll");
    return out[0];
}

static value_id loss_of(struct ctx *c, value_id x)
{
    return loss_with_cap(c, x, 0);
}

/*
 * Cases, each with a number of variants.
 */

enum { VARIANTS = 9 };

static value_id case_rmsnorm(struct ctx *c, int variant)
{
    const struct op_attr attr = {.eps = variant ? 0.5f : 1e-5f};
    if (variant > 2)
        return VALUE_NONE;
    // The last: three heads, each a row of its own.
    const value_id x = param(c, T, variant == 2 ? 12 : 7);
    return loss_of(c, builder_binary(&c->b, OP_rmsnorm, &attr, x,
                                     param(c, variant == 2 ? 4 : 7, 0)));
}

// All transpositions, with and without a summand.
static value_id case_matmul(struct ctx *c, int variant)
{
    const struct op_attr attr = {
        .alpha = 0.7f,
        .trans_a = variant & 1,
        .trans_b = variant >> 1 & 1,
    };
    if (variant > 7)
        return VALUE_NONE;
    const value_id a = attr.trans_a ? param(c, 4, T) : param(c, T, 4);
    const value_id w = attr.trans_b ? param(c, 3, 4) : param(c, 4, 3);
    const value_id s = variant & 4 ? param(c, T, 3) : VALUE_NONE;
    return loss_of(c, builder_matmul(&c->b, a, w, s, &attr));
}

static value_id case_all_rows(struct ctx *c, value_id a, value_id w,
                              value_id sum)
{
    const struct op_attr attr = {.alpha = 0.7f};
    const struct op_attr all = {.n_rows = T};
    const struct shape s = shape1(T), s4 = shape1(4);
    const value_id of[] = {a, builder_input(&c->b, "norms", DTYPE_f32, &s),
                           builder_input(&c->b, "draw", DTYPE_i32, &s4)};
    value_id xs[2] = {VALUE_NONE, VALUE_NONE};

    builder_apply(&c->b, xs, OP_choose_rows, &all, of, 3);
    const value_id in[] = {a, w, xs[0], xs[1], sum};
    return loss_of(c, builder_apply(&c->b, NULL, OP_matmul_kept, &attr, in,
                                    sum == VALUE_NONE ? 4 : 5));
}

// A sub-token of one value is that value, and all rows are all rows: nothing is
// lost, so that the gradient is exact. With and without a summand.
static value_id case_matmul_kept(struct ctx *c, int variant)
{
    const struct op_attr attr = {.alpha = 0.7f};
    const struct op_attr one = {.alpha = 1};
    const struct shape s = shape1(1);
    if (variant > 3)
        return VALUE_NONE;
    const value_id a = param(c, T, 4);
    const value_id w = param(c, 3, 4);
    const value_id sum = variant & 1 ? param(c, T, 3) : VALUE_NONE;
    if (variant & 2)
        return case_all_rows(c, a, w, sum);
    const value_id v = builder_binary(&c->b, OP_subtoken_mean, NULL, a,
                                      builder_state(&c->b, "subtoken", &s));
    const value_id z = builder_binary(&c->b, OP_subtoken_dot, &one, a, v);
    const value_id in[] = {a, w, z, v, sum};
    return loss_of(c, builder_apply(&c->b, NULL, OP_matmul_kept, &attr, in,
                                    sum == VALUE_NONE ? 4 : 5));
}

static value_id case_rope(struct ctx *c, int variant)
{
    const struct op_attr attr = {
        .rope_base = 100,
        .rope_sign = variant & 2 ? -1 : 1,
        .rope_mode = variant & 1 ? ROPE_HALVES : ROPE_PAIRS,
        .n_heads = 2,
        .head_dim = 6,
        .rope_dims = variant & 4 ? 4 : 6,
        .rope_slower = variant & 1 ? 3 : 0,
        .rope_gain = variant & 2 ? 1.5f : 0,
    };
    if (variant > 7)
        return VALUE_NONE;
    const struct shape s = shape1(attr.rope_dims / 2);
    const value_id in[] = {param(c, T, 12), index_input(c, "pos"),
                           builder_state(&c->b, "random.slower", &s)};
    return loss_of(c, builder_apply(&c->b, NULL, OP_rope, &attr, in,
                                    variant & 4 ? 3 : 2));
}

// Two query heads share a key-value head; several segments in two sequences.
static value_id case_attention(struct ctx *c, int variant)
{
    const struct op_attr attr = {
        .n_heads = 4,
        .n_kv_heads = variant ? 2 : 4,
        .head_dim = 3,
        .length = variant ? 3 : 6,
        .alpha = variant == 2 ? 0.9f : 0,
        .cap = variant == 2 || variant == 4 ? 1.2f : 0,
        .window = variant > 2 ? 2 : 0,
    };
    if (variant > 4)
        return VALUE_NONE;
    const value_id q = param(c, T, 12);
    const value_id k = param(c, T, 3 * (int64_t) attr.n_kv_heads);
    const value_id v = param(c, T, 3 * (int64_t) attr.n_kv_heads);
    const value_id in[] = {q, k, v, index_input(c, "start")};
    return loss_of(c, builder_apply(&c->b, NULL, OP_attention, &attr, in, 4));
}

static value_id case_swiglu(struct ctx *c, int variant)
{
    if (variant > 0)
        return VALUE_NONE;
    const value_id gate = param(c, T, 5);
    return loss_of(c, builder_binary(&c->b, OP_swiglu, NULL, gate,
                                     param(c, T, 5)));
}

static value_id case_geglu(struct ctx *c, int variant)
{
    if (variant > 0)
        return VALUE_NONE;
    const value_id gate = param(c, T, 5);
    return loss_of(c,
                   builder_binary(&c->b, OP_geglu, NULL, gate, param(c, T, 5)));
}

static value_id case_add_columns(struct ctx *c, int variant)
{
    const struct shape s = shape1(5);
    if (variant > 0)
        return VALUE_NONE;
    return loss_of(c,
                   builder_binary(&c->b, OP_add_columns, NULL, param(c, T, 5),
                                  builder_state(&c->b, "random.bias", &s)));
}

static value_id case_soft_cap(struct ctx *c, int variant)
{
    const struct op_attr attr = {.alpha = 1.5f};
    if (variant > 0)
        return VALUE_NONE;
    return loss_of(c, builder_unary(&c->b, OP_soft_cap, &attr, param(c, T, 5)));
}

// Both parts reach the loss, in another order, or one.
static value_id case_split(struct ctx *c, int variant)
{
    const struct op_attr attr = {.width = 3};
    value_id part[2] = {VALUE_NONE, VALUE_NONE};
    if (variant > 2)
        return VALUE_NONE;
    const value_id x = param(c, T, 6);
    builder_apply(&c->b, part, OP_split, &attr, &x, 1);
    if (variant > 0)
        return loss_of(c, part[variant - 1]);
    return loss_of(c, builder_binary(&c->b, OP_swiglu, NULL, part[1], part[0]));
}

static value_id case_join(struct ctx *c, int variant)
{
    if (variant > 0)
        return VALUE_NONE;
    const value_id a = param(c, T, 4);
    return loss_of(c, builder_binary(&c->b, OP_join, NULL, a, param(c, T, 3)));
}

// x + f(x), x + x, and plain sums: every reader's gradient must count.
static value_id case_add(struct ctx *c, int variant)
{
    const struct op_attr half = {.alpha = 0.5f};
    if (variant > 2)
        return VALUE_NONE;
    const value_id x = param(c, T, 5);
    const value_id y = variant == 0 ? param(c, T, 5)
                       : variant == 1
                           ? x
                           : builder_unary(&c->b, OP_scale, &half, x);
    return loss_of(c, builder_binary(&c->b, OP_add, NULL, x, y));
}

static value_id case_scale(struct ctx *c, int variant)
{
    const struct op_attr attr = {.alpha = -1.5f};
    if (variant > 0)
        return VALUE_NONE;
    return loss_of(c, builder_unary(&c->b, OP_scale, &attr, param(c, T, 5)));
}

// Of a matrix and of a vector, which then scales another one.
static value_id case_scale_columns(struct ctx *c, int variant)
{
    value_id w = param(c, 5, 0);
    if (variant > 1)
        return VALUE_NONE;
    if (variant == 1)
        w = builder_binary(&c->b, OP_scale_columns, NULL, w, param(c, 5, 0));
    return loss_of(c, builder_binary(&c->b, OP_scale_columns, NULL,
                                     param(c, T, 5), w));
}

// Eighths of 11 columns: some are empty, some have two.
static value_id case_columns(struct ctx *c, int variant)
{
    static const uint8_t parts[] = {0, 0x2d, 0x80, 0xff};
    if (variant > 3)
        return VALUE_NONE;
    const struct op_attr attr = {.part = parts[variant]};
    return loss_of(c, builder_unary(&c->b, OP_columns, &attr, param(c, T, 11)));
}

static value_id case_xent(struct ctx *c, int variant)
{
    return variant > 1 ? VALUE_NONE
                       : loss_with_cap(c, param(c, T, 5), variant ? 2 : 0);
}

/*
 * Running a case
 */

struct rig {
    struct device *dev;
    struct bank bank;
    struct program *p;
    struct executor *e;
    float weights[T];
};

static void write_inputs(struct rig *r)
{
    static const int32_t pos[T] = {0, 1, 2, 0, 1, 7};
    static const int32_t start[T] = {0, 0, 2, 3, 3, 4};
    static const int32_t targets[T] = {0, 4, 2, 1, 3, 3};
    const float weights[T] = {0.3f, 0.2f, 0, 0.4f, 0.1f, 0.25f};

    memcpy(r->weights, weights, sizeof(weights));
    assert_int_equal(executor_write(r->e, "targets", targets, sizeof(targets)),
                     0);
    assert_int_equal(executor_write(r->e, "weights", weights, sizeof(weights)),
                     0);
    if (program_io(r->p, "pos"))
        assert_int_equal(executor_write(r->e, "pos", pos, sizeof(pos)), 0);
    if (program_io(r->p, "draw")) {
        assert_int_equal(executor_write(r->e, "draw", pos, 4 * sizeof(*pos)),
                         0);
        assert_int_equal(executor_write(r->e, "norms", weights,
                                        sizeof(weights)),
                         0);
    }
    if (program_io(r->p, "start"))
        assert_int_equal(executor_write(r->e, "start", start, sizeof(start)),
                         0);
}

static double run_loss(struct rig *r)
{
    float nll[T];
    double sum = 0;

    assert_int_equal(executor_run(r->e), 0);
    assert_int_equal(executor_read(r->e, "nll", nll, sizeof(nll)), 0);
    for (int i = 0; i < T; i++)
        sum += (double) r->weights[i] * (double) nll[i];
    return sum;
}

static double loss_with(struct rig *r, const char *name, float *p, size_t i,
                        double h)
{
    const float before = p[i];
    p[i] = (float) ((double) before + h);
    bank_write(&r->bank, name, p);
    p[i] = before;
    return run_loss(r);
}

// Fourth-order central differences. Losses of about 2 are known to 2e-7, so
// differences over 0.02 to 1e-5; what is left of the series is below that.
static double slope(struct rig *r, const char *name, float *p, size_t i)
{
    const double h = 0.02;
    const double d1 =
        (loss_with(r, name, p, i, h) - loss_with(r, name, p, i, -h)) / (2 * h);
    const double d2 =
        (loss_with(r, name, p, i, 2 * h) - loss_with(r, name, p, i, -2 * h)) /
        (4 * h);
    bank_write(&r->bank, name, p);
    return (4 * d1 - d2) / 3;
}

static void check_param(struct rig *r, const char *op, int variant,
                        const char *name)
{
    static float g[COUNT_MAX];
    static float p[COUNT_MAX];
    const size_t n = bank_count(&r->bank, name);
    char output[48];
    double largest = 0;

    (void) snprintf(output, sizeof(output), "grad.%s", name);
    bank_read(&r->bank, name, p);
    (void) run_loss(r);
    assert_int_equal(executor_read(r->e, output, g, n * sizeof(*g)), 0);
    for (size_t i = 0; i < n; i++) {
        const double want = (double) g[i];
        largest = fmax(largest, fabs(want));
        if (is_brief && i % 3 != (size_t) variant % 3)
            continue;
        const double got = slope(r, name, p, i);
        if (!(fabs(got - want) < 4e-5 + 1e-3 * fabs(want)))
            fail_msg("%s, variant %d: %s[%zu] slope %g, gradient %g", op,
                     variant, name, i, got, want);
    }
    if (!(largest > 1e-3))
        fail_msg("%s, variant %d: %s has no gradient to speak of", op, variant,
                 name);
}

static bool check_variant(const char *op, int variant,
                          value_id (*build)(struct ctx *c, int variant))
{
    const struct device_params dp = {.threads = 1, .tier = "c"};
    struct error err = {0};
    struct ctx c = {.b = {.err = &err}};
    value_id grads[PARAMS_MAX];
    struct arena *a;
    struct rig r;

    assert_int_equal(arena_create(&a, 16u << 20), 0);
    assert_int_equal(graph_create(&c.b.g, a), 0);
    const value_id loss = build(&c, variant);
    if (loss == VALUE_NONE && c.b.rc == 0) {
        arena_destroy(a);
        return false;
    }
    if (c.b.rc < 0 ||
        autodiff(grads, c.b.g, loss, c.params, (uint32_t) c.n_params, &err) < 0)
        fail_msg("%s, variant %d: %s", op, variant, err.text);
    const struct optim_params optim = {OPTIM_OUTPUT, c.params, grads, NULL,
                                       (uint32_t) c.n_params};
    assert_int_equal(optim_apply(c.b.g, &optim, &err), 0);
    assert_int_equal(test_device_open(&r.dev, &dp, &err), 0);
    bank_init(&r.bank, test_backend(), r.dev, 5);
    if (program_compile_graph(&r.p, c.b.g, test_backend(), r.dev, &err) < 0)
        fail_msg("%s, variant %d: %s", op, variant, err.text);
    const struct executor_params ep = bank_executor_params(&r.bank);
    assert_int_equal(executor_create(&r.e, r.p, &ep, &err), 0);
    write_inputs(&r);
    for (int i = 0; i < c.n_params; i++) {
        char name[32];
        (void) snprintf(name, sizeof(name), "random.%d", i);
        check_param(&r, op, variant, name);
    }
    executor_destroy(r.e);
    program_destroy(r.p);
    bank_finish(&r.bank);
    test_backend()->close(r.dev);
    arena_destroy(a);
    return true;
}

static void check_case(const char *op,
                       value_id (*build)(struct ctx *c, int variant))
{
    int n = 0;
    for (int i = 0; i < VARIANTS; i++)
        n += check_variant(op, i, build);
    assert_in_range(n, 1, VARIANTS);
}

#define CASE(op)                               \
    static void gradient_of_##op(void **state) \
    {                                          \
        check_case(#op, case_##op);            \
    }
#define INSIDE(op, other)
#define REFUSED(op, reason)
#include "tests/grad/cases.def"
#undef CASE
#undef INSIDE
#undef REFUSED

// The vjp column must agree with the kind of case, row by row, exactly once.
static void every_operator_has_a_case(void **state)
{
    static const char *const vjps[OP_COUNT] = {
#define OP(name, in_min, in_max, n_out, shape, vjp, flags) [OP_##name] = #vjp,
#include "engine/ir/ops.def"
#undef OP
    };
    int cases[OP_COUNT] = {0};
    int refused[OP_COUNT] = {0};

#define CASE(op)            cases[OP_##op]++;
#define INSIDE(op, other)   refused[OP_##op]++, assert_true(cases[OP_##other]);
#define REFUSED(op, reason) refused[OP_##op]++;
#include "tests/grad/cases.def"
#undef CASE
#undef INSIDE
#undef REFUSED
    for (int i = 0; i < OP_COUNT; i++) {
        const bool has_vjp =
            strcmp(vjps[i], "none") != 0 && strcmp(vjps[i], "constant") != 0;
        if (cases[i] != has_vjp || refused[i] != !has_vjp)
            fail_msg("%s needs one row in cases.def that fits its vjp",
                     op_infos[i].name);
    }
}

// The table of embeddings, and nothing else, learns below the loss.
static void refuses_what_has_no_gradient(void **state)
{
    struct error err = {0};
    struct ctx c = {.b = {.err = &err}};
    value_id grads[1];
    struct arena *a;

    assert_int_equal(arena_create(&a, 16u << 20), 0);
    assert_int_equal(graph_create(&c.b.g, a), 0);
    const value_id x =
        builder_binary(&c.b, OP_embed, NULL, index_input(&c, "tokens"),
                       param(&c, 9, 5));
    const value_id loss = loss_of(&c, x);
    assert_int_equal(c.b.rc, 0);
    assert_int_equal(autodiff(grads, c.b.g, loss, c.params, 1, &err), -ENOTSUP);
    assert_string_equal(err.text, "embed has no gradient");

    const value_id apart = fixed(&c, "random.apart", 2, 2);
    assert_int_equal(autodiff(grads, c.b.g, loss, &apart, 1, &err), -EINVAL);
    assert_string_equal(err.text, "the loss does not depend on random.apart");
    arena_destroy(a);
}

// usage: grad_ops [--brief]
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_has_a_case),
#define CASE(op) cmocka_unit_test(gradient_of_##op),
#define INSIDE(op, other)
#define REFUSED(op, reason)
#include "tests/grad/cases.def"
#undef CASE
#undef INSIDE
#undef REFUSED
        cmocka_unit_test(refuses_what_has_no_gradient),
    };
    test_device_begin();
    is_brief = argc > 1 || !test_device_is_cpu();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
