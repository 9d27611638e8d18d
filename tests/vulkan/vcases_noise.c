// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include "engine/base/noise.h"
#include "engine/base/rng.h"

#include <stdio.h>
#include <string.h>

// Learning without gradients. Noise is the same to the last bit everywhere, and
// so are steps along it.
static const double none = 1e-30;

enum { COPIES = 5 };
static const int32_t draw[4] = {-5, 9, 1234567, 2};
static const int32_t queries[COPIES] = {3, 3, 0, 65535, 3};
static const float sizes[COPIES] = {1e-2f, -1e-2f, 0.0f, 0.3f, 1.0f};
static const float limits[9] = {[7] = 0.5f, [8] = 1e-9f};

static struct operand vector(int64_t n)
{
    struct operand o = vcase_f32(1, n);

    o.rank = 1;
    return o;
}

static void along(enum op op, int64_t rows, int64_t cols, enum noise kind,
                  int stream, bool has_limits)
{
    const bool is_sum = op == OP_noise_sum;
    char name[96];

    (void) snprintf(name, sizeof(name), "%lldx%lld%s%s stream %d",
                    (long long) rows, (long long) cols,
                    kind == NOISE_RADEMACHER ? " rademacher" : " gaussian",
                    has_limits ? " limits" : "", stream);
    vcase_run(&(struct vcase){
        .name = name,
        .in = {.op = (uint8_t) op,
               .n_in = has_limits ? 5 : 4,
               .n_out = 1,
               .attr = {.noise = (uint8_t) kind, .stream = (uint32_t) stream},
               .in = {vcase_f32(rows, cols), vcase_i32(4), vcase_i32(COPIES),
                      vector(COPIES), vector(9)},
               .out = {vcase_f32(is_sum ? rows : COPIES * rows, cols)}},
        .data = {NULL, draw, queries, sizes, limits},
        .tolerance = none,
    });
}

// The cubic that gives a value, as engine/base/noise.c chooses it.
static uint32_t cubic_of(uint32_t bits)
{
    const float m = (float) (int32_t) (bits >> 9 << 1 | 1);
    uint32_t f;

    memcpy(&f, &m, sizeof(f));
    return (f >> 21) - (127u << 2);
}

enum { CUBICS = 96, RARE = 48, BLOCKS = 256 };

// Those of m = 1, 3, 5, 7 are the only ones of their orders.
static bool is_reached(uint32_t cubic)
{
    return cubic >= 12 || cubic == 0 || cubic == 6 || cubic == 9 || cubic == 11;
}

// Queries that ask for all cubics, the rarest of which is one in 2^23 values.
static int find_queries(int32_t found[CUBICS])
{
    bool seen[CUBICS] = {false};
    int n = 0, left = 0;

    for (uint32_t c = 0; c < RARE; c++)
        left += is_reached(c);
    for (int32_t q = 0; q < 65536 && left > 0; q++) {
        const int before = left;
        struct noise_key k = {.stream = 7, .query = (uint32_t) q};
        memcpy(k.draw, draw, sizeof(k.draw));
        for (uint32_t b = 0; b < BLOCKS; b++) {
            uint32_t counter[4], key[2], words[4];
            noise_counter(counter, key, &k, b);
            rng_philox(words, counter, key);
            for (int i = 0; i < 4; i++) {
                const uint32_t c = cubic_of(words[i]);
                if (c < RARE && !seen[c])
                    left--;
                seen[c] = true;
            }
        }
        if (left < before)
            found[n++] = q;
    }
    for (uint32_t c = 0; c < CUBICS; c++)
        if (is_reached(c) && !seen[c])
            printf("# no query gives cubic %u\n", c);
    return left > 0 ? 0 : n;
}

