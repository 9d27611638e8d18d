// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/infer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/error.h"
#include "engine/base/noise.h"

// Legend: as in ops.def. ANY stands for a length that the rule does not fix.
enum { ANY = -1 };

// Stands for every storage type that a weight may have.
enum { TYPE_WEIGHT = DTYPE_COUNT };

struct infer {
    enum op op;
    const struct op_attr *attr;
    const struct value *const *in;
    int n_in;
    struct infer_type *out;
    struct error *err;
};

const char *infer_describe(char *buf, size_t bytes, uint8_t dtype,
                           const struct shape *s)
{
    size_t at = 0;
    for (int i = -1; i <= s->rank && at < bytes; i++) {
        int n;
        if (i < 0)
            n = snprintf(buf + at, bytes - at, "%s[", dtype_infos[dtype].name);
        else if (i < s->rank)
            n = snprintf(buf + at, bytes - at, i ? ",%lld" : "%lld",
                         (long long) s->ne[i]);
        else
            n = snprintf(buf + at, bytes - at, "]");
        at += n > 0 ? (size_t) n : 0;
    }
    return buf;
}

static int refuse(const struct infer *c, int i, const char *want)
{
    const struct value *v = c->in[i];
    char got[96];

    infer_describe(got, sizeof(got), v->dtype, &v->shape);
    return error_set(c->err, -EINVAL, "%s: input %d%s%s is %s, but must be %s",
                     op_infos[c->op].name, i, v->name ? " " : "",
                     v->name ? v->name : "", got, want);
}

static int refuse_attr(const struct infer *c, const char *what)
{
    return error_set(c->err, -EINVAL, "%s: %s", op_infos[c->op].name, what);
}

static bool type_fits(uint8_t dtype, int want)
{
    return want == TYPE_WEIGHT ? dtype != DTYPE_i32 : dtype == want;
}

// Input i must have this type, this rank, and these lengths.
static int want(const struct infer *c, int i, int dtype, int rank, int64_t d0,
                int64_t d1)
{
    const struct value *v = c->in[i];
    const int64_t d[2] = {d0, d1};
    bool fits = type_fits(v->dtype, dtype) && v->shape.rank == rank;

    for (int k = 0; fits && k < rank; k++)
        fits = d[k] == ANY || d[k] == v->shape.ne[k];
    if (fits)
        return 0;

    char text[96];
    char dims[2][24];
    for (int k = 0; k < 2; k++)
        (void) snprintf(dims[k], sizeof(dims[k]), d[k] == ANY ? "*" : "%lld",
                        (long long) d[k]);
    (void) snprintf(text, sizeof(text), "%s[%s%s%s]",
                    dtype == TYPE_WEIGHT ? "" : dtype_infos[dtype].name,
                    dims[0], rank > 1 ? "," : "", rank > 1 ? dims[1] : "");
    return refuse(c, i, text);
}

static int64_t dim(const struct infer *c, int i, int k)
{
    return c->in[i]->shape.ne[k];
}

static void set1(struct infer *c, int out, int64_t d0)
{
    c->out[out] = (struct infer_type){DTYPE_f32, {1, {d0}}};
}

static void set2(struct infer *c, int out, int64_t d0, int64_t d1)
{
    c->out[out] = (struct infer_type){DTYPE_f32, {2, {d0, d1}}};
}

// tokens (T), W (V,C) -> y (T,C)
static int infer_embed(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_i32, 1, ANY, ANY)) < 0 ||
        (rc = want(c, 1, TYPE_WEIGHT, 2, ANY, ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 1, 1));
    return 0;
}

// Input x (T,n*C) has whole runs of what vector w (C) holds.
static int want_runs(const struct infer *c, int x, int w)
{
    int rc;
    if ((rc = want(c, x, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, w, DTYPE_f32, 1, ANY, ANY)) < 0)
        return rc;
    if (dim(c, x, 1) % dim(c, w, 0) != 0)
        return refuse(c, w, "as long as the columns, or a part of them");
    return 0;
}

// x (T,n*C), w (C) -> y (T,n*C), rstd (T*n)
static int infer_rmsnorm(struct infer *c)
{
    int rc = want_runs(c, 0, 1);
    if (rc < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1));
    set1(c, 1, dim(c, 0, 0) * (dim(c, 0, 1) / dim(c, 1, 0)));
    return 0;
}

