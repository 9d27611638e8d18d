// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_run.h"

#include "engine/cpu/cpu_kernels.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static int64_t cols_of(const struct operand *o)
{
    return o->ne[3];
}

static int64_t rows_of(const struct operand *o)
{
    return o->ne[0] * o->ne[1] * o->ne[2];
}

static int64_t count_of(const struct operand *o)
{
    return rows_of(o) * cols_of(o);
}

static size_t bytes_of(const struct operand *o)
{
    return (size_t) rows_of(o) *
           dtype_row_bytes((enum dtype) o->dtype, cols_of(o));
}

/*
 * The storage types of an operator's inputs, one letter each: f is f32, i is
 * i32, w is a weight of any type, l is f32 or bf16. Outputs are f32, unless
 * they stand behind a `>`.
 */

static const char types_embed[] = "iw";
static void run_embed(const struct cpu_run *r)
{
    const struct operand *w = &r->instr->in[1];
    r->kernels->embed(r->out[0], r->in[0], r->in[1], (enum dtype) w->dtype,
                      count_of(&r->instr->in[0]), cols_of(w), rows_of(w),
                      r->pool);
}

static const char types_rmsnorm[] = "ff";
static void run_rmsnorm(const struct cpu_run *r)
{
    const int64_t cols = cols_of(&r->instr->in[1]);
    r->kernels->rmsnorm(r->out[0], r->out[1], r->in[0], r->in[1],
                        count_of(&r->instr->in[0]) / cols, cols,
                        r->instr->attr.eps, r->pool);
}

static const char types_rmsnorm_dx[] = "ffff";
static void run_rmsnorm_dx(const struct cpu_run *r)
{
    const int64_t cols = cols_of(&r->instr->in[2]);
    r->kernels->rmsnorm_dx(r->out[0], r->in[0], r->in[1], r->in[2], r->in[3],
                           count_of(&r->instr->in[1]) / cols, cols, r->pool);
}

static const char types_rmsnorm_dw[] = "fff";
static void run_rmsnorm_dw(const struct cpu_run *r)
{
    const int64_t cols = cols_of(&r->instr->out[0]);
    r->kernels->rmsnorm_dw(r->out[0], r->in[0], r->in[1], r->in[2],
                           count_of(&r->instr->in[1]) / cols, cols, r->pool);
}

static const char types_matmul[] = "fwf";
static void run_matmul(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    const struct operand *a = &r->instr->in[0];
    const struct operand *y = &r->instr->out[0];
    r->kernels->matmul(r->out[0], r->in[0], r->in[1],
                       (enum dtype) r->instr->in[1].dtype, r->in[2], rows_of(y),
                       cols_of(y), attr->trans_a ? rows_of(a) : cols_of(a),
                       attr->trans_a, attr->trans_b, attr->alpha,
                       (enum precision) attr->precision, r->scratch, r->pool);
}

static const char types_matmul_delta[] = "fwff";
static void run_matmul_delta(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    const struct operand *y = &r->instr->out[0];
    r->kernels->matmul_delta(r->out[0], r->in[0], r->in[1],
                             (enum dtype) r->instr->in[1].dtype, r->in[2],
                             r->in[3], rows_of(y), cols_of(y),
                             cols_of(&r->instr->in[0]), attr->trans_b,
                             attr->alpha, (enum precision) attr->precision,
                             r->scratch, r->pool);
}

static const char types_matmul_lora[] = "fwllf";
static void run_matmul_lora(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    const struct operand *p = &r->instr->in[2];
    const struct operand *y = &r->instr->out[0];
    r->kernels->matmul_lora(r->out[0], r->in[0], r->in[1],
                            (enum dtype) r->instr->in[1].dtype, r->in[2],
                            r->in[3], (enum dtype) p->dtype, r->in[4],
                            rows_of(y), cols_of(y), cols_of(p), rows_of(p),
                            attr->alpha, (enum precision) attr->precision,
                            r->scratch, r->pool);
}

