// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

struct shape {
    int64_t sequences, length, heads, kv_heads, dim;
    enum precision precision;
    float cap;
    int64_t window;
};

static const struct shape shapes[] = {
    {1, 1, 1, 1, 64, PRECISION_F32, 0, 0},
    {2, 7, 2, 1, 16, PRECISION_F32, 0, 0},
    {1, 65, 3, 3, 32, PRECISION_F32, 0, 0},
    {3, 50, 4, 2, 48, PRECISION_F32, 0, 0},
    {1, 200, 2, 1, 64, PRECISION_F32, 0, 0},
    {2, 20, 2, 2, 8, PRECISION_F32, 0, 0},
    {1, 33, 1, 1, 80, PRECISION_F32, 0, 0},
    {1, 17, 2, 1, 256, PRECISION_F32, 0, 0},
    {2, 50, 4, 2, 32, PRECISION_F32, 2, 0},
    {1, 90, 2, 1, 64, PRECISION_F32, 0, 17},
    {3, 40, 2, 2, 48, PRECISION_F32, 1.5f, 5},
    {1, 300, 2, 1, 16, PRECISION_F32, 0, 100},
    {2, 20, 2, 2, 8, PRECISION_F32, 3, 1},
};

// The usual scale, but where there is a cap another one.
static struct cpu_scores scores_of(const struct shape *s)
{
    return (struct cpu_scores){
        .scale = (s->cap > 0 ? 1.3f : 1.0f) / sqrtf((float) s->dim),
        .cap = s->cap,
        .window = s->window,
    };
}

// Capped scores are never rounded, but by C.
static enum precision precision_of(const char *isa, const struct shape *s)
{
    return s->cap > 0 ? PRECISION_F32 : check_precision(isa, s->precision);
}

static struct instr instr_of(const struct shape *s, enum op op)
{
    struct instr in = {.op = (uint8_t) op, .n_in = 4, .n_out = 1};

    in.attr.length = (uint32_t) s->length;
    in.attr.n_heads = (uint32_t) s->heads;
    in.attr.n_kv_heads = (uint32_t) s->kv_heads;
    in.attr.head_dim = (uint32_t) s->dim;
    in.attr.precision = (uint8_t) s->precision;
    in.in[0] =
        check_operand(DTYPE_f32, s->sequences * s->length, s->heads * s->dim);
    in.in[1] = check_operand(DTYPE_f32, s->sequences * s->length,
                             s->kv_heads * s->dim);
    return in;
}

// Packed records: some begin in the middle, and padding sees nothing.
static int32_t *make_start(const struct shape *s)
{
    const int64_t rows = s->sequences * s->length;
    int32_t *start = check_ints(rows, 0, 1);

    for (int64_t t = 0; t < rows; t++) {
        const int64_t at = t % s->length;
        start[t] = (int32_t) (t - at);
        if (at > 0 && t > 0 && start[t - 1] > start[t])
            start[t] =
                start[t - 1] > (int32_t) t - 1 ? (int32_t) t : start[t - 1];
        if (check_below(19) == 0)
            start[t] = (int32_t) t;
        if (check_below(23) == 0)
            start[t] = (int32_t) t + 1;
    }
    return start;
}

static void print_name(char out[96], const char *what, const char *isa,
                       const struct shape *s)
{
    snprintf(out, 96, "%s_%s %lldx%lld heads %lld/%lld of %lld%s cap %g of %d",
             what, isa, (long long) s->sequences, (long long) s->length,
             (long long) s->heads, (long long) s->kv_heads, (long long) s->dim,
             s->precision == PRECISION_BF16 ? " bf16" : "", (double) s->cap,
             (int) s->window);
}

// A number half way between two bf16s goes to either of them when a sum before
// it was made in another order: one in some hundred, by 2^-8 of itself.
static float tolerance(enum precision precision, float f32)
{
    return precision == PRECISION_BF16 ? 1e-3f : f32;
}

// What the kernel is asked for: C does what it is told.
static enum precision in_c(bool is_c, enum precision precision,
                           const struct shape *s)
{
    return is_c ? precision : s->precision;
}

