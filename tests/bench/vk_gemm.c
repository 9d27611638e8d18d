// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Times the matrix products of engine/vulkan/shaders by themselves, and checks
// them against sums in double precision of values drawn at random.
//
//   vk_gemm DIR DEVICE < LIST
//
// DIR holds the SPIR-V, DEVICE is a part of the device's name. A line of LIST:
//   direction weights  M N K  parts group  WG BM BN BK WM WN
//   fwd       f16      512 4096 4096  1 8  256 128 128 32 64 32
// direction fwd (M,K) -> (M,N) or back (M,N) -> (M,K); weights f16, bf16, q8_0
// or q4_0, (N,K). `sizes TM TN TK SUBGROUP` sets those of its matrices, `c 1`
// adds what y held before.

#include "vk_gemm.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum weights { W_F16, W_BF16, W_Q8_0, W_Q4_0, W_N };

// As in shaders/lib/cm_args.glsl and cm_pack.comp.
struct args {
    uint64_t a, w, scales, mins, y, c, row_scales, live;
    uint32_t m, n, k, a_rows, ldw;
    float alpha;
    uint32_t group, k_each;
    uint64_t low_a, low_b; // there is none
    uint32_t low_k;
    float low_alpha;
};
struct pack_args {
    uint64_t a, to, row_scales;
    uint32_t m, k, a_rows;
};
struct sum_args {
    uint64_t y, parts, c;
    uint32_t n, n_parts;
    float alpha;
};
enum { FLAG_C = 1, FLAG_SCALES = 2, FLAG_BY_4 = 8, FLAG_PART = 16 };

struct trial {
    enum weights type;
    bool is_back;
    uint32_t m, n, k; // w is (n,k)
    uint32_t slices, group;
    bool has_c;
    uint32_t spec[11];
    char line[200];
    uint32_t first; // the first of the same kernel, which holds it
    struct gpu_kernel kernel;
    int failed;
    double compile_s;
};

#define TRIALS_MAX 512

struct bench {
    struct gpu gpu;
    const char *dir;
    struct gpu_buffer a, packed, w, y, c, row_scales, parts, stage;
    struct gpu_kernel pack[8]; // bits: bf16, BK 64, rows begin at quads
    struct gpu_kernel sum[2];  // without and with c
    struct trial filled;       // what the buffers hold the values for
    struct trial trials[TRIALS_MAX];
    uint32_t n_trials;
    atomic_uint n_taken;
    uint32_t sizes[4];
    bool has_c;
    bool is_warm;
};

#define STAGE_BYTES ((uint64_t) 1 << 28)
static const char *const type_names[W_N] = {"f16", "bf16", "q8_0", "q4_0"};

static uint32_t round_up(uint32_t x, uint32_t to)
{
    return (x + to - 1) / to * to;
}

static float f16_value(uint16_t h)
{
    const int e = h >> 10 & 31;
    const float m = (float) (h & 1023);
    const float v = e ? ldexpf(1024.0f + m, e - 25) : ldexpf(m, -24);
    return h >> 15 ? -v : v;
}

// Of a value below 65504 that is not tiny; rounds half away from zero.
static uint16_t f16_bits(float v)
{
    const float a = fabsf(v);
    int e;
    if (a < 6.2e-5f)
        return 0;
    frexpf(a, &e);
    const uint32_t m = (uint32_t) (ldexpf(a, 11 - e) + 0.5f);
    return (uint16_t) ((v < 0 ? 0x8000u : 0) + ((uint32_t) (e + 13) << 10) + m);
}

static uint16_t bits_of(enum weights t, float v)
{
    if (t != W_BF16)
        return f16_bits(v);
    union {
        float f;
        uint32_t u;
    } x = {v};
    return (uint16_t) ((x.u + 0x8000u) >> 16);
}

static float value_of(enum weights t, uint16_t b)
{
    union {
        uint32_t u;
        float f;
    } x = {(uint32_t) b << 16};
    return t == W_BF16 ? x.f : f16_value(b);
}

static uint64_t weight_bytes(enum weights t, uint64_t count)
{
    return t == W_Q8_0 ? count : t == W_Q4_0 ? count / 2 : count * 2;
}

