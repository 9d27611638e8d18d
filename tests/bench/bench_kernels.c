// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Speed of kernels in the shapes of one training step of pock-16m: LoRA of
 * rank 8 on all linears of 8 blocks, Q8_0 weights. The best of many runs, and
 * the share of the multiply-add rate that the same threads reach in registers,
 * measured in between; a machine that others use as well makes both worse. With
 * bf16 the rate is that of bf16 products, of which there are two in a register
 * for each float.
 *
 * usage: bench_kernels [--json] [--cpu] [--types] [--precision f32|bf16]
 *        [--threads N] [--rows TOKENS] [--ms BUDGET | --calls N]
 *        [--only NAME]
 *        --types: instead, what each type of weights costs; --calls: of each
 *        case, and no look at the peak, to count instructions from outside
 */

#include "engine/base/clock.h"
#include "engine/base/str.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/tensor/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum {
    WIDTH = 384,
    HEADS = 6,
    KV_HEADS = 2,
    DIM = 64,
    KV = KV_HEADS * DIM,
    FFN = 1024,
    VOCAB = 8192,
    LENGTH = 256,
    RANK = 8,
    CHAINS = 12, // sums side by side: enough to hide the latency of one
    PEAK_LOOPS = 200000,
};

// One kernel call; how often a step makes it.
struct kernel_case {
    const char *name;
    enum op op;
    int64_t m, n, k; // matmul; others: rows, cols, heads
    bool trans_a, trans_b;
    enum dtype type;
    int calls; // for each micro-batch
};

#define M (-1) // the tokens of a micro-batch

