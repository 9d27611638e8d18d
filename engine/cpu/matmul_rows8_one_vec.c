// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/rows8_vec.h"

#include <stdatomic.h>

/*
 * Generation, a token at a time: one row that is rounded to eight bits
 *
 * Blocks of 32 go in pairs. The first halves of both meet in one register and
 * the second halves in another, so that four sums of one block and four of the
 * other come out, and a pair ends in one float product: its scales are lanes of
 * those of eight blocks, which were multiplied at once. Rows of b are read one
 * after the other, as memory likes best; the sums of eight of them are added up
 * together.
 *
 * q6_k has a scale for each 16 numbers: there a block alone fills a register.
 *
 * An adapter's z = x p^T is added up by the first tasks, each over a part of x.
 * Tasks are taken in order, so those of b find it done, or nearly: no thread
 * waits for the others between the two. One that waited in vain, because the
 * system runs something else in place of another, adds up that part itself.
 * What takes less time than that is added up by the caller.
 */

enum {
    GROUP = 8,    // blocks
    ROWS = 8,     // of b
    TASK = 65536, // weights
    PARTS = 8,    // of x, at most
    PART = 1024,  // values, where x has so many
    LOOKS = 100,  // at a part, a few us
    ALONE = 8192, // numbers of p: faster than sharing the work
};

// z of each part of x; with bits of those that are there.
struct low_parts {
    float z[PARTS][OP_LORA_RANK_MAX];
    uint32_t n;
    _Atomic uint32_t done;
};

// The row, rounded, in the scratch: of each pair of blocks 64 bytes and 8
// first sums, of each block its scale, and the sum of what its bytes stand for.
struct row8 {
    const struct rows8_product *p;
    int8_t *q;
    int32_t *base;
    float *d, *s; // zeros up to a whole group
    int64_t ns;   // rows of b of a task, whole ROWS
    int64_t blocks;
    int64_t row_bytes;
    struct low_parts *low; // or NULL
};

// Do high nibbles stay where they are, sixteen times what they mean? The scale
// of their activations makes up for it. Without VNNI there is no room for them.
ALWAYS_INLINE bool is_unshifted(enum dtype type)
{
#if defined(__AVX512VNNI__)
    return type == DTYPE_q4_k;
#else
    return false;
#endif
}

/*
 * Activations
 */

static void store_pair(const struct row8 *r, int64_t at, const __m256i q[2],
                       int zero)
{
    __m256i *to = (__m256i *) (void *) (r->q + 64 * at);
    const __m256i first = _mm256_permute2x128_si256(q[0], q[1], 0x20);
    const __m256i second = _mm256_permute2x128_si256(q[0], q[1], 0x31);
    const __m256i sums =
        sums_of_4(sums_of_4(_mm256_setzero_si256(), first), second);

    _mm256_storeu_si256(to, first);
    _mm256_storeu_si256(to + 1, second);
    _mm256_storeu_si256((__m256i *) (void *) (r->base + 8 * at),
                        _mm256_mullo_epi32(sums, _mm256_set1_epi32(-zero)));
}

static void store_alone(const struct row8 *r, int64_t block, __m256i q,
                        int zero)
{
    const __m256i sums = sums_of_4(_mm256_setzero_si256(), q);

    _mm256_storeu_si256((__m256i *) (void *) (r->q + 32 * block), q);
    _mm256_storeu_si256((__m256i *) (void *) (r->base + 8 * block),
                        _mm256_mullo_epi32(sums, _mm256_set1_epi32(-zero)));
}

static void round_row(const struct row8 *r)
{
    const enum dtype type = r->p->b_type;
    const int zero = zero_of(type);

    for (int64_t at = 0; at < r->blocks; at += 2) {
        __m256i q[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int64_t i = at; i < at + 2 && i < r->blocks; i++) {
            q[i - at] = round_32(&r->d[i], r->p->a + 32 * i);
            r->s[i] =
                r->d[i] *
                (float) sum_lanes(sums_of_4(_mm256_setzero_si256(), q[i - at]));
            if (is_unshifted(type) && i > at)
                r->d[i] /= 16;
        }
        if (type == DTYPE_q6_k) {
            store_alone(r, at, q[0], zero);
            store_alone(r, at + 1, q[1], zero);
        } else {
            store_pair(r, at / 2, q, zero);
        }
    }
    for (int64_t i = r->blocks; i % GROUP != 0; i++)
        r->d[i] = r->s[i] = 0.0f;
}

/*
 * Weights of a pair: first halves, second halves
 */

struct pair {
    __m256i w[2];
};

