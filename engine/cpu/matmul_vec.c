// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/tile.h"

/*
 * y (M,N) = alpha * op(a) (M,K) op(b) (K,N) + c (M,N)
 *
 * The large case decodes and packs b into panels of TILE_COLS columns,
 * [k][TILE_COLS], in which the inner loop reads it while it holds one tile of
 * y in registers. TILE_ROWS rows of a are read where they are, unless they
 * are columns there, or would push each other out of the cache: then they are
 * packed as well, [k][TILE_ROWS]. Goto & van
 * de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
 */

struct product {
    float *y;
    const float *a;
    const char *b;
    const float *c; // or NULL
    enum dtype b_type;
    int64_t m, n, k;
    bool trans_a, trans_b, is_a_packed;
    float alpha;
    float *pa, *pb; // packed parts
    // The part at hand: rows m0 .. m0 + ms, and so on.
    int64_t m0, ms, n0, ns, k0, ks;
    uint32_t a_tasks; // of the packing step, before those of b
};

enum {
    DEPTH = 384,      // of an inner loop: a panel of b stays in L1
    SHALLOW = 64,     // a product this shallow goes through y row by row
    TASK_STRIPS = 16, // of a: a task's rows
    TASK_ROWS = TASK_STRIPS * TILE_ROWS,
    TASK_COLS = 128,
    PACK_COLS = CPU_MATMUL_TILE,
};

_Static_assert(PACK_COLS % TILE_COLS == 0, "panels fill a packing task");