static const struct kernel_case cases[] = {
    {"q, o", OP_matmul, M, WIDTH, WIDTH, false, true, DTYPE_q8_0, 16},
    {"k, v", OP_matmul, M, KV, WIDTH, false, true, DTYPE_q8_0, 16},
    {"gate, up", OP_matmul, M, FFN, WIDTH, false, true, DTYPE_q8_0, 16},
    {"down", OP_matmul, M, WIDTH, FFN, false, true, DTYPE_q8_0, 8},
    {"dx of q, o", OP_matmul, M, WIDTH, WIDTH, false, false, DTYPE_q8_0, 16},
    {"dx of k, v", OP_matmul, M, WIDTH, KV, false, false, DTYPE_q8_0, 16},
    {"dx of gate, up", OP_matmul, M, WIDTH, FFN, false, false, DTYPE_q8_0, 16},
    {"dx of down", OP_matmul, M, FFN, WIDTH, false, false, DTYPE_q8_0, 8},
    {"lora x a", OP_matmul, M, RANK, WIDTH, false, true, DTYPE_f32, 48},
    {"lora x a, down", OP_matmul, M, RANK, FFN, false, true, DTYPE_f32, 8},
    {"lora z b", OP_matmul, M, WIDTH, RANK, false, true, DTYPE_f32, 24},
    {"lora z b, k v", OP_matmul, M, KV, RANK, false, true, DTYPE_f32, 16},
    {"lora z b, ffn", OP_matmul, M, FFN, RANK, false, true, DTYPE_f32, 16},
    {"lora dz", OP_matmul, M, RANK, WIDTH, false, false, DTYPE_f32, 24},
    {"lora dz, k v", OP_matmul, M, RANK, KV, false, false, DTYPE_f32, 16},
    {"lora dz, ffn", OP_matmul, M, RANK, FFN, false, false, DTYPE_f32, 16},
    {"lora dx", OP_matmul, M, WIDTH, RANK, false, false, DTYPE_f32, 48},
    {"lora dx, down", OP_matmul, M, FFN, RANK, false, false, DTYPE_f32, 8},
    {"lora da", OP_matmul, RANK, WIDTH, M, true, false, DTYPE_f32, 48},
    {"lora da, down", OP_matmul, RANK, FFN, M, true, false, DTYPE_f32, 8},
    {"lora db", OP_matmul, WIDTH, RANK, M, true, false, DTYPE_f32, 24},
    {"lora db, k v", OP_matmul, KV, RANK, M, true, false, DTYPE_f32, 16},
    {"lora db, ffn", OP_matmul, FFN, RANK, M, true, false, DTYPE_f32, 16},
    {"attention", OP_attention, M, 0, 0, false, false, DTYPE_f32, 8},
    {"attention back", OP_attention_back, M, 0, 0, false, false, DTYPE_f32, 8},
    {"loss", OP_xent, M, WIDTH, VOCAB, false, false, DTYPE_q8_0, 1},
    {"rmsnorm", OP_rmsnorm, M, WIDTH, 0, false, false, DTYPE_f32, 17},
    {"rmsnorm dx", OP_rmsnorm_dx, M, WIDTH, 0, false, false, DTYPE_f32, 16},
    {"rope q", OP_rope, M, HEADS, 0, false, false, DTYPE_f32, 16},
    {"rope k", OP_rope, M, KV_HEADS, 0, false, false, DTYPE_f32, 16},
    {"swiglu", OP_swiglu, M, FFN, 0, false, false, DTYPE_f32, 8},
    {"swiglu back", OP_swiglu_back, M, FFN, 0, false, false, DTYPE_f32, 8},
    {"add", OP_add, M, WIDTH, 0, false, false, DTYPE_f32, 32},
    // Not of a step: the large product, and a token of generation.
    {"512x2048x2048 f32", OP_matmul, 512, 2048, 2048, false, true, DTYPE_f32,
     0},
    {"512x2048x2048 q8_0", OP_matmul, 512, 2048, 2048, false, true, DTYPE_q8_0,
     0},
    {"logits", OP_matmul, 256, VOCAB, WIDTH, false, true, DTYPE_q8_0, 0},
    {"dx of logits", OP_matmul, 256, WIDTH, VOCAB, false, false, DTYPE_q8_0, 0},
    {"512x2048x2048 q4_0", OP_matmul, 512, 2048, 2048, false, true, DTYPE_q4_0,
     0},
    {"256x2048x2048 q8_0", OP_matmul, 256, 2048, 2048, false, true, DTYPE_q8_0,
     0},
    {"256x2048x2048 q4_0", OP_matmul, 256, 2048, 2048, false, true, DTYPE_q4_0,
     0},
    {"dx of the same q8_0", OP_matmul, 256, 2048, 2048, false, false,
     DTYPE_q8_0, 0},
    {"dx of the same q4_0", OP_matmul, 256, 2048, 2048, false, false,
     DTYPE_q4_0, 0},
    {"dw, 2048x2048x512", OP_matmul, 2048, 2048, 512, true, false, DTYPE_f32,
     0},
    {"1 row, gate", OP_matmul, 1, FFN, WIDTH, false, true, DTYPE_q8_0, 0},
    {"1 row, head", OP_matmul, 1, VOCAB, WIDTH, false, true, DTYPE_q8_0, 0},
};

// Every type of weights, with rows of whole blocks, in both directions: 128
// rows, where reading the weights shows, and one.
static const struct kernel_case by_type[] = {
    {"forward, 128 rows", OP_matmul, 128, 1024, 512, false, true, 0, 0},
    {"dx, 128 rows", OP_matmul, 128, 512, 1024, false, false, 0, 0},
    {"1 row", OP_matmul, 1, 8192, 512, false, true, 0, 0},
};

struct bench {
    struct cpu_kernels kernels;
    struct pool *pool;
    unsigned flags;
    enum precision precision;
    int64_t rows;
    double budget;    // seconds for each case
    long calls;       // of each case, whatever the time; 0: by the budget
    const char *only; // cases whose name has this in it; NULL: all
    float *x[5];      // inputs of any meaning
    float *y[3];
    void *weights;
    int32_t *ints;
    void *scratch;
};

