// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/matmul_rows8.h"

#include "engine/cpu/decode.h"

/*
 * Generation, with activations of eight bits
 *
 * Numbers of a weight's block are multiplied with those of the activations as
 * integers, four to a sum of 32 bits; a block of 32 ends in one float product.
 * Weights are read as bytes without a sign, `zero` above what they mean; the
 * sums of activations times that are known before any weight is read, so they
 * begin there. Types with a minimum of their own have no zero.
 */

enum {
    ROWS = 4,     // of a
    COLS = 4,     // of y: rows of b
    TASK = 65536, // weights
    // Bytes; four rows at a time are too short for the machine to see coming.
    AHEAD = 2048,
};

// Rows of a, rounded, in the scratch: K bytes, K/4 first sums, and for each
// block of 32 its scale and the sum of what its bytes stand for.
struct rows8 {
    const struct rows8_product *p;
    int8_t *q;     // (M,K)
    int32_t *base; // (M,K/4)
    float *d, *s;  // (M,K/32)
    int64_t ns;
    int64_t blocks; // of a row
    int64_t row_bytes;
};

// Constant where `type` is, unlike what dtypes.c knows.
ALWAYS_INLINE int64_t block_bytes_of(enum dtype type)
{
    switch ((int) type) {
#define WEIGHT(name, gguf, block, bytes) \
    case DTYPE_##name:                   \
        return bytes;
#include "engine/tensor/dtypes.def"
    default:
        return 0;
    }
}

// What has to be taken from a number before it is multiplied by the scale.
ALWAYS_INLINE int zero_of(enum dtype type)
{
    switch ((int) type) {
    case DTYPE_q8_0:
#if defined(__AVX512VNNI__)
        return 128;
#else
        return 0; // the sign goes to the other side
#endif
    case DTYPE_q4_0:
        return 8;
    case DTYPE_q5_0:
        return 16;
    case DTYPE_q6_k:
        return 32;
    default:
        return 0;
    }
}

// base + sums of four products: u unsigned, a signed. Without VNNI pairs meet
// in 16 bits, so u must not be above 128.
ALWAYS_INLINE __m256i dot_4(__m256i base, __m256i u, __m256i a)
{
#if defined(__AVX512VNNI__)
    return _mm256_dpbusd_epi32(base, u, a);
#else
    const __m256i pairs = _mm256_maddubs_epi16(u, a);
    return _mm256_add_epi32(base,
                            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

ALWAYS_INLINE __m256i load_32(const void *p)
{
    return _mm256_loadu_si256(p);
}

/*
 * Activations
 */

ALWAYS_INLINE float largest(const __m256i x[4])
{
    // Of numbers without a sign, order is that of their bits; NaN is above all.
    const __m256i m8 = _mm256_max_epi32(_mm256_max_epi32(x[0], x[1]),
                                        _mm256_max_epi32(x[2], x[3]));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(m8),
                              _mm256_extracti128_si256(m8, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

ALWAYS_INLINE int32_t sum_lanes(__m256i x)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x),
                              _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

static void round_block(const struct rows8 *r, int64_t block, const float *x,
                        int zero)
{
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i n[4];

    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        n[i] = _mm256_and_si256(_mm256_castps_si256(v[i]), no_sign);
    }
    const float most = largest(n);
    const bool is_nothing = most < CPU_ROWS8_TINY;
    const float d = is_nothing ? 0.0f : most / 127.0f;
    const __m256 by = _mm256_set1_ps(is_nothing ? 0.0f : 127.0f / most);
    for (int i = 0; i < 4; i++)
        n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], by));
    const __m256i q = _mm256_permutevar8x32_epi32(
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]),
                           _mm256_packs_epi32(n[2], n[3])),
        _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i sums = dot_4(_mm256_setzero_si256(), _mm256_set1_epi8(1), q);
    _mm256_storeu_si256((__m256i *) (void *) (r->q + 32 * block), q);
    _mm256_storeu_si256((__m256i *) (void *) (r->base + 8 * block),
                        _mm256_mullo_epi32(sums, _mm256_set1_epi32(-zero)));
    r->d[block] = d;
    r->s[block] = d * (float) sum_lanes(sums);
}

