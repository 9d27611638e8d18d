// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

struct product {
    int64_t m, n, k, rank;
    enum dtype type, low_type;
    int addend; // 0: none, 1: c, 2: y itself
    enum precision precision;
};

static struct instr instr_of(const struct product *p)
{
    struct instr in = {.op = OP_matmul_lora, .n_in = 5, .n_out = 1};

    in.attr.precision = (uint8_t) p->precision;
    in.in[0] = check_operand(DTYPE_f32, p->m, p->k);
    in.in[1] = check_operand(p->type, p->n, p->k);
    in.in[2] = check_operand(p->low_type, p->rank, p->k);
    in.in[3] = check_operand(p->low_type, p->n, p->rank);
    in.out[0] = check_operand(DTYPE_f32, p->m, p->n);
    return in;
}

// Values of rows x cols, up to `size`, as they are stored.
static void *low_values(enum dtype type, int64_t rows, int64_t cols, float size)
{
    const float *x = check_random(rows * cols, size);
    unsigned char *w = check_weights(type, rows, cols);
    const size_t row = dtype_row_bytes(type, cols);

    for (int64_t i = 0; i < rows; i++)
        quant_encode(type, w + (size_t) i * row, x + i * cols, cols);
    return w;
}

static bool check_case(KERNEL_matmul_lora((*ref)), KERNEL_matmul_lora((*fn)),
                       const char *isa, const struct product *p)
{
    const struct instr in = instr_of(p);
    const int64_t count = p->m * p->n;
    const float alpha = 0.75f;
    const enum precision rounds = check_precision(isa, p->precision);
    const bool is_rounded = op_rounds((uint8_t) rounds, p->m, p->n, p->k);
    const float *a = check_random(p->m * p->k, 1.0f);
    const void *b = check_weights(p->type, p->n, p->k);
    const void *pp = low_values(p->low_type, p->rank, p->k, 0.5f);
    const void *q = low_values(p->low_type, p->n, p->rank, 0.5f);
    const float *c = check_random(count, 1.0f);
    float *want = check_copy(c, count);
    float *first = NULL;
    bool ok = true;
    char name[128];

    snprintf(name, sizeof(name),
             "matmul_lora_%s %lldx%lldx%lld %lld %s %s c=%d%s", isa,
             (long long) p->m, (long long) p->n, (long long) p->k,
             (long long) p->rank, dtype_infos[p->type].name,
             dtype_infos[p->low_type].name, p->addend,
             p->precision == PRECISION_BF16 ? " bf16"
             : p->precision == PRECISION_Q8 ? " q8"
                                            : "");
    ref(want, a, b, p->type, pp, q, p->low_type, p->addend ? want : NULL, p->m,
        p->n, p->k, p->rank, alpha, rounds, check_scratch(&in), NULL);
    for (int i = 0; i < check_runs(fn == ref); i++) {
        float *y = p->addend == 2 ? check_copy(c, count) : check_room(count);
        const float *add = p->addend == 2 ? y : p->addend ? c : NULL;
        fn(y, a, b, p->type, pp, q, p->low_type, add, p->m, p->n, p->k, p->rank,
           alpha, p->precision, check_scratch(&in), check_pools[i]);
        if (i == 0) {
            first = y;
            // Rounding of a sum of k products, and what a value of a p^T
            // between two bf16 may be off: 2^-8 of about sqrt(k) / 6, times q.
            const float wide = sqrtf((float) p->k);
            ok &= check_close(want, y, count, wide * (float) sqrt(p->rank),
                              is_rounded ? 3e-4f : 2e-6f, "%s", name);
        }
        ok &= check_same(first, y, count, "%s", name);
    }
    return check_end(name) && ok;
}

// Every path, and sizes around the edges of tiles, blocks and ranks.
static const struct {
    int64_t m, n, k, rank;
} shapes[] = {
    {1, 70, 64, 8},    {1, 9, 96, 3},     {1, 131, 512, 16},
    {4, 40, 288, 9},   {8, 33, 256, 8},   {3, 7, 32, 24},
    {17, 17, 33, 1},   {40, 64, 64, 8},   {33, 65, 160, 5},
    {101, 130, 34, 7}, {20, 50, 512, 33}, {97, 193, 544, 128},
    {600, 64, 800, 8}, {23, 40, 1100, 2}, {1, 24, 2048, 8},
    {2, 5, 40, 13},
};

int check_matmul_lora(KERNEL_matmul_lora((*ref)), KERNEL_matmul_lora((*fn)),
                      const char *isa, bool bench)
{
    bool ok = true;

    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int v = 0; v < 6 * DTYPE_COUNT; v++) {
            const enum dtype type = (enum dtype)(v / 6);
            if (!dtype_is_weight(type) || (s + (size_t) v) % check_stride)
                continue;
            // Rows of blocks are whole blocks.
            const int64_t block = dtype_infos[type].block;
            const struct product p = {shapes[s].m,
                                      shapes[s].n,
                                      (shapes[s].k + block - 1) / block * block,
                                      shapes[s].rank,
                                      type,
                                      v & 1 ? DTYPE_bf16 : DTYPE_f32,
                                      (int) (s + (size_t) v) % 3,
                                      (enum precision)(v / 2 % 3)};
            ok &= check_case(ref, fn, isa, &p);
        }
    if (bench && fn != ref) {
        const struct product p = {128,        512,        512, 8,
                                  DTYPE_q8_0, DTYPE_bf16, 0,   PRECISION_BF16};
        const struct instr in = instr_of(&p);
        char name[64];
        float *y = check_room(p.m * p.n);
        const float *a = check_random(p.m * p.k, 1.0f);
        const void *b = check_weights(p.type, p.n, p.k);
        const void *pp = low_values(p.low_type, p.rank, p.k, 0.5f);
        const void *q = low_values(p.low_type, p.n, p.rank, 0.5f);
        void *scratch = check_scratch(&in);
        snprintf(name, sizeof(name), "matmul_lora_%s", isa);
        CHECK_BENCH(name, 2 * p.m * (p.n * p.k + (p.n + p.k) * p.rank), 0,
                    fn(y, a, b, p.type, pp, q, p.low_type, NULL, p.m, p.n, p.k,
                       p.rank, 1.0f, p.precision, scratch, NULL));
    }
    return !ok;
}
