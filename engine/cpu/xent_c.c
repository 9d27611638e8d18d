// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/half.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/tensor/quant.h"

#include <math.h>
#include <string.h>

// x, dx (T,C)  w (V,C)  targets, weights, nll (T)  loss (1)
//
//   z_v = x.w_v     nll = log(sum_v exp z_v) - z_target
//   dx = weight * sum_v (softmax(z)_v - [v = target]) w_v
//
// With a cap, z_v = cap * tanh(x.w_v / cap), and each w_v of dx is multiplied
// with the slope 1 - (z_v / cap)^2.

// What is needed for one token; lives in the scratch.
struct work {
    double *p;  // (V) logits, then probabilities
    double *dx; // (C)
    float *row; // (C) a decoded row of w
    float cap;  // of logits, or 0
    bool is_rounded;
};

static float rounded(const struct work *s, float x)
{
    return s->is_rounded ? bf16_to_f32(bf16_from_f32(x)) : x;
}

// x.row, before its cap
static double raw_logit(const struct work *s, const float *x, int64_t cols)
{
    double z = 0.0;
    for (int64_t i = 0; i < cols; i++)
        z += (double) rounded(s, x[i]) * rounded(s, s->row[i]);
    return z;
}

static double token_nll(const struct work *s, const float *x, const void *w,
                        enum dtype w_type, int32_t target, int64_t cols,
                        int64_t vocab)
{
    const size_t row_bytes = dtype_row_bytes(w_type, cols);
    double max = -INFINITY;
    double total = 0.0;

    for (int64_t v = 0; v < vocab; v++) {
        quant_decode(w_type, s->row, (const char *) w + (size_t) v * row_bytes,
                     cols);
        double z = raw_logit(s, x, cols);
        if (s->cap > 0)
            z = s->cap * tanh(z / s->cap);
        s->p[v] = z;
        max = z > max ? z : max;
    }
    const double z_target = s->p[target];
    for (int64_t v = 0; v < vocab; v++) {
        s->p[v] = exp(s->p[v] - max);
        total += s->p[v];
    }
    for (int64_t v = 0; v < vocab; v++)
        s->p[v] /= total;
    return max + log(total) - z_target;
}

static void token_dx(const struct work *s, float *dx, const float *x,
                     float weight, const void *w, enum dtype w_type,
                     int32_t target, int64_t cols, int64_t vocab)
{
    const size_t row_bytes = dtype_row_bytes(w_type, cols);

    memset(s->dx, 0, (size_t) cols * sizeof(*s->dx));
    for (int64_t v = 0; v < vocab; v++) {
        double dz = weight * (s->p[v] - (v == target));
        quant_decode(w_type, s->row, (const char *) w + (size_t) v * row_bytes,
                     cols);
        if (s->cap > 0) {
            const double z = tanh(raw_logit(s, x, cols) / s->cap);
            dz *= 1.0 - z * z;
        }
        if (s->is_rounded)
            dz = rounded(s, (float) dz);
        for (int64_t i = 0; i < cols; i++)
            s->dx[i] += dz * rounded(s, s->row[i]);
    }
    for (int64_t i = 0; i < cols; i++)
        dx[i] = (float) s->dx[i];
}

KERNEL_xent(xent_c)
{
    double *room = scratch;
    const struct work s = {
        .p = room,
        .dx = room + vocab,
        .row = (float *) (room + vocab + cols),
        .cap = cap,
        .is_rounded = precision == PRECISION_BF16,
    };
    double sum = 0.0;

    for (int64_t t = 0; t < rows; t++) {
        const float weight = weights[t];
        double l = 0.0;
        if (weight != 0.0f && targets[t] >= 0 && targets[t] < vocab) {
            l = token_nll(&s, x + t * cols, w, w_type, targets[t], cols, vocab);
            if (dx)
                token_dx(&s, dx + t * cols, x + t * cols, weight, w, w_type,
                         targets[t], cols, vocab);
        } else if (dx) {
            memset(dx + t * cols, 0, (size_t) cols * sizeof(*dx));
        }
        if (nll)
            nll[t] = (float) l;
        sum += (double) weight * (float) l;
    }
    if (loss)
        *loss = (float) sum;
}