// With --cpu the time that the process had the CPUs, of each thread, counts:
// on a busy machine the only figure that repeats.
static uint32_t cpu_threads;

static double seconds(void)
{
    return (double) clock_monotonic_ns() * 1e-9;
}

static double spent(void)
{
    struct timespec t;

    if (cpu_threads == 0)
        return seconds();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return ((double) t.tv_sec + 1e-9 * (double) t.tv_nsec) / cpu_threads;
}

/*
 * Peak
 */

struct peak {
    unsigned flags;
    enum precision precision;
    double flops;                  // of one task
    double best[POOL_THREADS_MAX]; // seconds
};

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float peak_avx2(void)
{
    __m256 a[CHAINS];
    const __m256 x = _mm256_set1_ps(0.999f);
    for (int j = 0; j < CHAINS; j++)
        a[j] = _mm256_set1_ps((float) j);
    for (int i = 0; i < PEAK_LOOPS; i++)
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            a[j] = _mm256_fmadd_ps(a[j], x, x);
    float sum = 0.0f;
    for (int j = 0; j < CHAINS; j++)
        sum += _mm256_cvtss_f32(a[j]);
    return sum;
}

__attribute__((target("avx512f"))) static float peak_avx512(void)
{
    __m512 a[CHAINS];
    const __m512 x = _mm512_set1_ps(0.999f);
    for (int j = 0; j < CHAINS; j++)
        a[j] = _mm512_set1_ps((float) j);
    for (int i = 0; i < PEAK_LOOPS; i++)
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            a[j] = _mm512_fmadd_ps(a[j], x, x);
    float sum = 0.0f;
    for (int j = 0; j < CHAINS; j++)
        sum += _mm512_cvtss_f32(a[j]);
    return sum;
}

#if defined(CPU_HAVE_AVX512BF16)
__attribute__((target("avx512f,avx512bf16"))) static float peak_bf16(void)
{
    __m512 a[CHAINS];
    const __m512bh x = (__m512bh) _mm512_set1_epi32(0x3f003f00); // halves
    for (int j = 0; j < CHAINS; j++)
        a[j] = _mm512_set1_ps((float) j);
    for (int i = 0; i < PEAK_LOOPS; i++)
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            a[j] = _mm512_dpbf16_ps(a[j], x, x);
    float sum = 0.0f;
    for (int j = 0; j < CHAINS; j++)
        sum += _mm512_cvtss_f32(a[j]);
    return sum;
}
#else
static float peak_bf16(void)
{
    return 0.0f;
}
#endif
#elif defined(__aarch64__)
static float peak_neon(void)
{
    float32x4_t a[CHAINS];
    const float32x4_t x = vdupq_n_f32(0.999f);
    for (int j = 0; j < CHAINS; j++)
        a[j] = vdupq_n_f32((float) j);
    for (int i = 0; i < PEAK_LOOPS; i++)
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++)
            a[j] = vfmaq_f32(x, a[j], x);
    float sum = 0.0f;
    for (int j = 0; j < CHAINS; j++)
        sum += vgetq_lane_f32(a[j], 0);
    return sum;
}
#endif

static bool is_bf16(unsigned flags, enum precision precision)
{
    return precision == PRECISION_BF16 && (flags & CPUINFO_AVX512BF16);
}

static void peak_task(void *ctx, uint32_t task, uint32_t worker)
{
    struct peak *p = ctx;
    volatile float sink = 0.0f;

    for (int i = 0; i < 20; i++) {
        const double t = seconds();
#if defined(__x86_64__)
        if (is_bf16(p->flags, p->precision))
            sink = peak_bf16();
        else if (p->flags & CPUINFO_AVX512)
            sink = peak_avx512();
        else if (p->flags & CPUINFO_AVX2)
            sink = peak_avx2();
#elif defined(__aarch64__)
        sink = peak_neon();
#endif
        const double s = seconds() - t;
        p->best[task] = s < p->best[task] ? s : p->best[task];
    }
    (void) sink;
}

