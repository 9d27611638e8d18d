// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/tensor/quant.h"
#include "tests/check/check.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GUARD = 256,
    GUARD_BYTE = 0xa5,
    BLOCKS_MAX = 4096,
    // To encode is slow, and what repeats at random places will do.
    WEIGHT_BLOCKS = 64,
};

struct pool *check_pools[CHECK_POOLS];
unsigned check_stride = 1;

static struct block {
    unsigned char *memory;
    size_t bytes;
} blocks[BLOCKS_MAX];
static int n_blocks;

static void *guarded(size_t bytes, int fill)
{
    assert(n_blocks < BLOCKS_MAX);
    struct block *b = &blocks[n_blocks++];
    // At least one byte of guard stands directly behind the last value.
    size_t size = (bytes + 2 * GUARD + 63) / 64 * 64;
    b->memory = aligned_alloc(64, size);
    if (!b->memory)
        exit(1);
    b->bytes = bytes;
    memset(b->memory, GUARD_BYTE, size);
    memset(b->memory + GUARD, fill, bytes);
    return b->memory + GUARD;
}

float *check_room(int64_t n)
{
    return guarded((size_t) n * sizeof(float), 0xff);
}

float *check_random(int64_t n, float amplitude)
{
    float *x = check_room(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = amplitude * (2.0f * (float) rand() / (float) RAND_MAX - 1.0f);
    return x;
}

float *check_copy(const float *x, int64_t n)
{
    float *y = check_room(n);
    memcpy(y, x, (size_t) n * sizeof(*x));
    return y;
}

int32_t check_below(int32_t n)
{
    return (int32_t) (rand() % n);
}

void *check_weights(enum dtype type, int64_t rows, int64_t cols)
{
    const struct dtype_info *t = &dtype_infos[type];
    const int64_t n = (int64_t) ((size_t) rows * dtype_row_bytes(type, cols)) /
                      t->block_bytes;
    const int64_t distinct =
        t->block == 1 || n < WEIGHT_BLOCKS ? n : WEIGHT_BLOCKS;
    unsigned char *w = guarded((size_t) n * t->block_bytes, 0);
    const float *x = check_random(distinct * t->block, 1.0f);

    quant_encode(type, w, x, distinct * t->block);
    for (int64_t i = distinct; i < n; i++)
        memcpy(w + i * t->block_bytes,
               w + check_below((int32_t) distinct) * t->block_bytes,
               t->block_bytes);
    return w;
}

int32_t *check_ints(int64_t n, int32_t from, int32_t to)
{
    int32_t *x = guarded((size_t) n * sizeof(*x), 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = from + check_below(to - from);
    return x;
}

enum precision check_precision(const char *isa, enum precision precision)
{
    const bool rounds = strcmp(isa, "c") == 0 ||
                        strcmp(isa, "avx512bf16") == 0 ||
                        strcmp(isa, "neonbf16") == 0 ||
                        (precision == PRECISION_Q8 && strcmp(isa, "neon") != 0);
    return rounds ? precision : PRECISION_F32;
}

void *check_scratch(const struct instr *in)
{
    return guarded(cpu_scratch_bytes(in, CHECK_THREADS), 0xff);
}

struct operand check_operand(enum dtype type, int64_t rows, int64_t cols)
{
    return (struct operand){.region = REGION_ARENA,
                            .dtype = (uint8_t) type,
                            .rank = 2,
                            .ne = {1, 1, rows, cols}};
}

bool check_close(const float *a, const float *b, int64_t n, float scale,
                 float tol, const char *fmt, ...)
{
    double worst = 0.0;
    int64_t at = 0;

    for (int64_t i = 0; i < n; i++) {
        double d = a[i] == b[i] ? 0.0
                                : fabs((double) a[i] - (double) b[i]) /
                                      ((double) scale + fabs((double) a[i]));
        if (isnan(d))
            d = INFINITY;
        if (d > worst) {
            worst = d;
            at = i;
        }
    }
    if (worst <= (double) tol)
        return true;
    va_list args;
    printf("FAIL ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf(": [%lld] is %.9g, should be %.9g\n", (long long) at, (double) b[at],
           (double) a[at]);
    return false;
}

bool check_same(const float *a, const float *b, int64_t n, const char *fmt, ...)
{
    if (memcmp(a, b, (size_t) n * sizeof(*a)) == 0)
        return true;
    va_list args;
    printf("FAIL ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf(": another number of threads gives other bytes\n");
    return false;
}

int check_runs(bool is_c)
{
    return is_c ? 1 : CHECK_POOLS;
}

static bool is_guard(const unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != GUARD_BYTE)
            return false;
    return true;
}

bool check_end(const char *name)
{
    bool ok = true;

    for (int i = 0; i < n_blocks; i++) {
        const struct block *b = &blocks[i];
        ok &= is_guard(b->memory, GUARD) &&
              is_guard(b->memory + GUARD + b->bytes, GUARD);
        free(b->memory);
    }
    n_blocks = 0;
    if (!ok)
        printf("FAIL %s: wrote outside of its memory\n", name);
    return ok;
}

double check_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

void check_report(const char *name, double seconds, double flops, double bytes)
{
    printf("%-28s %10.1f us", name, seconds * 1e6);
    if (flops > 0)
        printf(" %8.2f GFLOP/s", flops / seconds * 1e-9);
    if (bytes > 0)
        printf(" %8.2f GB/s", bytes / seconds * 1e-9);
    printf("\n");
}
