// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// Kernels of what is kept of inputs for gradients.

static const struct {
    int64_t rows, groups, size;
} shapes[] = {{1, 1, 1},  {3, 2, 5},    {7, 4, 16},
              {5, 3, 37}, {70, 32, 12}, {2, 1, 20000}};

enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static const struct kept_case {
    int64_t m, n, k;
    enum dtype type;
    enum precision precision;
} kept_cases[] = {
    {5, 7, 33, DTYPE_f32, PRECISION_F32},
    {5, 7, 33, DTYPE_f32, PRECISION_BF16}, // too small to be rounded
    {40, 70, 96, DTYPE_q8_0, PRECISION_F32},
    {40, 70, 96, DTYPE_q8_0, PRECISION_BF16},
    {33, 64, 100, DTYPE_f32, PRECISION_BF16},
    {2, 70, 96, DTYPE_q4_0, PRECISION_Q8},
};

// The product itself, with and without a summand, which may be y.
static bool check_kept_case(KERNEL_matmul_kept((*fn)), const char *isa,
                            const struct kept_case *p, int addend)
{
    const int64_t count = p->m * p->n;
    const float *a = check_random(p->m * p->k, 1.0f);
    const void *b = check_weights(p->type, p->n, p->k);
    const float *c = check_random(count, 1.0f);
    const struct instr in = {
        .op = OP_matmul_kept,
        .attr = {.precision = (uint8_t) p->precision},
        .in = {check_operand(DTYPE_f32, p->m, p->k),
               check_operand(p->type, p->n, p->k)},
        .out = {check_operand(DTYPE_f32, p->m, p->n)},
    };
    float *want = check_room(count);
    float *first = NULL;
    bool ok = true;

    matmul_c(want, a, b, p->type, addend ? c : NULL, p->m, p->n, p->k, false,
             true, 0.5f, check_precision(isa, p->precision), check_scratch(&in),
             NULL);
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *y = addend == 2 ? check_copy(c, count) : check_room(count);
        const float *sum = addend == 0 ? NULL : addend == 1 ? c : y;
        fn(y, a, b, p->type, sum, p->m, p->n, p->k, 0.5f, p->precision,
           check_scratch(&in), check_pools[i]);
        first = first ? first : y;
        ok &= check_close(want, y, count, sqrtf((float) p->k), 2e-6f,
                          "matmul_kept_%s %lldx%lldx%lld %s", isa,
                          (long long) p->m, (long long) p->n, (long long) p->k,
                          dtype_infos[p->type].name);
        ok &= check_same(first, y, count, "matmul_kept_%s", isa);
    }
    return check_end("matmul_kept") && ok;
}

int check_matmul_kept(KERNEL_matmul_kept((*ref)), KERNEL_matmul_kept((*fn)),
                      const char *isa, bool bench)
{
    bool ok = true;

    for (size_t i = 0; i < sizeof(kept_cases) / sizeof(kept_cases[0]); i++)
        for (int addend = 0; addend < 3; addend++)
            ok &= check_kept_case(fn, isa, &kept_cases[i], addend);
    (void) ref;
    (void) bench;
    return !ok;
}

// From nothing, a mean of length 1; from something, that.
int check_subtoken_mean(KERNEL_subtoken_mean((*ref)),
                        KERNEL_subtoken_mean((*fn)), const char *isa,
                        bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const int64_t rows = shapes[s].rows;
        const float *x = check_random(rows * cols, 1.0f);
        const struct instr in = {
            .op = OP_subtoken_mean,
            .in = {check_operand(DTYPE_f32, rows, cols),
                   check_operand(DTYPE_f32, 1, size)},
        };
        float *want = check_room(size);
        float *v = check_room(size);
        double square = 0;
        for (int64_t i = 0; i < size; i++) {
            double sum = 0;
            for (int64_t at = i; at < rows * cols; at += size)
                sum += (double) x[at];
            want[i] = (float) sum;
            square += sum * sum;
        }
        for (int64_t i = 0; i < size; i++)
            want[i] = (float) ((double) want[i] / sqrt(square));
        memset(v, 0, (size_t) size * sizeof(*v));
        fn(v, x, rows, cols, size, check_scratch(&in), NULL);
        ok &= check_close(want, v, size, 1.0f, 1e-6f, "subtoken_mean_%s", isa);
        const float *kept = check_copy(v, size);
        fn(v, check_random(rows * cols, 2.0f), rows, cols, size,
           check_scratch(&in), NULL);
        ok &= check_same(kept, v, size, "subtoken_mean_%s again", isa);
        float *zeros = check_room(rows * cols);
        memset(zeros, 0, (size_t) (rows * cols) * sizeof(*zeros));
        memset(v, 0, (size_t) size * sizeof(*v));
        fn(v, zeros, rows, cols, size, check_scratch(&in), NULL);
        for (int64_t i = 0; i < size; i++)
            ok &= fabs(v[i] * sqrt((double) size) - 1) < 1e-6;
    }
    (void) ref;
    (void) bench;
    return !ok;
}