// GFLOP/s of all threads together, each at its best; 0 when not known.
static double peak_gflops(const struct bench *b)
{
    struct peak p = {.flags = b->flags, .precision = b->precision};
    const uint32_t n = pool_threads(b->pool);
    double lanes = 0.0;
    double sum = 0.0;

#if defined(__x86_64__)
    lanes = b->flags & CPUINFO_AVX512 ? 16 : b->flags & CPUINFO_AVX2 ? 8 : 0;
    if (is_bf16(b->flags, b->precision))
        lanes = 32;
#elif defined(__aarch64__)
    lanes = 4;
#endif
    for (uint32_t i = 0; i < n; i++)
        p.best[i] = 1e9;
    if (b->calls)
        return 0.0;
    pool_run(b->pool, n, peak_task, &p);
    for (uint32_t i = 0; i < n; i++)
        sum += 2.0 * lanes * CHAINS * PEAK_LOOPS / p.best[i] * 1e-9;
    return sum;
}

/*
 * Cases
 */

static void run_matmul(const struct bench *b, const struct kernel_case *c)
{
    b->kernels.matmul(b->y[0], b->x[0],
                      c->type == DTYPE_f32 ? (const void *) b->x[1]
                                           : b->weights,
                      c->type, c->k == RANK ? b->y[0] : NULL, c->m, c->n, c->k,
                      c->trans_a, c->trans_b, 1.0f, b->precision, b->scratch,
                      b->pool);
}

static void run_other(const struct bench *b, const struct kernel_case *c)
{
    const struct cpu_kernels *k = &b->kernels;
    float *const *y = b->y;
    float *const *x = b->x;
    const int64_t n = c->m * c->n;
    const struct cpu_scores scores = {.scale = 1.0f / sqrtf(DIM)};

    switch ((int) c->op) { // only the operators of a step
    case OP_attention:
        k->attention(y[0], y[1], x[0], x[1], x[2], b->ints, c->m, LENGTH, HEADS,
                     KV_HEADS, DIM, scores, b->precision, b->scratch, b->pool);
        break;
    case OP_attention_back:
        k->attention_back(y[0], y[1], y[2], x[0], x[1], x[2], x[3], x[4], x[4],
                          b->ints, c->m, LENGTH, HEADS, KV_HEADS, DIM, scores,
                          b->precision, b->scratch, b->pool);
        break;
    case OP_xent:
        k->xent(y[0], y[1], y[2], x[0], b->weights, c->type, b->ints, x[1],
                c->m, c->n, c->k, 0, b->precision, b->scratch, b->pool);
        break;
    case OP_rmsnorm:
        k->rmsnorm(y[0], y[1], x[0], x[1], c->m, c->n, 1e-5f, b->pool);
        break;
    case OP_rmsnorm_dx:
        k->rmsnorm_dx(y[0], x[0], x[1], x[2], x[3], c->m, c->n, b->pool);
        break;
    case OP_rope:
        k->rope(y[0], x[0], b->ints, c->m, c->n, DIM, DIM, 1e4f, NULL, 1, 1,
                ROPE_PAIRS, 1, b->scratch, b->pool);
        break;
    case OP_swiglu:
        k->swiglu(y[0], x[0], x[1], n, b->pool);
        break;
    case OP_swiglu_back:
        k->swiglu_back(y[0], y[1], x[0], x[1], x[2], n, b->pool);
        break;
    default:
        k->add(y[0], x[0], x[1], n, b->pool);
        break;
    }
}