// dy (T,n*C), x (T,n*C), w (C), rstd (T*n) -> dx (T,n*C)
static int infer_rmsnorm_dx(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0)
        return rc;
    const int64_t t = dim(c, 0, 0);
    const int64_t w = dim(c, 0, 1);
    if ((rc = want(c, 1, DTYPE_f32, 2, t, w)) < 0 ||
        (rc = want_runs(c, 1, 2)) < 0 ||
        (rc = want(c, 3, DTYPE_f32, 1, t * (w / dim(c, 2, 0)), ANY)) < 0)
        return rc;
    set2(c, 0, t, w);
    return 0;
}

// dy (T,n*C), x (T,n*C), rstd (T*n) -> dw (C)
static int infer_rmsnorm_dw(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0)
        return rc;
    const int64_t t = dim(c, 0, 0);
    if ((rc = want(c, 1, DTYPE_f32, 2, t, dim(c, 0, 1))) < 0 ||
        (rc = want(c, 2, DTYPE_f32, 1, ANY, ANY)) < 0)
        return rc;
    const int64_t runs = dim(c, 2, 0) / t; // of a row
    if (dim(c, 2, 0) % t != 0 || dim(c, 0, 1) % runs != 0)
        return refuse(c, 2, "one value for each run of columns");
    set1(c, 0, dim(c, 0, 1) / runs);
    return 0;
}

// op(a) (M,K), op(b) (K,N), [c (M,N)] -> y (M,N)
static int infer_matmul(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, TYPE_WEIGHT, 2, ANY, ANY)) < 0)
        return rc;
    const bool ta = c->attr->trans_a;
    const bool tb = c->attr->trans_b;
    const int64_t m = dim(c, 0, ta ? 1 : 0);
    const int64_t k = dim(c, 0, ta ? 0 : 1);
    const int64_t n = dim(c, 1, tb ? 0 : 1);
    if ((rc = want(c, 1, TYPE_WEIGHT, 2, tb ? n : k, tb ? k : n)) < 0)
        return rc;
    if (c->n_in > 2 && (rc = want(c, 2, DTYPE_f32, 2, m, n)) < 0)
        return rc;
    set2(c, 0, m, n);
    return 0;
}

// a (M,K), b (K,N), d (K,N), [c (M,N)] -> y (M,N)
static int infer_matmul_delta(struct infer *c)
{
    const bool tb = c->attr->trans_b;
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0)
        return rc;
    const int64_t m = dim(c, 0, 0);
    const int64_t k = dim(c, 0, 1);
    if ((rc = want(c, 1, TYPE_WEIGHT, 2, tb ? ANY : k, tb ? k : ANY)) < 0)
        return rc;
    const int64_t n = dim(c, 1, tb ? 0 : 1);
    if ((rc = want(c, 2, DTYPE_f32, 2, tb ? n : k, tb ? k : n)) < 0 ||
        (c->n_in > 3 && (rc = want(c, 3, DTYPE_f32, 2, m, n)) < 0))
        return rc;
    set2(c, 0, m, n);
    return 0;
}

// a (M,K), b (N,K), p (R,K), q (N,R), [c (M,N)] -> y (M,N)
static int infer_matmul_lora(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0)
        return rc;
    const int64_t m = dim(c, 0, 0);
    const int64_t k = dim(c, 0, 1);
    if ((rc = want(c, 1, TYPE_WEIGHT, 2, ANY, k)) < 0 ||
        (rc = want(c, 2, TYPE_WEIGHT, 2, ANY, k)) < 0)
        return rc;
    const int64_t n = dim(c, 1, 0);
    const enum dtype type = (enum dtype) c->in[2]->dtype;
    if (type != DTYPE_f32 && type != DTYPE_bf16)
        return refuse(c, 2, "f32 or bf16");
    if (dim(c, 2, 0) > OP_LORA_RANK_MAX)
        return refuse(c, 2, "of few rows");
    if ((rc = want(c, 3, type, 2, n, dim(c, 2, 0))) < 0 ||
        (c->n_in > 4 && (rc = want(c, 4, DTYPE_f32, 2, m, n)) < 0))
        return rc;
    set2(c, 0, m, n);
    return 0;
}

static int want_subtokens(const struct infer *c, int x, int v)
{
    int rc;
    if ((rc = want(c, x, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, v, DTYPE_f32, 1, ANY, ANY)) < 0)
        return rc;
    if (dim(c, x, 1) % dim(c, v, 0) != 0)
        return refuse_attr(c, "sub-tokens must divide the columns");
    return 0;
}