int check_subtoken_dot(KERNEL_subtoken_dot((*ref)), KERNEL_subtoken_dot((*fn)),
                       const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const int64_t n = rows * shapes[s].groups;
        const float *x = check_random(rows * cols, 1.0f);
        const float *v = check_random(size, 1.0f);
        float *want = check_room(n);
        ref(want, x, v, rows, cols, size, 0.25f, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *z = check_room(n);
            fn(z, x, v, rows, cols, size, 0.25f, check_pools[i]);
            ok &= check_close(want, z, n, sqrtf((float) size), 2e-6f,
                              "subtoken_dot_%s", isa);
        }
    }
    if (bench) {
        const float *x = check_random(256 * 384, 1.0f);
        float *z = check_room(256 * 32);
        char name[64];
        snprintf(name, sizeof(name), "subtoken_dot_%s", isa);
        CHECK_BENCH(name, 2 * 256 * 384, 4 * 256 * 384,
                    fn(z, x, x, 256, 384, 12, 1, NULL));
    }
    return !ok;
}

int check_subtoken_spread(KERNEL_subtoken_spread((*ref)),
                          KERNEL_subtoken_spread((*fn)), const char *isa,
                          bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t size = shapes[s].size;
        const int64_t cols = shapes[s].groups * size;
        const float *z = check_random(rows * shapes[s].groups, 1.0f);
        const float *v = check_random(size, 1.0f);
        float *want = check_room(rows * cols);
        for (int64_t i = 0; i < rows * cols; i++)
            want[i] = z[i / size] * v[i % size];
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(rows * cols);
            fn(y, z, v, rows, cols, size, check_pools[i]);
            ok &= check_same(want, y, rows * cols, "subtoken_spread_%s", isa);
        }
    }
    (void) ref;
    (void) bench;
    return !ok;
}

/*
 * Rows that are chosen
 */

// p > 0 of 23 rows, of which the last eight are padding.
enum {
    CHOOSE_ROWS = 23,
    CHOOSE_REAL = 15,
    CHOOSE_COLS = 37,
    CHOOSE_DRAWS = 4000
};

struct choice {
    const float *x;
    float *norms;
    float *xs;
    int32_t *rows;
    void *scratch;
};

static struct choice choice_of(int64_t n)
{
    const struct instr in = {
        .op = OP_choose_rows,
        .in = {check_operand(DTYPE_f32, CHOOSE_ROWS, CHOOSE_COLS)},
    };
    struct choice c = {
        .x = check_random(CHOOSE_ROWS * CHOOSE_COLS, 1.0f),
        .norms = check_room(CHOOSE_ROWS),
        .xs = check_room(n * CHOOSE_COLS),
        .rows = check_ints(n, 0, 1),
        .scratch = check_scratch(&in),
    };

    for (int t = 0; t < CHOOSE_ROWS; t++)
        c.norms[t] = t >= CHOOSE_REAL ? 0 : t == 3 ? 30.0f : 0.3f + 0.1f * t;
    return c;
}

// How often each row counted on average. Row 3 is worth more than all others:
// it is there, once, in each draw. `n` are chosen of CHOOSE_REAL that could be.
static bool check_mean(KERNEL_choose_rows((*fn)), const char *isa, int64_t n)
{
    double mean[CHOOSE_ROWS] = {0};
    struct choice c = choice_of(n);
    bool ok = true;

    for (int32_t i = 0; i < CHOOSE_DRAWS; i++) {
        const int32_t draw[4] = {7, 0, i, 0};
        int n_certain = 0;
        fn(c.xs, c.rows, c.x, c.norms, draw, 5, n, CHOOSE_ROWS, CHOOSE_COLS,
           c.scratch, NULL);
        for (int64_t j = 0; j < n; j++) {
            const double factor = (double) c.xs[j * CHOOSE_COLS] /
                                  (double) c.x[c.rows[j] * CHOOSE_COLS];
            ok &= j == 0 || c.rows[j] >= c.rows[j - 1];
            n_certain += c.rows[j] == 3 && fabs(factor - 1) < 1e-6;
            mean[c.rows[j]] += factor / CHOOSE_DRAWS;
        }
        ok &= n_certain == 1;
    }
    // A row of p comes about n p times a draw: its mean is known to
    // 1 / sqrt(n p draws), 0.05 for the least likely.
    for (int t = 0; t < CHOOSE_ROWS; t++)
        if (!(fabs(mean[t] - (t < CHOOSE_REAL)) < 0.2)) {
            printf("choose_rows_%s: row %d counts %g times\n", isa, t, mean[t]);
            ok = false;
        }
    return ok;
}

