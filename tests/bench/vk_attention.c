// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Times the attention shaders of engine/vulkan/shaders by themselves, and
// checks those by cooperative matrices against the plain ones.
//
//   vk_attention DIR DEVICE < LIST
//
// DIR holds the SPIR-V, DEVICE is a part of the device's name. Lines of LIST,
// of which the first is a shape:
//   shape SEQUENCES LENGTH HEADS KV_HEADS DIM
//   forward|prep|queries|keys FILE SUBGROUPS PARTS STEP BY_HEAD
// FILE is a name in DIR without .spv; prep has threads for SUBGROUPS.
// `sizes TM TN TK SUBGROUP` sets those of its matrices.

#include "vk_gemm.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct shape {
    uint32_t n_seq, len, heads, kv_heads, dim;
};

// As the shaders have them.
struct plain_args {
    uint64_t o, lse, q, k, v, start;
    uint32_t rows, len, heads, kv_heads, dim, window;
    float scale, cap;
    uint32_t tiles;
};
struct plain_back_args {
    uint64_t da, db, dout, q, k, v, o, lse, delta, start;
    uint32_t len, heads, kv_heads, dim, window;
    float scale, cap;
    uint32_t tiles;
};
struct forward_args {
    uint64_t o, lse, q, k, v, start;
    uint32_t len, heads, kv_heads, window;
    float scale;
    uint32_t tiles;
};
struct prep_args {
    uint64_t q, k, v, dout, o, lse, start, q16, k16, v16, dout16, stats;
    uint32_t rows, len, window;
};
struct back_args {
    uint64_t da, db, q, k, v, dout, stats;
    uint32_t rows, len, heads, kv_heads;
    float scale;
    uint32_t tiles;
};

enum {
    Q,
    K,
    V,
    O,
    DOUT,
    LSE,
    START,
    DELTA,
    DQ,
    DK,
    DV, // plain ones
    Q16,
    K16,
    V16,
    DOUT16,
    STATS,
    OUT,
    OUT2,
    N_BUFFERS
};

struct trial {
    char line[200], kind[16], file[64];
    uint32_t subgroups, parts, step, by_head;
    uint32_t sizes[4];
    struct shape s;
    struct gpu_kernel kernel;
    double ns;
    int failed;
};

enum { TRIALS_MAX = 512 };

struct bench {
    struct gpu gpu;
    const char *dir;
    struct gpu_buffer buffers[N_BUFFERS], stage;
    struct shape s;
    float *wanted[N_BUFFERS];
    struct trial trials[TRIALS_MAX];
    uint32_t n_trials;
    atomic_uint n_taken;
};

#define BUFFER_BYTES ((uint64_t) 1 << 27)

static uint32_t ceil_of(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static uint32_t rows_of(const struct shape *s)
{
    return s->n_seq * s->len;
}

static size_t wide(const struct shape *s)
{
    return (size_t) rows_of(s) * s->heads * s->dim;
}

static size_t narrow(const struct shape *s)
{
    return (size_t) rows_of(s) * s->kv_heads * s->dim;
}

static size_t count_of(const struct shape *s, int which)
{
    switch (which) {
    case K:
    case V:
    case DK:
    case DV:
        return narrow(s);
    case LSE:
        return (size_t) rows_of(s) * s->heads;
    default:
        return wide(s);
    }
}

static uint64_t at(const struct bench *b, int which)
{
    return b->buffers[which].address;
}

// The device forgets its clock within some milliseconds of idleness.
static int time_call(struct bench *b, const struct gpu_call *call, double warm,
                     double *best)
{
    double ns = 0.0;

    if (gpu_run(&b->gpu, call, 1, 1, best) != 0)
        return -1;
    const double until = now() + warm;
    const uint32_t repeats = *best > 4e6   ? 1
                             : *best < 4e4 ? 100
                                           : (uint32_t) (4e6 / *best);
    do
        if (gpu_run(&b->gpu, call, 1, repeats, &ns) != 0)
            return -1;
    while (now() < until);
    for (int i = 0; i < 3; i++) {
        if (gpu_run(&b->gpu, call, 1, repeats, &ns) != 0)
            return -1;
        *best = ns < *best ? ns : *best;
    }
    return 0;
}

static int read_back(struct bench *b, int which, float *to, size_t n)
{
    if (gpu_copy(&b->gpu, &b->stage, 0, &b->buffers[which], 0, n * 4) != 0)
        return -1;
    memcpy(to, b->stage.mapped, n * 4);
    return 0;
}

static int open_kernel(struct bench *b, struct gpu_kernel *k, const char *name,
                       const uint32_t *specs, uint32_t n)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s.spv", b->dir, name);
    return gpu_kernel_create(&b->gpu, k, path, specs, n);
}

