// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_vec.h"
#include "engine/cpu/tile.h"

/*
 * The large case decodes and packs b into panels of TILE_COLS columns,
 * [k][TILE_COLS], in which the inner loop reads it while it holds one tile of
 * y in registers. TILE_ROWS rows of a are read where they are, unless they
 * are columns there, or would push each other out of the cache: then they are
 * packed as well, [k][TILE_ROWS]. Goto & van de Geijn, Anatomy of
 * High-Performance Matrix Multiplication, 2008.
 *
 * A difference to b is added to it while b is packed.
 */

enum {
    DEPTH = 384,  // of an inner loop: a panel of b stays in L1
    SHALLOW = 64, // a product this shallow goes through y row by row
    // The first strip of a task waits for the panel, the others find it in L2:
    // where one panel is as wide as TASK_COLS, a task is taller instead.
    TASK_STRIPS = TILE_COLS == 64 ? 32 : 16, // of a: a task's rows
    TASK_ROWS = TASK_STRIPS * TILE_ROWS,
    TASK_COLS = TILE_COLS == 64 ? 64 : 128,
    PACK_COLS = CPU_MATMUL_TILE,
};

_Static_assert(PACK_COLS % TILE_COLS == 0, "panels fill a packing task");

/*
 * Packing
 */

// One strip: out[p][i] = op(a)[row + i][k0 + p], with zeros below the last row.
static void pack_strip(float *out, const struct product *pr, int64_t row)
{
    const int64_t rows = min(TILE_ROWS, pr->m - row);
    const int64_t down = pr->trans_a ? 1 : pr->k;
    const int64_t right = pr->trans_a ? pr->m : 1;
    const float *a = pr->a + pr->k0 * right + row * down;
    int64_t p = 0;

    // Each store spills over into the next row of `out`, which is written
    // after it; the last rows are written one by one.
    for (; !pr->trans_a && rows == TILE_ROWS && p + 8 < pr->ks; p += 8) {
        v8 r[8] = {{0}};
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
            r[i] = v8_load(a + i * down + p);
        v8_transpose(r);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            v8_store(out + (p + i) * TILE_ROWS, r[i]);
    }
    for (; p < pr->ks; p++)
        for (int i = 0; i < TILE_ROWS; i++)
            out[p * TILE_ROWS + i] = i < rows ? a[i * down + p * right] : 0.0f;
}

// The packed place of column `col` of the part at hand, at depth p.
ALWAYS_INLINE float *panel_at(const struct product *pr, int64_t col, int64_t p)
{
    return pr->pb + col / TILE_COLS * TILE_COLS * pr->ks + p * TILE_COLS +
           col % TILE_COLS;
}

ALWAYS_INLINE void add_row(float *x, const float *d, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += d[i];
}

