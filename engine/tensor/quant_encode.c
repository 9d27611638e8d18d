// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Types with one scale for 32 values are written as every other writer of GGUF
 * writes them, byte by byte. For the others a grid is sought for each group of
 * values (fit_grid, fit_levels), the grids' scales are written in six bits or
 * so, and the numbers are chosen last, for the scales as they were written.
 */

#include "engine/base/half.h"
#include "engine/tensor/quant.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = 32, GROUP = 16, SUPER = 256 };

// `x` rounded half away from zero and clamped; 0 for NaN, so that a weight
// that is not finite cannot make the conversion undefined.
static int round_to(float x, int lo, int hi)
{
    x = roundf(x);
    if (!(x >= (float) lo))
        return isnan(x) ? 0 : lo;
    return x > (float) hi ? hi : (int) x;
}

// The same for searches, without a call: what lies a rounding below a half may
// go up.
static int nearest(float x, int lo, int hi)
{
    if (!(x > (float) lo))
        return isnan(x) ? 0 : lo;
    return x >= (float) hi ? hi : (int) (x < 0 ? x - 0.5f : x + 0.5f);
}

static float inverse_of(float d)
{
    return d != 0 ? 1.0f / d : 0.0f;
}

// The value of largest magnitude, with its sign.
static float peak_of(const float *x, int n)
{
    float most = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    return most;
}

static void encode_f32(float *b, const float *x)
{
    *b = *x;
}

static void encode_f16(uint16_t *b, const float *x)
{
    *b = half_from_f32(*x);
}

static void encode_bf16(uint16_t *b, const float *x)
{
    *b = bf16_from_f32(*x);
}

// The scale maps the largest magnitude to 127. The quotient uses the scale
// before it is rounded to binary16, as every other writer of GGUF does.
static void encode_q8_0(struct quant_q8_0 *b, const float *x)
{
    const float d = fabsf(peak_of(x, BLOCK)) / 127.0f;
    const float inverse = inverse_of(d);

    b->d = half_from_f32(d);
    for (int i = 0; i < BLOCK; i++)
        b->q[i] = (int8_t) round_to(x[i] * inverse, -127, 127);
}

// Numbers 0 to `most` of x * inverse + shift, which is half a step up already.
static void put_numbers(uint8_t q[BLOCK], const float *x, float inverse,
                        float shift, int most)
{
    for (int i = 0; i < BLOCK; i++)
        q[i] = (uint8_t) round_to(floorf(x[i] * inverse + shift), 0, most);
}

static void put_nibbles(uint8_t out[16], const uint8_t q[BLOCK])
{
    for (int i = 0; i < 16; i++)
        out[i] = (uint8_t) ((q[i] & 15) | q[16 + i] << 4);
}

static void put_fifth(uint8_t high[4], const uint8_t q[BLOCK])
{
    memset(high, 0, 4);
    for (int i = 0; i < BLOCK; i++)
        high[i / 8] |= (uint8_t) ((q[i] >> 4 & 1) << i % 8);
}

// The value of largest magnitude becomes exactly -8 * d, whatever its sign:
// four bits have one more step below zero than above.
static void encode_q4_0(struct quant_q4_0 *b, const float *x)
{
    const float d = peak_of(x, BLOCK) / -8.0f;
    uint8_t q[BLOCK];

    b->d = half_from_f32(d);
    put_numbers(q, x, inverse_of(d), 8.5f, 15);
    put_nibbles(b->q, q);
}

static void encode_q5_0(struct quant_q5_0 *b, const float *x)
{
    const float d = peak_of(x, BLOCK) / -16.0f;
    uint8_t q[BLOCK];

    b->d = half_from_f32(d);
    put_numbers(q, x, inverse_of(d), 16.5f, 31);
    put_nibbles(b->q, q);
    put_fifth(b->high, q);
}

// From the smallest value to the largest.
static void range_of(float *lo, float *hi, const float *x, int n)
{
    *lo = *hi = x[0];
    for (int i = 1; i < n; i++) {
        *lo = x[i] < *lo ? x[i] : *lo;
        *hi = x[i] > *hi ? x[i] : *hi;
    }
}