// The values are functions of their places, so that any can be had again. Rows
// of a are of very different sizes.
static float a_at(uint32_t row, uint32_t at)
{
    return ldexpf(drawn(at), (int) (row % 41) - 30);
}
static uint16_t scale_at(uint64_t block)
{
    return f16_bits(0.002f + 1e-6f * (float) (mixed((uint32_t) block) & 2047));
}
static float w_at(const struct trial *t, uint32_t row, uint32_t col)
{
    const uint64_t at = (uint64_t) row * t->k + col;
    const uint32_t u = (uint32_t) at;
    if (t->type == W_Q8_0)
        return f16_value(scale_at(at / 32)) *
               (float) (int8_t) (mixed(u / 4 + 7) >> u % 4 * 8);
    if (t->type == W_Q4_0) {
        const uint32_t j = u % 32, byte = u / 32 * 16 + j % 16;
        const uint32_t b = mixed(byte / 4 + 7) >> byte % 4 * 8;
        return f16_value(scale_at(at / 32)) *
               (float) ((int) (b >> j / 16 * 4 & 15) - 8);
    }
    return value_of(t->type, bits_of(t->type, 0.05f * drawn(u ^ 0x5bd1e995u)));
}
static float c_at(uint32_t at)
{
    return drawn(at ^ 0x1234567u);
}

static uint32_t out_width(const struct trial *t)
{
    return t->is_back ? t->k : t->n;
}

static uint32_t depth_of(const struct trial *t)
{
    return t->is_back ? t->n : t->k;
}

// Fills `bytes` of a buffer from a function of the place of a part of `unit`.
typedef void fill_part(const struct trial *t, uint64_t at, void *to);

static int fill(struct bench *b, struct gpu_buffer *to, const struct trial *t,
                uint64_t n_parts, uint32_t unit, fill_part *part)
{
    if (n_parts * unit > STAGE_BYTES || n_parts * unit > to->size) {
        fprintf(stderr, "a shape is too large for the buffers\n");
        return -1;
    }
    for (uint64_t i = 0; i < n_parts; i++)
        part(t, i, (char *) b->stage.mapped + i * unit);
    return gpu_copy(&b->gpu, to, 0, &b->stage, 0, n_parts * unit);
}

static void fill_a(const struct trial *t, uint64_t at, void *to)
{
    *(float *) to = a_at((uint32_t) (at / depth_of(t)), (uint32_t) at);
}
static void fill_w16(const struct trial *t, uint64_t at, void *to)
{
    const uint32_t u = (uint32_t) at;
    *(uint16_t *) to = bits_of(t->type, 0.05f * drawn(u ^ 0x5bd1e995u));
}
static void fill_quants(const struct trial *t, uint64_t at, void *to)
{
    (void) t;
    *(uint32_t *) to = mixed((uint32_t) at + 7);
}
static void fill_c(const struct trial *t, uint64_t at, void *to)
{
    (void) t;
    *(float *) to = c_at((uint32_t) at);
}
static uint64_t scales_at(const struct trial *t)
{
    return (weight_bytes(t->type, (uint64_t) t->n * t->k) + 255) / 256 * 256;
}

static int fill_weights(struct bench *b, const struct trial *t)
{
    const uint64_t n = (uint64_t) t->n * t->k;
    if (t->type == W_F16 || t->type == W_BF16)
        return fill(b, &b->w, t, n, 2, fill_w16);
    for (uint64_t i = 0; i < n / 32; i++)
        ((uint16_t *) ((char *) b->stage.mapped + scales_at(t)))[i] =
            scale_at(i);
    for (uint64_t i = 0; i < weight_bytes(t->type, n) / 4; i++)
        fill_quants(t, i, (uint32_t *) b->stage.mapped + i);
    return gpu_copy(&b->gpu, &b->w, 0, &b->stage, 0, scales_at(t) + n / 16);
}

static int fill_all(struct bench *b, const struct trial *t)
{
    const struct trial *f = &b->filled;
    if (f->m == t->m && f->n == t->n && f->k == t->k && f->type == t->type &&
        f->is_back == t->is_back)
        return 0;
    if (fill(b, &b->a, t, (uint64_t) t->m * depth_of(t), 4, fill_a) != 0 ||
        fill_weights(b, t) != 0 ||
        fill(b, &b->c, t, (uint64_t) t->m * out_width(t), 4, fill_c) != 0)
        return -1;
    b->filled = *t;
    return 0;
}

