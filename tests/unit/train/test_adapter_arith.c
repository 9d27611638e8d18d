// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Sums and comparisons of adapters, against the same made of whole weights.
 */

#include "engine/train/adapter_arith.h"

#include "engine/base/error.h"
#include "engine/base/rng.h"
#include "engine/engine_inside.h"
#include "engine/models/scheme_text.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_merge.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct engine *engine;
static struct engine_model *model;
static const struct model_config *config;

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%d: %s", rc, err->text);
}

static int open_model(void **state)
{
    const struct engine_params params = {.threads = 1};
    const int fd = tinyfile_create(4);
    struct error err;

    ok(engine_create(&engine, &params, &err), &err);
    ok(engine_model_open(&model, engine, fd, &err), &err);
    config = &model->base->config;
    close(fd);
    return 0;
}

static int close_model(void **state)
{
    engine_model_close(model);
    engine_destroy(engine);
    return 0;
}

static struct adapter *make(const char *text, unsigned rank, uint64_t seed)
{
    const struct scheme_defaults defaults = {rank, 6};
    struct scheme scheme;
    struct adapter *a;
    struct error err;
    struct rng r;

    ok(scheme_parse(&scheme, text, strlen(text), &defaults, config, &err),
       &err);
    ok(adapter_create(&a, config, &scheme, NULL, &err), &err);
    rng_init(&r, seed, 3);
    for (size_t i = 0; i < adapter_floats(a); i++)
        a->data[i] = 0.1f * (float) rng_normal(&r);
    return a;
}

// Adds `weight` times what the adapter adds to a linear: (O,I).
static void add_dense(double *w, const struct adapter *a, uint32_t block,
                      uint32_t linear, double weight)
{
    int64_t ne[2];

    model_linear_shape(ne, config, (enum model_linear) linear);
    for (uint32_t i = 0; i + 1 < a->n_params; i++) {
        const struct param *p = &a->params[i];
        if (p->block != block || p->linear != linear || p->kind != PARAM_LORA_A)
            continue;
        const float *la = adapter_param(a, i), *lb = adapter_param(a, i + 1);
        const int64_t rank = p->ne[0];
        const double scale =
            weight * (double) scheme_lora_scale(&a->scheme, (uint32_t) rank);
        for (int64_t o = 0; o < ne[0]; o++)
            for (int64_t k = 0; k < ne[1]; k++)
                for (int64_t r = 0; r < rank; r++)
                    w[o * ne[1] + k] += scale * (double) lb[o * rank + r] *
                                        (double) la[r * ne[1] + k];
    }
}

// Sum of products of what both add, over all linears, or one block.
static double product(const struct adapter *a, const struct adapter *b,
                      uint32_t from, uint32_t to)
{
    double sum = 0;

    for (uint32_t i = from * MODEL_LINEARS; i < to * MODEL_LINEARS; i++) {
        int64_t ne[2];
        model_linear_shape(ne, config, (enum model_linear)(i % MODEL_LINEARS));
        const size_t n = (size_t) (ne[0] * ne[1]);
        double *x = calloc(n, sizeof *x), *y = calloc(n, sizeof *y);
        add_dense(x, a, i / MODEL_LINEARS, i % MODEL_LINEARS, 1);
        add_dense(y, b, i / MODEL_LINEARS, i % MODEL_LINEARS, 1);
        for (size_t k = 0; k < n; k++)
            sum += x[k] * y[k];
        free(x);
        free(y);
    }
    return sum;
}

// |parts - a| / |parts|, of whole weights.
static double distance(const struct adapter_part *parts, unsigned n_parts,
                       const struct adapter *a)
{
    double left = 0, all = 0;

    for (uint32_t i = 0; i < config->n_blocks * MODEL_LINEARS; i++) {
        int64_t ne[2];
        model_linear_shape(ne, config, (enum model_linear)(i % MODEL_LINEARS));
        const size_t n = (size_t) (ne[0] * ne[1]);
        double *x = calloc(n, sizeof *x);
        for (unsigned p = 0; p < n_parts; p++)
            add_dense(x, parts[p].a, i / MODEL_LINEARS, i % MODEL_LINEARS,
                      parts[p].weight);
        for (size_t k = 0; k < n; k++)
            all += x[k] * x[k];
        add_dense(x, a, i / MODEL_LINEARS, i % MODEL_LINEARS, -1);
        for (size_t k = 0; k < n; k++)
            left += x[k] * x[k];
        free(x);
    }
    return all > 0 ? sqrt(left / all) : sqrt(left);
}

static void sums_are_exact_where_ranks_fit(void **state)
{
    struct adapter *a = make("lora-all", 3, 1), *b = make("rslora:1", 5, 2);
    const struct adapter_part parts[] = {{a, 0.7}, {b, -0.4}};
    struct adapter *sum;
    struct error err;
    double left;

    for (unsigned rank = 8; rank <= 11; rank += 3) {
        ok(adapter_sum(&sum, &left, parts, 2, config, rank, &err), &err);
        assert_true(left == 0);
        assert_int_equal(sum->scheme.linears[0][0].rank, rank);
        assert_true(distance(parts, 2, sum) < 1e-6);
        ok(adapter_check_lora(sum, "GGUF", &err), &err);
        adapter_destroy(sum);
    }
    adapter_destroy(a);
    adapter_destroy(b);
}