// Numbers 0 .. top from the smallest value to the largest.
static void put_range(uint16_t *d_out, uint16_t *m_out, uint8_t q[BLOCK],
                      const float *x, int top)
{
    float lo, hi;

    range_of(&lo, &hi, x, BLOCK);
    const float d = (hi - lo) / (float) top;
    const float inverse = inverse_of(d);
    *d_out = half_from_f32(d);
    *m_out = half_from_f32(lo);
    for (int i = 0; i < BLOCK; i++)
        q[i] = (uint8_t) round_to(floorf((x[i] - lo) * inverse + 0.5f), 0, top);
}

static void encode_q4_1(struct quant_q4_1 *b, const float *x)
{
    uint8_t q[BLOCK];

    put_range(&b->d, &b->m, q, x, 15);
    put_nibbles(b->q, q);
}

static void encode_q5_1(struct quant_q5_1 *b, const float *x)
{
    uint8_t q[BLOCK];

    put_range(&b->d, &b->m, q, x, 31);
    put_nibbles(b->q, q);
    put_fifth(b->high, q);
}

/*
 * Searches. Each candidate chooses the numbers, least squares choose the best
 * scale for them, and the candidate with the smallest error wins.
 */

// The entry of the table next to x.
static uint8_t iq4_number(float x)
{
    uint8_t q = 0;
    for (uint8_t step = 8; step > 0; step /= 2) {
        const int8_t *at = &quant_iq4_table[q + step];
        if (2.0f * x > (float) (at[-1] + at[0]))
            q += step;
    }
    return q;
}

// The largest value meets one end of the table or the other, or is beyond it
// or short of it by up to a fifth.
static void encode_iq4_nl(struct quant_iq4_nl *b, const float *x)
{
    const float peak = peak_of(x, BLOCK);
    float best = 0, d = 0;
    uint8_t q[BLOCK];

    for (int t = -5; t <= 5; t++)
        for (int end = 0; end < 16; end += 15) {
            const float inverse = inverse_of(peak) *
                                  (float) quant_iq4_table[end] *
                                  (1.0f + 0.04f * (float) t);
            float xv = 0, vv = 0;
            for (int i = 0; i < BLOCK; i++) {
                const float v = quant_iq4_table[iq4_number(x[i] * inverse)];
                xv += x[i] * v;
                vv += v * v;
            }
            if (xv * xv > best * vv) {
                best = xv * xv / vv;
                d = xv / vv;
            }
        }
    b->d = half_from_f32(d);
    const float inverse = inverse_of(half_to_f32(b->d));
    for (int i = 0; i < BLOCK; i++)
        q[i] = iq4_number(x[i] * inverse);
    put_nibbles(b->q, q);
}

// x = s * q + lo, q from 0 to a number of steps; lo is not positive.
struct grid {
    float s, lo;
};

// Least squares for the numbers that the grid g gives; their squared error.
static float refit(struct grid *g, const float *x, int n, int steps)
{
    const float inverse = inverse_of(g->s);
    float q[BLOCK];
    float sq = 0, sqq = 0, sx = 0, sxq = 0, error = 0;

    for (int i = 0; i < n; i++) {
        q[i] = (float) nearest((x[i] - g->lo) * inverse, 0, steps);
        sq += q[i];
        sqq += q[i] * q[i];
        sx += x[i];
        sxq += x[i] * q[i];
    }
    const float det = (float) n * sqq - sq * sq;
    if (det > 0) {
        g->s = ((float) n * sxq - sq * sx) / det;
        g->lo = (sqq * sx - sq * sxq) / det;
    }
    if (g->lo > 0 && sqq > 0) {
        g->lo = 0;
        g->s = sxq / sqq;
    }
    for (int i = 0; i < n; i++) {
        const float e = g->s * q[i] + g->lo - x[i];
        error += e * e;
    }
    return error;
}

static struct grid fit_grid(const float *x, int n, int steps)
{
    struct grid best = {0, 0};
    float lo, hi, least = INFINITY;