// The error of one value, in parts of what its terms come to when they are
// added like errors.
static double error_at(const struct trial *t, uint32_t row, uint32_t col,
                       float y)
{
    double sum = 0.0, squares = 1e-30;
    for (uint32_t k = 0; k < depth_of(t); k++) {
        const double w =
            (double) (t->is_back ? w_at(t, k, col) : w_at(t, col, k));
        const double p = w * (double) a_at(row, row * depth_of(t) + k);
        sum += p;
        squares += p * p;
    }
    const double old = t->has_c ? (double) c_at(row * out_width(t) + col) : 0.0;
    // What f32 cannot tell from c is no error.
    const double least = 0.5 * sqrt(squares) + 1e-4 * fabs(old);
    return fabs((double) y - (0.5 * sum + old)) / least;
}

// The largest of some values of some rows; negative if they cannot be read.
static double largest_error(struct bench *b, const struct trial *t)
{
    const uint64_t bytes = (uint64_t) out_width(t) * 4;
    const float *y = b->stage.mapped;
    double worst = 0.0;

    for (uint32_t i = 0; i < 16; i++) {
        const uint32_t row = i == 0 ? t->m - 1 : mixed(i) % t->m;
        if (gpu_copy(&b->gpu, &b->stage, 0, &b->y, row * bytes, bytes) != 0)
            return -1.0;
        for (uint32_t j = 0; j < 16; j++) {
            const uint32_t col =
                j == 0 ? out_width(t) - 1 : mixed(16 * i + j) % out_width(t);
            const double error = error_at(t, row, col, y[col]);
            if (isnan(error))
                return error;
            worst = error > worst ? error : worst;
        }
    }
    return worst;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static int time_calls(struct bench *b, const struct gpu_call *calls,
                      uint32_t n_calls, double *best)
{
    double ns = 0.0;

    if (gpu_run(&b->gpu, calls, n_calls, 1, best) != 0)
        return -1;
    // The device forgets its clock within some milliseconds of idleness.
    const double until = now() + (b->is_warm ? 0.08 : 1.0);
    b->is_warm = true;
    const uint32_t repeats = *best > 4e6   ? 1
                             : *best < 4e4 ? 100
                                           : (uint32_t) (4e6 / *best);
    do
        if (gpu_run(&b->gpu, calls, n_calls, repeats, &ns) != 0)
            return -1;
    while (now() < until);
    for (int i = 0; i < 3; i++) {
        if (gpu_run(&b->gpu, calls, n_calls, repeats, &ns) != 0)
            return -1;
        *best = ns < *best ? ns : *best;
    }
    return 0;
}

static struct args args_of(const struct bench *b, const struct trial *t)
{
    const uint32_t depth = depth_of(t);
    return (struct args){.a = b->packed.address,
                         .w = b->w.address,
                         .scales = b->w.address + scales_at(t),
                         .y = b->y.address,
                         .c = b->c.address,
                         .row_scales = b->row_scales.address,
                         .m = t->m,
                         .n = out_width(t),
                         .k = depth,
                         .a_rows = round_up(t->m, t->spec[1]),
                         .ldw = t->k,
                         .alpha = 0.5f,
                         .group = t->group,
                         .k_each = t->slices == 1
                                       ? depth
                                       : round_up(depth / t->slices, 64)};
}

static uint32_t flags_of(const struct trial *t)
{
    const bool by_4 = out_width(t) % 4 == 0;
    return (t->has_c ? FLAG_C : 0) | (t->type == W_BF16 ? 0 : FLAG_SCALES) |
           (by_4 ? FLAG_BY_4 : 0) | (t->slices > 1 ? FLAG_PART : 0);
}

static int run_trial(struct bench *b, const struct trial *t,
                     const struct gpu_kernel *k)
{
    struct args args = args_of(b, t);
    const uint32_t bm = t->spec[1], bn = t->spec[2];
    const uint32_t tiles = ((args.m + bm - 1) / bm) * ((args.n + bn - 1) / bn);
    const uint32_t n_parts = (args.k + args.k_each - 1) / args.k_each;
    const struct pack_args pack = {b->a.address, args.a, args.row_scales,
                                   args.m,       args.k, args.a_rows};
    const struct sum_args sum = {args.y,
                                 b->parts.address,
                                 t->has_c ? args.c : 0,
                                 args.m * args.n,
                                 n_parts,
                                 args.alpha};
    const uint64_t sum_groups = ((uint64_t) sum.n + 255) / 256;
    double pack_ns, ns;

    if (n_parts > 1)
        args.y = b->parts.address;
    const struct gpu_call packing =
        {&b->pack[(t->type == W_BF16) + 2 * (t->spec[3] == 64) +
                  4 * (args.k % 4 == 0)],
         {args.a_rows, 1, 1},
         &pack,
         sizeof(pack)};
    const struct gpu_call calls[] =
        {{k, {tiles, n_parts, 1}, &args, sizeof(args)},
         {&b->sum[t->has_c],
          {1024, (uint32_t) ((sum_groups + 1023) / 1024), 1},
          &sum,
          sizeof(sum)}};
    if (gpu_fill(&b->gpu, &b->y, 0xffffffffu) != 0 ||
        gpu_fill(&b->gpu, &b->packed, 0xffffffffu) != 0 ||
        time_calls(b, &packing, 1, &pack_ns) != 0 ||
        time_calls(b, calls, n_parts > 1 ? 2 : 1, &ns) != 0)
        return -1;
    const double error = largest_error(b, t);
    printf(" pack %.1f us, %8.1f us %6.1f TFLOP/s error %.1e%s", pack_ns / 1e3,
           ns / 1e3, 2e-3 * args.m * args.n * args.k / ns, error,
           error >= 0 && error < (t->type == W_BF16 ? 1e-2 : 2e-3) ? ""
                                                                   : " WRONG");
    return 0;
}

static int parse(const struct bench *b, const char *line, struct trial *t)
{
    char direction[8], type[8];
    uint32_t s[6];

    const int n = sscanf(line, "%7s %7s %u %u %u %u %u %u %u %u %u %u %u",
                         direction, type, &t->m, &t->n, &t->k, &t->slices,
                         &t->group, &s[0], &s[1], &s[2], &s[3], &s[4], &s[5]);
    if (n < 13)
        return -1;
    t->is_back = strcmp(direction, "back") == 0;
    for (t->type = 0; t->type < W_N; t->type++)
        if (strcmp(type, type_names[t->type]) == 0)
            break;
    if (t->type == W_N)
        return -1;
    t->has_c = b->has_c;
    memcpy(t->spec, s, sizeof(s));
    t->spec[6] = flags_of(t);
    memcpy(t->spec + 7, b->sizes, sizeof(b->sizes));
    return 0;
}

// Of shared memory, as gemm_cm.comp has it.
static uint32_t shared_bytes(const struct trial *t)
{
    const uint32_t *s = t->spec;
    const uint32_t a = s[1] * (s[3] / 8 + 1);
    const uint32_t w =
        t->is_back ? s[3] * (s[2] / 8 + 1) : s[2] * (s[3] / 8 + 1);
    const uint32_t out = s[0] / s[10] * s[7] * (s[5] / 4 + 1);
    return 16 * (a + w > out ? a + w : out);
}

static int open_kernels(struct bench *b)
{
    struct gpu *g = &b->gpu;
    char path[512];
    int r = 0;

    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t spec[] = {128, i & 2 ? 64 : 32, i & 1, i >> 2};
        snprintf(path, sizeof(path), "%s/cm_pack.spv", b->dir);
        r |= gpu_kernel_create(g, &b->pack[i], path, spec, 4);
    }
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t spec[] = {256, i};
        snprintf(path, sizeof(path), "%s/gemm_sum.spv", b->dir);
        r |= gpu_kernel_create(g, &b->sum[i], path, spec, 2);
    }
    return r;
}

