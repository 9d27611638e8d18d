// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include "engine/vulkan/vk_attention.h"

#include "engine/base/rng.h"
#include "engine/cpu/cpu_kernels.h"

#include <math.h>
#include <stdlib.h>

// exp() of scores of some ten, each by 3 + 2 |x| units in the last place.
static double tolerance_of(const struct op_attr *a)
{
    return a->precision == PRECISION_BF16 ? 2e-2 : 1e-5;
}

enum { ROWS_MAX = 8320 };

static int32_t start[ROWS_MAX];
static uint8_t kernel; // of instructions

static float *numbers(struct rng *rng, int64_t n, float scale)
{
    float *x = malloc((size_t) n * sizeof(*x));

    if (!x)
        abort();
    for (int64_t i = 0; i < n; i++)
        x[i] = scale * (float) rng_normal(rng);
    return x;
}

// o and lse must be those of q, k, and v, or gradients mean nothing. Those of o
// are as large as `scale`.
static void back_of(const char *name, int64_t rows, const struct op_attr *a,
                    const bool is_wanted[3], float scale)
{
    const int64_t hd = (int64_t) a->n_heads * a->head_dim;
    const int64_t gd = (int64_t) a->n_kv_heads * a->head_dim;
    const struct operand wide = vcase_f32(rows, hd);
    const struct operand narrow = vcase_f32(rows, gd);
    const struct cpu_scores how = {
        .scale = a->alpha > 0 ? a->alpha : 1 / sqrtf((float) a->head_dim),
        .cap = a->cap,
        .window = a->window,
    };
    struct rng rng;

    rng_init(&rng, 11, 0);
    float *q = numbers(&rng, rows * hd, 1.5f);
    float *k = numbers(&rng, rows * gd, 1);
    float *v = numbers(&rng, rows * gd, 1);
    float *o = numbers(&rng, rows * hd, 1);
    float *lse = numbers(&rng, rows * a->n_heads, 1);
    double *scratch = malloc((size_t) rows * sizeof(*scratch));
    if (!scratch)
        abort();
    attention_c(o, lse, q, k, v, start, rows, a->length, a->n_heads,
                a->n_kv_heads, a->head_dim, how, PRECISION_F32, scratch, NULL);
    struct vcase c = {
        .name = name,
        .in = {.op = OP_attention_back,
               .kernel = kernel,
               .n_in = 7,
               .n_out = 3,
               .attr = *a,
               .in = {wide, wide, narrow, narrow, wide,
                      vcase_f32(rows, a->n_heads), vcase_i32(rows)}},
        .scale = {scale},
        .data = {NULL, q, k, v, o, lse, start},
        .tolerance = tolerance_of(a),
    };
    for (int i = 0; i < 3; i++)
        if (is_wanted[i])
            c.in.out[i] = i == 0 ? wide : narrow;
    vcase_run(&c);
    free(q);
    free(k);
    free(v);
    free(o);
    free(lse);
    free(scratch);
}

static void back(const char *name, int64_t rows, const struct op_attr *a,
                 const bool is_wanted[3])
{
    back_of(name, rows, a, is_wanted, 1);
}

static void attention(const char *name, int64_t n_seq, struct op_attr a)
{
    const int64_t rows = n_seq * a.length;
    const struct operand q = vcase_f32(rows, (int64_t) a.n_heads * a.head_dim);
    const struct operand k =
        vcase_f32(rows, (int64_t) a.n_kv_heads * a.head_dim);
    struct vcase c = {
        .name = name,
        .in = {.op = OP_attention,
               .kernel = kernel,
               .n_in = 4,
               .n_out = 2,
               .attr = a,
               .in = {q, k, k, vcase_i32(rows)},
               .out = {q, vcase_f32(rows, a.n_heads)}},
        .scale = {1.5f},
        .data = {NULL, NULL, NULL, start},
        .tolerance = tolerance_of(&a),
    };

    vcase_run(&c);
    c.in.out[1] = (struct operand){0};
    vcase_run(&c);
    // Of a score that has nothing beside it the gradient is 0, but for
    // rounding.
    const bool has_scores = a.length > 1;
    back(name, rows, &a, (const bool[]){has_scores, has_scores, true});
}

static struct op_attr heads(uint32_t n, uint32_t n_kv, uint32_t dim,
                            uint32_t length)
{
    return (struct op_attr){.n_heads = n,
                            .n_kv_heads = n_kv,
                            .head_dim = dim,
                            .length = length};
}

// Documents of `n` tokens one behind the other.
static void pack(int n)
{
    for (int i = 0; i < ROWS_MAX; i++)
        start[i] = i / n * n;
}

static void whole_sequences(void)
{
    struct op_attr a = heads(1, 1, 16, 1);

    pack(ROWS_MAX);
    attention("one token", 1, a);
    attention("one token each", 5, a);
    attention("a tile", 1, heads(2, 1, 64, 64));
    attention("a tile and a bit", 2, heads(4, 2, 32, 67));
    attention("three tiles", 1, heads(3, 1, 128, 150));
    attention("many sequences", 260, heads(4, 2, 16, 2));
    attention("odd width", 2, heads(2, 2, 33, 70));
    attention("wide heads", 1, heads(2, 1, 256, 65));
    a = heads(4, 2, 80, 130);
    a.window = 7;
    attention("window", 1, a);
    a.window = 64;
    attention("window of a tile", 2, a);
    a.alpha = 0.3f;
    a.cap = 2;
    attention("window, cap, alpha", 1, a);
    a.window = 0;
    attention("cap, alpha", 1, a);
    back("of queries alone", 130, &a, (const bool[]){true, false, false});
    back("of keys alone", 130, &a, (const bool[]){false, true, false});
    back("of values alone", 130, &a, (const bool[]){false, false, true});
}