static const char types_matmul_kept[] = "fwfkf";
static void run_matmul_kept(const struct cpu_run *r)
{
    const struct operand *y = &r->instr->out[0];
    r->kernels->matmul_kept(r->out[0], r->in[0], r->in[1],
                            (enum dtype) r->instr->in[1].dtype, r->in[4],
                            rows_of(y), cols_of(y), cols_of(&r->instr->in[0]),
                            r->instr->attr.alpha,
                            (enum precision) r->instr->attr.precision,
                            r->scratch, r->pool);
}

static const char types_subtoken_mean[] = "ff";
static void run_subtoken_mean(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->subtoken_mean(r->in[1], r->in[0], rows_of(x), cols_of(x),
                              cols_of(&r->instr->in[1]), r->scratch, r->pool);
}

static const char types_subtoken_dot[] = "ff";
static void run_subtoken_dot(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->subtoken_dot(r->out[0], r->in[0], r->in[1], rows_of(x),
                             cols_of(x), cols_of(&r->instr->in[1]),
                             r->instr->attr.alpha, r->pool);
}

static const char types_subtoken_spread[] = "ff";
static void run_subtoken_spread(const struct cpu_run *r)
{
    const struct operand *y = &r->instr->out[0];
    r->kernels->subtoken_spread(r->out[0], r->in[0], r->in[1], rows_of(y),
                                cols_of(y), cols_of(&r->instr->in[1]), r->pool);
}

static const char types_choose_rows[] = "ffi>fi";
static void run_choose_rows(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->choose_rows(r->out[0], r->out[1], r->in[0], r->in[1], r->in[2],
                            r->instr->attr.stream, r->instr->attr.n_rows,
                            rows_of(x), cols_of(x), r->scratch, r->pool);
}

static const char types_row_squares[] = "ff";
static void run_row_squares(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->row_squares(r->out[0], r->in[0], r->in[1], rows_of(x),
                            cols_of(x), r->scratch, r->pool);
}

// Where 0 stands for 1.
static float or_one(float x)
{
    return x > 0 ? x : 1.0f;
}

static const char types_rope[] = "fif";
static void run_rope(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    r->kernels->rope(r->out[0], r->in[0], r->in[1], rows_of(&r->instr->in[0]),
                     attr->n_heads, attr->head_dim, attr->rope_dims,
                     attr->rope_base, r->in[2], or_one(attr->rope_slower),
                     or_one(attr->rope_gain), (enum rope_mode) attr->rope_mode,
                     attr->rope_sign, r->scratch, r->pool);
}

static struct cpu_scores scores_of(const struct op_attr *a)
{
    return (struct cpu_scores){
        .scale = a->alpha > 0 ? a->alpha : 1.0f / sqrtf((float) a->head_dim),
        .cap = a->cap,
        .window = a->window,
    };
}

static const char types_attention[] = "fffi";
static void run_attention(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    r->kernels->attention(r->out[0], r->out[1], r->in[0], r->in[1], r->in[2],
                          r->in[3], rows_of(&r->instr->in[0]), attr->length,
                          attr->n_heads, attr->n_kv_heads, attr->head_dim,
                          scores_of(attr), (enum precision) attr->precision,
                          r->scratch, r->pool);
}

static const char types_attention_back[] = "ffffffi";
static void run_attention_back(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    r->kernels->attention_back(r->out[0], r->out[1], r->out[2], r->in[0],
                               r->in[1], r->in[2], r->in[3], r->in[4], r->in[5],
                               r->in[6], rows_of(&r->instr->in[0]),
                               attr->length, attr->n_heads, attr->n_kv_heads,
                               attr->head_dim, scores_of(attr),
                               (enum precision) attr->precision, r->scratch,
                               r->pool);
}

static const char types_swiglu[] = "ff";
static void run_swiglu(const struct cpu_run *r)
{
    r->kernels->swiglu(r->out[0], r->in[0], r->in[1],
                       count_of(&r->instr->in[0]), r->pool);
}

