// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * The parts' halves are stacked: with A (K,I) and B (O,K), K the ranks of all
 * parts and B holding weights and scales, the sum is B A. Where K is more than
 * the rank wanted: B = Qb Rb and A = Ra^T Qa with orthonormal columns of Qb
 * (O,K) and rows of Qa (K,I); the singular value decomposition Rb Ra^T = U S
 * V^T is small, and Qb U, S, V^T Qa is that of the sum.
 */

#include "engine/train/adapter_arith.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/train/adapter.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS_MAX = 60 };

// The halves of one linear in one adapter.
struct halves {
    const float *a; // (R,I)
    const float *b; // (O,R)
    int64_t rank;
    double scale;
};

static bool find_halves(struct halves *out, const struct adapter *a,
                        uint32_t block, uint32_t linear)
{
    *out = (struct halves){.rank = 0};
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        if (p->block != block || p->linear != linear)
            continue;
        if (p->kind == PARAM_LORA_A) {
            out->a = adapter_param(a, i);
            out->rank = p->ne[0];
        } else if (p->kind == PARAM_LORA_B) {
            out->b = adapter_param(a, i);
        }
    }
    if (!out->a || !out->b)
        return false;
    out->scale = (double) scheme_lora_scale(&a->scheme, (uint32_t) out->rank);
    return true;
}

static int check_plain(const struct adapter *a, struct error *err)
{
    return adapter_check_lora(a, "a sum or comparison of LoRAs", err);
}

/*
 * Sums
 */

struct stack {
    int64_t rows, columns, k, rank;
    double *a;                  // (K,I)
    double *b;                  // (K,O): rows are the columns of B
    double *ra, *rb, *core, *v; // (K,K)
};

static void free_stack(struct stack *s)
{
    free(s->a);
    free(s->b);
    free(s->ra);
    free(s->rb);
    free(s->core);
    free(s->v);
}

static double *doubles(int64_t n)
{
    return fault_calloc((size_t) n, sizeof(double));
}

static int make_stack(struct stack *s)
{
    const int64_t k = s->k;

    s->a = doubles(k * s->columns);
    s->b = doubles(k * s->rows);
    if (!s->a || !s->b)
        return -ENOMEM;
    if (k <= s->rank)
        return 0;
    s->ra = doubles(k * k);
    s->rb = doubles(k * k);
    s->core = doubles(k * k);
    s->v = doubles(k * k);
    return s->ra && s->rb && s->core && s->v ? 0 : -ENOMEM;
}

static void push(struct stack *s, int64_t at, const struct halves *h,
                 double weight)
{
    for (int64_t r = 0; r < h->rank; r++) {
        for (int64_t i = 0; i < s->columns; i++)
            s->a[(at + r) * s->columns + i] = (double) h->a[r * s->columns + i];
        for (int64_t o = 0; o < s->rows; o++)
            s->b[(at + r) * s->rows + o] =
                weight * h->scale * (double) h->b[o * h->rank + r];
    }
}

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

// x (K,n) = r^T q: rows of q orthonormal, r (K,K) with r[j][i] how much of row
// j is in row i of x. Twice for precision; what depends on others becomes zero.
static void decompose_rows(double *x, double *r, int64_t k, int64_t n)
{
    for (int64_t i = 0; i < k; i++) {
        double *xi = x + i * n;
        const double before = dot(xi, xi, n);
        for (int64_t j = 0; j < 2 * i; j++) {
            const double *xj = x + j % i * n;
            const double part = dot(xi, xj, n);
            for (int64_t t = 0; t < n; t++)
                xi[t] -= part * xj[t];
            r[j % i * k + i] += part;
        }
        const double norm = dot(xi, xi, n);
        const bool is_new = norm > 1e-24 * before && norm > 0;
        r[i * k + i] = is_new ? sqrt(norm) : 0;
        for (int64_t t = 0; t < n; t++)
            xi[t] = is_new ? xi[t] / r[i * k + i] : 0;
    }
}

// core (K,K) = rb ra^T.
static void make_core(struct stack *s)
{
    const int64_t k = s->k;

    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) {
            s->core[i * k + j] = dot(s->rb + i * k, s->ra + j * k, k);
            s->v[i * k + j] = i == j;
        }
}

static void turn(double *x, int64_t k, int64_t i, int64_t j, double c, double d)
{
    for (int64_t t = 0; t < k; t++) {
        const double p = x[t * k + i], q = x[t * k + j];
        x[t * k + i] = c * p - d * q;
        x[t * k + j] = d * p + c * q;
    }
}