ALWAYS_INLINE int64_t min(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

ALWAYS_INLINE uint32_t parts(int64_t x, int64_t unit)
{
    return (uint32_t) ((x + unit - 1) / unit);
}

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

// Columns col .. col + 8 of op(b) are rows of b: decode and transpose.
ALWAYS_INLINE void pack_rows(const struct product *pr, enum dtype type,
                             int64_t col)
{
    const size_t row_bytes = dtype_row_bytes(type, pr->k);
    const int64_t cols = min(8, pr->ns - col);
    float *out = panel_at(pr, col, 0);

    for (int64_t p = 0; p < pr->ks; p += 32) {
        v8 x[8][4] = {{{0}}};
        const int64_t depth = min(32, pr->ks - p);
        for (int64_t i = 0; i < cols; i++) {
            const char *row = pr->b + (size_t) (pr->n0 + col + i) * row_bytes;
            if (depth == 32)
                decode_32(x[i], type, row, pr->k0 + p);
            else
                decode_rest((float *) x[i], type, row, pr->k0 + p, depth);
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

    for (int64_t p = 0; p < pr->ks; p++, row += row_bytes) {
        if (cols == PACK_COLS) {
#pragma GCC unroll 2
            for (int64_t j = 0; j < PACK_COLS; j += 32) {
                v8 v[4];
                decode_32(v, type, row, pr->n0 + col + j);
#pragma GCC unroll 4
                for (int64_t q = 0; q < 4; q++)
                    v8_store(panel_at(pr, col + j + 8 * q, p), v[q]);
            }
            continue;
        }
        float x[PACK_COLS] = {0};
        decode(x, type, row, pr->n0 + col, cols);
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
    case DTYPE_f32:
        pack_b(pr, DTYPE_f32, col);
        break;
    case DTYPE_f16:
        pack_b(pr, DTYPE_f16, col);
        break;
    case DTYPE_bf16:
        pack_b(pr, DTYPE_bf16, col);
        break;
    case DTYPE_q8_0:
        pack_b(pr, DTYPE_q8_0, col);
        break;
    case DTYPE_q4_0:
        pack_b(pr, DTYPE_q4_0, col);
        break;
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
        pr->pb + (j + TILE_COLS) * pr->ks + p * TILE_COLS + strip * share;

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

static void run_tiles(struct product *pr, const struct cpu_matmul_plan *plan,
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

/*
 * Few rows: generation reads all weights for each token, so what counts is to
 * read them once, as they are.
 */

enum {
    GEMV_ROWS = 4,     // of a
    GEMV_COLS = 4,     // of y: rows of b
    GEMV_TASK = 32768, // weights
};

// Rows m0 .. of a with rows j .. of b. Several rows of b side by side hide the
// latency of the sums when a has few.
ALWAYS_INLINE void gemv_block(const struct product *pr, enum dtype type,
                              int64_t m0, int64_t j0, int rows, int cols)
{
    const size_t row_bytes = dtype_row_bytes(type, pr->k);
    const char *b = pr->b + (size_t) j0 * row_bytes;
    const float *a = pr->a + m0 * pr->k;
    v8 acc[GEMV_ROWS][GEMV_COLS] = {{{0}}};
    int64_t p = 0;

    for (; p + 32 <= pr->k; p += 32)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++) {
            v8 w[4];
            const float scale =
                decode_raw(w, type, b + (size_t) j * row_bytes, p);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                v8 s = w[0] * v8_load(a + i * pr->k + p);
#pragma GCC unroll 4
                for (int q = 1; q < 4; q++)
                    s += w[q] * v8_load(a + i * pr->k + p + 8 * q);
                acc[i][j] += scale * s;
            }
        }
#pragma GCC unroll 4
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t at = (m0 + i) * pr->n + j0 + j;
            const v8 s = acc[i][j];
            float sum = ((s[0] + s[4]) + (s[2] + s[6])) +
                        ((s[1] + s[5]) + (s[3] + s[7]));
            if (p < pr->k) {
                float w[32];
                decode_rest(w, type, b + (size_t) j * row_bytes, p, pr->k - p);
                for (int64_t q = 0; q < pr->k - p; q++)
                    sum += w[q] * a[i * pr->k + p + q];
            }
            pr->y[at] = pr->alpha * sum + (pr->c ? pr->c[at] : 0.0f);
        }
}

ALWAYS_INLINE void gemv_rows(const struct product *pr, enum dtype type,
                             int64_t j0, int64_t j1)
{
    for (int64_t m0 = 0; m0 < pr->m; m0 += GEMV_ROWS) {
        const int64_t rows = min(GEMV_ROWS, pr->m - m0);
        int64_t j = j0;
        for (; rows == 1 && j + GEMV_COLS <= j1; j += GEMV_COLS)
            gemv_block(pr, type, m0, j, 1, GEMV_COLS);
        for (; rows == GEMV_ROWS && j < j1; j++)
            gemv_block(pr, type, m0, j, GEMV_ROWS, 1);
        for (; j < j1; j++)
            for (int64_t i = 0; i < rows; i++)
                gemv_block(pr, type, m0 + i, j, 1, 1);
    }
}

static void gemv_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const int64_t j0 = task * pr->ns;
    const int64_t j1 = min(pr->n, j0 + pr->ns);

    switch (pr->b_type) {
    case DTYPE_f32:
        gemv_rows(pr, DTYPE_f32, j0, j1);
        break;
    case DTYPE_f16:
        gemv_rows(pr, DTYPE_f16, j0, j1);
        break;
    case DTYPE_bf16:
        gemv_rows(pr, DTYPE_bf16, j0, j1);
        break;
    case DTYPE_q8_0:
        gemv_rows(pr, DTYPE_q8_0, j0, j1);
        break;
    case DTYPE_q4_0:
        gemv_rows(pr, DTYPE_q4_0, j0, j1);
        break;
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
}

static void run_gemv(struct product *pr, struct pool *pool)
{
    pr->ns = GEMV_TASK / pr->k + 1;
    pool_run(pool, parts(pr->n, pr->ns), gemv_task, pr);
}

/*
 * Few columns, as in x A^T with A of LoRA: rows of a times rows of op(b)^T,
 * which is small and decoded first.
 */

enum {
    DOTS_COLS = 4,
    DOTS_TASK = 64, // rows
};

static void dots_pack(const struct product *pr, enum dtype type)
{
    const int64_t padded = (pr->n + DOTS_COLS - 1) / DOTS_COLS * DOTS_COLS;
    const size_t row_bytes = dtype_row_bytes(type, pr->trans_b ? pr->k : pr->n);

    memset(pr->pb + pr->n * pr->k, 0,
           (size_t) ((padded - pr->n) * pr->k) * sizeof(float));
    if (pr->trans_b) {
        for (int64_t j = 0; j < pr->n; j++)
            decode(pr->pb + j * pr->k, type, pr->b + (size_t) j * row_bytes, 0,
                   pr->k);
        return;
    }
    for (int64_t p = 0; p < pr->k; p++) {
        float x[32];
        decode_rest(x, type, pr->b + (size_t) p * row_bytes, 0, pr->n);
        for (int64_t j = 0; j < pr->n; j++)
            pr->pb[j * pr->k + p] = x[j];
    }
}

// The sums of eight registers, as one vector.
ALWAYS_INLINE v8 sum_8(const vec x[8])
{
    v8 r[8];

#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
#if defined(CPU_ISA_AVX512)
        const v8 *half = (const v8 *) &x[i];
        r[i] = half[0] + half[1];
#elif defined(CPU_ISA_NEON)
        r[i] = __builtin_shufflevector(x[i], (vec){0}, 0, 1, 2, 3, 4, 5, 6, 7);
#else
        r[i] = x[i];
#endif
    }
    v8_transpose(r);
    return ((r[0] + r[4]) + (r[2] + r[6])) + ((r[1] + r[5]) + (r[3] + r[7]));
}

// Two rows of a with DOTS_COLS rows of the packed b.
ALWAYS_INLINE void dots(float out[8], const float *a0, const float *a1,
                        const float *b, int64_t k)
{
    vec acc[8] = {{0}};
    int64_t p = 0;

    for (; p + LANES <= k; p += LANES) {
        const vec x0 = vec_load(a0 + p);
        const vec x1 = vec_load(a1 + p);
#pragma GCC unroll 4
        for (int j = 0; j < DOTS_COLS; j++) {
            const vec w = vec_load(b + j * k + p);
            acc[j] += x0 * w;
            acc[DOTS_COLS + j] += x1 * w;
        }
    }
    v8_store(out, sum_8(acc));
    for (; p < k; p++)
        for (int j = 0; j < DOTS_COLS; j++) {
            out[j] += a0[p] * b[j * k + p];
            out[DOTS_COLS + j] += a1[p] * b[j * k + p];
        }
}

static void dots_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const int64_t i0 = task * (int64_t) DOTS_TASK;
    const int64_t i1 = min(pr->m, i0 + DOTS_TASK);

    for (int64_t i = i0; i < i1; i += 2)
        for (int64_t j0 = 0; j0 < pr->n; j0 += DOTS_COLS) {
            const float *a = pr->a + i * pr->k;
            const int64_t rows = min(2, i1 - i);
            const int64_t cols = min(DOTS_COLS, pr->n - j0);
            float out[8];
            dots(out, a, rows == 2 ? a + pr->k : a, pr->pb + j0 * pr->k, pr->k);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < cols; j++) {
                    const int64_t at = (i + r) * pr->n + j0 + j;
                    pr->y[at] = pr->alpha * out[r * DOTS_COLS + j] +
                                (pr->c ? pr->c[at] : 0.0f);
                }
        }
}