static double flops_of(const struct kernel_case *c)
{
    const double m = (double) c->m;

    if (c->op == OP_matmul)
        return 2.0 * m * (double) c->n * (double) c->k;
    if (c->op == OP_xent)
        return 4.0 * m * (double) c->n * (double) c->k;
    // Half of the pairs of a sequence; two products forward, five backward.
    if (c->op == OP_attention)
        return 2.0 * m * LENGTH * HEADS * DIM;
    if (c->op == OP_attention_back)
        return 5.0 * m * LENGTH * HEADS * DIM;
    return 0.0;
}

static double best_seconds(const struct bench *b, const struct kernel_case *c)
{
    const double until = seconds() + b->budget;
    double best = 1e9;
    long calls = 0;

    do {
        const double t = spent();
        if (c->op == OP_matmul)
            run_matmul(b, c);
        else
            run_other(b, c);
        const double s = spent() - t;
        best = s < best ? s : best;
        calls++;
    } while (b->calls ? calls < b->calls : seconds() < until);
    return best;
}

static void report(const struct bench *b, struct str *json, const char *tier)
{
    const int n_cases = (int) (sizeof(cases) / sizeof(cases[0]));
    const double micro_batches = 1024.0 / (double) b->rows;
    double step = 0.0;
    double flops = 0.0;
    double peak = peak_gflops(b);
    const char *comma = "";

    printf("kernels: cpu %s, %s, %u threads, %lld tokens a call; best of %.0f "
           "ms of %s; %.0f GFLOP/s in registers; others may use the machine\n",
           tier, b->precision == PRECISION_BF16 ? "bf16" : "f32",
           pool_threads(b->pool), (long long) b->rows, b->budget * 1e3,
           cpu_threads ? "CPU time" : "wall-clock time", peak);
    str_printf(
        json,
        "{\"tier\":\"%s\",\"precision\":\"%s\",\"threads\":%u,\"rows\":%lld,",
        tier, b->precision == PRECISION_BF16 ? "bf16" : "f32",
        pool_threads(b->pool), (long long) b->rows);
    str_puts(json, "\"kernels\":[");
    for (int i = 0; i < n_cases; i++) {
        struct kernel_case c = cases[i];
        if (b->only && !strstr(c.name, b->only))
            continue;
        c.m = c.m == M ? b->rows : c.m;
        c.k = c.k == M ? b->rows : c.k;
        const double now = peak_gflops(b);
        peak = now > peak ? now : peak;
        const double s = best_seconds(b, &c);
        const double rate = flops_of(&c) / s * 1e-9;
        step += s * c.calls * micro_batches;
        flops += flops_of(&c) * c.calls * micro_batches;
        printf("%-20s %9.1f us %4d calls", c.name, s * 1e6, c.calls);
        if (rate > 0)
            printf(" %8.1f GFLOP/s", rate);
        if (rate > 0 && peak > 0)
            printf(" %5.1f %%", 100.0 * rate / peak);
        printf("\n");
        str_printf(
            json,
            "%s{\"name\":\"%s\",\"us\":%.2f,\"calls\":%d,\"gflops\":%.2f}",
            comma, c.name, s * 1e6, c.calls, rate);
        comma = ",";
    }
    printf("a step of 1024 tokens: %.1f ms, %.0f tokens/s, %.1f GFLOP, "
           "%.1f %% of %.0f GFLOP/s\n",
           step * 1e3, 1024.0 / step, flops * 1e-9,
           peak > 0 ? flops / step * 1e-7 / peak : 0.0, peak);
    str_printf(json,
               "],\"peak_gflops\":%.1f,\"step_ms\":%.2f,\"tokens_per_s\":%.1f}",
               peak, step * 1e3, 1024.0 / step);
}