// a (M,K), kept (M,K/S), key (S); or kept (R,K), key i32 (R)
static int check_kept(const struct infer *c)
{
    int rc;
    if (c->in[3]->dtype == DTYPE_i32) {
        if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
            (rc = want(c, 3, DTYPE_i32, 1, ANY, ANY)) < 0)
            return rc;
        return want(c, 2, DTYPE_f32, 2, dim(c, 3, 0), dim(c, 0, 1));
    }
    if ((rc = want_subtokens(c, 0, 3)) < 0)
        return rc;
    return want(c, 2, DTYPE_f32, 2, dim(c, 0, 0), dim(c, 0, 1) / dim(c, 3, 0));
}

// a (M,K), b (N,K), kept, key, [c (M,N)] -> y (M,N)
static int infer_matmul_kept(struct infer *c)
{
    int rc;
    if ((rc = check_kept(c)) < 0)
        return rc;
    const int64_t m = dim(c, 0, 0);
    const int64_t k = dim(c, 0, 1);
    if ((rc = want(c, 1, TYPE_WEIGHT, 2, ANY, k)) < 0)
        return rc;
    const int64_t n = dim(c, 1, 0);
    if (c->n_in > 4 && (rc = want(c, 4, DTYPE_f32, 2, m, n)) < 0)
        return rc;
    set2(c, 0, m, n);
    return 0;
}

// x (T,C), v (S) -> v
static int infer_subtoken_mean(struct infer *c)
{
    int rc = want_subtokens(c, 0, 1);
    if (rc == 0)
        set1(c, 0, dim(c, 1, 0));
    return rc;
}

// x (T,C), v (S) -> z (T,C/S)
static int infer_subtoken_dot(struct infer *c)
{
    int rc = want_subtokens(c, 0, 1);
    if (rc == 0)
        set2(c, 0, dim(c, 0, 0), dim(c, 0, 1) / dim(c, 1, 0));
    return rc;
}

// z (R,G), v (S) -> y (R,G*S)
static int infer_subtoken_spread(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 1, ANY, ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1) * dim(c, 1, 0));
    return 0;
}

// x (T,C), norms (T), draw (4) -> xs (N,C), rows (N)
static int infer_choose_rows(struct infer *c)
{
    const int64_t n = c->attr->n_rows;
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 1, dim(c, 0, 0), ANY)) < 0 ||
        (rc = want(c, 2, DTYPE_i32, 1, 4, ANY)) < 0)
        return rc;
    if (n < 1 || n > dim(c, 0, 0))
        return refuse_attr(c, "n_rows must be 1 to the rows there are");
    set2(c, 0, n, dim(c, 0, 1));
    c->out[1] = (struct infer_type){DTYPE_i32, {1, {n}}};
    return 0;
}

// x (T,C), [sum (T)] -> y (T)
static int infer_row_squares(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (c->n_in > 1 && (rc = want(c, 1, DTYPE_f32, 1, dim(c, 0, 0), ANY)) < 0))
        return rc;
    set1(c, 0, dim(c, 0, 0));
    return 0;
}

// x (T,H*D), pos (T), [slower (R/2)] -> y (T,H*D)
static int infer_rope(struct infer *c)
{
    const struct op_attr *a = c->attr;
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY,
                   (int64_t) a->n_heads * a->head_dim)) < 0 ||
        (rc = want(c, 1, DTYPE_i32, 1, dim(c, 0, 0), ANY)) < 0 ||
        (c->n_in > 2 &&
         (rc = want(c, 2, DTYPE_f32, 1, a->rope_dims / 2, ANY)) < 0))
        return rc;
    if (a->rope_dims % 2 != 0 || a->rope_dims > a->head_dim)
        return refuse_attr(c, "rope_dims must be even and at most head_dim");
    if (a->rope_sign != 1 && a->rope_sign != -1)
        return refuse_attr(c, "rope_sign must be 1 or -1");
    if (!(a->rope_base > 0))
        return refuse_attr(c, "rope_base must be positive");
    if (!(a->rope_slower >= 0) || !(a->rope_gain >= 0))
        return refuse_attr(c, "rope_slower and rope_gain must be positive");
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1));
    return 0;
}

static int check_heads(const struct infer *c)
{
    const struct op_attr *a = c->attr;
    if (a->n_heads == 0 || a->n_kv_heads == 0 || a->head_dim == 0 ||
        a->n_heads % a->n_kv_heads != 0)
        return refuse_attr(c, "n_heads must be a multiple of n_kv_heads");
    if (!(a->alpha >= 0) || !(a->cap >= 0))
        return refuse_attr(c, "alpha and cap must be positive");
    return 0;
}

