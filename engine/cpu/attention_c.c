// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <math.h>
#include <string.h>

// q, o, dq, dout (T,H*D)  k, v, dk, dv (T,G*D)  lse (T,H)  start (T)
//
// Head h reads key-value head h / (H / G). Scores are q.k / sqrt(D).
//   p_ts = exp(q_t.k_s / sqrt(D) - lse_t)        o_t = sum_s p_ts v_s
// The backward pass recomputes p from lse (Dao et al., arXiv 2205.14135):
//   delta_t = dout_t.o_t       ds_ts = p_ts (dout_t.v_s - delta_t) / sqrt(D)
//   dq_t = sum_s ds_ts k_s     dk_s = sum_t ds_ts q_t     dv_s = sum_t p_ts
//   dout_t

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double) a[i] * b[i];
    return sum;
}

static void add_scaled(double *sum, double scale, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += scale * x[i];
}

static void store(float *y, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float) x[i];
}

// The first token that t sees.
static int64_t first_seen(const int32_t *start, int64_t t, int64_t length)
{
    const int64_t sequence = t - t % length;
    return start[t] > sequence ? start[t] : sequence;
}

// One query q (D) over rows first .. last of k and v, which are `stride` apart.
// `p` has room for last - first + 1 values. Returns the log-sum-exp.
static double attend(float *o, const float *q, const float *k, const float *v,
                     int64_t first, int64_t last, int64_t stride, int64_t dim,
                     double *p)
{
    double sum[CPU_HEAD_DIM_MAX] = {0};
    double max = -INFINITY;
    double total = 0.0;

    for (int64_t s = first; s <= last; s++) {
        p[s - first] = dot(q, k + s * stride, dim) / sqrt((double) dim);
        max = p[s - first] > max ? p[s - first] : max;
    }
    for (int64_t s = first; s <= last; s++) {
        const double e = exp(p[s - first] - max);
        total += e;
        add_scaled(sum, e, v + s * stride, dim);
    }
    for (int64_t i = 0; i < dim; i++)
        o[i] = total > 0.0 ? (float) (sum[i] / total) : 0.0f;
    return max + log(total);
}

KERNEL_attention(attention_c)
{
    const int64_t stride = n_kv_heads * head_dim;

    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const int64_t at = (t * n_heads + h) * head_dim;
            const int64_t kv = h / (n_heads / n_kv_heads) * head_dim;
            const double l = attend(o + at, q + at, k + kv, v + kv,
                                    first_seen(start, t, length), t, stride,
                                    head_dim, scratch);
            if (lse)
                lse[t * n_heads + h] = (float) l;
        }
}

KERNEL_attention_cached(attention_cached_c)
{
    const int64_t stride = n_kv_heads * head_dim;

    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const int64_t at = (t * n_heads + h) * head_dim;
            const int64_t kv = h / (n_heads / n_kv_heads) * head_dim;
            const int64_t last = pos[t] < length ? pos[t] : length - 1;
            attend(o + at, q + at, kcache + kv, vcache + kv, 0, last, stride,
                   head_dim, scratch);
        }
}

// What a pair of a query and a key needs from the forward pass.
struct pair {
    double p;
    double ds;
};

static struct pair pair_grad(const float *qt, const float *ks, const float *vs,
                             const float *ot, const float *dot_, double lse,
                             int64_t dim)
{
    const double scale = 1.0 / sqrt((double) dim);
    const double p = exp(dot(qt, ks, dim) * scale - lse);
    const double ds = p * (dot(dot_, vs, dim) - dot(dot_, ot, dim)) * scale;
    return (struct pair){p, ds};
}

KERNEL_attention_back(attention_back_c)
{
    const int64_t group = n_heads / n_kv_heads;

    if (dq)
        for (int64_t t = 0; t < rows; t++)
            for (int64_t h = 0; h < n_heads; h++) {
                const int64_t at = (t * n_heads + h) * head_dim;
                double sum[CPU_HEAD_DIM_MAX] = {0};
                for (int64_t s = first_seen(start, t, length); s <= t; s++) {
                    const int64_t kv = (s * n_kv_heads + h / group) * head_dim;
                    const struct pair g =
                        pair_grad(q + at, k + kv, v + kv, o + at, dout + at,
                                  lse[t * n_heads + h], head_dim);
                    add_scaled(sum, g.ds, k + kv, head_dim);
                }
                store(dq + at, sum, head_dim);
            }

    for (int64_t s = 0; s < rows; s++)
        for (int64_t j = 0; j < n_kv_heads; j++) {
            const int64_t kv = (s * n_kv_heads + j) * head_dim;
            const int64_t end = s - s % length + length;
            double sum_k[CPU_HEAD_DIM_MAX] = {0};
            double sum_v[CPU_HEAD_DIM_MAX] = {0};
            for (int64_t t = s; t < end && t < rows; t++)
                for (int64_t h = j * group; h < (j + 1) * group; h++) {
                    if (s < first_seen(start, t, length))
                        continue;
                    const int64_t at = (t * n_heads + h) * head_dim;
                    const struct pair g =
                        pair_grad(q + at, k + kv, v + kv, o + at, dout + at,
                                  lse[t * n_heads + h], head_dim);
                    add_scaled(sum_k, g.ds, q + at, head_dim);
                    add_scaled(sum_v, g.p, dout + at, head_dim);
                }
            if (dk)
                store(dk + kv, sum_k, head_dim);
            if (dv)
                store(dv + kv, sum_v, head_dim);
        }
}
