// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/split.h"
#include "engine/cpu/vec.h"

#include "engine/base/noise_table.h"

#include <math.h>
#include <string.h>

#if defined(CPU_ISA_AVX512)
#define VEC_IS_512 1
#else
#define VEC_IS_512 0
#endif

/*
 * A block of Philox in each 64-bit lane, its words in the low halves; then
 * cubics of many values at a time. The definition is in engine/base/noise.c.
 */
enum {
    BLOCKS = VEC_BYTES / 8,
    ROUNDS = 10,
    CHUNK = 2048, // values of one direction at a time; whole blocks of bits
};

typedef uint64_t wide __attribute__((vector_size(VEC_BYTES)));
typedef uint32_t uvec __attribute__((vector_size(VEC_BYTES)));

// Of the low halves.
ALWAYS_INLINE wide times(wide a, wide b)
{
#if VEC_IS_512
    return (wide) _mm512_mul_epu32((__m512i) a, (__m512i) b);
#elif defined(__AVX2__)
    return (wide) _mm256_mul_epu32((__m256i) a, (__m256i) b);
#else
    return (a & UINT32_MAX) * b;
#endif
}

// The keys of a round.
struct round_keys {
    uint64_t k0, k1;
};

static void round_keys(struct round_keys out[ROUNDS], const uint32_t key[2])
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        out[i] = (struct round_keys){(uint32_t) (key[0] + i * 0x9E3779B9u),
                                     (uint32_t) (key[1] + i * 0xBB67AE85u)};
}

// The bits of BLOCKS blocks, block after block: (BLOCKS, 4 words), in two
// registers.
ALWAYS_INLINE void philox(uvec bits[2], const uint32_t counter[4],
                          const struct round_keys keys[ROUNDS])
{
    const wide m0 = (wide){0} + 0xD2511F53u, m1 = (wide){0} + 0xCD9E8D57u;
    wide c0 = (wide){0} + counter[0], c1 = (wide){0} + counter[1];
    wide c2 = (wide){0} + counter[2], c3 = (wide){0} + counter[3];
    wide first;

    for (int i = 0; i < BLOCKS; i++)
        first[i] = (uint64_t) i;
    c0 = (c0 + first) & UINT32_MAX;
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        const wide p0 = times(c0, m0), p1 = times(c2, m1);
        c0 = (p1 >> 32) ^ c1 ^ keys[round].k0;
        c2 = (p0 >> 32) ^ c3 ^ keys[round].k1;
        c1 = p1;
        c3 = p0;
    }
    const wide low = (c0 & UINT32_MAX) | c1 << 32;
    const wide high = (c2 & UINT32_MAX) | c3 << 32;
#if VEC_IS_512
    bits[0] =
        (uvec) __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
    bits[1] =
        (uvec) __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
#elif defined(__AVX2__)
    bits[0] = (uvec) __builtin_shufflevector(low, high, 0, 4, 1, 5);
    bits[1] = (uvec) __builtin_shufflevector(low, high, 2, 6, 3, 7);
#else
    bits[0] = (uvec) __builtin_shufflevector(low, high, 0, 2);
    bits[1] = (uvec) __builtin_shufflevector(low, high, 1, 3);
#endif
}

// The coefficients of the cubics `row`; with wide registers those of the last
// 32, which fit into them and are most of all.
ALWAYS_INLINE void coefficients(vec c[4], ivec row)
{
#if VEC_IS_512
    for (int k = 0; k < 4; k++)
        c[k] =
            (vec) _mm512_permutex2var_ps(_mm512_loadu_ps(noise_last[k]),
                                         (__m512i) row,
                                         _mm512_loadu_ps(noise_last[k] + 16));
#elif defined(__AVX2__)
    for (int k = 0; k < 4; k++)
        c[k] = (vec) _mm256_i32gather_ps(&noise_cubics[0][k],
                                         (__m256i) (row * 4), 4);
#else
    for (int k = 0; k < 4; k++) {
        float x[LANES];
        for (int i = 0; i < LANES; i++)
            x[i] = noise_cubics[row[i]][k];
        c[k] = vec_load(x);
    }
#endif
}

#if VEC_IS_512
// The values of other rows.
static void fill_others(float *z, uvec bits, uint32_t mask)
{
    uint32_t b[LANES];

    memcpy(b, &bits, sizeof(b));
    for (; mask != 0; mask &= mask - 1) {
        const int i = __builtin_ctz(mask);
        z[i] = noise_gaussian(b[i]);
    }
}
#endif