// q (T,H*D), k, v (T,G*D), start (T), from input `first` on
static int check_qkv(const struct infer *c, int first, int start)
{
    const struct op_attr *a = c->attr;
    const int64_t hd = (int64_t) a->n_heads * a->head_dim;
    const int64_t gd = (int64_t) a->n_kv_heads * a->head_dim;
    int rc;
    if ((rc = check_heads(c)) < 0 ||
        (rc = want(c, first, DTYPE_f32, 2, ANY, hd)) < 0)
        return rc;
    const int64_t t = dim(c, first, 0);
    if ((rc = want(c, first + 1, DTYPE_f32, 2, t, gd)) < 0 ||
        (rc = want(c, first + 2, DTYPE_f32, 2, t, gd)) < 0 ||
        (rc = want(c, start, DTYPE_i32, 1, t, ANY)) < 0)
        return rc;
    if (a->length == 0 || t % a->length != 0)
        return refuse_attr(c, "length must divide the number of rows");
    return 0;
}

// q (T,H*D), k (T,G*D), v (T,G*D), start (T) -> o (T,H*D), lse (T,H)
static int infer_attention(struct infer *c)
{
    int rc;
    if ((rc = check_qkv(c, 0, 3)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1));
    set2(c, 1, dim(c, 0, 0), c->attr->n_heads);
    return 0;
}

// do (T,H*D), q, k, v, o, lse, start -> dq (T,H*D), dk (T,G*D), dv (T,G*D)
static int infer_attention_back(struct infer *c)
{
    int rc;
    if ((rc = check_qkv(c, 1, 6)) < 0)
        return rc;
    const int64_t t = dim(c, 1, 0);
    const int64_t hd = dim(c, 1, 1);
    const int64_t gd = dim(c, 2, 1);
    if ((rc = want(c, 0, DTYPE_f32, 2, t, hd)) < 0 ||
        (rc = want(c, 4, DTYPE_f32, 2, t, hd)) < 0 ||
        (rc = want(c, 5, DTYPE_f32, 2, t, c->attr->n_heads)) < 0)
        return rc;
    set2(c, 0, t, hd);
    set2(c, 1, t, gd);
    set2(c, 2, t, gd);
    return 0;
}

// Every input f32 of one shape, and so is the output.
static int infer_same(struct infer *c)
{
    const struct shape *s = &c->in[0]->shape;
    char text[96];

    infer_describe(text, sizeof(text), DTYPE_f32, s);
    for (int i = 0; i < c->n_in; i++) {
        const struct value *v = c->in[i];
        if (v->dtype != DTYPE_f32 || !shape_equal(&v->shape, s))
            return refuse(c, i, text);
    }
    c->out[0] = (struct infer_type){DTYPE_f32, *s};
    return 0;
}

// dy, gate, up of one shape -> dgate, dup
static int infer_gated_back(struct infer *c)
{
    int rc = infer_same(c);
    c->out[1] = c->out[0];
    return rc;
}

// x (T,C) or (C), w (C) -> y
static int infer_scale_columns(struct infer *c)
{
    const struct shape *s = &c->in[0]->shape;
    const int64_t columns = s->ne[s->rank == 1 ? 0 : 1];
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, s->rank == 1 ? 1 : 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 1, columns, ANY)) < 0)
        return rc;
    c->out[0] = (struct infer_type){DTYPE_f32, *s};
    return 0;
}

// x (T,C), bias (C) -> y (T,C)
static int infer_add_columns(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 1, dim(c, 0, 1), ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1));
    return 0;
}

// x (T,C) -> a (T,width), b (T,C-width)
static int infer_split(struct infer *c)
{
    const int64_t width = c->attr->width;
    int rc = want(c, 0, DTYPE_f32, 2, ANY, ANY);
    if (rc < 0)
        return rc;
    if (width < 1 || width >= dim(c, 0, 1))
        return refuse_attr(c, "width must be a part of the columns");
    set2(c, 0, dim(c, 0, 0), width);
    set2(c, 1, dim(c, 0, 0), dim(c, 0, 1) - width);
    return 0;
}

// a (T,A), b (T,B) -> y (T,A+B)
static int infer_join(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 2, dim(c, 0, 0), ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1) + dim(c, 1, 1));
    return 0;
}

