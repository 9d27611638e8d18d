// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>

struct product {
    int64_t m, n, k;
    bool trans_a, trans_b;
    enum dtype type;
    int addend; // 0: none, 1: c, 2: y itself
    enum precision precision;
};

static struct instr instr_of(const struct product *p)
{
    struct instr in = {.op = OP_matmul, .n_in = 3, .n_out = 1};

    in.attr.trans_a = p->trans_a;
    in.attr.trans_b = p->trans_b;
    in.attr.precision = (uint8_t) p->precision;
    in.in[0] = p->trans_a ? check_operand(DTYPE_f32, p->k, p->m)
                          : check_operand(DTYPE_f32, p->m, p->k);
    in.in[1] = p->trans_b ? check_operand(p->type, p->n, p->k)
                          : check_operand(p->type, p->k, p->n);
    in.out[0] = check_operand(DTYPE_f32, p->m, p->n);
    return in;
}

static bool check_case(KERNEL_matmul((*ref)), KERNEL_matmul((*fn)),
                       const char *isa, const struct product *p)
{
    const struct instr in = instr_of(p);
    const int64_t count = p->m * p->n;
    const float alpha = 0.75f;
    float *a = check_random(p->m * p->k, 1.0f);
    const void *b = check_weights(p->type, p->trans_b ? p->n : p->k,
                                  p->trans_b ? p->k : p->n);
    for (int i = 0; i < 64 && p->precision == PRECISION_Q8; i++)
        a[i] = i < 32 ? 0.0f : a[i] * 1e-32f;
    const float *c = check_random(count, 1.0f);
    float *want = check_copy(c, count);
    float *first = NULL;
    bool ok = true;
    char name[128];

    snprintf(name, sizeof(name), "matmul_%s %lldx%lldx%lld%s%s %s c=%d%s", isa,
             (long long) p->m, (long long) p->n, (long long) p->k,
             p->trans_a ? " ta" : "", p->trans_b ? " tb" : "",
             dtype_infos[p->type].name, p->addend,
             p->precision == PRECISION_BF16 ? " bf16"
             : p->precision == PRECISION_Q8 ? " q8"
                                            : "");
    ref(want, a, b, p->type, p->addend ? want : NULL, p->m, p->n, p->k,
        p->trans_a, p->trans_b, alpha, check_precision(isa, p->precision),
        check_scratch(&in), NULL);
    for (int i = 0; i < check_runs(fn == ref); i++) {
        float *y = p->addend == 2 ? check_copy(c, count) : check_room(count);
        const float *add = p->addend == 2 ? y : p->addend ? c : NULL;
        fn(y, a, b, p->type, add, p->m, p->n, p->k, p->trans_a, p->trans_b,
           alpha, p->precision, check_scratch(&in), check_pools[i]);
        if (i == 0) {
            first = y;
            // Rounding of a sum of k products of values up to 1.
            ok &= check_close(want, y, count, sqrtf((float) p->k), 2e-6f, "%s",
                              name);
        }
        ok &= check_same(first, y, count, "%s", name);
    }
    return check_end(name) && ok;
}

/*
 * Weights are read to the last bit as quant.c defines them: every path, with
 * rows of the unit matrix for a and any bits for blocks.
 */
enum { READ_ROWS = 96, READ_COLS = 256 };

