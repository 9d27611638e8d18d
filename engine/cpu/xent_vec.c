// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/matmul_bf16.h"
#include "engine/cpu/softmax.h"
#include "engine/cpu/vec.h"
#if defined(CPU_ISA_AVX512BF16) || defined(CPU_ISA_NEONBF16)
#define HAS_BF16
#include "engine/cpu/bf16.h"
#endif

#include <math.h>

/*
 * Tokens that count are gathered into chunks; a chunk's logits are one product
 * with w, become d loss / d logits in place, and are multiplied with w again.
 * Where nobody asks for dx, a chunk meets some rows of w at a time, and the sum
 * of exponentials goes on from one part to the next. No more logits than that
 * exist at any time.
 */

struct chunk {
    float *nll, *dx;
    const float *x;
    const int32_t *targets;
    const float *weights;
    int64_t cols, vocab;
    int64_t first, width; // rows of w at hand
    float cap;
    enum precision precision;
    int64_t count;           // tokens in it
    int32_t *token;          // their numbers
    float *x_part, *dx_part; // (count,C)
    float *logits;           // (count,width), rows ld apart
    int64_t ld;
    struct softmax *sums; // (count)
};

// Of a token: the sum of exp(z - top) over the rows of w so far.
struct softmax {
    double total;
    float top, target;
};
_Static_assert(sizeof(struct softmax) == 4 * sizeof(float),
               "cpu_xent_plan() makes room for it");

// Does this instruction set make use of the permission?
ALWAYS_INLINE bool is_rounded(enum precision precision)
{
#if defined(HAS_BF16)
    return precision == PRECISION_BF16;
#else
    (void) precision;
    return false;
#endif
}

// z = exp(z - shift); the sum, of which whole registers are added up in blocks
// so that a large vocabulary loses nothing.
static double exp_row(float *z, float shift, int64_t n)
{
    enum { BLOCK = 64 * LANES };
    double total = 0.0;
    int64_t v = 0;

    while (v + LANES <= n) {
        const int64_t end = v + BLOCK < n ? v + BLOCK : n;
        vec acc = {0};
        for (; v + LANES <= end; v += LANES) {
            const vec e = vec_exp(vec_load(z + v) - shift);
            vec_store(z + v, e);
            acc += e;
        }
        total += (double) vec_sum(acc);
    }
    if (v < n) {
        float e[LANES];
        vec_store(e, vec_exp(vec_load_some(z + v, n - v) - shift));
        for (int64_t i = 0; v + i < n; i++) {
            z[v + i] = e[i];
            total += (double) e[i];
        }
    }
    return total;
}

// As exp_row, but z, which was capped, becomes exp(z - shift) times its slope.
static double exp_row_capped(float *z, float shift, float cap, int64_t n)
{
    enum { BLOCK = 64 * LANES };
    const float part = 1.0f / cap;
    double total = 0.0;

    for (int64_t v = 0; v < n;) {
        const int64_t end = v + BLOCK < n ? v + BLOCK : n;
        float sum = 0.0f;
        vec acc = {0};
        for (; v + LANES <= end; v += LANES) {
            const vec t = vec_load(z + v) * part;
            const vec e = vec_exp(vec_load(z + v) - shift);
            vec_store(z + v, e * (1.0f - t * t));
            acc += e;
        }
        if (v < end) {
            float e[LANES];
            vec_store(e, vec_exp(vec_load_some(z + v, end - v) - shift));
            for (int64_t i = 0; v + i < end; i++) {
                const float t = z[v + i] * part;
                z[v + i] = e[i] * (1.0f - t * t);
                sum += e[i];
            }
            v = end;
        }
        total += (double) (sum + vec_sum(acc));
    }
    return total;
}

// Tokens whose logits are rounded together, in place: scale * z, as
// rounded_product.pairs.
#if defined(CPU_ISA_NEONBF16)
enum { ROUND_ROWS = 2 };

ALWAYS_INLINE uint16x8_t round_scaled(const float *z, float scale, int64_t n)
{
    float x[STEP] = {0};

    for (int64_t i = 0; i < STEP && i < n; i++)
        x[i] = scale * z[i];
    return round_some(x, false, STEP);
}