// a, b (T,C) or (C) -> w (C)
static int infer_dot_columns(struct infer *c)
{
    const struct shape *s = &c->in[0]->shape;
    int rc;
    if ((rc = infer_same(c)) < 0 ||
        (rc = want(c, 0, DTYPE_f32, s->rank == 1 ? 1 : 2, ANY, ANY)) < 0)
        return rc;
    set1(c, 0, s->ne[s->rank == 1 ? 0 : 1]);
    return 0;
}

static int set_part(struct infer *c, int64_t rows, int64_t columns, bool back)
{
    const int64_t n = op_part_columns(c->attr->part, columns);
    if (n == 0)
        return refuse_attr(c, "part must hold a column");
    set2(c, 0, rows, back ? columns : n);
    return 0;
}

// x (T,C) -> y (T,P)
static int infer_columns(struct infer *c)
{
    int rc = want(c, 0, DTYPE_f32, 2, ANY, ANY);
    return rc < 0 ? rc : set_part(c, dim(c, 0, 0), dim(c, 0, 1), false);
}

// dy (T,P) -> dx (T,C)
static int infer_columns_back(struct infer *c)
{
    const int64_t n = op_part_columns(c->attr->part, c->attr->width);
    int rc = want(c, 0, DTYPE_f32, 2, ANY, n);
    return rc < 0 ? rc : set_part(c, dim(c, 0, 0), c->attr->width, true);
}

// a (R,I), W (O,I), b (O,R) -> y (O)
static int infer_row_ratio(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, TYPE_WEIGHT, 2, ANY, dim(c, 0, 1))) < 0 ||
        (rc = want(c, 2, DTYPE_f32, 2, dim(c, 1, 0), dim(c, 0, 0))) < 0)
        return rc;
    set1(c, 0, dim(c, 1, 0));
    return 0;
}

// x (T,C), rows (N) -> y (N,C)
static int infer_rows(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_i32, 1, ANY, ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 1, 0), dim(c, 0, 1));
    return 0;
}

// x (T,C), W (V,C), targets (T), weights (T) -> loss (1), nll (T), dx (T,C)
static int infer_xent(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0)
        return rc;
    const int64_t t = dim(c, 0, 0);
    const int64_t w = dim(c, 0, 1);
    if ((rc = want(c, 1, TYPE_WEIGHT, 2, ANY, w)) < 0 ||
        (rc = want(c, 2, DTYPE_i32, 1, t, ANY)) < 0 ||
        (rc = want(c, 3, DTYPE_f32, 1, t, ANY)) < 0)
        return rc;
    set1(c, 0, 1);
    set1(c, 1, t);
    set2(c, 2, t, w);
    return 0;
}

// x (T,C), pos (T), cache (L,C) -> cache
static int infer_kv_store(struct infer *c)
{
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_i32, 1, dim(c, 0, 0), ANY)) < 0 ||
        (rc = want(c, 2, DTYPE_f32, 2, ANY, dim(c, 0, 1))) < 0)
        return rc;
    set2(c, 0, dim(c, 2, 0), dim(c, 2, 1));
    return 0;
}

// q (T,H*D), kcache (L,G*D), vcache (L,G*D), pos (T) -> o (T,H*D)
static int infer_attention_cached(struct infer *c)
{
    const struct op_attr *a = c->attr;
    const int64_t gd = (int64_t) a->n_kv_heads * a->head_dim;
    int rc;
    if ((rc = check_heads(c)) < 0 ||
        (rc = want(c, 0, DTYPE_f32, 2, ANY,
                   (int64_t) a->n_heads * a->head_dim)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 2, ANY, gd)) < 0 ||
        (rc = want(c, 2, DTYPE_f32, 2, dim(c, 1, 0), gd)) < 0 ||
        (rc = want(c, 3, DTYPE_i32, 1, dim(c, 0, 0), ANY)) < 0)
        return rc;
    set2(c, 0, dim(c, 0, 0), dim(c, 0, 1));
    return 0;
}

// p, m, v, g of one shape, hyper (8) -> p, m, v
static int infer_adamw(struct infer *c)
{
    struct infer same = *c;
    int rc;
    same.n_in = 4;
    if ((rc = infer_same(&same)) < 0 ||
        (rc = want(c, 4, DTYPE_f32, 1, ADAMW_HYPERS, ANY)) < 0)
        return rc;
    c->out[1] = c->out[0];
    c->out[2] = c->out[0];
    return 0;
}

