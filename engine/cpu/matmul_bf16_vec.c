// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_bf16_vec.h"

#include "engine/cpu/matmul_rows8.h"
#include "engine/cpu/panel_bf16.h"

/*
 * Rounded products
 *
 * op(a) is rounded once, for all. Then a task is a panel of 64 columns of op(b)
 * and up to ROWS rows of a: the panel is decoded, rounded and packed DEPTH
 * values deep, stays in L2, and strips of TILE_ROWS rows pass by. Weights are
 * decoded once for each ROWS rows. Where a tile is narrower than a panel, some
 * strips pass by a part of it at a time.
 *
 * An adapter's columns ride along: behind the values of a row of a are those of
 * its product with p, and below the last part of a panel are rows of q.
 */

enum { ROWS = 86 * TILE_ROWS }; // of a task: a little above a power of two

// Of the weights of the panel that this thread is likely to take next, `strip`
// asks for a part: memory takes longer than the machine looks ahead.
static struct ahead look_ahead(const struct rounded *r, int64_t j0, int64_t k0,
                               int64_t pairs, int64_t strip)
{
    const struct rounded_product *p = r->p;
    const int64_t j = j0 + r->threads * PANEL_COLS;
    const int64_t rows = min(PANEL_COLS, p->n - j);
    struct ahead a = {p->b, 0};

    if (rows <= 0)
        return a;
    if (p->trans_b) {
        const int64_t row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k);
        const int64_t strips = (p->m + TILE_ROWS - 1) / TILE_ROWS;
        const int64_t from = 64 * (k0 / 2 * strips + strip * pairs);
        if (from < rows * row_bytes)
            a = (struct ahead){p->b + j * row_bytes + from, 64};
    } else if (strip < 4) {
        const int64_t row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->n);
        const int64_t side = strip < 2 ? j : j + rows / 32 * 32 - 32;
        a = (struct ahead){p->b + (k0 + strip % 2) * row_bytes, 2 * row_bytes};
        a.at += (int64_t) dtype_row_bytes(p->b_type, 256) * side / 256;
    }
    return a;
}

// The strip at row i, of rows m0 .. m1, with columns j0 + j .. of the panel.
ALWAYS_INLINE void run_strip(const struct rounded *r, float *t,
                             const pair *panel, int64_t i, int64_t m0,
                             int64_t m1, int64_t j0, int64_t j, int64_t k0,
                             int64_t ks)
{
    const struct rounded_product *p = r->p;
    const int64_t rows = min(TILE_ROWS, m1 - i);
    const int64_t cols = min(TILE_COLS, p->n - j0 - j);
    const int64_t rank = p->low && k0 + ks == p->k ? p->low->rank : 0;
    const int64_t steps = depth_steps(ks, rank);
    const struct place at = {
        .t = t + (i - m0) * PANEL_COLS + j * TILE_ROWS,
        .is_first = k0 == 0,
        .is_last = k0 + ks == p->k,
        .y = p->y + i * r->ldy + j0 + j,
        .c = p->c ? p->c + i * p->n + j0 + j : NULL,
        .ld = r->ldy,
        .alpha = p->alpha,
        .ahead = LOOKS_AHEAD
                     ? look_ahead(r, j0, k0, steps, (i - m0) / TILE_ROWS)
                     : (struct ahead){NULL, 0},
    };
    const pair *b = panel + j * (int64_t) STEP_PAIRS * steps;

    if (rows == TILE_ROWS && cols == TILE_COLS)
        tile_full(&at, strip_of(r, i, k0), b, steps);
    else
        tile_edge(&at, strip_of(r, i, k0), b, steps, rows, cols);
}

// Rows m0 .. m1 with a packed panel of columns j0 .., k0 .. k0 + ks.
static void run_panel(const struct rounded *r, float *t, const pair *panel,
                      int64_t m0, int64_t m1, int64_t j0, int64_t k0,
                      int64_t ks)
{
    const int64_t unit = (int64_t) BLOCK_STRIPS * TILE_ROWS;

    for (int64_t i0 = m0; i0 < m1; i0 += unit)
        for (int64_t j = 0; j < PANEL_COLS && j0 + j < r->p->n; j += TILE_COLS)
            for (int64_t i = i0; i < min(m1, i0 + unit); i += TILE_ROWS)
                run_strip(r, t, panel, i, m0, m1, j0, j, k0, ks);
}

