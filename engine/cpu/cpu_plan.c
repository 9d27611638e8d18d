// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_plan.h"

#include "engine/cpu/ints.h"
#include "engine/ir/op.h"

enum {
    FEW_ROWS = 8,
    FEW_COLS = 16,
    DEPTH_MIN = 33,            // shorter sums are not worth a path of their own
    DEPTH_MAX = 2048,          // of what is packed at a time; a multiple of 32
    PACK_FLOATS = 1024 * 1024, // of each side: 4 MB
    ROWS_UNIT = 96,            // whole strips of every tier
};

// The largest multiple of `unit` whose `k` columns fit, or all of `x`.
static int64_t fit(int64_t x, int64_t k, int64_t unit)
{
    int64_t most = PACK_FLOATS / k / unit * unit;
    if (x * k <= PACK_FLOATS)
        return x;
    return most < unit ? min(x, unit) : min(x, most);
}

struct cpu_matmul_plan cpu_matmul_plan(int64_t m, int64_t n, int64_t k,
                                       bool trans_a, bool trans_b,
                                       enum dtype b_type)
{
    struct cpu_matmul_plan p = {.path = CPU_MATMUL_TILES};

    if (trans_a && !trans_b && b_type == DTYPE_f32 && k >= DEPTH_MIN &&
        min(m, n) <= FEW_COLS) {
        p.path = CPU_MATMUL_OUTER;
    } else if (!trans_a && k >= DEPTH_MIN && n <= FEW_COLS && m > FEW_ROWS) {
        p.path = CPU_MATMUL_DOTS;
        p.b_floats = (size_t) (round_up(n, 4) * k);
    } else if (!trans_a && trans_b && m <= FEW_ROWS &&
               (k >= DEPTH_MIN ||
                ((b_type == DTYPE_f32 || b_type == DTYPE_bf16) &&
                 k % 8 == 0))) {
        p.path = CPU_MATMUL_GEMV;
    } else {
        // Rows a power of two apart share their places in the cache.
        p.is_a_packed = trans_a || (k >= 2048 && k % 1024 == 0);
        p.ks = min(k, DEPTH_MAX);
        p.ms = p.is_a_packed ? fit(m, p.ks, ROWS_UNIT) : m;
        p.ns = fit(n, p.ks, CPU_MATMUL_TILE);
        if (p.is_a_packed)
            p.a_floats = (size_t) (round_up(p.ms, ROWS_UNIT) * p.ks);
        p.b_floats = (size_t) (round_up(p.ns, CPU_MATMUL_TILE) * p.ks);
    }
    return p;
}

bool cpu_rounds_rows(enum precision precision, int64_t m, int64_t k,
                     bool trans_a, bool trans_b, enum dtype b_type)
{
    if (precision != PRECISION_Q8 || trans_a || !trans_b || m > FEW_ROWS ||
        k < DEPTH_MIN)
        return false;
    switch ((int) b_type) {
#define TYPE(name)     \
    case DTYPE_##name: \
        return true;
        CPU_ROWS8_TYPES(TYPE)
#undef TYPE
    default:
        return false;
    }
}

// What a product takes by itself, rounded or not.
static size_t product_floats(int64_t m, int64_t n, int64_t k, enum dtype b_type)
{
    const struct cpu_matmul_plan p =
        cpu_matmul_plan(m, n, k, false, true, b_type);
    return p.a_floats + p.b_floats;
}

struct cpu_lora_plan cpu_lora_plan(int64_t m, int64_t n, int64_t k,
                                   int64_t rank, enum dtype b_type,
                                   enum dtype low_type,
                                   enum precision precision)
{
    struct cpu_lora_plan p = {.ld = round_up(rank, 8)};
    size_t rest = larger(product_floats(m, n, k, b_type),
                         larger(product_floats(m, rank, k, low_type),
                                product_floats(m, n, rank, low_type)));

    p.z_floats = (size_t) round_up(m * p.ld, 16);
    if (op_rounds((uint8_t) precision, m, n, k)) {
        // Rows of a go on with those of a p^T.
        rest = larger(rest, cpu_rounded_floats(m, round_up(k, 32) +
                                                      round_up(rank, 32)));
        p.p_floats = (size_t) (round_up(rank, 4) * (round_up(k, 32) / 2));
    }
    if (cpu_rounds_rows(precision, m, k, false, true, b_type))
        rest = larger(rest, (size_t) (m * k));
    p.floats = p.z_floats + p.p_floats + rest;
    return p;
}