// Rows of w where any value is infinite or NaN make whole sums NaN.
static bool is_finite_row(const float *x)
{
    for (int64_t i = 0; i < READ_COLS; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static void *random_bytes(enum dtype type, float *decoded)
{
    const size_t row = dtype_row_bytes(type, READ_COLS);
    unsigned char *w = check_weights(type, READ_ROWS, READ_COLS);

    for (int64_t o = 0; o < READ_ROWS; o++) {
        do {
            for (size_t i = 0; i < row; i++)
                w[(size_t) o * row + i] = (unsigned char) check_below(256);
            quant_decode(type, decoded + o * READ_COLS, w + (size_t) o * row,
                         READ_COLS);
        } while (!is_finite_row(decoded + o * READ_COLS));
    }
    return w;
}

// Rows from .. from + m of the unit matrix times the first n rows of w.
static bool check_forward(KERNEL_matmul((*fn)), const void *w, enum dtype type,
                          const float *decoded, const float *unit, int64_t from,
                          int64_t m, int64_t n, const char *isa)
{
    const struct product p = {m,    n,    READ_COLS, false,
                              true, type, 0,         PRECISION_F32};
    const struct instr in = instr_of(&p);
    float *y = check_room(m * n);
    bool ok = true;

    fn(y, unit + from * READ_COLS, w, type, NULL, m, n, READ_COLS, false, true,
       1.0f, PRECISION_F32, check_scratch(&in), NULL);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            ok &= y[i * n + j] == decoded[j * READ_COLS + from + i];
    if (!ok)
        printf("matmul_%s reads %s otherwise: %lld rows, %lld columns\n", isa,
               dtype_infos[type].name, (long long) m, (long long) n);
    return ok;
}

static bool check_reads(KERNEL_matmul((*fn)), enum dtype type, const char *isa)
{
    const struct product back = {READ_ROWS, READ_COLS,    READ_ROWS,
                                 false,     false,        type,
                                 0,         PRECISION_F32};
    const struct instr in = instr_of(&back);
    float *decoded = check_room(READ_ROWS * READ_COLS);
    const void *w = random_bytes(type, decoded);
    float *unit = check_room(READ_COLS * READ_COLS);
    float *small = check_room(READ_ROWS * READ_ROWS);
    float *y = check_room(READ_ROWS * READ_COLS);
    bool ok = true;

    for (int64_t i = 0; i < READ_COLS * READ_COLS; i++)
        unit[i] = i % (READ_COLS + 1) == 0;
    for (int64_t i = 0; i < READ_ROWS * READ_ROWS; i++)
        small[i] = i % (READ_ROWS + 1) == 0;
    ok &= check_forward(fn, w, type, decoded, unit, 0, 256, READ_ROWS, isa);
    ok &= check_forward(fn, w, type, decoded, unit, 0, 256, 16, isa);
    for (int64_t from = 0; from < READ_COLS; from += 8)
        ok &= check_forward(fn, w, type, decoded, unit, from, 8, 9, isa);
    for (int64_t from = 0; from < READ_COLS; from++)
        ok &= check_forward(fn, w, type, decoded, unit, from, 1, 9, isa);
    fn(y, small, w, type, NULL, READ_ROWS, READ_COLS, READ_ROWS, false, false,
       1.0f, PRECISION_F32, check_scratch(&in), NULL);
    for (int64_t i = 0; i < READ_ROWS * READ_COLS; i++)
        ok &= y[i] == decoded[i];
    if (!ok)
        printf("matmul_%s does not read %s as defined\n", isa,
               dtype_infos[type].name);
    return check_end("matmul") && ok;
}

// Every path, and sizes around the edges of tiles, strips and blocks.
static const struct {
    int64_t m, n, k;
} shapes[] = {
    {1, 1, 1},      {1, 70, 33},    {3, 5, 7},     {6, 16, 8},
    {7, 17, 9},     {8, 96, 64},    {8, 31, 100},  {5, 100, 320},
    {9, 64, 32},    {97, 8, 96},    {40, 3, 45},   {33, 16, 200},
    {8, 384, 130},  {16, 50, 65},   {13, 129, 8},  {100, 8, 130},
    {101, 130, 7},  {97, 193, 400}, {50, 64, 800}, {23, 65, 2100},
    {12, 64, 2048}, {1, 70, 8},     {3, 33, 16},   {8, 9, 24},
};

// Few rows that are rounded to eight bits: also rows of zeros and of nearly
// nothing, and sums of many blocks.
static bool check_rows8(KERNEL_matmul((*ref)), KERNEL_matmul((*fn)),
                        const char *isa)
{
    // odd and even numbers of blocks
    static const int64_t ks[] = {64, 96, 256, 288, 480, 512, 1280, 2048};
    static const int64_t ns[] = {1, 7, 40, 131, 300};
    static const int64_t ms[] = {1, 3, 4, 8};
    bool ok = true;

    for (size_t r = 0; r < sizeof(ms) / sizeof(ms[0]); r++)
        for (int i = 0; i < 8 * DTYPE_COUNT; i++) {
            const enum dtype type = (enum dtype)(i / 8);
            const int64_t m = ms[r];
            const int64_t block = dtype_infos[type].block;
            const struct product p = {m,
                                      ns[(i + m) % 5],
                                      (ks[i % 8] + block - 1) / block * block,
                                      false,
                                      true,
                                      type,
                                      i % 3,
                                      PRECISION_Q8};
            // Other types know of no rounding: once is enough.
            if (dtype_is_weight(type) && (r + (size_t) i) % check_stride == 0 &&
                (i % 8 == 0 ||
                 cpu_rounds_rows(PRECISION_Q8, p.m, p.k, false, true, type)))
                ok &= check_case(ref, fn, isa, &p);
        }
    return ok;
}

int check_matmul(KERNEL_matmul((*ref)), KERNEL_matmul((*fn)), const char *isa,
                 bool bench)
{
    bool ok = true;

    for (int type = 0; type < DTYPE_COUNT; type++)
        if (dtype_infos[type].block > 1)
            ok &= check_reads(fn, (enum dtype) type, isa);
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int v = 0; v < 8 * DTYPE_COUNT; v++) {
            const enum dtype type = (enum dtype)(v / 8);
            if (!dtype_is_weight(type) || (s + (size_t) v) % check_stride)
                continue;
            struct product p = {shapes[s].m,
                                shapes[s].n,
                                shapes[s].k,
                                v & 1,
                                v & 2,
                                type,
                                (int) (s + (size_t) v) % 3,
                                (enum precision)(v / 4 % 2)};
            // Rows of blocks are whole blocks.
            const int64_t block = dtype_infos[type].block;
            if (p.trans_b)
                p.k = (p.k + block - 1) / block * block;
            else
                p.n = (p.n + block - 1) / block * block;
            ok &= check_case(ref, fn, isa, &p);
        }
    ok &= check_rows8(ref, fn, isa);
    if (bench && fn != ref) {
        const struct product p = {256,  384,        384, false,
                                  true, DTYPE_q8_0, 0,   PRECISION_BF16};
        const struct instr in = instr_of(&p);
        char name[64];
        float *y = check_room(p.m * p.n);
        const float *a = check_random(p.m * p.k, 1.0f);
        const void *b = check_weights(p.type, p.n, p.k);
        void *scratch = check_scratch(&in);
        snprintf(name, sizeof(name), "matmul_%s", isa);
        CHECK_BENCH(name, 2 * p.m * p.n * p.k, 0,
                    fn(y, a, b, p.type, NULL, p.m, p.n, p.k, false, true, 1.0f,
                       p.precision, scratch, NULL));
    }
    return !ok;
}