static void panel_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rounded *r = ctx;
    const struct rounded_product *p = r->p;
    const int64_t j0 = task % r->panels * (int64_t) PANEL_COLS;
    const int64_t m0 = task / r->panels * (int64_t) ROWS;
    _Alignas(64) pair panel[(DEPTH + OP_LORA_RANK_MAX) / 2 * PANEL_COLS];
    _Alignas(64) float t[ROWS * PANEL_COLS];

    for (int64_t k0 = 0; k0 < p->k; k0 += r->depth) {
        const int64_t ks = min(r->depth, p->k - k0);
        panel_pack(panel, p, j0, k0, ks);
        run_panel(r, t, panel, m0, min(p->m, m0 + ROWS), j0, k0, ks);
    }
}

void matmul_rounded(const struct rounded_product *p, void *scratch,
                    struct pool *pool)
{
    const int64_t cuts = parts(p->k, DEPTH);
    struct rounded r = {
        .p = p,
        .pa = p->pairs ? p->pairs : scratch,
        .room = scratch,
        .lda = p->pairs ? p->lda : packed_lda(p),
        .ldy = p->ldy ? p->ldy : p->n,
        .depth = round_up((p->k + cuts - 1) / cuts, 32),
        .threads = pool_threads(pool),
        .panels = parts(p->n, PANEL_COLS),
    };

    if (p->low)
        pack_low(p);
    if (!p->pairs)
        pool_run(pool, parts(p->m, packed_unit(p)), pack_a_task, &r);
    pool_run(pool, r.panels * parts(p->m, ROWS), panel_task, &r);
}

KERNEL_matmul(VEC_NAME(matmul))
{
    if (cpu_rounds_rows(precision, m, k, trans_a, trans_b, b_type)) {
        const struct rows8_product q = {y, a, b, b_type, c,
                                        m, n, k, alpha,  NULL};
        ROWS8_NAME(&q, scratch, pool);
        return;
    }
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        BASE_NAME(matmul)
        (y, a, b, b_type, c, m, n, k, trans_a, trans_b, alpha, precision,
         scratch, pool);
        return;
    }
    const struct rounded_product p = {
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .alpha = alpha,
    };
    matmul_rounded(&p, scratch, pool);
}

KERNEL_matmul_delta(VEC_NAME(matmul_delta))
{
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        BASE_NAME(matmul_delta)
        (y, a, b, b_type, d, c, m, n, k, trans_b, alpha, precision, scratch,
         pool);
        return;
    }
    const struct rounded_product p = {
        .y = y,
        .a = a,
        .b = b,
        .b_type = b_type,
        .d = d,
        .c = c,
        .m = m,
        .n = n,
        .k = k,
        .trans_b = trans_b,
        .alpha = alpha,
    };
    matmul_rounded(&p, scratch, pool);
}

KERNEL_matmul_lora(VEC_NAME(matmul_lora))
{
    const struct cpu_lora_plan plan =
        cpu_lora_plan(m, n, k, rank, b_type, low_type, precision);
    float *z = scratch;
    pair *pairs = (pair *) scratch + plan.z_floats;
    void *rest = pairs + plan.p_floats;

    if (cpu_rounds_rows(precision, m, k, false, true, b_type)) {
        const struct rows8_low low = {p, q, low_type, rank, plan.ld, alpha, z};
        const struct rows8_product r = {y, a, b, b_type, c, m, n, k, 1, &low};
        ROWS8_NAME(&r, rest, pool);
        return;
    }
    if (!op_rounds((uint8_t) precision, m, n, k)) {
        BASE_NAME(matmul_lora)
        (y, a, b, b_type, p, q, low_type, c, m, n, k, rank, alpha, precision,
         scratch, pool);
        return;
    }
    const struct rounded_low low = {p, q, low_type, rank, alpha, pairs};
    matmul_rounded(
        &(struct rounded_product){
            .y = y,
            .a = a,
            .b = b,
            .b_type = b_type,
            .c = c,
            .m = m,
            .n = n,
            .k = k,
            .trans_b = true,
            .alpha = 1.0f,
            .low = &low,
        },
        rest, pool);
}