static const char types_swiglu_back[] = "fff";
static void run_swiglu_back(const struct cpu_run *r)
{
    r->kernels->swiglu_back(r->out[0], r->out[1], r->in[0], r->in[1], r->in[2],
                            count_of(&r->instr->in[0]), r->pool);
}

static const char types_geglu[] = "ff";
static void run_geglu(const struct cpu_run *r)
{
    r->kernels->geglu(r->out[0], r->in[0], r->in[1], count_of(&r->instr->in[0]),
                      r->pool);
}

static const char types_geglu_back[] = "fff";
static void run_geglu_back(const struct cpu_run *r)
{
    r->kernels->geglu_back(r->out[0], r->out[1], r->in[0], r->in[1], r->in[2],
                           count_of(&r->instr->in[0]), r->pool);
}

static const char types_add[] = "ff";
static void run_add(const struct cpu_run *r)
{
    r->kernels->add(r->out[0], r->in[0], r->in[1], count_of(&r->instr->in[0]),
                    r->pool);
}

static const char types_scale[] = "f";
static void run_scale(const struct cpu_run *r)
{
    r->kernels->scale(r->out[0], r->in[0], r->instr->attr.alpha,
                      count_of(&r->instr->in[0]), r->pool);
}

static const char types_scale_columns[] = "ff";
static void run_scale_columns(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->scale_columns(r->out[0], r->in[0], r->in[1], rows_of(x),
                              cols_of(x), r->pool);
}

static const char types_add_columns[] = "ff";
static void run_add_columns(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->add_columns(r->out[0], r->in[0], r->in[1], rows_of(x),
                            cols_of(x), r->pool);
}

static const char types_soft_cap[] = "f";
static void run_soft_cap(const struct cpu_run *r)
{
    r->kernels->soft_cap(r->out[0], r->in[0], r->instr->attr.alpha,
                         count_of(&r->instr->in[0]), r->pool);
}

static const char types_soft_cap_back[] = "ff";
static void run_soft_cap_back(const struct cpu_run *r)
{
    r->kernels->soft_cap_back(r->out[0], r->in[0], r->in[1],
                              r->instr->attr.alpha, count_of(&r->instr->in[0]),
                              r->pool);
}

static const char types_split[] = "f";
static void run_split(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    const int64_t width = r->instr->attr.width;
    r->kernels->split(r->out[0], r->out[1], r->in[0], rows_of(x), width,
                      cols_of(x) - width, r->pool);
}

static const char types_join[] = "ff";
static void run_join(const struct cpu_run *r)
{
    const struct operand *a = &r->instr->in[0];
    r->kernels->join(r->out[0], r->in[0], r->in[1], rows_of(a), cols_of(a),
                     cols_of(&r->instr->in[1]), r->pool);
}

static const char types_dot_columns[] = "ff";
static void run_dot_columns(const struct cpu_run *r)
{
    const struct operand *a = &r->instr->in[0];
    r->kernels->dot_columns(r->out[0], r->in[0], r->in[1], rows_of(a),
                            cols_of(a), r->pool);
}

static const char types_columns[] = "f";
static void run_columns(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->columns(r->out[0], r->in[0], r->instr->attr.part, rows_of(x),
                        cols_of(x), r->pool);
}

static const char types_columns_back[] = "f";
static void run_columns_back(const struct cpu_run *r)
{
    const struct operand *dx = &r->instr->out[0];
    r->kernels->columns_back(r->out[0], r->in[0], r->instr->attr.part,
                             rows_of(dx), cols_of(dx), r->pool);
}

static const char types_row_ratio[] = "fwf";
static void run_row_ratio(const struct cpu_run *r)
{
    const struct operand *w = &r->instr->in[1];
    r->kernels->row_ratio(r->out[0], r->in[0], r->in[1], (enum dtype) w->dtype,
                          r->in[2], rows_of(w), cols_of(w),
                          rows_of(&r->instr->in[0]), r->instr->attr.alpha,
                          r->scratch, r->pool);
}

static const char types_rows[] = "fi";
static void run_rows(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->rows(r->out[0], r->in[0], r->in[1], count_of(&r->instr->in[1]),
                     rows_of(x), cols_of(x), r->pool);
}