static int open_all(struct bench *b, const char *device)
{
    struct gpu *g = &b->gpu;
    const bool is_small = getenv("VK_GEMM_SMALL") != NULL;
    const uint64_t large = is_small ? 1 << 24 : STAGE_BYTES;

    if (gpu_open(g, device) != 0)
        return -1;
    gpu_print(g);
    return open_kernels(b) || gpu_buffer_create(g, &b->a, large, false) ||
           gpu_buffer_create(g, &b->packed, large, false) ||
           gpu_buffer_create(g, &b->w, large, false) ||
           gpu_buffer_create(g, &b->y, large, false) ||
           gpu_buffer_create(g, &b->c, large, false) ||
           gpu_buffer_create(g, &b->row_scales, 1 << 20, false) ||
           gpu_buffer_create(g, &b->parts, 2 * large, false) ||
           gpu_buffer_create(g, &b->stage, STAGE_BYTES, true);
}

static void read_list(struct bench *b)
{
    uint32_t has_c = 0;

    while (b->n_trials < TRIALS_MAX) {
        struct trial *t = &b->trials[b->n_trials];
        *t = (struct trial){0};
        b->has_c = has_c != 0;
        if (!fgets(t->line, sizeof(t->line), stdin))
            return;
        t->line[strcspn(t->line, "\n")] = '\0';
        if (sscanf(t->line, "sizes %u %u %u %u", &b->sizes[0], &b->sizes[1],
                   &b->sizes[2], &b->sizes[3]) == 4 ||
            sscanf(t->line, "c %u", &has_c) == 1 || t->line[0] == '#' ||
            t->line[0] == '\0')
            continue;
        if (parse(b, t->line, t) != 0)
            fprintf(stderr, "cannot be read: %s\n", t->line);
        else
            b->n_trials++;
    }
}