// Columns col .. col + 8 of op(b) are rows of b: decode and transpose.
ALWAYS_INLINE void pack_rows(const struct product *pr, enum dtype type,
                             int64_t col)
{
    const size_t row_bytes = dtype_row_bytes(type, pr->k);
    const int64_t cols = min(8, pr->ns - col);
    float *out = panel_at(pr, col, 0);

    int64_t p = 0;

    // Floats need no room in between.
    for (; type == DTYPE_f32 && cols == 8 && !pr->d && p + 8 <= pr->ks;
         p += 8) {
        const float *b = (const float *) (const void *) pr->b +
                         (pr->n0 + col) * pr->k + pr->k0 + p;
        v8 r[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            r[i] = v8_load(b + i * pr->k);
        v8_transpose(r);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            v8_store(out + (p + i) * TILE_COLS, r[i]);
    }
    for (; p < pr->ks; p += 32) {
        v8 x[8][4];
        const int64_t depth = min(32, pr->ks - p);
        if (cols < 8)
            memset(x, 0, sizeof(x));
        for (int64_t i = 0; i < cols; i++) {
            const char *row = pr->b + (size_t) (pr->n0 + col + i) * row_bytes;
            if (depth == 32)
                decode_32(x[i], type, row, pr->k0 + p);
            else
                decode_rest((float *) x[i], type, row, pr->k0 + p, depth);
            if (pr->d)
                add_row((float *) x[i],
                        pr->d + (pr->n0 + col + i) * pr->k + pr->k0 + p, depth);
        }
        for (int64_t q = 0; q < depth; q += 8) {
            v8 r[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                r[i] = x[i][q / 8];
            v8_transpose(r);
            for (int64_t i = 0; i < min(8, depth - q); i++)
                v8_store(out + (p + q + i) * TILE_COLS, r[i]);
        }
    }
}

// A packing task of columns of op(b) that lie side by side in b.
ALWAYS_INLINE void pack_columns(const struct product *pr, enum dtype type,
                                int64_t col)
{
    const size_t row_bytes = dtype_row_bytes(type, pr->n);
    const int64_t cols = min(PACK_COLS, pr->ns - col);
    const char *row = pr->b + (size_t) pr->k0 * row_bytes;
    const float *d = pr->d ? pr->d + pr->k0 * pr->n + pr->n0 + col : NULL;

    for (int64_t p = 0; p < pr->ks; p++, row += row_bytes) {
        if (cols == PACK_COLS) {
#pragma GCC unroll 2
            for (int64_t j = 0; j < PACK_COLS; j += 32) {
                v8 v[4];
                decode_32(v, type, row, pr->n0 + col + j);
                if (d)
                    add_row((float *) v, d + p * pr->n + j, 32);
#pragma GCC unroll 4
                for (int64_t q = 0; q < 4; q++)
                    v8_store(panel_at(pr, col + j + 8 * q, p), v[q]);
            }
            continue;
        }
        float x[PACK_COLS] = {0};
        decode(x, type, row, pr->n0 + col, cols);
        if (d)
            add_row(x, d + p * pr->n, cols);
        for (int64_t j = 0; j < PACK_COLS; j += TILE_COLS)
            memcpy(panel_at(pr, col + j, p), x + j, TILE_COLS * sizeof(float));
    }
}

ALWAYS_INLINE void pack_b(const struct product *pr, enum dtype type,
                          int64_t col)
{
    if (!pr->trans_b) {
        pack_columns(pr, type, col);
        return;
    }
    for (int64_t j = 0; j < PACK_COLS; j += 8)
        pack_rows(pr, type, col + j);
}

static void pack_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;

    if (task < pr->a_tasks) {
        const int64_t end = min(pr->ms, (task + 1) * (int64_t) TASK_ROWS);
        for (int64_t i = task * (int64_t) TASK_ROWS; i < end; i += TILE_ROWS)
            pack_strip(pr->pa + i * pr->ks, pr, pr->m0 + i);
        return;
    }
    const int64_t col = (int64_t) (task - pr->a_tasks) * PACK_COLS;
    switch (pr->b_type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        pack_b(pr, DTYPE_##name, col);   \
        break;
#include "engine/tensor/dtypes.def"
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
}

/*
 * Tiles
 */

static void tile_packed(float *y, int64_t ldy, const float *c, int64_t ldc,
                        const float *a, const float *b, int64_t depth,
                        float alpha)
{
    const struct strip s = {a, 1, TILE_ROWS};
    tile(y, ldy, c, ldc, s, b, TILE_COLS, depth, alpha, TILE_ROWS, TILE_VECS);
}

static void tile_direct(float *y, int64_t ldy, const float *c, int64_t ldc,
                        const float *a, int64_t lda, const float *b,
                        int64_t depth, float alpha)
{
    const struct strip s = {a, lda, 1};
    tile(y, ldy, c, ldc, s, b, TILE_COLS, depth, alpha, TILE_ROWS, TILE_VECS);
}

// A tile that y does not have room for.
static void tile_edge(float *y, int64_t ldy, const float *c, int64_t ldc,
                      struct strip s, const float *b, int64_t depth,
                      float alpha, int64_t rows, int64_t cols)
{
    float t[TILE_ROWS][TILE_COLS];

    switch (rows) {
    case 1:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, 1,
             TILE_VECS);
        break;
    case 2:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, 2,
             TILE_VECS);
        break;
    case 3:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, 3,
             TILE_VECS);
        break;
    case 4:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, 4,
             TILE_VECS);
        break;
    case 5:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, 5,
             TILE_VECS);
        break;
    default:
        tile(t[0], TILE_COLS, NULL, 0, s, b, TILE_COLS, depth, alpha, TILE_ROWS,
             TILE_VECS);
        break;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            y[i * ldy + j] = t[i][j] + (c ? c[i * ldc + j] : 0.0f);
}

// One tile at row i and column j of the part at hand, depth p .. p + depth.
ALWAYS_INLINE void tile_at(float *y, int64_t ldy, const float *c, int64_t ldc,
                           const struct product *pr, int64_t i, int64_t j,
                           int64_t p, int64_t depth)
{
    const int64_t rows = min(TILE_ROWS, pr->ms - i);
    const int64_t cols = min(TILE_COLS, pr->ns - j);
    const float *b = pr->pb + j * pr->ks + p * TILE_COLS;
    const struct strip s =
        pr->is_a_packed
            ? (struct strip){pr->pa + i * pr->ks + p * TILE_ROWS, 1, TILE_ROWS}
            : (struct strip){pr->a + (pr->m0 + i) * pr->k + pr->k0 + p, pr->k,
                             1};

    if (rows < TILE_ROWS || cols < TILE_COLS)
        tile_edge(y, ldy, c, ldc, s, b, depth, pr->alpha, rows, cols);
    else if (pr->is_a_packed)
        tile_packed(y, ldy, c, ldc, s.a, b, depth, pr->alpha);
    else
        tile_direct(y, ldy, c, ldc, s.a, pr->k, b, depth, pr->alpha);
}

// What is added to the part at hand: what earlier parts of the sum left in y.
ALWAYS_INLINE const float *addend(const struct product *pr)
{
    return pr->k0 > 0 ? pr->y : pr->c;
}