static const char types_xent[] = "fwif";
static void run_xent(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    const struct operand *w = &r->instr->in[1];
    r->kernels->xent(r->out[0], r->out[1], r->out[2], r->in[0], r->in[1],
                     (enum dtype) w->dtype, r->in[2], r->in[3], rows_of(x),
                     cols_of(x), rows_of(w), r->instr->attr.cap,
                     (enum precision) r->instr->attr.precision, r->scratch,
                     r->pool);
}

static const char types_kv_store[] = "fif";
static void run_kv_store(const struct cpu_run *r)
{
    const struct operand *x = &r->instr->in[0];
    r->kernels->kv_store(r->in[2], r->in[0], r->in[1], rows_of(x), cols_of(x),
                         rows_of(&r->instr->in[2]), r->pool);
}

static const char types_attention_cached[] = "fffi";
static void run_attention_cached(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    r->kernels->attention_cached(r->out[0], r->in[0], r->in[1], r->in[2],
                                 r->in[3], rows_of(&r->instr->in[0]),
                                 rows_of(&r->instr->in[1]), attr->n_heads,
                                 attr->n_kv_heads, attr->head_dim,
                                 scores_of(attr), r->scratch, r->pool);
}

static const char types_accumulate[] = "ff";
static void run_accumulate(const struct cpu_run *r)
{
    r->kernels->accumulate(r->in[0], r->in[1], count_of(&r->instr->in[0]),
                           r->pool);
}

static const char types_zero[] = "f";
static void run_zero(const struct cpu_run *r)
{
    r->kernels->zero(r->in[0], count_of(&r->instr->in[0]), r->pool);
}

static const char types_adamw[] = "fffff";
static void run_adamw(const struct cpu_run *r)
{
    float hyper[ADAMW_HYPERS];

    memcpy(hyper, r->in[4], sizeof(hyper));
    if (r->instr->attr.alpha != 0)
        hyper[ADAMW_LR] *= r->instr->attr.alpha;
    r->kernels->adamw(r->in[0], r->in[1], r->in[2], r->in[3], hyper,
                      count_of(&r->instr->in[0]), r->scratch, r->pool);
}

static const char types_momentum[] = "ffff";
static void run_momentum(const struct cpu_run *r)
{
    r->kernels->momentum(r->in[0], r->in[1], r->in[2], r->in[3],
                         count_of(&r->instr->in[0]), r->pool);
}

static struct cpu_noise noise_of(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    const float *limits = r->in[4];
    return (struct cpu_noise){
        .draw = r->in[1],
        .stream = attr->stream,
        .kind = (enum noise) attr->noise,
        .limit = limits ? limits + attr->stream : NULL,
    };
}

static const char types_perturb[] = "fiiff";
static void run_perturb(const struct cpu_run *r)
{
    r->kernels->perturb(r->out[0], r->in[0], noise_of(r), r->in[2], r->in[3],
                        count_of(&r->instr->in[2]), count_of(&r->instr->in[0]),
                        r->pool);
}

static const char types_noise_sum[] = "fiiff";
static void run_noise_sum(const struct cpu_run *r)
{
    r->kernels->noise_sum(r->out[0], r->in[0], noise_of(r), r->in[2], r->in[3],
                          count_of(&r->instr->in[2]),
                          count_of(&r->instr->in[0]), r->pool);
}

static const char types_matmul_copies[] = "fff";
static void run_matmul_copies(const struct cpu_run *r)
{
    const struct op_attr *attr = &r->instr->attr;
    const struct operand *y = &r->instr->out[0];
    r->kernels->matmul_copies(r->out[0], r->in[0], r->in[1], r->in[2],
                              attr->copies, rows_of(y) / attr->copies,
                              cols_of(y), cols_of(&r->instr->in[0]),
                              attr->alpha, (enum precision) attr->precision,
                              r->scratch, r->pool);
}