// The same that the whole differences' decomposition gives, and what is said
// to be left out is.
static void shorter_sums_keep_the_largest_singular_values(void **state)
{
    struct adapter *a = make("lora-all", 3, 1), *b = make("lora-all", 5, 2);
    const struct adapter_part parts[] = {{a, 0.5}, {b, 0.5}};
    struct adapter *exact, *sum, *best;
    struct error err;
    double left, before = 1;

    ok(adapter_sum(&exact, &left, parts, 2, config, 8, &err), &err);
    for (unsigned rank = 1; rank < 8; rank += 2) {
        double best_left;
        ok(adapter_sum(&sum, &left, parts, 2, config, rank, &err), &err);
        ok(adapter_to_lora(&best, &best_left, exact, config, model->base->file,
                           rank, &err),
           &err);
        assert_true(fabs(left - best_left) < 1e-4);
        assert_true(fabs(left - distance(parts, 2, sum)) < 1e-5);
        assert_true(left < before && left > 0.01);
        before = left;
        adapter_destroy(sum);
        adapter_destroy(best);
    }
    adapter_destroy(exact);
    adapter_destroy(a);
    adapter_destroy(b);
}

static void what_is_twice_there_needs_no_more_rank(void **state)
{
    struct adapter *a = make("lora-all", 4, 1);
    const struct adapter_part same[] = {{a, 0.25}, {a, 0.25}, {a, 0.5}};
    const struct adapter_part none[] = {{a, 1}, {a, -1}};
    struct adapter *sum;
    struct error err;
    double left;

    ok(adapter_sum(&sum, &left, same, 3, config, 4, &err), &err);
    assert_true(left < 1e-7);
    assert_true(distance(&(struct adapter_part){a, 1}, 1, sum) < 1e-5);
    adapter_destroy(sum);
    ok(adapter_sum(&sum, &left, none, 2, config, 4, &err), &err);
    for (size_t i = 0; i < adapter_floats(sum); i++)
        assert_true(fabs((double) sum->data[i]) < 1e-6);
    adapter_destroy(sum);
    adapter_destroy(a);
}

static void comparisons_are_those_of_whole_weights(void **state)
{
    struct adapter *a = make("lora-all", 3, 1), *b = make("rslora:1", 5, 2);
    struct adapter_difference *d;
    uint32_t n_blocks, n_linears;
    struct error err;

    ok(engine_adapter_compare(&d, &n_blocks, &n_linears, a, b, model, &err),
       &err);
    for (uint32_t i = 0; i < n_blocks; i++) {
        struct adapter_difference sum = {0};
        for (uint32_t l = 0; l < n_linears; l++) {
            sum.aa += d[i * n_linears + l].aa;
            sum.ab += d[i * n_linears + l].ab;
            sum.bb += d[i * n_linears + l].bb;
        }
        const double aa = product(a, a, i, i + 1);
        const double bb = product(b, b, i, i + 1);
        assert_true(fabs(sum.aa - aa) < 1e-9 * aa);
        assert_true(fabs(sum.bb - bb) <= 1e-9 * bb);
        assert_true(fabs(sum.ab - product(a, b, i, i + 1)) <=
                    1e-9 * sqrt(aa * bb));
        // rslora:1 learns in the last block alone.
        assert_true((bb > 0) == (i + 1 == n_blocks));
    }
    free(d);
    adapter_destroy(a);
    adapter_destroy(b);
}

static void what_is_no_lora_is_refused(void **state)
{
    struct adapter *a = make("lora-all", 3, 1), *b = make("dora", 3, 2);
    const struct adapter_part parts[] = {{a, 1}, {b, 1}};
    const struct adapter_part nan[] = {{a, (double) NAN}};
    struct adapter_difference *d;
    struct adapter *sum;
    uint32_t n;
    struct error err = {0};
    double left;

    assert_int_equal(adapter_sum(&sum, &left, parts, 2, config, 8, &err),
                     -ENOTSUP);
    assert_non_null(strstr(err.text, "DoRA"));
    assert_int_equal(engine_adapter_compare(&d, &n, &n, a, b, model, &err),
                     -ENOTSUP);
    assert_int_equal(adapter_sum(&sum, &left, parts, 1, config, 0, &err),
                     -EINVAL);
    assert_int_equal(adapter_sum(&sum, &left, nan, 1, config, 8, &err),
                     -EINVAL);
    adapter_destroy(a);
    adapter_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_exact_where_ranks_fit),
        cmocka_unit_test(shorter_sums_keep_the_largest_singular_values),
        cmocka_unit_test(what_is_twice_there_needs_no_more_rank),
        cmocka_unit_test(comparisons_are_those_of_whole_weights),
        cmocka_unit_test(what_is_no_lora_is_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