// Jacobi's way from one side: columns of the core become orthogonal, U S, and
// v collects the turns.
static void turn_core(struct stack *s)
{
    const int64_t k = s->k;

    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        bool is_done = true;
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = i + 1; j < k; j++) {
                double ii = 0, jj = 0, ij = 0;
                for (int64_t t = 0; t < k; t++) {
                    const double p = s->core[t * k + i];
                    const double q = s->core[t * k + j];
                    ii += p * p;
                    jj += q * q;
                    ij += p * q;
                }
                if (ij * ij <= 1e-30 * ii * jj)
                    continue;
                is_done = false;
                const double theta = (jj - ii) / (2 * ij);
                const double t = (theta < 0 ? -1.0 : 1.0) /
                                 (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1);
                turn(s->core, k, i, j, c, c * t);
                turn(s->v, k, i, j, c, c * t);
            }
        if (is_done)
            return;
    }
}

static double column_square(const struct stack *s, int64_t j)
{
    double sum = 0;
    for (int64_t t = 0; t < s->k; t++)
        sum += s->core[t * s->k + j] * s->core[t * s->k + j];
    return sum;
}

// The column that is the `nth` largest, the first of equal ones first.
static int64_t choose(const double *squares, int64_t k, int64_t nth)
{
    for (int64_t i = 0; i < k; i++) {
        int64_t larger = 0;
        for (int64_t j = 0; j < k; j++)
            larger +=
                squares[j] > squares[i] || (squares[j] == squares[i] && j < i);
        if (larger == nth)
            return i;
    }
    return 0;
}

// Column j of the turned core, half of its singular value in either half.
static void put_column(float *a, float *b, const struct stack *s, int64_t j,
                       int64_t r, double square)
{
    const double root = sqrt(sqrt(square));

    for (int64_t i = 0; i < s->columns; i++) {
        double sum = 0;
        for (int64_t t = 0; t < s->k; t++)
            sum += s->v[t * s->k + j] * s->a[t * s->columns + i];
        a[r * s->columns + i] = (float) (sum * root);
    }
    for (int64_t o = 0; o < s->rows; o++) {
        double sum = 0;
        for (int64_t t = 0; t < s->k; t++)
            sum += s->core[t * s->k + j] * s->b[t * s->rows + o];
        b[o * s->rank + r] = root > 0 ? (float) (sum / root) : 0;
    }
}

// left[0] is the square of what is left out, left[1] that of all.
static int shorten(float *a, float *b, double left[2], struct stack *s)
{
    double *squares = doubles(s->k);

    if (!squares)
        return -ENOMEM;
    decompose_rows(s->a, s->ra, s->k, s->columns);
    decompose_rows(s->b, s->rb, s->k, s->rows);
    make_core(s);
    turn_core(s);
    for (int64_t j = 0; j < s->k; j++)
        squares[j] = column_square(s, j);
    for (int64_t r = 0; r < s->k; r++) {
        const int64_t j = choose(squares, s->k, r);
        left[1] += squares[j];
        if (r < s->rank)
            put_column(a, b, s, j, r, squares[j]);
        else
            left[0] += squares[j];
    }
    free(squares);
    return 0;
}

// All of it, as it is. Of the norm nothing is to be told: nothing is left out.
static void keep(float *a, float *b, const struct stack *s)
{
    for (int64_t r = 0; r < s->k; r++) {
        for (int64_t i = 0; i < s->columns; i++)
            a[r * s->columns + i] = (float) s->a[r * s->columns + i];
        for (int64_t o = 0; o < s->rows; o++)
            b[o * s->rank + r] = (float) s->b[r * s->rows + o];
    }
}

struct sum {
    const struct adapter_part *parts;
    unsigned n_parts;
    const struct model_config *m;
    struct adapter *out;
    double left[2];
};

static int64_t ranks_of(const struct sum *x, uint32_t block, uint32_t linear)
{
    struct halves h;
    int64_t k = 0;

    for (unsigned p = 0; p < x->n_parts; p++)
        k += find_halves(&h, x->parts[p].a, block, linear) ? h.rank : 0;
    return k;
}

static int sum_linear(struct sum *x, uint32_t param)
{
    const struct param *p = &x->out->params[param];
    float *a = adapter_param(x->out, param);
    float *b = adapter_param(x->out, param + 1);
    int64_t ne[2], at = 0;

    model_linear_shape(ne, x->m, (enum model_linear) p->linear);
    struct stack s = {
        .rows = ne[0],
        .columns = ne[1],
        .k = ranks_of(x, p->block, p->linear),
        .rank = p->ne[0],
    };
    int rc = make_stack(&s);
    for (unsigned i = 0; i < x->n_parts && rc == 0; i++) {
        struct halves h;
        if (!find_halves(&h, x->parts[i].a, p->block, p->linear))
            continue;
        push(&s, at, &h, x->parts[i].weight);
        at += h.rank;
    }
    if (rc == 0 && s.k <= s.rank)
        keep(a, b, &s);
    else if (rc == 0)
        rc = shorten(a, b, x->left, &s);
    free_stack(&s);
    return rc;
}

