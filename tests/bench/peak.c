// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/bench/peak.h"

#include "engine/base/clock.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    THREADS_MAX = 64,
    SUMS = 16, // chains: more than a core's units times their latency
    FMA_TURNS = 200000,
    ROUNDS = 5,
    BUFFER_BYTES = 64 << 20, // of each thread: more than its share of a cache
};

// Does something once and returns how much of it that was.
typedef double work_fn(void *buffer);

static volatile float sink;

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static double fma_avx512(void *buffer)
{
    const __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(1e-3F);
    __m512 s[SUMS];
    float out[16];

    (void) buffer;
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm512_set1_ps((float) i);
    for (int n = 0; n < FMA_TURNS; n++)
        for (int i = 0; i < SUMS; i++)
            s[i] = _mm512_fmadd_ps(s[i], x, y);
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm512_add_ps(s[0], s[i]);
    _mm512_storeu_ps(out, s[0]);
    sink = out[0];
    return 2.0 * 16 * SUMS * FMA_TURNS;
}

// Twelve chains leave room for the operands in sixteen registers.
__attribute__((target("avx2,fma"))) static double fma_avx2(void *buffer)
{
    const __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(1e-3F);
    enum { N = 12 };
    __m256 s[N];
    float out[8];

    (void) buffer;
    for (int i = 0; i < N; i++)
        s[i] = _mm256_set1_ps((float) i);
    for (int n = 0; n < FMA_TURNS; n++)
        for (int i = 0; i < N; i++)
            s[i] = _mm256_fmadd_ps(s[i], x, y);
    for (int i = 1; i < N; i++)
        s[0] = _mm256_add_ps(s[0], s[i]);
    _mm256_storeu_ps(out, s[0]);
    sink = out[0];
    return 2.0 * 8 * N * FMA_TURNS;
}

// A product of bf16 adds two products to each sum of f32.
__attribute__((target("avx512f,avx512bf16"))) static double dots_avx512bf16(
    void *buffer)
{
    const __m512bh x = (__m512bh) _mm512_set1_epi32(0x3F803F80);
    __m512 s[SUMS];
    float out[16];

    (void) buffer;
    for (int i = 0; i < SUMS; i++)
        s[i] = _mm512_set1_ps((float) i);
    for (int n = 0; n < FMA_TURNS; n++)
        for (int i = 0; i < SUMS; i++)
            s[i] = _mm512_dpbf16_ps(s[i], x, x);
    for (int i = 1; i < SUMS; i++)
        s[0] = _mm512_add_ps(s[0], s[i]);
    _mm512_storeu_ps(out, s[0]);
    sink = out[0];
    return 4.0 * 16 * SUMS * FMA_TURNS;
}

static work_fn *choose_fma(void)
{
    return __builtin_cpu_supports("avx512f") ? fma_avx512
           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
               ? fma_avx2
               : NULL;
}

static work_fn *choose_dots(void)
{
    return __builtin_cpu_supports("avx512bf16") ? dots_avx512bf16 : NULL;
}

#else

static work_fn *choose_fma(void)
{
    return NULL;
}

static work_fn *choose_dots(void)
{
    return NULL;
}

#endif

// Eight sums, which compilers make vectors of.
static double read_all(void *buffer)
{
    const uint64_t *p = buffer;
    const size_t n = BUFFER_BYTES / sizeof *p;
    uint64_t s[8] = {0}, all = 0;

    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; k++)
            s[k] += p[i + k];
    for (size_t k = 0; k < 8; k++)
        all += s[k];
    sink = (float) all;
    return BUFFER_BYTES;
}

/*
 * Threads
 */

struct crew {
    work_fn *work;
    atomic_uint ready;
    uint32_t n;
    void *buffers[THREADS_MAX];
    double done[THREADS_MAX];
};

struct member {
    struct crew *crew;
    uint32_t number;
};

static void *run_member(void *user)
{
    const struct member *m = user;
    struct crew *c = m->crew;

    atomic_fetch_add(&c->ready, 1);
    while (atomic_load(&c->ready) < c->n)
        ;
    c->done[m->number] = c->work(c->buffers[m->number]);
    return NULL;
}

// Of one round, a second.
static double run_crew(struct crew *c)
{
    struct member members[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    double done = 0;

    atomic_store(&c->ready, 0);
    const uint64_t begin = clock_monotonic_ns();
    for (uint32_t i = 1; i < c->n; i++) {
        members[i] = (struct member){c, i};
        if (pthread_create(&threads[i], NULL, run_member, &members[i]) != 0)
            abort();
    }
    members[0] = (struct member){c, 0};
    (void) run_member(&members[0]);
    for (uint32_t i = 1; i < c->n; i++)
        (void) pthread_join(threads[i], NULL);
    const double ns = (double) (clock_monotonic_ns() - begin);
    for (uint32_t i = 0; i < c->n; i++)
        done += c->done[i];
    return done / ns * 1e9;
}

static double best_of(struct crew *c, work_fn *work)
{
    double best = 0;

    if (!work)
        return (double) NAN;
    c->work = work;
    for (int i = 0; i < ROUNDS; i++)
        best = fmax(best, run_crew(c));
    return best;
}

int peak_measure(struct peak *out, uint32_t threads)
{
    struct crew c = {.n = threads < THREADS_MAX ? threads : THREADS_MAX};
    int rc = 0;

    for (uint32_t i = 0; i < c.n; i++) {
        c.buffers[i] = malloc(BUFFER_BYTES);
        if (!c.buffers[i])
            rc = -ENOMEM;
        else
            memset(c.buffers[i], 1, BUFFER_BYTES);
    }
    if (rc == 0)
        *out = (struct peak){
            .f32_flops = best_of(&c, choose_fma()),
            .bf16_flops = best_of(&c, choose_dots()),
            .read_bytes = best_of(&c, read_all),
        };
    for (uint32_t i = 0; i < c.n; i++)
        free(c.buffers[i]);
    return rc;
}