static const struct runner {
    void (*run)(const struct cpu_run *r);
    const char *types;
} runners[OP_COUNT] = {
#define OP(name, ...) {run_##name, types_##name},
#include "engine/ir/ops.def"
#undef OP
};

static bool is_type_fine(char letter, const struct operand *o)
{
    if (o->region == REGION_NONE)
        return true;
    if (letter == 'f')
        return o->dtype == DTYPE_f32;
    if (letter == 'l')
        return o->dtype == DTYPE_f32 || o->dtype == DTYPE_bf16;
    if (letter == 'i')
        return o->dtype == DTYPE_i32;
    if (letter == 'k')
        return o->dtype == DTYPE_f32 || o->dtype == DTYPE_i32;
    return o->dtype < DTYPE_COUNT && o->dtype != DTYPE_i32 &&
           cols_of(o) % dtype_infos[o->dtype].block == 0;
}

static bool are_heads_fine(const struct instr *in)
{
    const struct op_attr *a = &in->attr;

    if (a->head_dim < 1 || a->head_dim > CPU_HEAD_DIM_MAX ||
        a->n_kv_heads < 1 || a->n_heads % a->n_kv_heads != 0)
        return false;
    return in->op == OP_attention_cached || a->length > 0;
}

bool cpu_supports(const struct device *dev, const struct instr *in)
{
    if (in->op >= OP_COUNT)
        return false;
    const char *types = runners[in->op].types;
    const char *outs = strchr(types, '>');
    const size_t n_types = outs ? (size_t) (outs - types) : strlen(types);
    for (size_t i = 0; i < in->n_in; i++)
        if (i >= n_types || !is_type_fine(types[i], &in->in[i]))
            return false;
    for (int i = 0; i < in->n_out; i++)
        if (!is_type_fine(outs ? outs[i + 1] : 'f', &in->out[i]))
            return false;
    if (in->op == OP_attention || in->op == OP_attention_back ||
        in->op == OP_attention_cached)
        return are_heads_fine(in);
    if (in->op == OP_matmul_copies && in->attr.copies < 1)
        return false;
    if (in->op == OP_rope)
        return in->attr.rope_dims % 2 == 0 &&
               in->attr.rope_dims <= in->attr.head_dim;
    return true;
}

static void *address(const struct operand *o, const struct bindings *b)
{
    const struct binding *at = NULL;

    switch ((enum region) o->region) {
    case REGION_NONE:
        return NULL;
    case REGION_ARENA:
        return cpu_buffer_data(b->arena) + o->offset;
    case REGION_WEIGHT:
        at = &b->weights[o->slot];
        break;
    case REGION_STATE:
        at = &b->states[o->slot];
        break;
    }
    return at ? cpu_buffer_data(at->buffer) + at->offset + o->offset : NULL;
}

void cpu_run_resolve(struct cpu_run *r, const struct instr *in,
                     const struct bindings *b)
{
    r->instr = in;
    for (int i = 0; i < OP_INPUTS_MAX; i++)
        r->in[i] = i < in->n_in ? address(&in->in[i], b) : NULL;
    for (int i = 0; i < OP_OUTPUTS_MAX; i++)
        r->out[i] = i < in->n_out ? address(&in->out[i], b) : NULL;
    r->scratch = address(&in->scratch, b);
}

static bool overlap(const char *a, size_t a_bytes, const char *b,
                    size_t b_bytes)
{
    return a && b && a < b + b_bytes && b < a + a_bytes;
}

bool cpu_run_is_pure(const struct cpu_run *r)
{
    const struct instr *in = r->instr;

    for (int o = 0; o < in->n_out; o++)
        for (int i = 0; i < in->n_in; i++)
            if (overlap(r->out[o], bytes_of(&in->out[o]), r->in[i],
                        bytes_of(&in->in[i])))
                return false;
    for (int o = 0; o < in->n_out; o++)
        if (op_updates((enum op) in->op, o) >= 0)
            return false;
    return true;
}

void cpu_run_instr(const struct cpu_run *r)
{
    runners[r->instr->op].run(r);
}
