// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Truncated singular value decomposition by subspace iteration from a random
 * start (Halko, Martinsson & Tropp, arXiv 0909.4061), in doubles.
 *
 * E (O,I) the difference, K columns of the subspace, R of the result:
 * Q (O,K) spans the largest left singular vectors, P = Q^T E (K,I); the
 * eigenvectors V of P P^T turn Q into them, so B = Q V_R and A = V_R^T P.
 */

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/rng.h"
#include "engine/formats/gguf.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_merge.h"
#include "engine/train/adapter_weight.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OVERSAMPLING = 8,
    ITERATIONS = 4,
    SWEEPS_MAX = 60,
};

struct svd {
    int64_t rows, columns, k, rank;
    const float *e; // (O,I)
    double *q;      // (K,O): rows are the columns of Q
    double *p;      // (K,I)
    double *g;      // (K,K)
    double *v;      // (K,K), eigenvectors in columns
};

// x (K,n): rows made orthonormal, one after the other, twice for precision.
// One that depends on the others becomes zero.
static void orthonormalise(double *x, int64_t k, int64_t n)
{
    for (int64_t i = 0; i < k; i++) {
        double *xi = x + i * n;
        double before = 0, norm = 0;
        for (int64_t t = 0; t < n; t++)
            before += xi[t] * xi[t];
        for (int64_t j = 0; j < 2 * i; j++) {
            const double *xj = x + j % i * n;
            double dot = 0;
            for (int64_t t = 0; t < n; t++)
                dot += xi[t] * xj[t];
            for (int64_t t = 0; t < n; t++)
                xi[t] -= dot * xj[t];
        }
        for (int64_t t = 0; t < n; t++)
            norm += xi[t] * xi[t];
        const double scale =
            norm > 1e-20 * before && norm > 0 ? 1 / sqrt(norm) : 0;
        for (int64_t t = 0; t < n; t++)
            xi[t] *= scale;
    }
}

// p (K,I) = q (K,O) e (O,I)
static void times(struct svd *s)
{
    memset(s->p, 0, (size_t) (s->k * s->columns) * sizeof(*s->p));
    for (int64_t o = 0; o < s->rows; o++)
        for (int64_t k = 0; k < s->k; k++) {
            const double q = s->q[k * s->rows + o];
            const float *e = s->e + o * s->columns;
            double *p = s->p + k * s->columns;
            for (int64_t i = 0; i < s->columns; i++)
                p[i] += q * (double) e[i];
        }
}

// q (K,O) = p (K,I) e^T (I,O)
static void times_transposed(struct svd *s)
{
    for (int64_t k = 0; k < s->k; k++)
        for (int64_t o = 0; o < s->rows; o++) {
            const float *e = s->e + o * s->columns;
            const double *p = s->p + k * s->columns;
            double sum = 0;
            for (int64_t i = 0; i < s->columns; i++)
                sum += p[i] * (double) e[i];
            s->q[k * s->rows + o] = sum;
        }
}

static void rotate(struct svd *s, int64_t i, int64_t j)
{
    const int64_t n = s->k;
    double *g = s->g;
    const double apart = g[i * n + j];

    if (apart == 0)
        return;
    const double theta = (g[j * n + j] - g[i * n + i]) / (2 * apart);
    const double t =
        (theta < 0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), d = t * c;
    for (int64_t k = 0; k < n; k++) {
        const double x = g[k * n + i], y = g[k * n + j];
        g[k * n + i] = c * x - d * y;
        g[k * n + j] = d * x + c * y;
    }
    for (int64_t k = 0; k < n; k++) {
        const double x = g[i * n + k], y = g[j * n + k];
        g[i * n + k] = c * x - d * y;
        g[j * n + k] = d * x + c * y;
    }
    for (int64_t k = 0; k < n; k++) {
        const double x = s->v[k * n + i], y = s->v[k * n + j];
        s->v[k * n + i] = c * x - d * y;
        s->v[k * n + j] = d * x + c * y;
    }
}

// Jacobi: the eigenvectors of g = p p^T.
static void eigen(struct svd *s)
{
    const int64_t n = s->k;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t t = 0; t < s->columns; t++)
                sum += s->p[i * s->columns + t] * s->p[j * s->columns + t];
            s->g[i * n + j] = sum;
            s->v[i * n + j] = i == j;
        }
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        double apart = 0, all = 0;
        for (int64_t i = 0; i < n * n; i++) {
            all += s->g[i] * s->g[i];
            apart += i / n == i % n ? 0 : s->g[i] * s->g[i];
        }
        if (apart <= 1e-28 * all)
            return;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                rotate(s, i, j);
    }
}