/*
 * Weights: the numbers of piece `at`, of 32, as bytes
 */

ALWAYS_INLINE __m256i nibbles_32(const uint8_t q[16])
{
    const __m128i x = _mm_loadu_si128((const void *) q);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x),
                            _mm256_set1_epi8(15));
}

ALWAYS_INLINE __m256i fifth_32(const uint8_t high[4])
{
#if defined(__AVX512VL__)
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    return _mm256_maskz_set1_epi8(bits, 16);
#else
    return _mm256_set_m128i((__m128i) fifth_bits(high + 2),
                            (__m128i) fifth_bits(high));
#endif
}

#define BLOCK(type, row, i) ((const struct type *) (const void *) (row) + (i))

ALWAYS_INLINE __m256i numbers_of(enum dtype type, const char *row, int64_t at)
{
    const int j = (int) (at % 8);

    switch ((int) type) {
    case DTYPE_q8_0:
        return load_32(BLOCK(quant_q8_0, row, at)->q);
    case DTYPE_q4_0:
        return nibbles_32(BLOCK(quant_q4_0, row, at)->q);
    case DTYPE_q4_1:
        return nibbles_32(BLOCK(quant_q4_1, row, at)->q);
    case DTYPE_q5_0:
        return _mm256_or_si256(nibbles_32(BLOCK(quant_q5_0, row, at)->q),
                               fifth_32(BLOCK(quant_q5_0, row, at)->high));
    case DTYPE_q5_1:
        return _mm256_or_si256(nibbles_32(BLOCK(quant_q5_1, row, at)->q),
                               fifth_32(BLOCK(quant_q5_1, row, at)->high));
    case DTYPE_q4_k: {
        const uint8_t *q = BLOCK(quant_q4_k, row, at / 8)->q;
        return (__m256i) bytes_field(bytes_load(q + j / 2 * 32), j % 2 * 4, 15);
    }
    case DTYPE_q5_k: {
        const struct quant_q5_k *b = BLOCK(quant_q5_k, row, at / 8);
        return (__m256i) (bytes_field(bytes_load(b->q + j / 2 * 32), j % 2 * 4,
                                      15) |
                          bytes_up(bytes_field(bytes_load(b->high), j, 1), 4));
    }
    default: {
        const struct quant_q6_k *b = BLOCK(quant_q6_k, row, at / 8);
        const u8x32 q = bytes_load(b->q + j / 4 * 64 + j % 2 * 32);
        const u8x32 high = bytes_load(b->high + j / 4 * 32);
        return (__m256i) (bytes_field(q, j % 4 / 2 * 4, 15) |
                          bytes_up(bytes_field(high, j % 4 * 2, 3), 4));
    }
    }
}

ALWAYS_INLINE v8 dot_32(enum dtype type, __m256i base, __m256i w, __m256i a)
{
    if (type == DTYPE_q8_0) {
#if defined(__AVX512VNNI__)
        w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
#else
        a = _mm256_sign_epi8(a, w);
        w = _mm256_sign_epi8(w, w);
#endif
    }
    return (v8) _mm256_cvtepi32_ps(dot_4(base, w, a));
}

ALWAYS_INLINE v8 scale_8(uint16_t h)
{
    return (v8) _mm256_cvtph_ps(_mm_set1_epi16((short) h));
}

/*
 * Blocks of 32 and of 256: rows x cols sums go on
 */

struct sums {
    v8 acc[ROWS][COLS];
    v8 mins[ROWS][COLS]; // taken from them; some lanes or all
};

