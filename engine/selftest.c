// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/selftest.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/rng.h"
#include "engine/tensor/quant.h"
#include "engine/trial.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 33, OUT = 96, IN = 256 }; // no multiple of a tile, and of one

struct check {
    enum op op;
    enum dtype dtype; // of the weight, of a product
    enum precision precision;
    float tolerance; // of the largest value
};

static const struct check checks[] = {
    {OP_add, DTYPE_f32, PRECISION_F32, 1e-6F},
    {OP_matmul, DTYPE_f32, PRECISION_F32, 1e-3F},
    {OP_matmul, DTYPE_f16, PRECISION_BF16, 2e-2F},
    {OP_matmul, DTYPE_q8_0, PRECISION_BF16, 2e-2F},
    {OP_matmul, DTYPE_q4_0, PRECISION_BF16, 2e-2F},
    {OP_swiglu, DTYPE_f32, PRECISION_F32, 1e-4F},
};

// Two inputs, the second of which is the weight of a product, and room for
// what the device and the C kernels make of them.
struct bench {
    float a[ROWS * IN], b[OUT * IN];
    unsigned char weight[OUT * IN * sizeof(float)];
    float got[ROWS * IN], want[ROWS * IN];
};

static struct instr instr_of(const struct check *c)
{
    const struct operand o = trial_operand(REGION_ARENA, DTYPE_f32, ROWS, IN);
    struct instr in = {
        .op = (uint8_t) c->op,
        .n_in = 2,
        .n_out = 1,
        // Short, and no fault of the device if somebody asks it to stop.
        .is_tail = true,
        .in = {o, o},
        .out = {o},
    };

    if (c->op == OP_matmul) {
        in.n_in = 3;
        in.attr = (struct op_attr){.alpha = 1,
                                   .trans_b = 1,
                                   .precision = (uint8_t) c->precision};
        in.in[1] = trial_operand(REGION_WEIGHT, c->dtype, OUT, IN);
        in.out[0].ne[3] = OUT;
    }
    return in;
}

static void fill(struct bench *b, const struct check *c)
{
    struct rng r;

    rng_init(&r, 20260701, (uint64_t) c->op);
    for (int i = 0; i < ROWS * IN; i++)
        b->a[i] = (float) rng_normal(&r);
    for (int i = 0; i < OUT * IN; i++)
        b->b[i] = (float) rng_normal(&r);
    const size_t row = dtype_row_bytes(c->dtype, IN);
    for (int i = 0; i < OUT && c->op == OP_matmul; i++)
        quant_encode(c->dtype, b->weight + (size_t) i * row,
                     b->b + (size_t) i * IN, IN);
}

static int compute(float *out, const struct backend *backend,
                   struct device *dev, const struct bench *b,
                   const struct check *c, struct error *err)
{
    const struct instr in = instr_of(c);
    struct trial t;
    int rc = trial_create(&t, backend, dev, &in, b->weight, err);

    if (rc == 0 &&
        ((rc = trial_write(&t, 0, b->a)) < 0 ||
         (c->op != OP_matmul && (rc = trial_write(&t, 1, b->b)) < 0) ||
         (rc = trial_run(&t)) < 0 || (rc = trial_read(&t, 0, out)) < 0))
        rc = error_set(err, rc, "%.100s failed in its self-test, at %s: %s",
                       backend->describe(dev), op_infos[c->op].name,
                       strerror(-rc));
    trial_destroy(&t);
    return rc;
}

static float worst_of(const struct bench *b, size_t n)
{
    float largest = 0, off = 0;

    for (size_t i = 0; i < n; i++) {
        const float d = fabsf(b->want[i] - b->got[i]);
        largest = fmaxf(largest, fabsf(b->want[i]));
        if (!(d <= off))
            off = isnan(d) ? INFINITY : d;
    }
    return off / largest;
}

static int run_check(const struct backend *backend, struct device *dev,
                     struct device *cpu, struct bench *b, const struct check *c,
                     struct error *err)
{
    const size_t n = (size_t) ROWS * (c->op == OP_matmul ? OUT : IN);
    int rc;

    fill(b, c);
    if ((rc = compute(b->got, backend, dev, b, c, err)) < 0 ||
        (rc = compute(b->want, &cpu_backend, cpu, b, c, err)) < 0)
        return rc;
    if (fault_hit(FAULT_RESULT))
        b->got[n / 2] += 1;
    const float off = worst_of(b, n);
    if (off <= c->tolerance)
        return 0;
    return error_set(err, -EBADE,
                     "%.100s computes wrongly and is not used: %s%s%s is off "
                     "by %.2g of its largest value, where %.2g is allowed",
                     backend->describe(dev), op_infos[c->op].name,
                     c->op == OP_matmul ? " with " : "",
                     c->op == OP_matmul ? dtype_infos[c->dtype].name : "",
                     (double) off, (double) c->tolerance);
}

int selftest_run(struct selftest *out, const struct backend *backend,
                 struct device *dev, struct error *err)
{
    const struct device_params plain = {.threads = 1, .tier = "c"};
    struct bench *b = fault_calloc(1, sizeof(*b));
    struct device *cpu = NULL;
    int rc;

    *out = (struct selftest){0};
    if (!b)
        return error_set(err, -ENOMEM, "no memory for a self-test");
    rc = cpu_backend.open(&cpu, &plain, err);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && rc == 0; i++) {
        const struct instr in = instr_of(&checks[i]);
        if (!backend->supports(dev, &in)) {
            out->n_skipped++;
            continue;
        }
        rc = run_check(backend, dev, cpu, b, &checks[i], err);
        out->n_run++;
    }
    if (cpu)
        cpu_backend.close(cpu);
    free(b);
    return rc;
}