// Against f32, which is packed but not decoded.
static void report_types(struct bench *b)
{
    enum { CASES = sizeof(by_type) / sizeof(by_type[0]) };
    double plain[CASES] = {0};

    for (int type = 0; type < DTYPE_COUNT; type++) {
        if (!dtype_is_weight((enum dtype) type))
            continue;
        quant_encode((enum dtype) type, b->weights, b->x[0], 2048 * 2048);
        for (int i = 0; i < CASES; i++) {
            struct kernel_case c = by_type[i];
            c.type = (enum dtype) type;
            const double s = best_seconds(b, &c);
            const double weights = (double) c.n * (double) c.k;
            plain[i] = type == DTYPE_f32 ? s : plain[i];
            printf("%-7s %-18s %9.1f us %7.3f ns a weight %+7.1f %% of f32\n",
                   dtype_infos[type].name, c.name, s * 1e6, s * 1e9 / weights,
                   100.0 * (s / plain[i] - 1.0));
        }
    }
}

static int make_data(struct bench *b)
{
    const size_t most = 2048 * 2048;
    const size_t tokens = (size_t) b->rows * FFN;
    const size_t count = tokens > most ? tokens : most;

    for (int i = 0; i < 8; i++) {
        float *x = aligned_alloc(64, count * sizeof(float));
        if (!x)
            return -1;
        for (size_t j = 0; j < count; j++)
            x[j] = (float) ((j * 2654435761u >> 8) % 2000) * 1e-3f - 1.0f;
        if (i < 5)
            b->x[i] = x;
        else
            b->y[i - 5] = x;
    }
    b->weights = malloc(most * sizeof(float));
    b->ints = calloc((size_t) b->rows, sizeof(*b->ints));
    b->scratch = aligned_alloc(64, 256 << 20);
    if (!b->weights || !b->ints || !b->scratch)
        return -1;
    quant_encode(DTYPE_q8_0, b->weights, b->x[0], (int64_t) most);
    // Starts of sequences; as positions and targets they will do as well.
    for (int64_t t = 0; t < b->rows; t++)
        b->ints[t] = (int32_t) (t - t % LENGTH);
    return 0;
}

int main(int argc, char **argv)
{
    struct bench b = {.rows = 512, .budget = 0.1};
    struct str json = {0};
    uint32_t threads = cpuinfo_usable();
    const char *tier = getenv("POCK_CPU");
    bool is_json = false;
    bool is_cpu = false;
    bool by_types = false;

    b.flags = cpuinfo_detect();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            is_json = true;
        else if (strcmp(argv[i], "--cpu") == 0)
            is_cpu = true;
        else if (strcmp(argv[i], "--types") == 0)
            by_types = true;
        else if (strcmp(argv[i], "--precision") == 0 && i + 1 < argc)
            b.precision =
                strcmp(argv[++i], "bf16") == 0 ? PRECISION_BF16 : PRECISION_F32;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = (uint32_t) strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            b.only = argv[++i];
        else if (strcmp(argv[i], "--rows") == 0 && i + 1 < argc)
            b.rows = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc)
            b.budget = strtod(argv[++i], NULL) * 1e-3;
        else if (strcmp(argv[i], "--calls") == 0 && i + 1 < argc)
            b.calls = strtol(argv[++i], NULL, 10);
    }
    if (b.rows < LENGTH || b.rows > 4096 || b.rows % LENGTH != 0) {
        fprintf(stderr, "--rows must be a multiple of 256, at most 4096\n");
        return 2;
    }
    if (tier && *tier) {
        const unsigned have = b.flags;
        if (cpu_tier_flags(&b.flags, tier) < 0 || (b.flags & ~have)) {
            fprintf(stderr, "no tier %s here\n", tier);
            return 77;
        }
    }
    cpu_threads = is_cpu ? threads : 0;
    cpu_kernels_init(&b.kernels, b.flags);
    if (pool_create(&b.pool, threads) < 0 || make_data(&b) < 0) {
        fprintf(stderr, "no memory\n");
        return 1;
    }
    if (by_types)
        report_types(&b);
    else
        report(&b, &json, cpu_tier_name(b.flags));
    if (is_json && !by_types)
        printf("%s\n", json.data);
    str_free(&json);
    pool_destroy(b.pool);
    return 0;
}
