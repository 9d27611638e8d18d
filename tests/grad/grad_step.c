// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Whole steps of a tiny llama, as compiled: after every pass, in place, from
 * one arena. Gradients against finite differences of the evaluation program;
 * the learning programs against AdamW done here from those gradients.
 */

#include "tests/support/tiny.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/rng.h"

enum { PARAMS_MAX = 64, COUNT_MAX = 4096 };

struct fixture {
    struct device *dev;
    struct bank bank;
    struct model_config m;
    struct lora_spec lora;
    struct tiny_batch batch;
    uint32_t n_batch;
    struct param params[PARAMS_MAX];
    uint32_t n_params;
};

static int open_fixture(struct fixture *f, uint8_t dtype,
                        const struct lora_spec *lora)
{
    const struct device_params dp = {.threads = 2};
    memset(f, 0, sizeof(*f));
    f->m = tiny_config(dtype, 2);
    f->lora = *lora;
    f->n_batch = 2;
    assert_int_equal(cpu_backend.open(&f->dev, &dp, NULL), 0);
    bank_init(&f->bank, &cpu_backend, f->dev, 1);
    tiny_batch_make(&f->batch, 2, 13, f->m.n_vocab, 3);
    f->n_params = model_params(f->params, PARAMS_MAX, &f->m, lora);
    assert_in_range(f->n_params, 1, PARAMS_MAX);
    return 0;
}

static void close_fixture(struct fixture *f)
{
    bank_finish(&f->bank);
    cpu_backend.close(f->dev);
}

struct loaded {
    struct program *p;
    struct executor *e;
};

static struct loaded load(struct fixture *f, enum program_kind kind)
{
    const struct program_params params = {
        .kind = kind,
        .batch = f->n_batch,
        .length = f->batch.n / f->n_batch,
        .lora = f->lora,
    };
    const struct executor_params ep = bank_executor_params(&f->bank);
    struct loaded l;
    struct error err = {0};

    if (program_compile(&l.p, &f->m, &params, &cpu_backend, f->dev, &err) < 0)
        fail_msg("%s", err.text);
    if (executor_create(&l.e, l.p, &ep, &err) < 0)
        fail_msg("%s", err.text);
    tiny_batch_write(l.e, &f->batch);
    return l;
}

static void unload(struct loaded *l)
{
    executor_destroy(l->e);
    program_destroy(l->p);
}

// In doubles from the rows, so that the sum adds no rounding of its own.
static double run_loss(struct fixture *f, struct loaded *l)
{
    float nll[64];
    double sum = 0;
    assert_int_equal(executor_run(l->e), 0);
    assert_int_equal(executor_read(l->e, "nll", nll, f->batch.n * sizeof(*nll)),
                     0);
    for (uint32_t i = 0; i < f->batch.n; i++)
        sum += (double) f->batch.weights[i] * (double) nll[i];
    return sum;
}

// The loss with a parameter moved by h along u.
static double loss_at(struct fixture *f, struct loaded *eval, const char *name,
                      const float *p, const float *u, size_t n, double h)
{
    float q[COUNT_MAX];
    for (size_t i = 0; i < n; i++)
        q[i] = (float) ((double) p[i] + h * (double) u[i]);
    bank_write(&f->bank, name, q);
    return run_loss(f, eval);
}

// Central differences at h and 2h, combined so that the error is of order h^4.
static double slope(struct fixture *f, struct loaded *eval, const char *name,
                    const float *u, double h)
{
    float p[COUNT_MAX];
    double d[2];
    const size_t n = bank_count(&f->bank, name);

    bank_read(&f->bank, name, p);
    for (int i = 0; i < 2; i++) {
        const double s = h * (i + 1);
        d[i] = (loss_at(f, eval, name, p, u, n, s) -
                loss_at(f, eval, name, p, u, n, -s)) /
               (2 * s);
    }
    bank_write(&f->bank, name, p);
    return (4 * d[0] - d[1]) / 3;
}

// The derivative along the gradient itself, and along a random direction. The
// loss is about 3 and known to 1e-7 of that, steps move it by h |g|: errors
// of the difference stay below 1e-3 of |g| for |g| above 1e-3.
static void check_param(struct fixture *f, struct loaded *eval,
                        struct loaded *grad, const char *name, uint64_t seed)
{
    const size_t n = bank_count(&f->bank, name);
    float g[COUNT_MAX];
    float u[COUNT_MAX];
    char output[96];
    struct rng r;

    (void) snprintf(output, sizeof(output), "grad.%s", name);
    assert_in_range(n, 1, COUNT_MAX);
    assert_int_equal(executor_read(grad->e, output, g, n * sizeof(*g)), 0);
    double norm = 0;
    for (size_t i = 0; i < n; i++)
        norm += (double) g[i] * (double) g[i];
    norm = sqrt(norm);
    if (!(norm > 1e-4))
        fail_msg("%s: |g| = %g says nothing", name, norm);

    rng_init(&r, seed, 9);
    for (int which = 0; which < 2; which++) {
        double want = 0;
        double length = 0;
        for (size_t i = 0; i < n; i++) {
            u[i] = which ? (float) rng_normal(&r) : g[i];
            length += (double) u[i] * (double) u[i];
        }
        length = sqrt(length);
        for (size_t i = 0; i < n; i++) {
            u[i] = (float) ((double) u[i] / length);
            want += (double) u[i] * (double) g[i];
        }
        const double got = slope(f, eval, name, u, 0.004);
        if (!(fabs(got - want) < 2e-3 * norm + 2e-5))
            fail_msg("%s: slope %g, gradient says %g (|g| %g)", name, got, want,
                     norm);
    }
}

static void check_gradients(uint8_t dtype, const struct lora_spec *lora)
{
    struct fixture f;
    open_fixture(&f, dtype, lora);
    struct loaded eval = load(&f, PROGRAM_EVAL);
    struct loaded grad = load(&f, PROGRAM_GRADIENT);

    const double a = run_loss(&f, &eval);
    const double b = run_loss(&f, &grad);
    assert_true(fabs(a - b) < 1e-6);
    for (uint32_t i = 0; i < f.n_params; i++)
        check_param(&f, &eval, &grad, f.params[i].name, i);
    unload(&grad);
    unload(&eval);
    close_fixture(&f);
}

static const struct lora_spec all = {3, 6, LORA_ALL, 0};

static void gradients_of_all_linears(void **state)
{
    check_gradients(DTYPE_f32, &all);
}

static void gradients_over_a_quantised_base(void **state)
{
    check_gradients(DTYPE_q8_0, &all);
}

static void gradients_of_the_last_block(void **state)
{
    const struct lora_spec last = {2, 3, LORA_Q | LORA_V | LORA_DOWN, 1};
    check_gradients(DTYPE_f32, &last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_all_linears),
        cmocka_unit_test(gradients_over_a_quantised_base),
        cmocka_unit_test(gradients_of_the_last_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