static bool forward_case(KERNEL_attention((*ref)), KERNEL_attention((*fn)),
                         const char *isa, const struct shape *s)
{
    const struct instr in = instr_of(s, OP_attention);
    const int64_t rows = s->sequences * s->length;
    const int64_t nq = rows * s->heads * s->dim;
    const int64_t nk = rows * s->kv_heads * s->dim;
    const float *q = check_random(nq, 2.0f);
    const float *k = check_random(nk, 2.0f);
    const float *v = check_random(nk, 1.0f);
    const int32_t *start = make_start(s);
    float *want = check_room(nq);
    float *want_lse = check_room(rows * s->heads);
    const enum precision precision = precision_of(isa, s);
    float *first = NULL;
    bool ok = true;
    char name[96];

    print_name(name, "attention", isa, s);
    ref(want, want_lse, q, k, v, start, rows, s->length, s->heads, s->kv_heads,
        s->dim, scores_of(s), precision, check_scratch(&in), NULL);
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *o = check_room(nq);
        float *lse = i == 2 ? NULL : check_room(rows * s->heads);
        fn(o, lse, q, k, v, start, rows, s->length, s->heads, s->kv_heads,
           s->dim, scores_of(s), in_c(fn == attention_c, precision, s),
           check_scratch(&in), check_pools[i]);
        first = first ? first : o;
        ok &= check_same(first, o, nq, "%s", name);
        if (i == 0) {
            // Scores of a few units: their rounding moves every weight.
            ok &= check_close(want, o, nq, 1.0f, tolerance(precision, 3e-6f),
                              "%s", name);
            ok &= check_close(want_lse, lse, rows * s->heads, 1.0f,
                              tolerance(precision, 2e-6f), "%s lse", name);
        }
    }
    return check_end(name) && ok;
}

int check_attention(KERNEL_attention((*ref)), KERNEL_attention((*fn)),
                    const char *isa, bool bench)
{
    bool ok = true;

    for (size_t i = 0; i < 2 * sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct shape s = shapes[i / 2];
        s.precision = (enum precision)(i % 2);
        ok &= forward_case(ref, fn, isa, &s);
    }
    if (bench) {
        const struct shape s = {1, 256, 6, 2, 64, PRECISION_BF16, 0, 0};
        const struct instr in = instr_of(&s, OP_attention);
        char name[64];
        float *o = check_room(s.length * s.heads * s.dim);
        const float *q = check_random(s.length * s.heads * s.dim, 1.0f);
        const float *k = check_random(s.length * s.kv_heads * s.dim, 1.0f);
        const int32_t *start = check_ints(s.length, 0, 1);
        void *scratch = check_scratch(&in);
        snprintf(name, sizeof(name), "attention_%s", isa);
        CHECK_BENCH(name, 2 * s.length * s.length * s.heads * s.dim, 0,
                    fn(o, NULL, q, k, k, start, s.length, s.length, s.heads,
                       s.kv_heads, s.dim, scores_of(&s), s.precision, scratch,
                       NULL));
    }
    return !ok;
}

static bool back_case(KERNEL_attention_back((*ref)),
                      KERNEL_attention_back((*fn)), const char *isa,
                      const struct shape *s)
{
    const struct instr in = instr_of(s, OP_attention_back);
    const int64_t rows = s->sequences * s->length;
    const int64_t nq = rows * s->heads * s->dim;
    const int64_t nk = rows * s->kv_heads * s->dim;
    const float *q = check_random(nq, 1.0f);
    const float *k = check_random(nk, 1.0f);
    const float *v = check_random(nk, 1.0f);
    const float *dout = check_random(nq, 1.0f);
    const int32_t *start = make_start(s);
    float *o = check_room(nq);
    float *lse = check_room(rows * s->heads);
    float *want[3] = {check_room(nq), check_room(nk), check_room(nk)};
    float *first[3] = {NULL, NULL, NULL};
    const int64_t n[3] = {nq, nk, nk};
    const enum precision precision = precision_of(isa, s);
    bool ok = true;
    char name[96];

    print_name(name, "attention_back", isa, s);
    attention_c(o, lse, q, k, v, start, rows, s->length, s->heads, s->kv_heads,
                s->dim, scores_of(s), PRECISION_F32, check_scratch(&in), NULL);
    ref(want[0], want[1], want[2], dout, q, k, v, o, lse, start, rows,
        s->length, s->heads, s->kv_heads, s->dim, scores_of(s), precision,
        check_scratch(&in), NULL);
    for (int i = 0; i < CHECK_POOLS + 3; i++) {
        float *got[3] = {check_room(nq), check_room(nk), check_room(nk)};
        if (i >= CHECK_POOLS)
            got[i - CHECK_POOLS] = NULL; // an output that no one reads
        fn(got[0], got[1], got[2], dout, q, k, v, o, lse, start, rows,
           s->length, s->heads, s->kv_heads, s->dim, scores_of(s),
           in_c(fn == attention_back_c, precision, s), check_scratch(&in),
           check_pools[i % CHECK_POOLS]);
        for (int j = 0; j < 3; j++) {
            first[j] = first[j] ? first[j] : got[j];
            if (got[j])
                ok &= check_same(first[j], got[j], n[j], "%s d%c", name,
                                 "qkv"[j]);
        }
    }
    for (int j = 0; j < 3; j++)
        // dk and dv are sums over up to `length` queries.
        ok &=
            check_close(want[j], first[j], n[j], 1.0f,
                        tolerance(precision, 1e-5f), "%s d%c", name, "qkv"[j]);
    return check_end(name) && ok;
}

