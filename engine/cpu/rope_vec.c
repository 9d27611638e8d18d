// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

#include <math.h>

struct rope {
    float *y;
    const float *x;
    const int32_t *pos;
    int64_t rows, n_heads, head_dim, half;
    enum rope_mode mode;
    int sign;
    float gain;
    double turns[CPU_HEAD_DIM_MAX / 2]; // of a circle, per position
};

// sin and cos of 2 pi t. In double until the angle is within an eighth of a
// turn, then Taylor polynomials in float: within 2e-7. No branches, so that
// the compiler makes vectors of the caller's loop.
ALWAYS_INLINE void sincos_turns(double t, float *sin_out, float *cos_out)
{
    const double magic = 6755399441055744.0; // 1.5 * 2^52: rounds to whole
    const double whole = (4.0 * t + magic) - magic;
    const float x = (float) ((t - 0.25 * whole) * 6.283185307179586);
    const double q4 = (0.25 * whole + 0.125 + magic) - magic;
    const int quarter = (int) (whole - 4.0 * q4); // -2 .. 1
    const float x2 = x * x;
    const float s =
        x + x * x2 *
                (-1.0f / 6 + x2 * (1.0f / 120 +
                                   x2 * (-1.0f / 5040 + x2 * (1.0f / 362880))));
    const float c =
        1.0f + x2 * (-0.5f + x2 * (1.0f / 24 +
                                   x2 * (-1.0f / 720 + x2 * (1.0f / 40320))));
    const float s1 = quarter & 1 ? c : s;
    const float c1 = quarter & 1 ? s : c;
    *sin_out = quarter & 2 ? -s1 : s1;
    *cos_out = (quarter + 1) & 2 ? -c1 : c1;
}

// One head: pairs are side by side, or half a head apart.
ALWAYS_INLINE void turn(float *y, const float *x, const float *c,
                        const float *s, int64_t half, bool is_pairs)
{
    int64_t i = 0;

    for (; is_pairs && i + 4 <= half; i += 4) {
        // c and s of a pair twice, and the pair the other way round.
        const v8 v = v8_load(x + 2 * i);
        const v8 cs = {c[i],     c[i],     c[i + 1], c[i + 1],
                       c[i + 2], c[i + 2], c[i + 3], c[i + 3]};
        const v8 sn = {-s[i],     s[i],     -s[i + 1], s[i + 1],
                       -s[i + 2], s[i + 2], -s[i + 3], s[i + 3]};
        const v8 w = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
        v8_store(y + 2 * i, v * cs + w * sn);
    }
    for (; !is_pairs && i + LANES <= half; i += LANES) {
        const vec a = vec_load(x + i);
        const vec b = vec_load(x + half + i);
        const vec cs = vec_load(c + i);
        const vec sn = vec_load(s + i);
        vec_store(y + i, a * cs - b * sn);
        vec_store(y + half + i, a * sn + b * cs);
    }
    for (; i < half; i++) {
        const int64_t i0 = is_pairs ? 2 * i : i;
        const int64_t i1 = is_pairs ? 2 * i + 1 : i + half;
        const float a = x[i0];
        const float b = x[i1];
        y[i0] = a * c[i] - b * s[i];
        y[i1] = a * s[i] + b * c[i];
    }
}

static void rope_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rope *r = ctx;
    const int64_t width = r->n_heads * r->head_dim;
    const int64_t unit = split_rows(width);
    const int64_t end = split_end(r->rows, unit, task);
    float c[CPU_HEAD_DIM_MAX / 2];
    float s[CPU_HEAD_DIM_MAX / 2];

    for (int64_t t = task * unit; t < end; t++) {
        const double pos = r->sign * (double) r->pos[t];
        for (int64_t i = 0; i < r->half; i++)
            sincos_turns(pos * r->turns[i], &s[i], &c[i]);
        for (int64_t i = 0; i < r->half && r->gain != 1.0f; i++) {
            s[i] *= r->gain;
            c[i] *= r->gain;
        }
        for (int64_t h = 0; h < r->n_heads; h++) {
            const float *x = r->x + t * width + h * r->head_dim;
            float *y = r->y + t * width + h * r->head_dim;
            turn(y, x, c, s, r->half, r->mode == ROPE_PAIRS);
            for (int64_t i = 2 * r->half; i < r->head_dim; i++)
                y[i] = x[i];
        }
    }
}

KERNEL_rope(VEC_NAME(rope))
{
    struct rope r = {.y = y,
                     .x = x,
                     .pos = pos,
                     .rows = rows,
                     .n_heads = n_heads,
                     .head_dim = head_dim,
                     .half = rope_dims / 2,
                     .mode = mode,
                     .sign = sign,
                     .gain = gain};
    for (int64_t i = 0; i < r.half; i++)
        r.turns[i] =
            pow((double) base, -2.0 * (double) i / (double) rope_dims) /
            (6.283185307179586 * (double) slow *
             (slower ? (double) slower[i] : 1.0));
    pool_run(pool, split_tasks(rows, split_rows(n_heads * head_dim)), rope_task,
             &r);
}