ALWAYS_INLINE __m256i load_16_16(const void *low, const void *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                   _mm_loadu_si128(high), 1);
}

ALWAYS_INLINE struct pair nibbles_pair(__m256i x)
{
    const __m256i four = _mm256_set1_epi8(15);

    return (struct pair){{
        _mm256_and_si256(x, four),
        _mm256_and_si256(_mm256_srli_epi16(x, 4), four),
    }};
}

ALWAYS_INLINE struct pair fifth_pair(struct pair p, const uint8_t low[4],
                                     const uint8_t high[4])
{
#if defined(__AVX512VL__)
    uint32_t x, y;
    memcpy(&x, low, sizeof x);
    memcpy(&y, high, sizeof y);
    const uint32_t bits[2] = {(x & 0xffff) | y << 16,
                              x >> 16 | (y & 0xffff0000)};
    for (int i = 0; i < 2; i++)
        p.w[i] = _mm256_or_si256(p.w[i], _mm256_maskz_set1_epi8(bits[i], 16));
#else
    for (int i = 0; i < 2; i++)
        p.w[i] =
            _mm256_or_si256(p.w[i],
                            _mm256_set_m128i((__m128i) fifth_bits(high + 2 * i),
                                             (__m128i) fifth_bits(low +
                                                                  2 * i)));
#endif
    return p;
}

// Blocks `at` and, where it has one, the next.
ALWAYS_INLINE struct pair pair_32(enum dtype type, const char *row, int64_t at,
                                  bool has_two)
{
    const int64_t next = has_two ? at + 1 : at;

#define PAIR(name) BLOCK(name, row, at)->q, BLOCK(name, row, next)->q
#define HIGH(name) BLOCK(name, row, at)->high, BLOCK(name, row, next)->high
    switch ((int) type) {
    case DTYPE_q4_0:
        return nibbles_pair(load_16_16(PAIR(quant_q4_0)));
    case DTYPE_q4_1:
        return nibbles_pair(load_16_16(PAIR(quant_q4_1)));
    case DTYPE_q5_0:
        return fifth_pair(nibbles_pair(load_16_16(PAIR(quant_q5_0))),
                          HIGH(quant_q5_0));
    case DTYPE_q5_1:
        return fifth_pair(nibbles_pair(load_16_16(PAIR(quant_q5_1))),
                          HIGH(quant_q5_1));
    default: {
        const int8_t *q = BLOCK(quant_q8_0, row, at)->q;
        const int8_t *q2 = BLOCK(quant_q8_0, row, next)->q;
        return (struct pair){{load_16_16(q, q2), load_16_16(q + 16, q2 + 16)}};
    }
    }
#undef PAIR
#undef HIGH
}

// The fifth bits of pieces 2 * i and 2 * i + 1, of which x has 16 bytes twice.
ALWAYS_INLINE __m256i add_fifth(__m256i w, __m256i x, int i)
{
#if defined(__AVX512VL__)
    const char low = (char) (1 << 2 * i), high = (char) (2 << 2 * i);
    const __m256i bit =
        _mm256_set_m128i(_mm_set1_epi8(high), _mm_set1_epi8(low));
    return _mm256_mask_add_epi8(w, _mm256_test_epi8_mask(x, bit), w,
                                _mm256_set1_epi8(16));
#else
    const __m256i to_bit =
        _mm256_setr_epi64x(2 * i, 2 * i, 2 * i + 1, 2 * i + 1);
    const __m256i bit =
        _mm256_and_si256(_mm256_srlv_epi64(x, to_bit), _mm256_set1_epi8(1));
    return _mm256_or_si256(w, _mm256_slli_epi16(bit, 4));
#endif
}

ALWAYS_INLINE __m256i load_16_twice(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *) p));
}

// Pieces 2 * i and 2 * i + 1 of a block of 256: its bytes hold both.
ALWAYS_INLINE struct pair pair_256(enum dtype type, const char *row,
                                   int64_t block, int i)
{
    const bool has_fifth = type == DTYPE_q5_k;
    const uint8_t *q = has_fifth ? BLOCK(quant_q5_k, row, block)->q
                                 : BLOCK(quant_q4_k, row, block)->q;
    const uint8_t *high = BLOCK(quant_q5_k, row, block)->high;
    const __m256i to_4 = _mm256_setr_epi64x(0, 0, 4, 4);
    const __m256i four = _mm256_set1_epi8(15);
    const __m256i halves =
        _mm256_set_m128i(_mm_set1_epi8(-16), _mm_set1_epi8(15));
    struct pair p;

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const __m256i x = load_16_twice(q + 32 * i + 16 * k);
        p.w[k] = is_unshifted(type)
                     ? _mm256_and_si256(x, halves)
                     : _mm256_and_si256(_mm256_srlv_epi64(x, to_4), four);
        if (has_fifth)
            p.w[k] = add_fifth(p.w[k], load_16_twice(high + 16 * k), i);
    }
    return p;
}