static void make_scheme(struct scheme *out, const struct sum *x, unsigned rank)
{
    scheme_init(out);
    out->alpha = (float) rank; // a scale of 1
    for (uint32_t i = 0; i < x->m->n_blocks; i++)
        for (uint32_t l = 0; l < MODEL_LINEARS; l++)
            if (ranks_of(x, i, l) > 0) {
                out->linears[i][l].learn = LEARN_LORA;
                out->linears[i][l].rank = (uint16_t) rank;
            }
}

static int check_parts(const struct sum *x, unsigned rank, struct error *err)
{
    if (rank < 1 || rank > LORA_RANK_MAX)
        return error_set(err, -EINVAL, "LoRA rank is %u, but must be 1 to %d",
                         rank, LORA_RANK_MAX);
    for (unsigned i = 0; i < x->n_parts; i++) {
        int rc = check_plain(x->parts[i].a, err);
        if (rc < 0)
            return rc;
        if (!isfinite(x->parts[i].weight))
            return error_set(err, -EINVAL, "a weight is not a number");
    }
    for (uint32_t i = 0; i < x->m->n_blocks; i++)
        for (uint32_t l = 0; l < MODEL_LINEARS; l++)
            if (ranks_of(x, i, l) > ADAPTER_STACK_MAX)
                return error_set(err, -E2BIG,
                                 "the ranks of these adapters add up to more "
                                 "than %d: merge some of them first",
                                 ADAPTER_STACK_MAX);
    return 0;
}

int adapter_sum(struct adapter **out, double *left_out,
                const struct adapter_part *parts, unsigned n_parts,
                const struct model_config *m, unsigned rank, struct error *err)
{
    struct sum x = {.parts = parts, .n_parts = n_parts, .m = m};
    struct scheme scheme;
    int rc = check_parts(&x, rank, err);

    if (rc < 0)
        return rc;
    make_scheme(&scheme, &x, rank);
    if ((rc = adapter_create(&x.out, m, &scheme, parts[0].a->base_sha256,
                             err)) < 0)
        return rc;
    // The halves of a linear follow one another.
    for (uint32_t i = 0; i + 1 < x.out->n_params && rc == 0; i += 2)
        rc = sum_linear(&x, i);
    if (rc < 0) {
        adapter_destroy(x.out);
        return error_set(err, rc, "not enough memory for the sum");
    }
    *left_out = x.left[1] > 0 ? sqrt(x.left[0] / x.left[1]) : 0;
    *out = x.out;
    return 0;
}

/*
 * Comparisons: <B A, D C> is the sum over (i, j) of (B^T D)_ij (A C^T)_ij.
 */

static double inner(const struct halves *x, const struct halves *y,
                    int64_t rows, int64_t columns)
{
    double sum = 0;

    for (int64_t i = 0; i < x->rank; i++)
        for (int64_t j = 0; j < y->rank; j++) {
            double a = 0, b = 0;
            for (int64_t t = 0; t < columns; t++)
                a += (double) x->a[i * columns + t] *
                     (double) y->a[j * columns + t];
            for (int64_t t = 0; t < rows; t++)
                b += (double) x->b[t * x->rank + i] *
                     (double) y->b[t * y->rank + j];
            sum += a * b;
        }
    return sum * x->scale * y->scale;
}

int adapter_compare(struct adapter_difference *out, const struct adapter *a,
                    const struct adapter *b, const struct model_config *m,
                    struct error *err)
{
    int rc = check_plain(a, err);

    if (rc < 0 || (rc = check_plain(b, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->n_blocks * MODEL_LINEARS; i++) {
        const uint32_t block = i / MODEL_LINEARS, linear = i % MODEL_LINEARS;
        struct halves x, y;
        int64_t ne[2];
        const bool has_x = find_halves(&x, a, block, linear);
        const bool has_y = find_halves(&y, b, block, linear);
        model_linear_shape(ne, m, (enum model_linear) linear);
        out[i] = (struct adapter_difference){
            .aa = has_x ? inner(&x, &x, ne[0], ne[1]) : 0,
            .ab = has_x && has_y ? inner(&x, &y, ne[0], ne[1]) : 0,
            .bb = has_y ? inner(&y, &y, ne[0], ne[1]) : 0,
        };
    }
    return 0;
}