// Blocks begin with the scale; those with a minimum have it behind that.
ALWAYS_INLINE void add_block_32(struct sums *s, const struct rows8 r,
                                enum dtype type, const char *b, int64_t at,
                                int rows, int cols)
{
    const bool has_min = type == DTYPE_q4_1 || type == DTYPE_q5_1;

#pragma GCC unroll 4
    for (int j = 0; j < cols; j++) {
        const char *row = b + j * r.row_bytes;
        const uint16_t *h = (const void *) (row + at * block_bytes_of(type));
        const __m256i w = numbers_of(type, row, at);
        const v8 scale = scale_8(h[0]);
        __builtin_prefetch((const char *) h + AHEAD, 0, 3);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t block = i * r.blocks + at;
            s->acc[i][j] += scale * r.d[block] *
                            dot_32(type, load_32(r.base + 8 * block), w,
                                   load_32(r.q + 32 * block));
            if (has_min)
                s->mins[i][j][0] -= scale_of(h[1]) * r.s[block];
        }
    }
}

// Eight bytes as floats.
ALWAYS_INLINE v8 bytes_8(uint64_t x)
{
    return (v8) _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t) x)));
}

// What piece of the eight takes which scale: both halves the same, or of 16.
ALWAYS_INLINE v8 spread(const v8 scales[2], int piece, bool is_halved)
{
    const int at = 2 * piece % 8;
    const __m256i one = _mm256_set1_epi32(piece);
    const __m256i two =
        _mm256_setr_epi32(at, at, at, at, at + 1, at + 1, at + 1, at + 1);
    return is_halved
               ? (v8) _mm256_permutevar8x32_ps((__m256) scales[piece / 4], two)
               : (v8) _mm256_permutevar8x32_ps((__m256) scales[0], one);
}

// Scales and minima of q4_k and q5_k, eight at a time; quant_scales_6().
ALWAYS_INLINE void scales_6(v8 *scale, v8 *min, uint16_t d, uint16_t m,
                            const uint8_t scales[12])
{
    uint32_t x[3];
    memcpy(x, scales, sizeof x);
    const uint32_t s = (x[2] & 0x0f0f0f0f) | (x[0] >> 2 & 0x30303030);
    const uint32_t t = (x[2] >> 4 & 0x0f0f0f0f) | (x[1] >> 2 & 0x30303030);
    *scale = scale_8(d) * bytes_8((x[0] & 0x3f3f3f3f) | (uint64_t) s << 32);
    *min = scale_8(m) * bytes_8((x[1] & 0x3f3f3f3f) | (uint64_t) t << 32);
}

ALWAYS_INLINE void scales_of(v8 scales[2], v8 *min, enum dtype type,
                             const char *row, int64_t block)
{
    if (type == DTYPE_q4_k) {
        const struct quant_q4_k *b = BLOCK(quant_q4_k, row, block);
        scales_6(scales, min, b->d, b->m, b->scales);
    } else if (type == DTYPE_q5_k) {
        const struct quant_q5_k *b = BLOCK(quant_q5_k, row, block);
        scales_6(scales, min, b->d, b->m, b->scales);
    } else {
        const struct quant_q6_k *b = BLOCK(quant_q6_k, row, block);
        const v8 d = scale_8(b->d);
        for (int i = 0; i < 2; i++)
            scales[i] =
                d * (v8) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
                        _mm_loadl_epi64((const void *) (b->scales + 8 * i))));
    }
}

ALWAYS_INLINE void add_block_256(struct sums *s, const struct rows8 r,
                                 enum dtype type, const char *b, int64_t at,
                                 int rows, int cols)
{
    const bool is_halved = type == DTYPE_q6_k;

#pragma GCC unroll 4
    for (int j = 0; j < cols; j++) {
        const char *row = b + j * r.row_bytes;
        v8 scales[2], min;
        const char *ahead = row + at / 8 * block_bytes_of(type) + AHEAD;
#pragma GCC unroll 4
        for (int i = 0; i < 256; i += 64)
            __builtin_prefetch(ahead + i, 0, 3);
        scales_of(scales, &min, type, row, at / 8);
        for (int i = 0; i < rows && !is_halved; i++)
            s->mins[i][j] += min * v8_load(r.s + i * r.blocks + at);
#pragma GCC unroll 8
        for (int piece = 0; piece < 8; piece++) {
            const __m256i w = numbers_of(type, row, at + piece);
            const v8 scale = spread(scales, piece, is_halved);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const int64_t block = i * r.blocks + at + piece;
                const __m256i base = is_halved ? load_32(r.base + 8 * block)
                                               : _mm256_setzero_si256();
                s->acc[i][j] +=
                    scale * r.d[block] *
                    dot_32(type, base, w, load_32(r.q + 32 * block));
            }
        }
    }
}