/*
 * Sums
 */

struct sums {
    v8 acc[2];
    v8 mins; // taken from them
};

// Lanes `low` and `high` of x, four times each.
ALWAYS_INLINE v8 lanes_of(v8 x, int low, int high)
{
    return (v8) _mm256_permutevar8x32_ps((__m256) x,
                                         _mm256_setr_epi32(low, low, low, low,
                                                           high, high, high,
                                                           high));
}

ALWAYS_INLINE void add_pair(struct sums *s, const struct row8 *r,
                            enum dtype type, struct pair p, int64_t pair,
                            v8 scale)
{
    const int8_t *q = r->q + 64 * pair;
    __m256i sum = zero_of(type) != 0 ? load_32(r->base + 8 * pair)
                                     : _mm256_setzero_si256();

#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i w = p.w[i], a = load_32(q + 32 * i);
        if (type == DTYPE_q8_0)
            eight_bits(&w, &a);
        sum = dot_4(sum, w, a);
    }
    s->acc[pair % 2] += scale * (v8) _mm256_cvtepi32_ps(sum);
}

ALWAYS_INLINE v8 halves_8(const char *h, int64_t step, int n)
{
    uint16_t x[GROUP] = {0};

#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        memcpy(&x[i], h + i * step, sizeof(x[i]));
    return (v8) _mm256_cvtph_ps(
        _mm_setr_epi16((short) x[0], (short) x[1], (short) x[2], (short) x[3],
                       (short) x[4], (short) x[5], (short) x[6], (short) x[7]));
}

// n blocks from `at`: the scale in front of each, its minimum behind that.
ALWAYS_INLINE void add_blocks(struct sums *s, const struct row8 *r,
                              enum dtype type, const char *row, int64_t at,
                              int n)
{
    const int64_t bytes = block_bytes_of(type);
    const char *h = row + at * bytes;
    const v8 scale = halves_8(h, bytes, n) * v8_load(r->d + at);

    if (type == DTYPE_q4_1 || type == DTYPE_q5_1)
        s->mins -= halves_8(h + 2, bytes, n) * v8_load(r->s + at);
#pragma GCC unroll 4
    for (int i = 0; i < n; i += 2)
        add_pair(s, r, type, pair_32(type, row, at + i, i + 1 < n),
                 (at + i) / 2, lanes_of(scale, i, i + 1));
}

ALWAYS_INLINE void add_row_32(struct sums *s, const struct row8 *r,
                              enum dtype type, const char *row)
{
    int64_t at = 0;

    for (; at + 8 <= r->blocks; at += 8)
        add_blocks(s, r, type, row, at, 8);
    if (at + 4 <= r->blocks) {
        add_blocks(s, r, type, row, at, 4);
        at += 4;
    }
    if (at + 2 <= r->blocks) {
        add_blocks(s, r, type, row, at, 2);
        at += 2;
    }
    if (at < r->blocks)
        add_blocks(s, r, type, row, at, 1);
}

ALWAYS_INLINE void add_q6_k(struct sums *s, const struct row8 *r,
                            const char *row, int64_t block)
{
    v8 scales[2];

    scales_q6(&scales[0], &scales[1], BLOCK(quant_q6_k, row, block));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const int64_t at = 8 * block + i;
        s->acc[i % 2] +=
            lanes_of(scales[i / 4], 2 * i % 8, 2 * i % 8 + 1) * r->d[at] *
            dot_32(DTYPE_q6_k, load_32(r->base + 8 * at),
                   numbers_of(DTYPE_q6_k, row, at), load_32(r->q + 32 * at));
    }
}

ALWAYS_INLINE void add_row_256(struct sums *s, const struct row8 *r,
                               enum dtype type, const char *row)
{
    for (int64_t block = 0; 8 * block < r->blocks; block++) {
        v8 scale, min;
        if (type == DTYPE_q6_k) {
            add_q6_k(s, r, row, block);
            continue;
        }
        if (type == DTYPE_q4_k)
            scales_6(&scale, &min, BLOCK(quant_q4_k, row, block));
        else
            scales_6(&scale, &min, BLOCK(quant_q5_k, row, block));
        scale *= v8_load(r->d + 8 * block);
        s->mins += min * v8_load(r->s + 8 * block);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            add_pair(s, r, type, pair_256(type, row, block, i), 4 * block + i,
                     lanes_of(scale, 2 * i, 2 * i + 1));
    }
}