// p, m, g of one shape, hyper (8) -> p, m
static int infer_momentum(struct infer *c)
{
    struct infer same = *c;
    int rc;
    same.n_in = 3;
    if ((rc = infer_same(&same)) < 0 ||
        (rc = want(c, 3, DTYPE_f32, 1, ADAMW_HYPERS, ANY)) < 0)
        return rc;
    c->out[1] = c->out[0];
    return 0;
}

// c (O[,R]), draw (4), queries (Q), sizes (Q), [limits (N)]
static int check_noise(const struct infer *c)
{
    const struct value *v = c->in[0];
    int rc;
    if (v->dtype != DTYPE_f32 || v->shape.rank > 2)
        return refuse(c, 0, "f32 of one or two dimensions");
    if ((rc = want(c, 1, DTYPE_i32, 1, 4, ANY)) < 0 ||
        (rc = want(c, 2, DTYPE_i32, 1, ANY, ANY)) < 0 ||
        (rc = want(c, 3, DTYPE_f32, 1, dim(c, 2, 0), ANY)) < 0 ||
        (c->n_in > 4 && (rc = want(c, 4, DTYPE_f32, 1, ANY, ANY)) < 0))
        return rc;
    if (c->n_in > 4 && c->attr->stream >= dim(c, 4, 0))
        return refuse(c, 4, "long enough for the stream");
    if (c->attr->noise >= NOISE_KINDS)
        return refuse_attr(c, "there is no such noise");
    return 0;
}

static int infer_noise_sum(struct infer *c)
{
    int rc = check_noise(c);
    if (rc == 0)
        c->out[0] = (struct infer_type){DTYPE_f32, c->in[0]->shape};
    return rc;
}

// c (O[,R]), ... -> y (D*O[,R])
static int infer_perturb(struct infer *c)
{
    int rc = infer_noise_sum(c);
    if (rc == 0)
        c->out[0].shape.ne[0] *= dim(c, 2, 0);
    return rc;
}

// a (D*M,K), b (D*N,K), [c (D*M,N)] -> y (D*M,N)
static int infer_matmul_copies(struct infer *c)
{
    const int64_t copies = c->attr->copies;
    int rc;
    if ((rc = want(c, 0, DTYPE_f32, 2, ANY, ANY)) < 0 ||
        (rc = want(c, 1, DTYPE_f32, 2, ANY, dim(c, 0, 1))) < 0)
        return rc;
    if (copies < 1 || dim(c, 0, 0) % copies != 0 || dim(c, 1, 0) % copies != 0)
        return refuse_attr(c, "copies must divide the rows of both factors");
    const int64_t m = dim(c, 0, 0);
    const int64_t n = dim(c, 1, 0) / copies;
    if (c->n_in > 2 && (rc = want(c, 2, DTYPE_f32, 2, m, n)) < 0)
        return rc;
    set2(c, 0, m, n);
    return 0;
}

static int (*const rules[OP_COUNT])(struct infer *) = {
#define OP(name, in_min, in_max, n_out, shape, vjp, flags) \
    [OP_##name] = infer_##shape,
#include "engine/ir/ops.def"
#undef OP
};

// No byte count overflows below this.
static int check_size(const struct infer *c, int out)
{
    const struct shape *s = &c->out[out].shape;
    int64_t count = 1;

    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(count, s->ne[i], &count) ||
            count > GRAPH_COUNT_MAX)
            return refuse_attr(c, "the output is too large");
    return 0;
}

int infer_node(struct infer_type out[OP_OUTPUTS_MAX], enum op op,
               const struct op_attr *attr, const struct value *const *in,
               int n_in, struct error *err)
{
    const struct op_info *info = &op_infos[op];

    if (n_in < info->n_in_min || n_in > info->n_in_max)
        return error_set(err, -EINVAL, "%s: takes %d to %d inputs, got %d",
                         info->name, info->n_in_min, info->n_in_max, n_in);
    for (int i = 0; i < n_in; i++)
        if (!in[i])
            return error_set(err, -EINVAL, "%s: input %d is missing",
                             info->name, i);

    struct infer c = {op, attr, in, n_in, out, err};
    memset(out, 0, sizeof(*out) * OP_OUTPUTS_MAX);
    int rc = rules[op](&c);
    for (int i = 0; i < info->n_out && rc == 0; i++)
        rc = check_size(&c, i);
    return rc;
}