// z (4 * BLOCKS)
ALWAYS_INLINE void gaussians(float *restrict z, const uvec bits[2])
{
    for (int i = 0; i < 4 * BLOCKS; i += LANES) {
        const uvec b = bits[i / LANES];
        const ivec f =
            (ivec) __builtin_convertvector((ivec) (b >> 9 << 1 | 1), vec);
        const ivec row = (f >> 21) - (127 << 2);
        const vec t = __builtin_convertvector(f & 0x1fffff, vec) * 0x1p-21f;
        vec c[4];
        coefficients(c, row);
        const vec y = ((c[3] * t + c[2]) * t + c[1]) * t + c[0];
        vec_store(z + i, (vec) ((uvec) y ^ b << 31));
#if VEC_IS_512
        const uint32_t others =
            _mm512_cmplt_epi32_mask((__m512i) row, _mm512_set1_epi32(64));
        if (others != 0)
            fill_others(z + i, b, others);
#endif
    }
}

// z (128 * BLOCKS)
ALWAYS_INLINE void signs(float *restrict z, const uvec bits[2])
{
    uint32_t words[4 * BLOCKS];

    memcpy(words, bits, sizeof(words));
    for (int i = 0; i < 4 * BLOCKS; i++)
        for (int k = 0; k < 32; k++)
            z[32 * i + k] = words[i] >> k & 1 ? 1.0f : -1.0f;
}

// z (CHUNK): the values from `first` on, which begins a block.
static void fill(float *restrict z, const struct cpu_noise *n, int32_t query,
                 int64_t first, int64_t count)
{
    struct noise_key k = {.stream = n->stream, .query = (uint32_t) query};
    const int64_t block = NOISE_BLOCK(n->kind);
    uint32_t counter[4], key[2];
    struct round_keys keys[ROUNDS];
    uvec bits[2];

    memcpy(k.draw, n->draw, sizeof(k.draw));
    noise_counter(counter, key, &k, 0);
    round_keys(keys, key);
    for (int64_t i = 0; i < count; i += BLOCKS * block) {
        noise_counter(counter, key, &k, (uint32_t) ((first + i) / block));
        philox(bits, counter, keys);
        if (n->kind == NOISE_RADEMACHER)
            signs(z + i, bits);
        else
            gaussians(z + i, bits);
    }
}

static void limit(float *restrict z, const float *restrict c, float most,
                  int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        z[i] = fabsf(c[i]) <= most ? z[i] : 0.0f;
}

struct directions {
    float *y;
    const float *c;
    const struct cpu_noise *noise;
    const int32_t *queries;
    const float *sizes;
    int64_t n, count;
};

// The direction of query i; copies of one query that follow each other share
// it.
static void direction(float *z, const struct directions *d, int64_t i,
                      int64_t first, int64_t count)
{
    if (i > 0 && d->queries[i] == d->queries[i - 1])
        return;
    fill(z, d->noise, d->queries[i], first, count);
    if (d->noise->limit)
        limit(z, d->c + first, *d->noise->limit, count);
}

static void perturb_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct directions *d = ctx;
    const int64_t first = task * (int64_t) CHUNK;
    const int64_t count = split_end(d->count, CHUNK, task) - first;
    const float *c = d->c + first;
    float z[CHUNK];

    for (int64_t i = 0; i < d->n; i++) {
        float *y = d->y + i * d->count + first;
        const float size = d->sizes[i];
        direction(z, d, i, first, count);
        for (int64_t j = 0; j < count; j++)
            y[j] = c[j] + size * z[j];
    }
}

KERNEL_perturb(VEC_NAME(perturb))
{
    struct directions d = {y, c, &noise, queries, sizes, copies, count};
    pool_run(pool, split_tasks(count, CHUNK), perturb_task, &d);
}

static void sum_task(void *ctx, uint32_t task, uint32_t worker)
{
    const struct directions *d = ctx;
    const int64_t first = task * (int64_t) CHUNK;
    const int64_t count = split_end(d->count, CHUNK, task) - first;
    float *g = d->y + first;
    float z[CHUNK];

    memset(g, 0, (size_t) count * sizeof(*g));
    for (int64_t i = 0; i < d->n; i++) {
        const float size = d->sizes[i];
        direction(z, d, i, first, count);
        for (int64_t j = 0; j < count; j++)
            g[j] = g[j] + size * z[j];
    }
}

KERNEL_noise_sum(VEC_NAME(noise_sum))
{
    struct directions d = {g, c, &noise, queries, coefs, n_queries, count};
    pool_run(pool, split_tasks(count, CHUNK), sum_task, &d);
}