/*
 * The adapter
 */

static void add_part(float *z, const struct row8 *r, uint32_t part)
{
    const int64_t k = r->p->k;
    const int64_t unit = (r->blocks + r->low->n - 1) / r->low->n * 32;
    const int64_t k0 = part * unit < k ? part * unit : k;

    low_row(z, r->p->low, r->p->a, k, k0, k0 + unit < k ? k0 + unit : k);
}

static bool is_done(const struct low_parts *l, uint32_t part)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(&l->done, memory_order_acquire) >> part & 1)
            return true;
        _mm_pause();
    }
    return false;
}

static void take_z(float z[OP_LORA_RANK_MAX], const struct row8 *r)
{
    for (uint32_t part = 0; part < r->low->n; part++) {
        float own[OP_LORA_RANK_MAX];
        const float *x = r->low->z[part];
        if (!is_done(r->low, part)) {
            add_part(own, r, part);
            x = own;
        }
        for (int64_t j = 0; j < r->p->low->rank; j += 8)
            v8_store(z + j, part > 0 ? v8_load(z + j) + v8_load(x + j)
                                     : v8_load(x + j));
    }
}

// y[j0 .. j0 + n): n rows of b.
ALWAYS_INLINE void add_rows(const struct row8 *r, enum dtype type,
                            const float *z, int64_t j0, int64_t n)
{
    const struct rows8_product *p = r->p;
    const struct row8 from = *r;
    v8 y[ROWS];

    for (int64_t j = 0; j < n; j++) {
        struct sums s = {{{0}}, {0}};
        const char *row = p->b + (j0 + j) * from.row_bytes;
        if (is_large(type))
            add_row_256(&s, &from, type, row);
        else
            add_row_32(&s, &from, type, row);
        y[j] = s.acc[0] + s.acc[1] - s.mins;
        if (p->low)
            y[j] = low_sums(y[j], p->low, z, j0 + j);
    }
    for (int64_t j = n; j < ROWS; j++)
        y[j] = (v8){0};
    const v8 sum = v8_sums(y);
    for (int64_t j = 0; j < n; j++)
        p->y[j0 + j] = p->alpha * sum[j] + (p->c ? p->c[j0 + j] : 0.0f);
}

ALWAYS_INLINE void add_columns(const struct row8 *r, enum dtype type,
                               int64_t j0, int64_t j1)
{
    float z[OP_LORA_RANK_MAX];

    if (r->low)
        take_z(z, r);
    for (int64_t j = j0; j < j1; j += ROWS)
        add_rows(r, type, z, j, j1 - j < ROWS ? j1 - j : ROWS);
}

ROWS8_COLUMNS_TASK(struct row8)

static void low_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct row8 *r = ctx;

    if (task >= r->low->n) {
        columns_task(ctx, task - r->low->n, worker);
        return;
    }
    add_part(r->low->z[task], r, task);
    atomic_fetch_or_explicit(&r->low->done, (uint32_t) 1 << task,
                             memory_order_release);
}

MATMUL_ROWS8(VEC_NAME(matmul_rows8_one))
{
    const int64_t blocks = p->k / 32;
    const int64_t pairs = (blocks + 1) / 2;
    const int64_t whole = (blocks + GROUP - 1) / GROUP * GROUP;
    char *room = scratch;
    struct row8 r = {
        .p = p,
        .q = (int8_t *) room,
        .d = (float *) (void *) (room + 64 * pairs),
        .s = (float *) (void *) (room + 64 * pairs + 4 * whole),
        .base = (int32_t *) (void *) (room + 64 * pairs + 8 * whole),
        .ns = (TASK / p->k + ROWS) / ROWS * ROWS,
        .blocks = blocks,
        .row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k),
    };

    const uint32_t tasks = (uint32_t) ((p->n + r.ns - 1) / r.ns);
    const int64_t parts = p->k / PART;
    struct low_parts low;

    round_row(&r);
    if (!p->low) {
        pool_run(pool, tasks, columns_task, &r);
        return;
    }
    low.n = (uint32_t) (parts < 2 ? 2 : parts > PARTS ? PARTS : parts);
    atomic_init(&low.done, 0);
    r.low = &low;
    if (p->k * p->low->rank <= ALONE) {
        low.n = 1;
        add_part(low.z[0], &r, 0);
        atomic_init(&low.done, 1);
        pool_run(pool, tasks, columns_task, &r);
        return;
    }
    pool_run(pool, low.n + tasks, low_task, &r);
}