int64_t cpu_rounded_row(int64_t k)
{
    const int64_t pairs = round_up(k, 32) / 2;
    // Rows a multiple of 1 KB apart share their places in the cache.
    return pairs % 256 == 0 ? pairs + 16 : pairs;
}

size_t cpu_rounded_floats(int64_t m, int64_t k)
{
    return (size_t) (round_up(m, 8) * cpu_rounded_row(k));
}

struct cpu_cached_plan cpu_cached_plan(int64_t rows, int64_t length,
                                       int64_t group, int64_t head_dim)
{
    enum { SCORES = 192 * 1024 };
    const int64_t ld = round_up(length, CPU_MATMUL_TILE);
    int64_t queries = 2;

    if (rows * group > CPU_CACHED_QUERIES)
        queries = SCORES / ld / 6 * 6; // whole tiles
    queries = queries < 2 ? 2 : queries;
    queries = queries > CPU_CACHED_QUERIES ? CPU_CACHED_QUERIES : queries;
    return (struct cpu_cached_plan){
        .queries = queries,
        .ld = ld,
        .floats = (size_t) (queries * (2 * head_dim + ld) +
                            CPU_MATMUL_TILE * head_dim),
    };
}

// Tokens and rows of w whose logits are made at a time.
static void xent_block(struct cpu_xent_plan *p, int64_t rows, int64_t vocab,
                       bool is_rounded, bool has_dx)
{
    enum {
        LOGITS = 2 * 1024 * 1024, // 8 MB; twice that where they need no copy
        CHUNK_MIN = 32,
        FEW_LOGITS = 512 * 1024,
        CHUNK_MAX = 256,
        WIDTH_MIN = 1024,
    };

    if (has_dx) {
        p->chunk = (is_rounded ? 2 : 1) * LOGITS / vocab;
        p->chunk = p->chunk < CHUNK_MIN ? CHUNK_MIN : p->chunk;
        p->chunk = min(p->chunk, rows);
        p->width = vocab;
    } else {
        p->chunk = min(rows, CHUNK_MAX);
        p->width = FEW_LOGITS / p->chunk / WIDTH_MIN * WIDTH_MIN;
        p->width = min(vocab, p->width);
    }
    // Rounded in place, and not a power of two apart.
    p->ld = is_rounded ? round_up(p->width, 32) + 16 : p->width;
}

// What products of `m` tokens take.
static size_t xent_floats(const struct cpu_xent_plan *p, int64_t m,
                          int64_t cols, int64_t vocab, enum dtype w_type,
                          bool has_dx)
{
    size_t most = larger(product_floats(m, p->width, cols, w_type),
                         product_floats(m, vocab % p->width, cols, w_type));
    if (has_dx) {
        const struct cpu_matmul_plan back =
            cpu_matmul_plan(m, cols, vocab, false, false, w_type);
        most = larger(most, back.a_floats + back.b_floats);
    }
    return most;
}

struct cpu_xent_plan cpu_xent_plan(int64_t rows, int64_t cols, int64_t vocab,
                                   enum dtype w_type, enum precision precision,
                                   bool has_dx)
{
    enum { SUM_FLOATS = 4 };
    const bool is_rounded = precision == PRECISION_BF16;
    struct cpu_xent_plan p;
    size_t most = 0;

    xent_block(&p, rows, vocab, is_rounded, has_dx);
    // Short chunks take other paths than full ones.
    for (int64_t m = 1; m <= p.chunk; m++)
        most = larger(most, xent_floats(&p, m, cols, vocab, w_type, has_dx));
    if (is_rounded)
        most = larger(most, cpu_rounded_floats(p.chunk, cols));
    p.dx_at = round_up(p.chunk * (p.ld + cols), CPU_MATMUL_TILE);
    p.token_at = p.dx_at + p.chunk * (has_dx ? cols : SUM_FLOATS);
    p.matmul_at = round_up(p.token_at + p.chunk + rows, CPU_MATMUL_TILE);
    p.floats = (size_t) p.matmul_at + most;
    return p;
}