// Rounded: by cooperative matrices, where a device has those.
static void rounded(void)
{
    static const uint32_t dims[] = {16, 64, 128};

    for (int i = 0; i < 3; i++) {
        struct op_attr a = heads(4, 2, dims[i], 192);
        a.precision = PRECISION_BF16;
        pack(ROWS_MAX);
        attention("bf16", 2, a);
        pack(70);
        a.window = 50;
        attention("bf16, packed, window", 1, a);
        a = heads(2, 2, dims[i], 64);
        a.precision = PRECISION_BF16;
        attention("bf16, a head each", 1, a);
    }
}

// What tiles of matrices do not fill, and what f16 alone would not hold.
static void rounded_edges(void)
{
    static const bool all[] = {true, true, true};
    struct op_attr a = heads(4, 2, 80, 150);

    a.precision = PRECISION_BF16;
    pack(ROWS_MAX);
    attention("bf16, a tile and a bit", 2, a);
    a.window = 70;
    attention("bf16, window", 2, a);
    back_of("bf16, gradients near zero", 150, &a, all, 1e-25f);
    back_of("bf16, large gradients", 150, &a, all, 1e15f);
    a = heads(2, 1, 32, 200);
    a.precision = PRECISION_BF16;
    // Tokens that see nothing: behind themselves.
    for (int i = 0; i < ROWS_MAX; i++)
        start[i] = i % 3 == 0 ? i + 1 : i - 5;
    attention("bf16, some see nothing", 1, a);
    pack(ROWS_MAX);
    a = heads(4, 2, 16, 32);
    a.precision = PRECISION_BF16;
    attention("bf16, many sequences", 260, a);
    a = heads(2, 1, 128, 31);
    a.precision = PRECISION_BF16;
    a.cap = 2;
    attention("bf16, cap", 2, a);
}

// What a table of times may choose.
static void rounded_tiles(void)
{
    struct op_attr a = heads(4, 2, 64, 150);

    a.precision = PRECISION_BF16;
    pack(70);
    for (kernel = VK_ATTENTION_32; kernel <= VK_ATTENTION_64; kernel++)
        attention("bf16, tiles", 2, a);
    kernel = 0;
    pack(ROWS_MAX);
}

static void packed(void)
{
    struct op_attr a = heads(4, 1, 48, 200);

    pack(23);
    attention("packed", 1, a);
    a.window = 11;
    attention("packed, window", 2, a);
    pack(70);
    attention("packed across tiles", 2, a);
    // Tokens that see nothing: behind themselves.
    for (int i = 0; i < ROWS_MAX; i++)
        start[i] = i % 3 == 0 ? i + 1 : i - 5;
    attention("some see nothing", 1, a);
    pack(ROWS_MAX);
}

// Columns of a head are of several workgroups.
static void of_few_registers(void)
{
    struct op_attr a = heads(4, 2, 80, 130);

    vcase_few_registers(true);
    attention("few registers", 1, heads(3, 1, 128, 150));
    attention("few registers, odd width", 2, heads(2, 2, 97, 70));
    attention("few registers, wide heads", 1, heads(2, 1, 256, 65));
    a.window = 64;
    a.alpha = 0.3f;
    a.cap = 2;
    attention("few registers, window, cap, alpha", 2, a);
    back("few registers, of queries alone", 130, &a,
         (const bool[]){true, false, false});
    back("few registers, of keys alone", 130, &a,
         (const bool[]){false, true, false});
    back("few registers, of values alone", 130, &a,
         (const bool[]){false, false, true});
    vcase_few_registers(false);
}

static void cached(const char *name, int64_t rows, int64_t length,
                   struct op_attr a, const int32_t *pos)
{
    const struct operand q = vcase_f32(rows, (int64_t) a.n_heads * a.head_dim);
    const struct operand k =
        vcase_f32(length, (int64_t) a.n_kv_heads * a.head_dim);

    vcase_run(&(struct vcase){
        .name = name,
        .in = {.op = OP_attention_cached,
               .n_in = 4,
               .n_out = 1,
               .attr = a,
               .in = {q, k, k, vcase_i32(rows)},
               .out = {q}},
        .scale = {1.5f},
        .data = {NULL, NULL, NULL, pos},
        .tolerance = 1e-5,
    });
}

static void of_cache(void)
{
    struct op_attr a = heads(4, 2, 64, 0);
    int32_t many[40];

    for (int i = 0; i < 40; i++)
        many[i] = 300 + i;
    cached("first token", 1, 10, a, (const int32_t[]){0});
    cached("late token", 1, 3000, a, (const int32_t[]){2777});
    cached("many rows", 40, 400, a, many);
    // Behind the cache's end, and before its beginning.
    cached("out of range", 3, 10, a, (const int32_t[]){10, -1, 9});
    a.window = 100;
    a.cap = 3;
    a.alpha = 0.2f;
    cached("window, cap, alpha", 40, 400, a, many);
    cached("odd width", 2, 700, heads(3, 1, 37, 0),
           (const int32_t[]){600, 601});
    cached("wide heads", 2, 700, heads(2, 1, 256, 0),
           (const int32_t[]){255, 256});
    cached("narrow heads", 2, 700, heads(2, 1, 16, 0),
           (const int32_t[]){600, 3});
}

void vcases_attention(void)
{
    whole_sequences();
    packed();
}

void vcases_attention_few(void)
{
    of_few_registers();
}

void vcases_attention_cm(void)
{
    rounded_tiles();
    rounded();
    rounded_edges();
}

void vcases_cached(void)
{
    of_cache();
}