    range_of(&lo, &hi, x, n);
    lo = lo < 0 ? lo : 0;
    // From a grid that is finer than the range to one that is wider.
    for (int t = -6; t <= 10; t++) {
        struct grid g = {(hi - lo) / ((float) steps + 0.1f * (float) t), lo};
        const float error = refit(&g, x, n, steps);
        if (error < least && g.s >= 0 && g.lo <= 0) {
            least = error;
            best = g;
        }
    }
    return best;
}

// The scale of x = s * q, q from -steps to steps - 1; of either sign, so that
// the end with one step more is where the largest value is.
static float fit_levels(const float *x, int n, int steps)
{
    const float inverse = inverse_of(peak_of(x, n));
    float best = 0, s = 0;

    for (int t = -10; t <= 10; t++) {
        const float by = -inverse * ((float) steps + 0.1f * (float) t);
        float xq = 0, qq = 0;
        for (int i = 0; i < n; i++) {
            const float q = (float) nearest(x[i] * by, -steps, steps - 1);
            xq += x[i] * q;
            qq += q * q;
        }
        if (xq * xq > best * qq) {
            best = xq * xq / qq;
            s = xq / qq;
        }
    }
    return s;
}

/*
 * Blocks of 256
 */

// Number i of a group on the grid s * q + lo.
static int number_of(float x, float s, float lo, int steps)
{
    return nearest((x - lo) * inverse_of(s), 0, steps);
}

// Grids of the groups of a block, and the largest of their scales and minima
// in units of which they are written.
struct grids {
    struct grid g[GROUP];
    uint16_t d, m; // binary16
    uint8_t s[GROUP], t[GROUP];
};

static void fit_grids(struct grids *out, const float *x, int group, int steps,
                      int most)
{
    float s = 0, t = 0;

    for (int j = 0; j < SUPER / group; j++) {
        out->g[j] = fit_grid(x + (ptrdiff_t) j * group, group, steps);
        s = fmaxf(s, out->g[j].s);
        t = fmaxf(t, -out->g[j].lo);
    }
    out->d = half_from_f32(s / (float) most);
    out->m = half_from_f32(t / (float) most);
    const float per_s = inverse_of(half_to_f32(out->d));
    const float per_t = inverse_of(half_to_f32(out->m));
    for (int j = 0; j < SUPER / group; j++) {
        struct grid *g = &out->g[j];
        out->s[j] = (uint8_t) round_to(g->s * per_s, 0, most);
        out->t[j] = (uint8_t) round_to(-g->lo * per_t, 0, most);
        g->s = half_to_f32(out->d) * out->s[j];
        g->lo = -half_to_f32(out->m) * out->t[j];
    }
}

static void put_scales_6(uint8_t scales[12], const struct grids *g)
{
    for (int j = 0; j < 4; j++) {
        scales[j] = (uint8_t) (g->s[j] | g->s[4 + j] >> 4 << 6);
        scales[4 + j] = (uint8_t) (g->t[j] | g->t[4 + j] >> 4 << 6);
        scales[8 + j] = (uint8_t) ((g->s[4 + j] & 15) | g->t[4 + j] << 4);
    }
}

static void encode_q4_k(struct quant_q4_k *b, const float *x)
{
    struct grids g;

    memset(b, 0, sizeof(*b));
    fit_grids(&g, x, BLOCK, 15, 63);
    b->d = g.d;
    b->m = g.m;
    put_scales_6(b->scales, &g);
    for (int i = 0; i < SUPER; i++) {
        const int j = i / BLOCK;
        const int q = number_of(x[i], g.g[j].s, g.g[j].lo, 15);
        b->q[j / 2 * BLOCK + i % BLOCK] |= (uint8_t) (q << (j % 2 * 4));
    }
}

static void encode_q5_k(struct quant_q5_k *b, const float *x)
{
    struct grids g;

    memset(b, 0, sizeof(*b));
    fit_grids(&g, x, BLOCK, 31, 63);
    b->d = g.d;
    b->m = g.m;
    put_scales_6(b->scales, &g);
    for (int i = 0; i < SUPER; i++) {
        const int j = i / BLOCK;
        const int q = number_of(x[i], g.g[j].s, g.g[j].lo, 31);
        b->q[j / 2 * BLOCK + i % BLOCK] |= (uint8_t) ((q & 15) << (j % 2 * 4));
        b->high[i % BLOCK] |= (uint8_t) (q >> 4 << j);
    }
}