static bool is_same_kernel(const struct trial *x, const struct trial *y)
{
    return x->type == y->type && x->is_back == y->is_back &&
           memcmp(x->spec, y->spec, sizeof(x->spec)) == 0;
}

// Compiles the trials that no other thread has taken.
static void *compile_some(void *of)
{
    struct bench *b = of;
    char path[512];

    for (;;) {
        const uint32_t i = atomic_fetch_add(&b->n_taken, 1);
        if (i >= b->n_trials)
            return NULL;
        struct trial *t = &b->trials[i];
        for (t->first = 0; t->first < i; t->first++)
            if (is_same_kernel(t, &b->trials[t->first]))
                break;
        if (t->first < i)
            continue;
        const double start = now();
        snprintf(path, sizeof(path), "%s/gemm_cm_%s%s.spv", b->dir,
                 type_names[t->type], t->is_back ? "_back" : "");
        t->failed = shared_bytes(t) > b->gpu.shared_bytes ? -1 : 0;
        if (t->failed)
            continue;
        t->failed = gpu_kernel_create(&b->gpu, &t->kernel, path, t->spec, 11);
        t->compile_s = now() - start;
    }
}

static void compile_all(struct bench *b)
{
    const long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[64];
    int n = 0;

    while (n < 64 && n < n_cpus &&
           pthread_create(&threads[n], NULL, compile_some, b) == 0)
        n++;
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

int main(int argc, char **argv)
{
    static struct bench b = {.sizes = {16, 16, 16, 32}};

    if (argc < 3) {
        fprintf(stderr, "usage: vk_gemm DIR DEVICE < LIST\n");
        return 2;
    }
    b.dir = argv[1];
    if (open_all(&b, argv[2]) != 0)
        return 1;
    read_list(&b);
    compile_all(&b);
    for (uint32_t i = 0; i < b.n_trials; i++) {
        struct trial *t = &b.trials[i];
        struct trial *first = &b.trials[t->first];
        printf("%s:", t->line);
        if (first->failed || fill_all(&b, t) != 0 ||
            run_trial(&b, t, &first->kernel) != 0)
            printf(" failed");
        else if (first == t)
            printf(" compiled in %.0f ms", 1e3 * t->compile_s);
        if (!first->failed && getenv("VK_GEMM_STATISTICS"))
            gpu_kernel_print(&b.gpu, &first->kernel);
        printf("\n");
        fflush(stdout);
    }
    for (uint32_t i = 0; i < b.n_trials; i++)
        if (b.trials[i].kernel.pipeline)
            gpu_kernel_destroy(&b.gpu, &b.trials[i].kernel);
    gpu_close(&b.gpu);
    return 0;
}