// Each strip asks for its share of the panel of b that comes next.
ALWAYS_INLINE void prefetch_b(const struct product *pr, int64_t j, int64_t p,
                              int64_t depth, int64_t strip)
{
    const int64_t share = depth * TILE_COLS / TASK_STRIPS + 16;
    const float *next =
        (int) TILE_COLS == (int) TASK_COLS
            ? pr->pb + j * pr->ks + (p + depth) * TILE_COLS + strip * share
            : pr->pb + (j + TILE_COLS) * pr->ks + p * TILE_COLS + strip * share;

    for (int64_t q = 0; q < share; q += 16)
        __builtin_prefetch(next + q, 0, 2);
}

// A long sum: its pieces are added up in a small block, because rows of y that
// are a power of two apart would push each other out of the cache.
static void long_task(const struct product *pr, int64_t i0, int64_t i1,
                      int64_t j0, int64_t j1)
{
    float t[TASK_ROWS * TASK_COLS];
    const int64_t step = (pr->ks - 1) / parts(pr->ks, DEPTH) + 1;
    const float *c = addend(pr);

    for (int64_t p = 0; p < pr->ks; p += step)
        for (int64_t j = j0; j < j1; j += TILE_COLS)
            for (int64_t i = i0; i < i1; i += TILE_ROWS) {
                float *at = t + (i - i0) * TASK_COLS + j - j0;
                prefetch_b(pr, j, p, step, (i - i0) / TILE_ROWS);
                tile_at(at, TASK_COLS, p > 0 ? at : NULL, TASK_COLS, pr, i, j,
                        p, min(step, pr->ks - p));
            }
    for (int64_t i = i0; i < i1; i++) {
        const int64_t at = (pr->m0 + i) * pr->n + pr->n0 + j0;
        const float *ti = t + (i - i0) * TASK_COLS;
        for (int64_t j = 0; j < j1 - j0; j++)
            pr->y[at + j] = ti[j] + (c ? c[at + j] : 0.0f);
    }
}

// Panels of b stay in L1 while the strips of the task pass by.
static void tiles_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const uint32_t m_tasks = parts(pr->ms, TASK_ROWS);
    const int64_t i0 = task % m_tasks * (int64_t) TASK_ROWS;
    const int64_t j0 = task / m_tasks * (int64_t) TASK_COLS;
    const int64_t i1 = min(pr->ms, i0 + TASK_ROWS);
    const int64_t j1 = min(pr->ns, j0 + TASK_COLS);
    const float *c = addend(pr);

    if (pr->ks > DEPTH) {
        long_task(pr, i0, i1, j0, j1);
        return;
    }
    for (int64_t j = j0; j < j1; j += TILE_COLS)
        for (int64_t i = i0; i < i1; i += TILE_ROWS) {
            const int64_t at = (pr->m0 + i) * pr->n + pr->n0 + j;
            tile_at(pr->y + at, pr->n, c ? c + at : NULL, pr->n, pr, i, j, 0,
                    pr->ks);
        }
}

// All of b is small: y is read and written along its rows.
static void shallow_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const int64_t i0 = task * (int64_t) TASK_ROWS;
    const int64_t i1 = min(pr->ms, i0 + TASK_ROWS);

    const float *c = addend(pr);

    for (int64_t i = i0; i < i1; i += TILE_ROWS)
        for (int64_t j = 0; j < pr->ns; j += TILE_COLS) {
            const int64_t at = (pr->m0 + i) * pr->n + pr->n0 + j;
            tile_at(pr->y + at, pr->n, c ? c + at : NULL, pr->n, pr, i, j, 0,
                    pr->ks);
        }
}

static void run_part(struct product *pr, bool pack_a, bool pack_b_,
                     struct pool *pool)
{
    const uint32_t m_tasks = parts(pr->ms, TASK_ROWS);

    pr->a_tasks = pack_a ? m_tasks : 0;
    pool_run(pool, pr->a_tasks + (pack_b_ ? parts(pr->ns, PACK_COLS) : 0),
             pack_task, pr);
    if (pr->ks <= SHALLOW)
        pool_run(pool, m_tasks, shallow_task, pr);
    else
        pool_run(pool, m_tasks * parts(pr->ns, TASK_COLS), tiles_task, pr);
}

void VEC_NAME(matmul_tiles)(struct product *pr,
                            const struct cpu_matmul_plan *plan,
                            struct pool *pool)
{
    for (pr->k0 = 0; pr->k0 < pr->k; pr->k0 += plan->ks) {
        pr->ks = min(plan->ks, pr->k - pr->k0);
        for (pr->n0 = 0; pr->n0 < pr->n; pr->n0 += plan->ns) {
            pr->ns = min(plan->ns, pr->n - pr->n0);
            for (pr->m0 = 0; pr->m0 < pr->m; pr->m0 += plan->ms) {
                pr->ms = min(plan->ms, pr->m - pr->m0);
                run_part(pr,
                         plan->is_a_packed && (pr->n0 == 0 || pr->ms < pr->m),
                         pr->m0 == 0, pool);
            }
        }
    }
}
