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

// The bits of BLOCKS blocks, block after block: (BLOCKS, 4 words)
ALWAYS_INLINE void philox(uint64_t bits[2 * BLOCKS], const uint32_t counter[4],
                          const uint32_t key[2])
{
    const wide m0 = (wide){0} + 0xD2511F53u, m1 = (wide){0} + 0xCD9E8D57u;
    wide c0 = (wide){0} + counter[0], c1 = (wide){0} + counter[1];
    wide c2 = (wide){0} + counter[2], c3 = (wide){0} + counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int i = 0; i < BLOCKS; i++)
        c0[i] = (uint32_t) (counter[0] + (uint32_t) i);
    for (int round = 0; round < 10; round++) {
        const wide p0 = times(c0, m0), p1 = times(c2, m1);
        c0 = (p1 >> 32) ^ c1 ^ k0;
        c2 = (p0 >> 32) ^ c3 ^ k1;
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const wide low = (c0 & UINT32_MAX) | c1 << 32;
    const wide high = (c2 & UINT32_MAX) | c3 << 32;
    for (int i = 0; i < BLOCKS; i++) {
        bits[2 * i] = low[i];
        bits[2 * i + 1] = high[i];
    }
}

// The coefficients of the cubics `row`. Most are of the last 32, which fit into
// registers.
ALWAYS_INLINE void coefficients(vec c[4], ivec row)
{
#if VEC_IS_512
    const __m512i at = (__m512i) row;
    const bool is_last =
        _mm512_cmplt_epi32_mask(at, _mm512_set1_epi32(64)) == 0;
    for (int k = 0; k < 4; k++)
        c[k] =
            (vec) (is_last
                       ? _mm512_permutex2var_ps(_mm512_loadu_ps(noise_last[k]),
                                                at,
                                                _mm512_loadu_ps(noise_last[k] +
                                                                16))
                       : _mm512_i32gather_ps(_mm512_slli_epi32(at, 2),
                                             &noise_cubics[0][k], 4));
#elif defined(__AVX2__)
    for (int k = 0; k < 4; k++)
        c[k] = (vec) _mm256_i32gather_ps(&noise_cubics[0][k],
                                         (__m256i) (row * 4), 4);
#else
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < LANES; i++)
            c[k][i] = noise_cubics[row[i]][k];
#endif
}

// z (4 * BLOCKS)
ALWAYS_INLINE void gaussians(float *restrict z, const uint64_t *bits)
{
    for (int i = 0; i < 4 * BLOCKS; i += LANES) {
        uvec b;
        memcpy(&b, (const char *) bits + 4 * (size_t) i, sizeof(b));
        const ivec f =
            (ivec) __builtin_convertvector((ivec) (b >> 9 << 1 | 1), vec);
        const ivec row = (f >> 21) - (127 << 2);
        const vec t = __builtin_convertvector(f & 0x1fffff, vec) * 0x1p-21f;
        vec c[4];
        coefficients(c, row);
        const vec y = ((c[3] * t + c[2]) * t + c[1]) * t + c[0];
        vec_store(z + i, (vec) ((uvec) y ^ b << 31));
    }
}

// z (128 * BLOCKS)
ALWAYS_INLINE void signs(float *restrict z, const uint64_t *bits)
{
    for (int i = 0; i < 2 * BLOCKS; i++)
        for (int half = 0; half < 2; half++) {
            const uint32_t w = (uint32_t) (bits[i] >> 32 * half);
            for (int k = 0; k < 32; k++)
                z[64 * i + 32 * half + k] = w >> k & 1 ? 1.0f : -1.0f;
        }
}

// z (CHUNK): the values from `first` on, which begins a block.
static void fill(float *restrict z, const struct cpu_noise *n, int32_t query,
                 int64_t first, int64_t count)
{
    struct noise_key k = {.stream = n->stream, .query = (uint32_t) query};
    const int64_t block = NOISE_BLOCK(n->kind);
    uint32_t counter[4], key[2];
    uint64_t bits[2 * BLOCKS];

    memcpy(k.draw, n->draw, sizeof(k.draw));
    for (int64_t i = 0; i < count; i += BLOCKS * block) {
        noise_counter(counter, key, &k, (uint32_t) ((first + i) / block));
        philox(bits, counter, key);
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