// All rows as they are where all may stay, or all that could be chosen.
static bool check_exact(KERNEL_choose_rows((*fn)), const char *isa)
{
    const int32_t draw[4] = {1, 2, 3, 4};
    struct choice c = choice_of(CHOOSE_ROWS);
    bool ok = true;

    fn(c.xs, c.rows, c.x, c.norms, draw, 5, CHOOSE_ROWS, CHOOSE_ROWS,
       CHOOSE_COLS, c.scratch, NULL);
    for (int t = 0; t < CHOOSE_ROWS; t++)
        ok &= c.rows[t] == t;
    ok &= check_same(c.x, c.xs, CHOOSE_ROWS * CHOOSE_COLS, "choose_rows_%s all",
                     isa);
    c = choice_of(CHOOSE_REAL + 2);
    fn(c.xs, c.rows, c.x, c.norms, draw, 5, CHOOSE_REAL + 2, CHOOSE_ROWS,
       CHOOSE_COLS, c.scratch, NULL);
    for (int t = 0; t < CHOOSE_REAL; t++)
        ok &= c.rows[t] == t;
    ok &= check_same(c.x, c.xs, CHOOSE_REAL * CHOOSE_COLS,
                     "choose_rows_%s all that count", isa);
    for (int i = CHOOSE_REAL * CHOOSE_COLS; i < (CHOOSE_REAL + 2) * CHOOSE_COLS;
         i++)
        ok &= c.xs[i] == 0;
    return ok;
}

enum { HEAVY_ROWS = 512, HEAVY_CHOSEN = 128, HEAVY_IN = 16, HEAVY_OUT = 8 };

// sum += factor * xs^T dy, for one row of each
static void add_outer(double *sum, const float *xs, const float *dy)
{
    for (int o = 0; o < HEAVY_OUT; o++)
        for (int i = 0; i < HEAVY_IN; i++)
            sum[o * HEAVY_IN + i] += (double) dy[o] * (double) xs[i];
}

// Rows of which few are long: a quarter of them gives a gradient that is off by
// a fifth or so, and the mean of 400 draws is off by less than 3 %.
static bool check_heavy(KERNEL_choose_rows((*fn)), const char *isa)
{
    enum { DRAWS = 400, N = HEAVY_IN * HEAVY_OUT };
    const struct instr in = {
        .op = OP_choose_rows,
        .in = {check_operand(DTYPE_f32, HEAVY_ROWS, HEAVY_IN)},
    };
    float *x = check_random(HEAVY_ROWS * HEAVY_IN, 1.0f);
    float *dy = check_random(HEAVY_ROWS * HEAVY_OUT, 1.0f);
    float *norms = check_room(HEAVY_ROWS);
    float *xs = check_room(HEAVY_CHOSEN * HEAVY_IN);
    int32_t *rows = check_ints(HEAVY_CHOSEN, 0, 1);
    void *scratch = check_scratch(&in);
    double exact[N] = {0}, mean[N] = {0};
    double length = 0, variance = 0, error = 0;

    for (int t = 0; t < HEAVY_ROWS; t++) {
        const float size = powf(1.0f + (float) check_below(400), -1.2f);
        double square = 0;
        for (int i = 0; i < HEAVY_OUT; i++) {
            dy[t * HEAVY_OUT + i] *= size;
            square +=
                (double) dy[t * HEAVY_OUT + i] * (double) dy[t * HEAVY_OUT + i];
        }
        norms[t] = (float) sqrt(square);
        add_outer(exact, x + t * HEAVY_IN, dy + t * HEAVY_OUT);
    }
    for (int32_t d = 0; d < DRAWS; d++) {
        const int32_t draw[4] = {1, 0, d, 0};
        double one[N] = {0};
        fn(xs, rows, x, norms, draw, 0, HEAVY_CHOSEN, HEAVY_ROWS, HEAVY_IN,
           scratch, NULL);
        for (int j = 0; j < HEAVY_CHOSEN; j++)
            add_outer(one, xs + j * HEAVY_IN, dy + rows[j] * HEAVY_OUT);
        for (int i = 0; i < N; i++) {
            mean[i] += one[i] / DRAWS;
            variance += (one[i] - exact[i]) * (one[i] - exact[i]) / DRAWS;
        }
    }
    for (int i = 0; i < N; i++) {
        length += exact[i] * exact[i];
        error += (mean[i] - exact[i]) * (mean[i] - exact[i]);
    }
    const double relative = sqrt(variance / length);
    error = sqrt(error / length);
    if (relative > 0.02 && relative < 0.5 && error < 0.03)
        return true;
    printf("choose_rows_%s: one draw off by %g, the mean by %g\n", isa,
           relative, error);
    return false;
}