static int run_kernel(struct bench *b, const char *name, const uint32_t *specs,
                      uint32_t n_specs, struct gpu_call *call, double *ns)
{
    struct gpu_kernel k;

    if (open_kernel(b, &k, name, specs, n_specs) != 0)
        return -1;
    call->kernel = &k;
    const int r = time_call(b, call, 0.2, ns);
    gpu_kernel_destroy(&b->gpu, &k);
    return r;
}

// The plain kernels make what the others are compared with.
static int run_plain(struct bench *b)
{
    const struct shape *s = &b->s;
    const uint32_t tiles = ceil_of(s->len, 64);
    const float scale = 1.0f / sqrtf((float) s->dim);
    const uint32_t specs[] = {ceil_of(s->dim, 64), 1, 0, 3};
    struct plain_args a = {at(b, O),    at(b, LSE), at(b, Q),
                           at(b, K),    at(b, V),   at(b, START),
                           rows_of(s),  s->len,     s->heads,
                           s->kv_heads, s->dim,     0,
                           scale,       0,          tiles};
    struct plain_back_args c = {at(b, DQ),    0,          at(b, DOUT),
                                at(b, Q),     at(b, K),   at(b, V),
                                at(b, O),     at(b, LSE), at(b, DELTA),
                                at(b, START), s->len,     s->heads,
                                s->kv_heads,  s->dim,     0,
                                scale,        0,          tiles};
    struct gpu_call call = {NULL,
                            {s->n_seq * tiles, s->heads, 1},
                            &a,
                            sizeof(a)};
    double ns[3];

    if (run_kernel(b, "attention", specs, 2, &call, &ns[0]) != 0)
        return -1;
    call.push = &c;
    call.push_size = sizeof(c);
    if (run_kernel(b, "attention_back_queries", specs, 2, &call, &ns[1]) != 0)
        return -1;
    c.da = at(b, DK);
    c.db = at(b, DV);
    call.groups[1] = s->kv_heads;
    if (run_kernel(b, "attention_back_keys", specs, 4, &call, &ns[2]) != 0)
        return -1;
    printf(" plain: forward %.1f, queries %.1f, keys %.1f us\n", ns[0] / 1e3,
           ns[1] / 1e3, ns[2] / 1e3);
    static const int kept[] = {O, LSE, DQ, DK, DV};
    for (int i = 0; i < 5; i++) {
        const int w = kept[i];
        free(b->wanted[w]);
        b->wanted[w] = malloc(count_of(s, w) * 4);
        if (!b->wanted[w] || read_back(b, w, b->wanted[w], count_of(s, w)) != 0)
            return -1;
    }
    return 0;
}

static int set_shape(struct bench *b)
{
    static const int drawn_ones[] = {Q, K, V, DOUT};
    float *to = b->stage.mapped;

    if (wide(&b->s) * 4 > BUFFER_BYTES)
        return -1;
    for (int i = 0; i < 4; i++) {
        const size_t n = count_of(&b->s, drawn_ones[i]);
        for (size_t j = 0; j < n; j++)
            to[j] = drawn((uint32_t) j * 4 + (uint32_t) i) *
                    (i == 3 ? 1e-6f : 1.0f);
        if (gpu_copy(&b->gpu, &b->buffers[drawn_ones[i]], 0, &b->stage, 0,
                     n * 4) != 0)
            return -1;
    }
    for (uint32_t t = 0; t < rows_of(&b->s); t++)
        ((int32_t *) b->stage.mapped)[t] = (int32_t) (t / b->s.len * b->s.len);
    if (gpu_copy(&b->gpu, &b->buffers[START], 0, &b->stage, 0,
                 rows_of(&b->s) * 4) != 0)
        return -1;
    return run_plain(b);
}

// Largest difference, relative to the largest value. by_head: `which` holds
// rows of all query heads, whose sums are compared.
static double error_of(struct bench *b, int which, int wanted, bool by_head)
{
    const struct shape *s = &b->s;
    const size_t n = count_of(s, wanted);
    const float *x = b->stage.mapped, *y = b->wanted[wanted];
    const uint32_t group = by_head ? s->heads / s->kv_heads : 1;
    double off = 0.0, most = 1e-30;

    if (gpu_copy(&b->gpu, &b->stage, 0, &b->buffers[which], 0, n * group * 4) !=
        0)
        return -1.0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint32_t h = 0; h < group; h++)
            sum += (double) x[(i / s->dim * group + h) * s->dim + i % s->dim];
        const double d = fabs(sum - (double) y[i]);
        if (!(d <= off))
            off = d;
        most = fabs((double) y[i]) > most ? fabs((double) y[i]) : most;
    }
    return off / most;
}