static void run_dots(struct product *pr, struct pool *pool)
{
    switch (pr->b_type) {
    case DTYPE_f32:
        dots_pack(pr, DTYPE_f32);
        break;
    case DTYPE_f16:
        dots_pack(pr, DTYPE_f16);
        break;
    case DTYPE_bf16:
        dots_pack(pr, DTYPE_bf16);
        break;
    case DTYPE_q8_0:
        dots_pack(pr, DTYPE_q8_0);
        break;
    case DTYPE_q4_0:
        dots_pack(pr, DTYPE_q4_0);
        break;
    case DTYPE_i32:
    case DTYPE_COUNT:
        break;
    }
    pool_run(pool, parts(pr->m, DOTS_TASK), dots_task, pr);
}

/*
 * Gradients of LoRA: few (K,R), R at most 16, times wide (K,W): out (R,W) or,
 * when the few are the columns of y, its transpose.
 */

enum {
    OUTER_ROWS = 4,
    OUTER_VECS = 3,
    OUTER_COLS = OUTER_VECS * LANES,
    OUTER_TASK = 96, // columns
    OUTER_DEPTH = 64,
    OUTER_FEW = 16,
};

_Static_assert(OUTER_TASK % OUTER_COLS == 0, "strips fill a task");

// t (rows,OUTER_COLS) += few^T wide over `depth` rows of both.
ALWAYS_INLINE void outer_tile(float *t, const float *few, int64_t ldf,
                              const float *wide, int64_t ldw, int64_t depth,
                              int rows)
{
    vec acc[OUTER_ROWS][OUTER_VECS];

#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            acc[i][j] = vec_load(t + i * OUTER_TASK + j * LANES);
    for (; depth > 0; depth--, few += ldf, wide += ldw) {
        vec v[OUTER_VECS];
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            v[j] = vec_load(wide + j * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < OUTER_VECS; j++)
                acc[i][j] += few[i] * v[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < OUTER_VECS; j++)
            vec_store(t + i * OUTER_TASK + j * LANES, acc[i][j]);
}

// All rows of the few, a tile's worth at a time.
static void outer_strip(float *t, const float *few, int64_t r,
                        const float *wide, int64_t ldw, int64_t depth)
{
    for (int64_t i = 0; i < r; i += OUTER_ROWS) {
        float *ti = t + i * OUTER_TASK;
        switch (min(OUTER_ROWS, r - i)) {
        case 1:
            outer_tile(ti, few + i, r, wide, ldw, depth, 1);
            break;
        case 2:
            outer_tile(ti, few + i, r, wide, ldw, depth, 2);
            break;
        case 3:
            outer_tile(ti, few + i, r, wide, ldw, depth, 3);
            break;
        default:
            outer_tile(ti, few + i, r, wide, ldw, depth, OUTER_ROWS);
            break;
        }
    }
}

static void outer_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct product *pr = ctx;
    const bool few_is_a = pr->m <= OUTER_FEW;
    const float *b = (const float *) (const void *) pr->b;
    const float *few = few_is_a ? pr->a : b;
    const int64_t r = few_is_a ? pr->m : pr->n;
    const int64_t ldw = few_is_a ? pr->n : pr->m;
    const int64_t j0 = task * (int64_t) OUTER_TASK;
    const int64_t cols = min(OUTER_TASK, ldw - j0);
    const float *wide = (few_is_a ? b : pr->a) + j0;
    float t[OUTER_FEW * OUTER_TASK] = {0};
    float edge[OUTER_DEPTH * OUTER_COLS] = {0};

    for (int64_t p = 0; p < pr->k; p += OUTER_DEPTH) {
        const int64_t depth = min(OUTER_DEPTH, pr->k - p);
        const float *w = wide + p * ldw;
        int64_t j = 0;
        for (; j + OUTER_COLS <= cols; j += OUTER_COLS)
            outer_strip(t + j, few + p * r, r, w + j, ldw, depth);
        if (j == cols)
            continue;
        for (int64_t i = 0; i < depth; i++)
            memcpy(edge + i * OUTER_COLS, w + i * ldw + j,
                   (size_t) (cols - j) * sizeof(float));
        outer_strip(t + j, few + p * r, r, edge, OUTER_COLS, depth);
    }
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < cols; j++) {
            const int64_t at =
                few_is_a ? i * pr->n + j0 + j : (j0 + j) * pr->n + i;
            pr->y[at] =
                pr->alpha * t[i * OUTER_TASK + j] + (pr->c ? pr->c[at] : 0.0f);
        }
}

static void run_outer(struct product *pr, struct pool *pool)
{
    const int64_t wide = pr->m <= OUTER_FEW ? pr->n : pr->m;
    pool_run(pool, parts(wide, OUTER_TASK), outer_task, pr);
}

KERNEL_matmul(VEC_NAME(matmul))
{
    const struct cpu_matmul_plan plan =
        cpu_matmul_plan(m, n, k, trans_a, trans_b, b_type);
    struct product pr = {
        .y = y,
        .a = a,
        .b = b,
        .c = c,
        .b_type = b_type,
        .m = m,
        .n = n,
        .k = k,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .is_a_packed = plan.is_a_packed,
        .alpha = alpha,
        .pa = scratch,
        .pb = scratch ? (float *) scratch + plan.a_floats : NULL,
    };

    switch (plan.path) {
    case CPU_MATMUL_TILES:
        run_tiles(&pr, &plan, pool);
        break;
    case CPU_MATMUL_GEMV:
        run_gemv(&pr, pool);
        break;
    case CPU_MATMUL_DOTS:
        run_dots(&pr, pool);
        break;
    case CPU_MATMUL_OUTER:
        run_outer(&pr, pool);
        break;
    }
}