// The eigenvalue that is the `nth` largest, the first of equal ones first.
static int64_t choose(const struct svd *s, int64_t nth)
{
    for (int64_t i = 0; i < s->k; i++) {
        int64_t larger = 0;
        for (int64_t j = 0; j < s->k; j++) {
            const double x = s->g[i * s->k + i], y = s->g[j * s->k + j];
            larger += y > x || (y == x && j < i);
        }
        if (larger == nth)
            return i;
    }
    return 0;
}

// a (R,I) and b (O,R); half of each singular value in either.
static void read_result(float *a, float *b, const struct svd *s)
{
    for (int64_t r = 0; r < s->rank; r++) {
        if (r >= s->k) {
            for (int64_t i = 0; i < s->columns; i++)
                a[r * s->columns + i] = 0;
            for (int64_t o = 0; o < s->rows; o++)
                b[o * s->rank + r] = 0;
            continue;
        }
        const int64_t n = choose(s, r);
        const double root = sqrt(sqrt(fmax(s->g[n * s->k + n], 0)));
        for (int64_t i = 0; i < s->columns; i++) {
            double sum = 0;
            for (int64_t k = 0; k < s->k; k++)
                sum += s->v[k * s->k + n] * s->p[k * s->columns + i];
            a[r * s->columns + i] = root > 0 ? (float) (sum / root) : 0;
        }
        for (int64_t o = 0; o < s->rows; o++) {
            double sum = 0;
            for (int64_t k = 0; k < s->k; k++)
                sum += s->v[k * s->k + n] * s->q[k * s->rows + o];
            b[o * s->rank + r] = (float) (sum * root);
        }
    }
}

// |e - b a|^2 and |e|^2, added to left[0] and left[1].
static void measure(double left[2], const struct svd *s, const float *a,
                    const float *b)
{
    for (int64_t o = 0; o < s->rows; o++)
        for (int64_t i = 0; i < s->columns; i++) {
            const double e = (double) s->e[o * s->columns + i];
            double x = e;
            for (int64_t r = 0; r < s->rank; r++)
                x -= (double) b[o * s->rank + r] *
                     (double) a[r * s->columns + i];
            left[0] += x * x;
            left[1] += e * e;
        }
}

static int decompose(float *a, float *b, double left[2], struct svd *s)
{
    const int64_t least = s->rows < s->columns ? s->rows : s->columns;
    struct rng rng;
    int rc = -ENOMEM;

    s->k = s->rank + OVERSAMPLING < least ? s->rank + OVERSAMPLING : least;
    s->q = fault_malloc((size_t) (s->k * s->rows) * sizeof(*s->q));
    s->p = fault_malloc((size_t) (s->k * s->columns) * sizeof(*s->p));
    s->g = fault_malloc((size_t) (s->k * s->k) * sizeof(*s->g));
    s->v = fault_malloc((size_t) (s->k * s->k) * sizeof(*s->v));
    if (!s->q || !s->p || !s->g || !s->v)
        goto out;
    rng_init(&rng, 1, 0);
    for (int64_t i = 0; i < s->k * s->columns; i++)
        s->p[i] = rng_normal(&rng);
    for (int i = 0; i < ITERATIONS; i++) {
        orthonormalise(s->p, s->k, s->columns);
        times_transposed(s);
        orthonormalise(s->q, s->k, s->rows);
        times(s);
    }
    eigen(s);
    read_result(a, b, s);
    measure(left, s, a, b);
    rc = 0;

out:
    free(s->q);
    free(s->p);
    free(s->g);
    free(s->v);
    return rc;
}

/*
 * The differences of a model.
 */

// The norm whose output the linear reads alone, or -1.
static int norm_of(enum model_linear linear)
{
    switch (linear) {
    case MODEL_LINEAR_q:
    case MODEL_LINEAR_k:
    case MODEL_LINEAR_v:
        return 0;
    case MODEL_LINEAR_gate:
    case MODEL_LINEAR_up:
        return 1;
    case MODEL_LINEAR_o:
    case MODEL_LINEAR_down:
    case MODEL_LINEARS:
        break;
    }
    return -1;
}

// What its gain learnt, and what it was; NULL when it did not learn.
static const float *gain_of(const float **before, const struct adapter *a,
                            const struct model_config *m,
                            const struct gguf *base, uint32_t block,
                            enum model_linear linear)
{
    const int norm = norm_of(linear);
    char name[MODEL_NAME_BYTES];

    if (norm < 0)
        return NULL;
    *before = gguf_find(base, model_norm_name(name, m, block, norm))->data;
    return adapter_gain(a, block, norm);
}