static void round_rows(float *z, int64_t ld, const float *scale, int64_t rows,
                       int64_t n)
{
    pair *out = (pair *) (void *) z;

    for (int64_t v = 0; v < n; v += STEP) {
        const uint16x8_t x = round_scaled(z + v, scale[0], n - v);
        const uint16x8_t y = rows > 1
                                 ? round_scaled(z + ld + v, scale[1], n - v)
                                 : vdupq_n_u16(0);
        store_two(out + v, FOUR_PAIRS, x, y);
    }
}
#else
enum { ROUND_ROWS = 1 };
#if defined(HAS_BF16)

static void round_rows(float *z, int64_t ld, const float *scale, int64_t rows,
                       int64_t n)
{
    pair *out = (pair *) (void *) z;

    (void) ld, (void) rows;
    for (int64_t v = 0; v < n; v += 32) {
        const __m512 a = _mm512_maskz_loadu_ps(lanes(n - v), z + v);
        const __m512 b = _mm512_maskz_loadu_ps(lanes(n - v - 16), z + v + 16);
        store_pairs(out + v / 2, round_32(*scale * a, *scale * b));
    }
}
#endif
#endif

// The gradient of token i of the chunk in place of its logits; it is left to
// the caller to multiply it with what is returned if that is to be rounded.
ALWAYS_INLINE float softmax_row(const struct chunk *c, int64_t i)
{
    const int32_t t = c->token[i];
    const int32_t target = c->targets[t];
    float *z = c->logits + i * c->ld;
    const float cap = c->cap;

    if (cap > 0.0f)
        cap_row(z, cap, 0, c->vocab - 1);
    const float z_target = z[target];
    const float slope =
        cap > 0.0f ? 1.0f - z_target / cap * (z_target / cap) : 1.0f;
    const float top = max_row(z, 0, c->vocab - 1);
    const double total = cap > 0.0f ? exp_row_capped(z, top, cap, c->vocab)
                                    : exp_row(z, top, c->vocab);
    const float scale = (float) ((double) c->weights[t] / total);

    c->nll[t] = (float) ((double) top + log(total) - (double) z_target);
    if (is_rounded(c->precision)) {
        z[target] -= slope * (float) total;
        return scale;
    }
    for (int64_t v = 0; v < c->vocab; v++)
        z[v] *= scale;
    z[target] -= slope * c->weights[t];
    return 1.0f;
}

static void softmax_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct chunk *c = ctx;
    const int64_t i0 = task * (int64_t) ROUND_ROWS;
    const int64_t rows =
        c->count - i0 < ROUND_ROWS ? c->count - i0 : ROUND_ROWS;
    float scale[ROUND_ROWS] = {0};

    for (int64_t i = 0; i < rows; i++)
        scale[i] = softmax_row(c, i0 + i);
    (void) scale;
#if defined(HAS_BF16)
    if (is_rounded(c->precision))
        round_rows(c->logits + i0 * c->ld, c->ld, scale, rows, c->vocab);
#endif
}

// The rows of w at hand are added to the sum; what comes of it after the last.
static void sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct chunk *c = ctx;
    const int32_t t = c->token[task];
    const int64_t target = c->targets[t] - c->first;
    struct softmax *s = &c->sums[task];
    float *z = c->logits + task * c->ld;

    if (c->first == 0)
        *s = (struct softmax){0.0, -INFINITY, 0.0f};
    if (c->cap > 0.0f)
        cap_row(z, c->cap, 0, c->width - 1);
    if (target >= 0 && target < c->width)
        s->target = z[target];
    const float top = max_row(z, 0, c->width - 1);
    if (top > s->top) {
        s->total *= exp((double) s->top - (double) top);
        s->top = top;
    }
    s->total += exp_row(z, s->top, c->width);
    if (c->first + c->width == c->vocab)
        c->nll[t] =
            (float) ((double) s->top + log(s->total) - (double) s->target);
}

// Copy rows of tokens in or out, some tokens a task.
enum { GATHER_ROWS = 32 };

static void gather_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct chunk *c = ctx;
    const size_t bytes = (size_t) c->cols * sizeof(float);

    for (int64_t i = task * (int64_t) GATHER_ROWS;
         i < (task + (int64_t) 1) * GATHER_ROWS && i < c->count; i++)
        memcpy(c->x_part + i * c->cols, c->x + c->token[i] * c->cols, bytes);
}

static void scatter_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct chunk *c = ctx;
    const size_t bytes = (size_t) c->cols * sizeof(float);

    for (int64_t i = task * (int64_t) GATHER_ROWS;
         i < (task + (int64_t) 1) * GATHER_ROWS && i < c->count; i++)
        memcpy(c->dx + c->token[i] * c->cols, c->dx_part + i * c->cols, bytes);
}