static void all_cubics(void)
{
    int32_t found[CUBICS];
    float ones[CUBICS];
    const int n = find_queries(found);
    const struct operand c = vcase_f32(BLOCKS, 4);

    for (int i = 0; i < CUBICS; i++)
        ones[i] = 1;
    vcase_run(&(struct vcase){
        .name = "all cubics",
        .in = {.op = OP_perturb,
               .n_in = 4,
               .n_out = 1,
               .attr.stream = 7,
               .in = {c, vcase_i32(4), vcase_i32(n), vector(n)},
               .out = {vcase_f32(BLOCKS * n, 4)}},
        .data = {NULL, draw, found, ones},
        .tolerance = none,
    });
}

static void momentum(int64_t rows, int64_t cols)
{
    static const float hyper[8] = {0.03f, 0.9f, 0, 0, 0.01f};
    const struct operand o = vcase_f32(rows, cols);

    vcase_run(&(struct vcase){
        .name = "momentum",
        .in = {.op = OP_momentum,
               .n_in = 4,
               .n_out = 2,
               .in = {o, o, o, vector(8)},
               .out = {o, o}},
        .data = {NULL, NULL, NULL, hyper},
        .tolerance = none,
    });
}

void vcases_noise(void)
{
    static const int64_t shapes[][2] = {{1, 1},   {1, 3},  {3, 50},  {127, 1},
                                        {130, 8}, {5, 77}, {400, 32}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int k = 0; k < 8; k++) {
            const enum noise kind = k & 1 ? NOISE_RADEMACHER : NOISE_GAUSSIAN;
            along(k & 2 ? OP_noise_sum : OP_perturb, shapes[i][0], shapes[i][1],
                  kind, 7 + (int) i % 2, k & 4);
        }
    // More than a line of workgroups.
    along(OP_perturb, 15000, 11, NOISE_GAUSSIAN, 7, true);
    along(OP_noise_sum, 150000, 8, NOISE_GAUSSIAN, 7, false);
    all_cubics();
    momentum(1, 1);
    momentum(37, 65);
    momentum(300, 1024);
}

static void product(int64_t copies, int64_t m, int64_t n, int64_t k, int c)
{
    char name[96];
    struct vcase v = {
        .name = name,
        .in = {.op = OP_matmul_copies,
               .n_in = c > 0 ? 3 : 2,
               .n_out = 1,
               .attr = {.alpha = c > 0 ? -0.5f : 2,
                        .copies = (uint32_t) copies},
               .in = {vcase_f32(copies * m, k), vcase_f32(copies * n, k),
                      vcase_f32(copies * m, n)},
               .out = {vcase_f32(copies * m, n)}},
        .shares = c > 1 ? 3 : 0,
    };

    (void) snprintf(name, sizeof(name), "%lld of %lldx%lldx%lld%s",
                    (long long) copies, (long long) m, (long long) n,
                    (long long) k,
                    c > 1   ? " in place"
                    : c > 0 ? " + c"
                            : "");
    vcase_run(&v);
}

void vcases_copies(void)
{
    static const int64_t sides[] = {1, 3, 8, 16, 33, 130};
    enum { N = sizeof(sides) / sizeof(sides[0]) };

    for (int i = 0; i < N * N * N; i++)
        if (i % 19 == 0)
            product(1 + i % 4, sides[i % N], sides[i / N % N], sides[i / N / N],
                    i % 3);
    // LoRA's: of the second factor, with an odd rank too, and of the first.
    for (int c = 0; c < 3; c += 2) {
        product(16, 8, 512, 8, c);
        product(4, 64, 300, 16, c);
        product(7, 5, 260, 6, c);
        product(3, 9, 96, 64, c);
        product(16, 8, 8, 512, c);
        product(5, 70, 6, 300, c);
        product(3, 70, 90, 260, c);
        product(2, 5, 200, 131, c);
    }
    vcase_few_registers(true);
    product(3, 9, 96, 64, 1);
    product(4, 64, 300, 16, 1);
    vcase_few_registers(false);
}