int check_attention_back(KERNEL_attention_back((*ref)),
                         KERNEL_attention_back((*fn)), const char *isa,
                         bool bench)
{
    bool ok = true;

    for (size_t i = 0; i < 2 * sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct shape s = shapes[i / 2];
        s.precision = (enum precision)(i % 2);
        ok &= back_case(ref, fn, isa, &s);
    }
    if (bench) {
        const struct shape s = {1, 256, 6, 2, 64, PRECISION_BF16, 0, 0};
        const struct instr in = instr_of(&s, OP_attention_back);
        char name[64];
        const int64_t nq = s.length * s.heads * s.dim;
        const int64_t nk = s.length * s.kv_heads * s.dim;
        const float *q = check_random(nq, 1.0f);
        const float *k = check_random(nk, 1.0f);
        const float *lse = check_random(s.length * s.heads, 1.0f);
        const int32_t *start = check_ints(s.length, 0, 1);
        float *dq = check_room(nq);
        float *dk = check_room(nk);
        float *dv = check_room(nk);
        void *scratch = check_scratch(&in);
        snprintf(name, sizeof(name), "attention_back_%s", isa);
        CHECK_BENCH(name, 5 * s.length * s.length * s.heads * s.dim, 0,
                    fn(dq, dk, dv, q, q, k, k, q, lse, start, s.length,
                       s.length, s.heads, s.kv_heads, s.dim, scores_of(&s),
                       s.precision, scratch, NULL));
    }
    return !ok;
}

static bool cached_case(KERNEL_attention_cached((*ref)),
                        KERNEL_attention_cached((*fn)), const char *isa,
                        const struct shape *s)
{
    const struct instr in = instr_of(s, OP_attention_cached);
    const int64_t rows = s->sequences;
    const int64_t nq = rows * s->heads * s->dim;
    const int64_t nk = s->sequences * s->length * s->kv_heads * s->dim;
    const float *q = check_random(nq, 2.0f);
    const float *k = check_random(nk, 2.0f);
    const float *v = check_random(nk, 1.0f);
    const int64_t length = s->sequences * s->length;
    int32_t *pos = check_ints(rows, 0, (int32_t) length);
    float *want = check_room(nq);
    float *first = NULL;
    bool ok = true;
    char name[96];

    print_name(name, "attention_cached", isa, s);
    pos[0] = (int32_t) length - 1;
    if (rows > 2)
        pos[1] = -1; // sees nothing
    ref(want, q, k, v, pos, rows, length, s->heads, s->kv_heads, s->dim,
        scores_of(s), check_scratch(&in), NULL);
    for (int i = 0; i < CHECK_POOLS; i++) {
        float *o = check_room(nq);
        fn(o, q, k, v, pos, rows, length, s->heads, s->kv_heads, s->dim,
           scores_of(s), check_scratch(&in), check_pools[i]);
        first = first ? first : o;
        ok &= check_same(first, o, nq, "%s", name);
    }
    ok &= check_close(want, first, nq, 1.0f, 3e-6f, "%s", name);
    return check_end(name) && ok;
}

int check_attention_cached(KERNEL_attention_cached((*ref)),
                           KERNEL_attention_cached((*fn)), const char *isa,
                           bool bench)
{
    bool ok = true;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        ok &= cached_case(ref, fn, isa, &shapes[i]);
    (void) bench;
    return !ok;
}