static bool counts(const struct chunk *c, int64_t t)
{
    return c->weights[t] != 0.0f && c->targets[t] >= 0 &&
           c->targets[t] < c->vocab;
}

// y (count,N) = a (count,K) op(w), all of them rounded or none: a last chunk
// may be a few tokens.
static void product(float *y, const float *a, struct chunk *c, const void *w,
                    enum dtype w_type, bool is_back, void *scratch,
                    struct pool *pool)
{
    const int64_t n = is_back ? c->cols : c->width;
    const int64_t k = is_back ? c->width : c->cols;
    const char *rows = (const char *) w +
                       c->first * (int64_t) dtype_row_bytes(w_type, c->cols);

#if defined(HAS_BF16)
    if (is_rounded(c->precision)) {
        const struct rounded_product p = {
            .y = y,
            .a = a,
            .b = rows,
            .b_type = w_type,
            .m = c->count,
            .n = n,
            .k = k,
            .trans_b = !is_back,
            .alpha = 1.0f,
            .ldy = is_back ? 0 : c->ld,
            .pairs = is_back ? (const pair *) (const void *) a : NULL,
            .lda = c->ld * ROUND_ROWS,
        };
        matmul_rounded(&p, scratch, pool);
        return;
    }
#endif
    c->ld = c->width;
    MATMUL(y, a, rows, w_type, NULL, c->count, n, k, false, !is_back, 1.0f,
           PRECISION_F32, scratch, pool);
}

// A chunk without dx.
static void run_parts(struct chunk *c, const void *w, enum dtype w_type,
                      void *scratch, struct pool *pool)
{
    const int64_t width = c->width;

    for (c->first = 0; c->first < c->vocab; c->first += width) {
        const int64_t left = c->vocab - c->first;
        c->width = width < left ? width : left;
        product(c->logits, c->x_part, c, w, w_type, false, scratch, pool);
        pool_run(pool, (uint32_t) c->count, sum_task, c);
    }
    c->width = width;
}

static void run_chunk(struct chunk *c, const void *w, enum dtype w_type,
                      void *scratch, struct pool *pool)
{
    const uint32_t copies =
        (uint32_t) ((c->count + GATHER_ROWS - 1) / GATHER_ROWS);

    pool_run(pool, copies, gather_task, c);
    if (!c->dx) {
        run_parts(c, w, w_type, scratch, pool);
        return;
    }
    product(c->logits, c->x_part, c, w, w_type, false, scratch, pool);
    pool_run(pool, (uint32_t) ((c->count + ROUND_ROWS - 1) / ROUND_ROWS),
             softmax_task, c);
    product(c->dx_part, c->logits, c, w, w_type, true, scratch, pool);
    pool_run(pool, copies, scatter_task, c);
}

KERNEL_xent(VEC_NAME(xent))
{
    const struct cpu_xent_plan plan =
        cpu_xent_plan(rows, cols, vocab, w_type, precision, dx != NULL);
    float *room = scratch;
    struct chunk c = {
        .dx = dx,
        .x = x,
        .targets = targets,
        .weights = weights,
        .cols = cols,
        .vocab = vocab,
        .width = plan.width,
        .cap = cap,
        .precision = precision,
        .logits = room,
        .ld = plan.ld,
        .x_part = room + plan.chunk * plan.ld,
        .dx_part = room + plan.dx_at,
        .sums = (struct softmax *) (void *) (room + plan.dx_at),
        .token = (int32_t *) (void *) (room + plan.token_at),
    };
    double sum = 0.0;

    c.nll = nll ? nll : (float *) (c.token + plan.chunk);
    // The products begin at an even address again.
    float *rest = room + plan.matmul_at;

    for (int64_t t = 0; t < rows; t++) {
        if (counts(&c, t))
            c.token[c.count++] = (int32_t) t;
        else
            c.nll[t] = 0.0f;
        if (dx && !counts(&c, t))
            memset(dx + t * cols, 0, (size_t) cols * sizeof(*dx));
        if (c.count == plan.chunk || (t == rows - 1 && c.count > 0)) {
            run_chunk(&c, w, w_type, rest, pool);
            c.count = 0;
        }
    }
    for (int64_t t = 0; t < rows; t++)
        if (counts(&c, t))
            sum += (double) weights[t] * c.nll[t];
    if (loss)
        *loss = (float) sum;
}
