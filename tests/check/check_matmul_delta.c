// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

struct product {
    int64_t m, n, k;
    bool trans_b;
    enum dtype type;
    int addend; // 0: none, 1: c, 2: y itself
    enum precision precision;
};

static struct instr instr_of(const struct product *p)
{
    struct instr in = {.op = OP_matmul_delta, .n_in = 4, .n_out = 1};

    in.attr.trans_b = p->trans_b;
    in.attr.precision = (uint8_t) p->precision;
    in.in[0] = check_operand(DTYPE_f32, p->m, p->k);
    in.in[1] = p->trans_b ? check_operand(p->type, p->n, p->k)
                          : check_operand(p->type, p->k, p->n);
    in.out[0] = check_operand(DTYPE_f32, p->m, p->n);
    return in;
}

static bool check_case(KERNEL_matmul_delta((*ref)), KERNEL_matmul_delta((*fn)),
                       const char *isa, const struct product *p)
{
    const struct instr in = instr_of(p);
    const int64_t count = p->m * p->n;
    const float alpha = 0.75f;
    const float *a = check_random(p->m * p->k, 1.0f);
    const void *b = check_weights(p->type, p->trans_b ? p->n : p->k,
                                  p->trans_b ? p->k : p->n);
    const float *d = check_random(p->k * p->n, 0.5f);
    const float *c = check_random(count, 1.0f);
    float *want = check_copy(c, count);
    float *first = NULL;
    bool ok = true;
    char name[128];

    snprintf(name, sizeof(name), "matmul_delta_%s %lldx%lldx%lld%s %s c=%d%s",
             isa, (long long) p->m, (long long) p->n, (long long) p->k,
             p->trans_b ? " tb" : "", dtype_infos[p->type].name, p->addend,
             p->precision == PRECISION_BF16 ? " bf16" : "");
    ref(want, a, b, p->type, d, p->addend ? want : NULL, p->m, p->n, p->k,
        p->trans_b, alpha, check_precision(isa, p->precision),
        check_scratch(&in), NULL);
    for (int i = 0; i < check_runs(fn == ref); i++) {
        float *y = p->addend == 2 ? check_copy(c, count) : check_room(count);
        const float *add = p->addend == 2 ? y : p->addend ? c : NULL;
        fn(y, a, b, p->type, d, add, p->m, p->n, p->k, p->trans_b, alpha,
           p->precision, check_scratch(&in), check_pools[i]);
        if (i == 0) {
            first = y;
            // Rounding of a sum of k products of values up to 1.5.
            ok &= check_close(want, y, count, 2 * sqrtf((float) p->k), 2e-6f,
                              "%s", name);
        }
        ok &= check_same(first, y, count, "%s", name);
    }
    return check_end(name) && ok;
}

// Every path, and sizes around the edges of tiles, strips and blocks.
static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},      {1, 70, 33},   {3, 5, 7},      {6, 16, 8},
    {7, 17, 9},     {8, 96, 64},   {9, 64, 32},    {40, 3, 45},
    {33, 16, 200},  {16, 50, 65},  {13, 129, 8},   {101, 130, 34},
    {97, 193, 400}, {50, 64, 800}, {23, 65, 2100}, {12, 64, 2048},
};

int check_matmul_delta(KERNEL_matmul_delta((*ref)), KERNEL_matmul_delta((*fn)),
                       const char *isa, bool bench)
{
    bool ok = true;

    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int v = 0; v < 4 * DTYPE_COUNT; v++) {
            const enum dtype type = (enum dtype)(v / 4);
            if (!dtype_is_weight(type) || (s + (size_t) v) % check_stride)
                continue;
            struct product p = {shapes[s].m,
                                shapes[s].n,
                                shapes[s].k,
                                v & 1,
                                type,
                                (int) (s + (size_t) v) % 3,
                                (enum precision)(v / 2 % 2)};
            // Rows of blocks are whole blocks.
            const int64_t block = dtype_infos[type].block;
            if (p.trans_b)
                p.k = (p.k + block - 1) / block * block;
            else
                p.n = (p.n + block - 1) / block * block;
            ok &= check_case(ref, fn, isa, &p);
        }
    if (bench && fn != ref) {
        const struct product p = {256,        384, 384,           true,
                                  DTYPE_q8_0, 0,   PRECISION_BF16};
        const struct instr in = instr_of(&p);
        char name[64];
        float *y = check_room(p.m * p.n);
        const float *a = check_random(p.m * p.k, 1.0f);
        const void *b = check_weights(p.type, p.n, p.k);
        const float *d = check_random(p.n * p.k, 0.5f);
        void *scratch = check_scratch(&in);
        snprintf(name, sizeof(name), "matmul_delta_%s", isa);
        CHECK_BENCH(name, 2 * p.m * p.n * p.k, 0,
                    fn(y, a, b, p.type, d, NULL, p.m, p.n, p.k, true, 1.0f,
                       p.precision, scratch, NULL));
    }
    return !ok;
}