static uint32_t trial_rows(const struct trial *t)
{
    return t->subgroups / t->parts * t->sizes[0];
}

static int open_trial(struct bench *b, struct trial *t)
{
    const struct shape *s = &t->s;
    const uint32_t specs[] = {t->subgroups * t->sizes[3],
                              t->sizes[3],
                              t->sizes[0],
                              t->sizes[1],
                              t->sizes[2],
                              s->dim,
                              t->step,
                              t->parts,
                              s->len % trial_rows(t) == 0,
                              t->by_head};
    const uint32_t prep[] = {t->subgroups, s->dim, s->heads, s->kv_heads};

    if (strcmp(t->kind, "shape") == 0)
        return 0;
    if (strcmp(t->kind, "prep") == 0)
        return open_kernel(b, &t->kernel, t->file, prep, 4);
    return open_kernel(b, &t->kernel, t->file, specs,
                       strcmp(t->kind, "forward") == 0 ? 9 : 10);
}

// Opens the trials that no other thread has taken.
static void *open_some(void *of)
{
    struct bench *b = of;
    uint32_t i;

    while ((i = atomic_fetch_add(&b->n_taken, 1)) < b->n_trials)
        b->trials[i].failed = open_trial(b, &b->trials[i]);
    return NULL;
}

static void open_trials(struct bench *b)
{
    const long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[64];
    int n = 0;

    while (n < 64 && n < n_cpus &&
           pthread_create(&threads[n], NULL, open_some, b) == 0)
        n++;
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

// Runs it for so long; 0: once.
static int run_trial(struct bench *b, struct trial *t, double warm)
{
    const struct shape *s = &b->s;
    const bool is_forward = strcmp(t->kind, "forward") == 0;
    const bool is_keys = strcmp(t->kind, "keys") == 0;
    const uint32_t tiles = ceil_of(s->len, trial_rows(t));
    const float scale = 1.0f / sqrtf((float) s->dim);
    const struct prep_args p = {at(b, Q),     at(b, K),      at(b, V),
                                at(b, DOUT),  at(b, O),      at(b, LSE),
                                at(b, START), at(b, Q16),    at(b, K16),
                                at(b, V16),   at(b, DOUT16), at(b, STATS),
                                rows_of(s),   s->len,        0};
    const struct forward_args f = {at(b, OUT), at(b, OUT2), at(b, Q),
                                   at(b, K),   at(b, V),    at(b, START),
                                   s->len,     s->heads,    s->kv_heads,
                                   0,          scale,       tiles};
    const struct back_args c = {at(b, OUT),   at(b, OUT2), at(b, Q16),
                                at(b, K16),   at(b, V16),  at(b, DOUT16),
                                at(b, STATS), rows_of(s),  s->len,
                                s->heads,     s->kv_heads, scale,
                                tiles};
    const uint32_t heads = is_keys && !t->by_head ? s->kv_heads : s->heads;
    struct gpu_call call = {&t->kernel,
                            {s->n_seq, heads, tiles},
                            is_forward ? (const void *) &f : &c,
                            is_forward ? sizeof(f) : sizeof(c)};

    if (strcmp(t->kind, "prep") == 0)
        call = (struct gpu_call){&t->kernel, {rows_of(s), 1, 1}, &p, sizeof(p)};
    if (warm > 0)
        return time_call(b, &call, warm, &t->ns);
    double ns;
    return gpu_run(&b->gpu, &call, 1, 1, &ns);
}

static void print_trial(struct bench *b, struct trial *t)
{
    const struct shape *s = &b->s;
    const bool is_forward = strcmp(t->kind, "forward") == 0;
    const bool is_keys = strcmp(t->kind, "keys") == 0;
    double error = 0.0, other = 0.0;

    printf("%-26s", t->line);
    if (t->failed || gpu_fill(&b->gpu, &b->buffers[OUT], 0xffffffffu) != 0 ||
        gpu_fill(&b->gpu, &b->buffers[OUT2], 0xffffffffu) != 0 ||
        run_trial(b, t, 0) != 0) {
        printf(" failed");
        if (t->kernel.pipeline)
            gpu_kernel_print(&b->gpu, &t->kernel);
        printf("\n");
        return;
    }
    printf(" %7.1f us", t->ns / 1e3);
    if (is_forward) {
        error = error_of(b, OUT, O, false);
        other = error_of(b, OUT2, LSE, false);
    } else if (strcmp(t->kind, "prep") != 0) {
        error = error_of(b, OUT, is_keys ? DK : DQ, is_keys && t->by_head);
        other = is_keys ? error_of(b, OUT2, DV, t->by_head) : 0.0;
        // Causal: half of the products.
    }
    const double pairs = 0.5 * s->len * (double) rows_of(s) * s->heads;
    const double products = is_forward ? 2 : is_keys ? 4 : 3;
    printf(" %6.1f TFLOP/s error %.1e %.1e%s",
           2e-3 * pairs * s->dim * products / t->ns, error, other,
           error >= 0 && error < 5e-3 && other >= 0 && other < 5e-3 ? ""
                                                                    : " WRONG");
    gpu_kernel_print(&b->gpu, &t->kernel);
    printf("\n");
    fflush(stdout);
}

static void run_shape(struct bench *b, struct trial *first)
{
    struct trial *end = b->trials + b->n_trials;
    struct trial *t;

    b->s = first->s;
    printf("%s:", first->line);
    if (set_shape(b) != 0) {
        printf(" failed\n");
        for (t = first + 1; t < end && strcmp(t->kind, "shape") != 0; t++)
            t->failed = -1;
    }
    for (t = first + 1; t < end && strcmp(t->kind, "shape") != 0; t++)
        if (!t->failed)
            t->failed = run_trial(b, t, t == first + 1 ? 0.5 : 0.05);
    for (t = first + 1; t < end && strcmp(t->kind, "shape") != 0; t++)
        print_trial(b, t);
}

static void read_list(struct bench *b)
{
    uint32_t sizes[4] = {16, 16, 16, 32};
    struct shape s = {1, 64, 1, 1, 64};

    while (b->n_trials < TRIALS_MAX) {
        struct trial *t = &b->trials[b->n_trials];
        *t = (struct trial){.parts = 1};
        if (!fgets(t->line, sizeof(t->line), stdin))
            return;
        t->line[strcspn(t->line, "\n")] = '\0';
        if (t->line[0] == '\0' || t->line[0] == '#' ||
            sscanf(t->line, "sizes %u %u %u %u", &sizes[0], &sizes[1],
                   &sizes[2], &sizes[3]) == 4)
            continue;
        const int n = sscanf(t->line, "%15s %63s %u %u %u %u", t->kind, t->file,
                             &t->subgroups, &t->parts, &t->step, &t->by_head);
        if (sscanf(t->line, "shape %u %u %u %u %u", &s.n_seq, &s.len, &s.heads,
                   &s.kv_heads, &s.dim) != 5 &&
            n < 3) {
            fprintf(stderr, "cannot be read: %s\n", t->line);
            continue;
        }
        t->s = s;
        memcpy(t->sizes, sizes, sizeof(sizes));
        b->n_trials++;
    }
}

int main(int argc, char **argv)
{
    static struct bench b;

    if (argc < 3) {
        fprintf(stderr, "usage: vk_attention DIR DEVICE < LIST\n");
        return 2;
    }
    b.dir = argv[1];
    const uint64_t bytes =
        getenv("VK_ATTENTION_SMALL") ? 1 << 23 : BUFFER_BYTES;
    if (gpu_open(&b.gpu, argv[2]) != 0)
        return 1;
    gpu_print(&b.gpu);
    for (int i = 0; i < N_BUFFERS; i++)
        if (gpu_buffer_create(&b.gpu, &b.buffers[i], bytes, false) != 0)
            return 1;
    if (gpu_buffer_create(&b.gpu, &b.stage, bytes, true) != 0)
        return 1;
    read_list(&b);
    open_trials(&b);
    for (uint32_t i = 0; i < b.n_trials; i++)
        if (strcmp(b.trials[i].kind, "shape") == 0)
            run_shape(&b, &b.trials[i]);
    for (uint32_t i = 0; i < b.n_trials; i++)
        if (b.trials[i].kernel.pipeline)
            gpu_kernel_destroy(&b.gpu, &b.trials[i].kernel);
    for (int i = 0; i < N_BUFFERS; i++) {
        gpu_buffer_destroy(&b.gpu, &b.buffers[i]);
        free(b.wanted[i]);
    }
    gpu_buffer_destroy(&b.gpu, &b.stage);
    gpu_close(&b.gpu);
    return 0;
}