int check_choose_rows(KERNEL_choose_rows((*ref)), KERNEL_choose_rows((*fn)),
                      const char *isa, bool bench)
{
    bool ok = check_mean(fn, isa, 6) && check_mean(fn, isa, 12) &&
              check_exact(fn, isa) && check_heavy(fn, isa);

    for (int64_t n = 1; n < CHOOSE_ROWS; n += 3) {
        struct choice want = choice_of(n);
        const int32_t draw[4] = {(int32_t) n, 0, 3, 0};
        ref(want.xs, want.rows, want.x, want.norms, draw, 9, n, CHOOSE_ROWS,
            CHOOSE_COLS, want.scratch, NULL);
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *xs = check_room(n * CHOOSE_COLS);
            int32_t *rows = check_ints(n, 0, 1);
            fn(xs, rows, want.x, want.norms, draw, 9, n, CHOOSE_ROWS,
               CHOOSE_COLS, want.scratch, check_pools[i]);
            ok &= memcmp(rows, want.rows, (size_t) n * sizeof(*rows)) == 0;
            ok &= check_close(want.xs, xs, n * CHOOSE_COLS, 1.0f, 1e-5f,
                              "choose_rows_%s", isa);
        }
    }
    if (bench) {
        const int64_t rows = 1024, cols = 384, n = 307;
        const struct instr in = {.op = OP_choose_rows,
                                 .in = {check_operand(DTYPE_f32, rows, cols)}};
        const float *x = check_random(rows * cols, 1.0f);
        const float *norms = check_copy(x, rows);
        float *xs = check_room(n * cols);
        int32_t *chosen = check_ints(n, 0, 1);
        void *scratch = check_scratch(&in);
        const int32_t draw[4] = {1, 0, 3, 0};
        char name[64];
        snprintf(name, sizeof(name), "choose_rows_%s", isa);
        CHECK_BENCH(name, 2 * rows * cols, 4 * (rows + n) * cols,
                    fn(xs, chosen, x, norms, draw, 9, n, rows, cols, scratch,
                       NULL));
    }
    return !ok;
}

int check_row_squares(KERNEL_row_squares((*ref)), KERNEL_row_squares((*fn)),
                      const char *isa, bool bench)
{
    bool ok = true;

    for (int s = 0; s < SHAPES; s++) {
        const int64_t rows = shapes[s].rows;
        const int64_t cols = shapes[s].groups * shapes[s].size;
        const struct instr in = {
            .op = OP_row_squares,
            .in = {check_operand(DTYPE_f32, rows, cols)},
        };
        const float *x = check_random(rows * cols, 1.0f);
        const float *sum = check_random(rows, 1.0f);
        float *zeros = check_room(rows * cols);
        float *want = check_room(rows);
        double total = 0;
        memset(zeros, 0, (size_t) (rows * cols) * sizeof(*zeros));
        for (int64_t i = 0; i < rows * cols; i++)
            total += (double) x[i] * (double) x[i];
        for (int64_t t = 0; t < rows; t++) {
            double square = 0;
            for (int64_t i = 0; i < cols; i++)
                square += (double) x[t * cols + i] * (double) x[t * cols + i];
            want[t] = (float) ((double) rows * square / total);
        }
        for (int i = 0; i < CHECK_POOLS; i++) {
            float *y = check_room(rows);
            fn(y, x, NULL, rows, cols, check_scratch(&in), check_pools[i]);
            ok &=
                check_close(want, y, rows, 1.0f, 1e-5f, "row_squares_%s", isa);
            y = check_copy(sum, rows);
            fn(y, x, y, rows, cols, check_scratch(&in), check_pools[i]);
            for (int64_t t = 0; t < rows; t++)
                y[t] -= sum[t];
            ok &= check_close(want, y, rows, 1.0f, 1e-5f, "row_squares_%s +",
                              isa);
            fn(y, zeros, sum, rows, cols, check_scratch(&in), check_pools[i]);
            ok &= check_same(sum, y, rows, "row_squares_%s of zeros", isa);
        }
    }
    (void) ref;
    (void) bench;
    return !ok;
}
