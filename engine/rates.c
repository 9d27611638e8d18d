// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/rates.h"

#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/tensor/quant.h"
#include "engine/trial.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SUM_COLUMNS = 1024, SUM_ROWS = 4096 };

// The first one that takes long enough to be timed well counts.
static const struct size {
    int64_t m, n, k;
} sizes[] = {{256, 1024, 1024}, {2048, 4096, 4096}};

#define SHORT_NS 1e6

// Nanoseconds of the fastest run.
static int time_best(double *out, struct trial *t, double seconds)
{
    const uint64_t begin = clock_monotonic_ns();
    uint64_t now = begin;
    int rc = trial_run(t); // what is compiled, or mapped, at the first use

    *out = INFINITY;
    while (rc == 0 && (double) (now - begin) < seconds * 1e9) {
        const uint64_t from = clock_monotonic_ns();
        rc = trial_run(t);
        now = clock_monotonic_ns();
        *out = fmin(*out, (double) (now - from));
    }
    // One run alone may have taken all the time.
    if (rc == 0 && isinf(*out)) {
        now = clock_monotonic_ns();
        rc = trial_run(t);
        *out = (double) (clock_monotonic_ns() - now);
    }
    return rc;
}

static int time_instr(double *ns, const struct backend *backend,
                      struct device *dev, const struct instr *in,
                      const void *weight, double seconds, struct error *err)
{
    struct trial t;
    int rc = trial_create(&t, backend, dev, in, weight, err);

    if (rc == 0 && (rc = time_best(ns, &t, seconds)) < 0)
        rc = error_set(err, rc, "the device failed when it was timed: %s",
                       strerror(-rc));
    trial_destroy(&t);
    return rc;
}

static void *make_weight(const struct size *s)
{
    const size_t row = dtype_row_bytes(DTYPE_f16, s->k);
    float *values = calloc((size_t) s->k, sizeof(*values));
    unsigned char *w = values ? malloc((size_t) s->n * row) : NULL;

    if (w) {
        for (int64_t i = 0; i < s->k; i++)
            values[i] = (float) (i % 7 - 3) / 16;
        quant_encode(DTYPE_f16, w, values, s->k);
        for (int64_t i = 1; i < s->n; i++)
            memcpy(w + (size_t) i * row, w, row);
    }
    free(values);
    return w;
}

static int time_product(double *flops, const struct backend *backend,
                        struct device *dev, const struct size *s,
                        double seconds, struct error *err)
{
    const struct instr in = {
        .op = OP_matmul,
        .n_in = 3,
        .n_out = 1,
        .attr = {.alpha = 1, .trans_b = 1, .precision = PRECISION_BF16},
        .in = {trial_operand(REGION_ARENA, DTYPE_f32, s->m, s->k),
               trial_operand(REGION_WEIGHT, DTYPE_f16, s->n, s->k)},
        .out = {trial_operand(REGION_ARENA, DTYPE_f32, s->m, s->n)},
    };
    double ns = 0;
    void *weight = make_weight(s);

    if (!weight)
        return error_set(err, -ENOMEM, "no memory to time a device");
    int rc = time_instr(&ns, backend, dev, &in, weight, seconds, err);
    free(weight);
    if (rc < 0)
        return rc;
    *flops = 2.0 * (double) s->m * (double) s->n * (double) s->k / ns * 1e9;
    return ns < SHORT_NS ? 1 : 0;
}

static int time_sum(double *bytes_s, const struct backend *backend,
                    struct device *dev, double seconds, struct error *err)
{
    const struct operand o =
        trial_operand(REGION_ARENA, DTYPE_f32, SUM_ROWS, SUM_COLUMNS);
    const struct instr in = {
        .op = OP_add,
        .n_in = 2,
        .n_out = 1,
        .in = {o, o},
        .out = {o},
    };
    double ns = 0;
    int rc = time_instr(&ns, backend, dev, &in, NULL, seconds, err);

    if (rc == 0)
        *bytes_s = 3.0 * (double) trial_bytes(&o) / ns * 1e9;
    return rc;
}

int rates_measure(struct rates *out, const struct backend *backend,
                  struct device *dev, double seconds, struct error *err)
{
    int rc = 1;

    *out = (struct rates){0};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && rc > 0; i++)
        rc = time_product(&out->flops, backend, dev, &sizes[i], seconds, err);
    return rc < 0 ? rc : time_sum(&out->bytes_s, backend, dev, seconds, err);
}