static void encode_q2_k(struct quant_q2_k *b, const float *x)
{
    struct grids g;

    memset(b, 0, sizeof(*b));
    fit_grids(&g, x, GROUP, 3, 15);
    b->d = g.d;
    b->m = g.m;
    for (int j = 0; j < GROUP; j++)
        b->scales[j] = (uint8_t) (g.s[j] | g.t[j] << 4);
    for (int i = 0; i < SUPER; i++) {
        const int j = i / BLOCK;
        const struct grid *of = &g.g[i / GROUP];
        const int q = number_of(x[i], of->s, of->lo, 3);
        b->q[j / 4 * BLOCK + i % BLOCK] |= (uint8_t) (q << (j % 4 * 2));
    }
}

// Scales of the groups as whole numbers times d, -most to most - 1, and the
// numbers that go with them, 0 to 2 * steps - 1.
struct levels {
    uint16_t d; // binary16
    int8_t s[GROUP];
    uint8_t q[SUPER];
};

static void fit_super(struct levels *out, const float *x, int steps, int most)
{
    float s[GROUP];

    for (int j = 0; j < GROUP; j++)
        s[j] = fit_levels(x + (ptrdiff_t) j * GROUP, GROUP, steps);
    out->d = half_from_f32(peak_of(s, GROUP) / (float) -most);
    const float d = half_to_f32(out->d);
    for (int j = 0; j < GROUP; j++)
        out->s[j] = (int8_t) round_to(s[j] * inverse_of(d), -most, most - 1);
    for (int i = 0; i < SUPER; i++) {
        const float by = inverse_of(d * (float) out->s[i / GROUP]);
        out->q[i] = (uint8_t) (nearest(x[i] * by, -steps, steps - 1) + steps);
    }
}

static void encode_q3_k(struct quant_q3_k *b, const float *x)
{
    struct levels l;

    memset(b, 0, sizeof(*b));
    fit_super(&l, x, 4, 32);
    b->d = l.d;
    for (int j = 0; j < GROUP; j++) {
        const int s = l.s[j] + 32;
        b->scales[j % 8] |= (uint8_t) ((s & 15) << (j / 8 * 4));
        b->scales[8 + j % 4] |= (uint8_t) (s >> 4 << (j / 4 * 2));
    }
    for (int i = 0; i < SUPER; i++) {
        const int j = i / BLOCK;
        b->q[j / 4 * BLOCK + i % BLOCK] |=
            (uint8_t) ((l.q[i] & 3) << (j % 4 * 2));
        b->high[i % BLOCK] |= (uint8_t) (l.q[i] >> 2 << j);
    }
}

static void encode_q6_k(struct quant_q6_k *b, const float *x)
{
    struct levels l;

    memset(b, 0, sizeof(*b));
    fit_super(&l, x, 32, 128);
    b->d = l.d;
    memcpy(b->scales, l.s, sizeof(b->scales));
    for (int i = 0; i < SUPER; i++) {
        const int j = i / BLOCK;
        b->q[j / 4 * 2 * BLOCK + j % 2 * BLOCK + i % BLOCK] |=
            (uint8_t) ((l.q[i] & 15) << (j % 4 / 2 * 4));
        b->high[j / 4 * BLOCK + i % BLOCK] |=
            (uint8_t) (l.q[i] >> 4 << (j % 4 * 2));
    }
}

void quant_encode(enum dtype type, void *dst, const float *src, int64_t n)
{
    char *to = dst;

    assert(n % dtype_infos[type].block == 0);
    switch (type) {
#define WEIGHT(name, gguf, block, bytes)                        \
    case DTYPE_##name:                                          \
        for (int64_t i = 0; i < n; i += (block), to += (bytes)) \
            encode_##name((void *) to, src + i);                \
        return;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    assert(!"not a type of weights");
}
