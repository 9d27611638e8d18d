// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Times the attention shaders of engine/vulkan/shaders by themselves, and
// checks those by cooperative matrices against the plain ones.
//
//   vk_attention DIR DEVICE < LIST
//
// DIR holds the SPIR-V, DEVICE is a part of the device's name. Lines of LIST:
//   shape SEQUENCES LENGTH HEADS KV_HEADS DIM
//   forward|prep|queries|keys FILE SUBGROUPS PARTS STEP BY_HEAD
// FILE is a name in DIR without .spv; prep has threads for SUBGROUPS.
// `sizes TM TN TK SUBGROUP` sets those of its matrices.

#include "vk_gemm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

struct bench {
    struct gpu gpu;
    const char *dir;
    struct gpu_buffer buffers[N_BUFFERS], stage;
    struct shape s;
    uint32_t sizes[4];
    float *wanted[N_BUFFERS];
    bool is_warm;
};

#define BUFFER_BYTES ((uint64_t) 1 << 27)

static uint32_t ceil_of(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

static uint32_t mixed(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

// About normal, of variance 1.
static float drawn(uint32_t i)
{
    const uint32_t x = mixed(i + 1), y = mixed(x);
    const float s = (float) (x & 0xffff) + (float) (x >> 16) +
                    (float) (y & 0xffff) + (float) (y >> 16) - 131070.0f;
    return s / 37837.0f;
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

static int time_call(struct bench *b, const struct gpu_call *call, double *best)
{
    double ns = 0.0;

    if (gpu_run(&b->gpu, call, 1, 1, best) != 0)
        return -1;
    // The device forgets its clock within some milliseconds of idleness.
    const double until = now() + (b->is_warm ? 0.03 : 1.0);
    b->is_warm = true;
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
    const int r = time_call(b, call, ns);
    gpu_kernel_print(&b->gpu, &k);
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

struct trial {
    char kind[16], file[64];
    uint32_t subgroups, parts, step, by_head;
};

static int run_prep(struct bench *b, const struct trial *t, double *ns)
{
    const struct shape *s = &b->s;
    const struct prep_args a = {at(b, Q),     at(b, K),      at(b, V),
                                at(b, DOUT),  at(b, O),      at(b, LSE),
                                at(b, START), at(b, Q16),    at(b, K16),
                                at(b, V16),   at(b, DOUT16), at(b, STATS),
                                rows_of(s),   s->len,        0};
    const uint32_t specs[] = {t->subgroups, s->dim, s->heads, s->kv_heads};
    struct gpu_call call = {NULL, {rows_of(s), 1, 1}, &a, sizeof(a)};

    return run_kernel(b, t->file, specs, 4, &call, ns);
}

static int run_trial(struct bench *b, const struct trial *t)
{
    const struct shape *s = &b->s;
    const bool is_forward = strcmp(t->kind, "forward") == 0;
    const bool is_keys = strcmp(t->kind, "keys") == 0;
    const uint32_t rows = t->subgroups / t->parts * b->sizes[0];
    const uint32_t tiles = ceil_of(s->len, rows);
    const float scale = 1.0f / sqrtf((float) s->dim);
    const uint32_t specs[] = {t->subgroups * b->sizes[3],
                              b->sizes[3],
                              b->sizes[0],
                              b->sizes[1],
                              b->sizes[2],
                              s->dim,
                              t->step,
                              t->parts,
                              s->len % rows == 0,
                              t->by_head};
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
    struct gpu_call call = {NULL,
                            {s->n_seq, heads, tiles},
                            is_forward ? (const void *) &f : &c,
                            is_forward ? sizeof(f) : sizeof(c)};
    double ns, error, other;

    if (strcmp(t->kind, "prep") == 0) {
        if (run_prep(b, t, &ns) != 0)
            return -1;
        printf(" %.1f us\n", ns / 1e3);
        return 0;
    }
    if (gpu_fill(&b->gpu, &b->buffers[OUT], 0xffffffffu) != 0 ||
        gpu_fill(&b->gpu, &b->buffers[OUT2], 0xffffffffu) != 0 ||
        run_kernel(b, t->file, specs, is_forward ? 9 : 10, &call, &ns) != 0)
        return -1;
    if (is_forward) {
        error = error_of(b, OUT, O, false);
        other = error_of(b, OUT2, LSE, false);
    } else {
        error = error_of(b, OUT, is_keys ? DK : DQ, is_keys && t->by_head);
        other = is_keys ? error_of(b, OUT2, DV, t->by_head) : 0.0;
    }
    // Causal: half of the products.
    const double pairs = 0.5 * s->len * (double) rows_of(s) * s->heads;
    const double products = is_forward ? 2 : is_keys ? 4 : 3;
    printf(" %7.1f us %6.1f TFLOP/s error %.1e %.1e%s\n", ns / 1e3,
           2e-3 * pairs * s->dim * products / ns, error, other,
           error >= 0 && error < 5e-3 && other >= 0 && other < 5e-3 ? ""
                                                                    : " WRONG");
    return 0;
}

static void run_line(struct bench *b, const char *line)
{
    struct shape *s = &b->s;
    struct trial t = {.parts = 1};

    if (sscanf(line, "sizes %u %u %u %u", &b->sizes[0], &b->sizes[1],
               &b->sizes[2], &b->sizes[3]) == 4)
        return;
    printf("%s:", line);
    if (sscanf(line, "shape %u %u %u %u %u", &s->n_seq, &s->len, &s->heads,
               &s->kv_heads, &s->dim) == 5) {
        if (set_shape(b) != 0)
            printf(" failed\n");
    } else if (sscanf(line, "%15s %63s %u %u %u %u", t.kind, t.file,
                      &t.subgroups, &t.parts, &t.step, &t.by_head) >= 3) {
        if (run_trial(b, &t) != 0)
            printf(" failed\n");
    } else
        printf(" cannot be read\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct bench b = {.sizes = {16, 16, 16, 32}};
    char line[200];

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
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            run_line(&b, line);
    }
    for (int i = 0; i < N_BUFFERS; i++) {
        gpu_buffer_destroy(&b.gpu, &b.buffers[i]);
        free(b.wanted[i]);
    }
    gpu_buffer_destroy(&b.gpu, &b.stage);
    gpu_close(&b.gpu);
    return 0;
}