ALWAYS_INLINE float sum_8(v8 s)
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

ALWAYS_INLINE void add_rows(const struct rows8 *r, enum dtype type, int64_t m0,
                            int64_t j0, int rows, int cols)
{
    const struct rows8_product *p = r->p;
    const char *b = p->b + j0 * r->row_bytes;
    const struct rows8 from = {
        .base = r->base + 8 * m0 * r->blocks,
        .q = r->q + 32 * m0 * r->blocks,
        .d = r->d + m0 * r->blocks,
        .s = r->s + m0 * r->blocks,
        .blocks = r->blocks,
        .row_bytes = r->row_bytes,
    };
    const bool is_large =
        type == DTYPE_q4_k || type == DTYPE_q5_k || type == DTYPE_q6_k;
    struct sums s = {{{{0}}}, {{{0}}}};

    if (is_large)
        for (int64_t at = 0; at < from.blocks; at += 8)
            add_block_256(&s, from, type, b, at, rows, cols);
    else
        for (int64_t at = 0; at < from.blocks; at++)
            add_block_32(&s, from, type, b, at, rows, cols);
#pragma GCC unroll 4
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const int64_t at = (m0 + i) * p->n + j0 + j;
            p->y[at] = p->alpha * sum_8(s.acc[i][j] - s.mins[i][j]) +
                       (p->c ? p->c[at] : 0.0f);
        }
}

ALWAYS_INLINE void add_columns(const struct rows8 *r, enum dtype type,
                               int64_t j0, int64_t j1)
{
    const int64_t m = r->p->m;
    // Pieces of the large blocks are enough to hide a sum's latency.
    const int cols =
        type == DTYPE_q4_k || type == DTYPE_q5_k || type == DTYPE_q6_k ? 1
                                                                       : COLS;

    for (int64_t m0 = 0; m0 < m; m0 += ROWS) {
        int64_t j = j0;
        for (; m - m0 >= ROWS && j < j1; j++)
            add_rows(r, type, m0, j, ROWS, 1);
        for (int64_t i = m0; j < j1 && i < m; i++) {
            int64_t jj = j;
            for (; cols > 1 && jj + cols <= j1; jj += cols)
                add_rows(r, type, i, jj, 1, cols);
            for (; jj < j1; jj++)
                add_rows(r, type, i, jj, 1, 1);
        }
    }
}

static void columns_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct rows8 *r = ctx;
    const int64_t j0 = task * r->ns;
    const int64_t j1 = j0 + r->ns < r->p->n ? j0 + r->ns : r->p->n;

    switch ((int) r->p->b_type) {
#define TYPE(name)                            \
    case DTYPE_##name:                        \
        add_columns(r, DTYPE_##name, j0, j1); \
        break;
        CPU_ROWS8_TYPES(TYPE)
#undef TYPE
    default:
        break;
    }
}

MATMUL_ROWS8(VEC_NAME(matmul_rows8))
{
    const int64_t blocks = p->m * (p->k / 32);
    char *room = scratch;
    struct rows8 r = {
        .p = p,
        .base = (int32_t *) (void *) room,
        .q = (int8_t *) (room + 32 * blocks),
        .d = (float *) (void *) (room + 64 * blocks),
        .s = (float *) (void *) (room + 68 * blocks),
        .ns = TASK / p->k + 1,
        .blocks = p->k / 32,
        .row_bytes = (int64_t) dtype_row_bytes(p->b_type, p->k),
    };

    for (int64_t i = 0; i < blocks; i++)
        round_block(&r, i, p->a + 32 * i, zero_of(p->b_type));
    pool_run(pool, (uint32_t) ((p->n + r.ns - 1) / r.ns), columns_task, &r);
}
