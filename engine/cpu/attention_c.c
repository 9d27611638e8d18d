// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/half.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/ints.h"

#include <math.h>
#include <string.h>

// q, o, dq, dout (T,H*D)  k, v, dk, dv (T,G*D)  lse (T,H)  start (T)
//
// Head h reads key-value head h / (H / G). Scores are z = scale q.k, or cap
// tanh(z / cap), whose slope is 1 - (score / cap)^2.
//   p_ts = exp(score_ts - lse_t)                 o_t = sum_s p_ts v_s
// The backward pass recomputes p from lse (Dao et al., arXiv 2205.14135):
//   delta_t = dout_t.o_t    ds_ts = p_ts (dout_t.v_s - delta_t) slope_ts scale
//   dq_t = sum_s ds_ts k_s     dk_s = sum_t ds_ts q_t     dv_s = sum_t p_ts
//   dout_t
// Rounding: q is rounded as scale q, p and ds as they enter sums, ds before
// its factor scale; delta and lse are not.

static double round_if(bool is_rounded, double x)
{
    return is_rounded ? (double) bf16_to_f32(bf16_from_f32((float) x)) : x;
}

// (scale * a).b
static double dot(const float *a, double scale, const float *b, int64_t n,
                  bool is_rounded)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += round_if(is_rounded, scale * a[i]) *
               round_if(is_rounded, (double) b[i]);
    return sum;
}

// sum += weight * (scale * x)
static void add_scaled(double *sum, double weight, double scale, const float *x,
                       int64_t n, bool is_rounded)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] +=
            round_if(is_rounded, weight) * round_if(is_rounded, scale * x[i]);
}

static void store(float *y, double scale, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float) (scale * x[i]);
}

// The first that is within the window of t.
static int64_t window_start(struct cpu_scores s, int64_t t)
{
    return s.window > 0 ? t - s.window + 1 : 0;
}

// The first token that t sees.
static int64_t first_seen(const int32_t *start, int64_t t, int64_t length,
                          struct cpu_scores s)
{
    return max(max(start[t], t - t % length), window_start(s, t));
}

static double score(struct cpu_scores s, const float *q, const float *k,
                    int64_t dim, bool is_rounded)
{
    const double z = dot(q, s.scale, k, dim, is_rounded);
    return s.cap > 0 ? s.cap * tanh(z / s.cap) : z;
}

// One query q (D) over rows first .. last of k and v, which are `stride` apart.
// `p` has room for last - first + 1 values. Returns the log-sum-exp.
static double attend(float *o, const float *q, const float *k, const float *v,
                     int64_t first, int64_t last, int64_t stride, int64_t dim,
                     struct cpu_scores how, bool is_rounded, double *p)
{
    double sum[CPU_HEAD_DIM_MAX] = {0};
    double top = -INFINITY;
    double total = 0.0;

    for (int64_t s = first; s <= last; s++) {
        p[s - first] = score(how, q, k + s * stride, dim, is_rounded);
        top = p[s - first] > top ? p[s - first] : top;
    }
    for (int64_t s = first; s <= last; s++) {
        const double e = exp(p[s - first] - top);
        total += e;
        add_scaled(sum, e, 1.0, v + s * stride, dim, is_rounded);
    }
    for (int64_t i = 0; i < dim; i++)
        o[i] = total > 0.0 ? (float) (sum[i] / total) : 0.0f;
    return top + log(total);
}

KERNEL_attention(attention_c)
{
    const int64_t stride = n_kv_heads * head_dim;

    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const int64_t at = (t * n_heads + h) * head_dim;
            const int64_t kv = h / (n_heads / n_kv_heads) * head_dim;
            const double l =
                attend(o + at, q + at, k + kv, v + kv,
                       first_seen(start, t, length, scores), t, stride,
                       head_dim, scores, precision == PRECISION_BF16, scratch);
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
            attend(o + at, q + at, kcache + kv, vcache + kv,
                   max(0, window_start(scores, last)), last, stride, head_dim,
                   scores, false, scratch);
        }
}

// What a pair of a query and a key needs from the forward pass; ds without its
// factor `scale`.
struct pair {
    double p;
    double ds;
};

static struct pair pair_grad(const float *qt, const float *ks, const float *vs,
                             const float *ot, const float *dot_, double lse,
                             int64_t dim, struct cpu_scores how,
                             bool is_rounded)
{
    const double z = score(how, qt, ks, dim, is_rounded);
    const double p = exp(z - lse);
    const double slope = how.cap > 0 ? 1.0 - z / how.cap * (z / how.cap) : 1.0;
    const double delta = dot(dot_, 1.0, ot, dim, false);
    const double ds = p * (dot(dot_, 1.0, vs, dim, is_rounded) - delta);
    return (struct pair){p, ds * slope};
}

KERNEL_attention_back(attention_back_c)
{
    const int64_t group = n_heads / n_kv_heads;
    const double root = scores.scale;
    const bool is_rounded = precision == PRECISION_BF16;

    if (dq)
        for (int64_t t = 0; t < rows; t++)
            for (int64_t h = 0; h < n_heads; h++) {
                const int64_t at = (t * n_heads + h) * head_dim;
                double sum[CPU_HEAD_DIM_MAX] = {0};
                for (int64_t s = first_seen(start, t, length, scores); s <= t;
                     s++) {
                    const int64_t kv = (s * n_kv_heads + h / group) * head_dim;
                    const struct pair g =
                        pair_grad(q + at, k + kv, v + kv, o + at, dout + at,
                                  lse[t * n_heads + h], head_dim, scores,
                                  is_rounded);
                    add_scaled(sum, g.ds, 1.0, k + kv, head_dim, is_rounded);
                }
                store(dq + at, root, sum, head_dim);
            }

    for (int64_t s = 0; s < rows; s++)
        for (int64_t j = 0; j < n_kv_heads; j++) {
            const int64_t kv = (s * n_kv_heads + j) * head_dim;
            const int64_t end = s - s % length + length;
            double sum_k[CPU_HEAD_DIM_MAX] = {0};
            double sum_v[CPU_HEAD_DIM_MAX] = {0};
            for (int64_t t = s; t < end && t < rows; t++)
                for (int64_t h = j * group; h < (j + 1) * group; h++) {
                    if (s < first_seen(start, t, length, scores))
                        continue;
                    const int64_t at = (t * n_heads + h) * head_dim;
                    const struct pair g =
                        pair_grad(q + at, k + kv, v + kv, o + at, dout + at,
                                  lse[t * n_heads + h], head_dim, scores,
                                  is_rounded);
                    add_scaled(sum_k, g.ds, root, q + at, head_dim, is_rounded);
                    add_scaled(sum_v, g.p, 1.0, dout + at, head_dim,
                               is_rounded);
                }
            if (dk)
                store(dk + kv, 1.0, sum_k, head_dim);
            if (dv)
                store(dv + kv, 1.0, sum_v, head_dim);
        }
}