static void fill_difference(float *e, float *plain,
                            const struct adapter_weight *w, const float *gain,
                            const float *before)
{
    for (int64_t o = 0; o < w->rows; o++) {
        float *row = e + o * w->columns;
        adapter_weight_row(plain, row, w, o);
        for (int64_t i = 0; i < w->columns; i++) {
            if (gain && before[i] != 0)
                row[i] *= (before[i] + gain[i]) / before[i];
            row[i] -= plain[i];
        }
    }
}

struct conversion {
    const struct adapter *a;
    const struct model_config *m;
    const struct gguf *base;
    struct adapter *out;
    uint32_t param; // of `out`, next to be filled
    double left[2];
};

static int convert_linear(struct conversion *c, uint32_t block,
                          enum model_linear linear)
{
    struct adapter_weight w;
    const float *before = NULL;
    const float *gain = gain_of(&before, c->a, c->m, c->base, block, linear);
    int rc = -ENOMEM;

    if (!model_has_linear(c->m, linear))
        return 0;
    if (!adapter_weight_init(&w, c->a, c->m, c->base, block, linear) && !gain)
        return 0;
    float *e = fault_malloc((size_t) (w.rows * w.columns) * sizeof(*e));
    float *plain = fault_malloc((size_t) w.columns * sizeof(*plain));
    if (e && plain) {
        struct svd s = {
            .rows = w.rows,
            .columns = w.columns,
            .rank = c->out->params[c->param].ne[0],
            .e = e,
        };
        fill_difference(e, plain, &w, gain, before);
        rc = decompose(adapter_param(c->out, c->param),
                       adapter_param(c->out, c->param + 1), c->left, &s);
        c->param += 2;
    }
    free(e);
    free(plain);
    return rc;
}

static int check_convertible(const struct adapter *a,
                             const struct model_config *m, unsigned rank,
                             struct error *err)
{
    if (rank < 1 || rank > LORA_RANK_MAX)
        return error_set(err, -EINVAL, "LoRA rank is %u, but must be 1 to %d",
                         rank, LORA_RANK_MAX);
    if (a->scheme.exit_block)
        return error_set(err, -ENOTSUP,
                         "a LoRA cannot hold that the model ends after %u "
                         "blocks: export it as merged",
                         a->scheme.exit_block);
    if (a->scheme.output_norm)
        return error_set(err, -ENOTSUP,
                         "a LoRA cannot hold the gain of output_norm.weight: "
                         "export it as merged");
    for (uint32_t i = 0; i < a->n_blocks && m->norms == MODEL_NORMS_AFTER; i++)
        if (a->scheme.norms[i])
            return error_set(err, -ENOTSUP,
                             "a LoRA cannot hold the gain of a norm behind "
                             "the linears, as block %u has: export it as "
                             "merged",
                             i);
    return 0;
}

static void make_scheme(struct scheme *out, const struct adapter *a,
                        const struct model_config *m, unsigned rank)
{
    scheme_init(out);
    out->alpha = (float) rank; // a scale of 1
    for (uint32_t i = 0; i < a->n_blocks; i++)
        for (int l = 0; l < MODEL_LINEARS; l++) {
            const int norm = norm_of((enum model_linear) l);
            const bool has_gain = norm >= 0 && (a->scheme.norms[i] >> norm & 1);
            if (!model_has_linear(m, (enum model_linear) l) ||
                (a->scheme.linears[i][l].learn == LEARN_NONE && !has_gain))
                continue;
            out->linears[i][l].learn = LEARN_LORA;
            out->linears[i][l].rank = (uint16_t) rank;
        }
}

int adapter_to_lora(struct adapter **out, double *relative_error,
                    const struct adapter *a, const struct model_config *m,
                    const struct gguf *base, unsigned rank, struct error *err)
{
    struct conversion c = {.a = a, .m = m, .base = base};
    struct scheme scheme;
    int rc = check_convertible(a, m, rank, err);

    if (rc < 0)
        return rc;
    make_scheme(&scheme, a, m, rank);
    if ((rc = adapter_create(&c.out, m, &scheme, a->base_sha256, err)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->n_blocks * MODEL_LINEARS && rc == 0; i++)
        rc = convert_linear(&c, i / MODEL_LINEARS,
                            (enum model_linear)(i % MODEL_LINEARS));
    if (rc < 0) {
        adapter_destroy(c.out);
        return error_set(err, rc, "not enough memory for the LoRA");
    }
    *relative_error = c.left[1] > 0 ? sqrt(c.left[0] / c.left[1]) : 0;
    *out = c.out;
    return 0;
}
