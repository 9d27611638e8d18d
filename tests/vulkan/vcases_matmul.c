// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/vulkan/check_vulkan.h"

#include "engine/vulkan/vk_product.h"

#include <stdio.h>

static const enum dtype types[] = {
    DTYPE_f32,  DTYPE_f16,  DTYPE_bf16, DTYPE_q8_0, DTYPE_q4_0,
    DTYPE_q4_k, DTYPE_q6_k, DTYPE_q5_1, DTYPE_q3_k,
};
enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

// One that is rounded to f16 when it is copied.
static bool is_rounded(enum dtype t)
{
    return t == DTYPE_q5_1 || t == DTYPE_q3_k;
}

struct shape {
    int64_t m, n, k;
    bool trans_a, trans_b, has_c, has_d;
    bool is_inplace; // y is c
    float alpha;
    enum dtype type;
    uint8_t kernel; // of instr
};

static struct operand part_of(bool is_weight, enum dtype type, int64_t rows,
                              int64_t cols, bool turned)
{
    const int64_t r = turned ? cols : rows;
    const int64_t c = turned ? rows : cols;

    return is_weight ? vcase_weight(type, r, c) : vcase_f32(r, c);
}

static void run(const struct shape *s)
{
    const bool is_weight = s->type != DTYPE_f32 || s->trans_b;
    const bool is_cm =
        s->kernel == VK_PRODUCT_CM || s->kernel >= VK_PRODUCT_CM_64;
    const int c_at = s->has_d ? 3 : 2;
    char name[160];
    struct vcase c = {
        .name = name,
        .in = {.op = s->has_d ? OP_matmul_delta : OP_matmul,
               .n_in = (uint8_t) (c_at + (s->has_c ? 1 : 0)),
               .n_out = 1,
               .kernel = s->kernel,
               .attr = {.trans_a = s->trans_a,
                        .trans_b = s->trans_b,
                        .alpha = s->alpha,
                        .precision = is_cm ? PRECISION_BF16 : PRECISION_F32},
               .in = {part_of(false, DTYPE_f32, s->m, s->k, s->trans_a),
                      part_of(is_weight, s->type, s->k, s->n, s->trans_b)},
               .out = {vcase_f32(s->m, s->n)}},
        // There, f16 operands against bf16 ones.
        .tolerance = is_cm                 ? 1e-2
                     : is_rounded(s->type) ? 2e-3
                                           : 0,
    };

    if (s->has_d)
        c.in.in[2] = part_of(false, DTYPE_f32, s->k, s->n, s->trans_b);
    if (s->has_c)
        c.in.in[c_at] = vcase_f32(s->m, s->n);
    if (s->is_inplace)
        c.shares = c_at + 1;
    (void) snprintf(name, sizeof(name), "%lldx%lldx%lld %s%s%s%s%s%s kernel %d",
                    (long long) s->m, (long long) s->n, (long long) s->k,
                    dtype_infos[s->type].name, s->trans_a ? " ta" : "",
                    s->trans_b ? " tb" : "", s->has_d ? " d" : "",
                    s->has_c ? " c" : "", s->is_inplace ? " in place" : "",
                    s->kernel);
    vcase_run(&c);
}

// All transposes of one shape; c is absent, apart, and in place.
static void forms(int64_t m, int64_t n, int64_t k, uint8_t kernel)
{
    for (int f = 0; f < 4; f++) {
        const int c = (int) (m + n + k + f) % 3;
        run(&(struct shape){.m = m,
                            .n = n,
                            .k = k,
                            .trans_a = f & 1,
                            .trans_b = f & 2,
                            .has_c = c > 0,
                            .is_inplace = c > 1,
                            .alpha = c > 0 ? -0.5f : 1,
                            .kernel = kernel});
    }
}

static void all_types(int64_t m, int64_t n, int64_t k, uint8_t kernel)
{
    for (int t = 0; t < N_TYPES; t++)
        for (int f = 0; f < 2; f++) {
            struct shape s = {.m = m,
                              .n = n,
                              .k = k,
                              .trans_a = m > 16 && t % 3 == 0,
                              .trans_b = f,
                              .alpha = 1,
                              .type = types[t],
                              .kernel = kernel};
            run(&s);
        }
}

static void deltas(int64_t m, int64_t n, int64_t k)
{
    for (int t = 0; t < N_TYPES; t += 3)
        for (int f = 0; f < 2; f++)
            run(&(struct shape){.m = m,
                                .n = n,
                                .k = k,
                                .trans_b = f,
                                .has_c = t & 1,
                                .has_d = true,
                                .alpha = 0.7f,
                                .type = types[t]});
}

static void kept(void)
{
    const struct operand none = {.region = REGION_NONE};

    vcase_run(&(struct vcase){
        .name = "kept",
        .in = {.op = OP_matmul_kept,
               .n_in = 5,
               .n_out = 1,
               .attr = {.alpha = 2},
               .in = {vcase_f32(9, 64), vcase_weight(DTYPE_q8_0, 20, 64), none,
                      none, vcase_f32(9, 20)},
               .out = {vcase_f32(9, 20)}},
    });
}

static void lora(int64_t m, int64_t n, int64_t k, int64_t rank, enum dtype low,
                 bool has_c)
{
    const bool is_f32 = low == DTYPE_f32;

    vcase_run(&(struct vcase){
        .name = dtype_infos[low].name,
        .in = {.op = OP_matmul_lora,
               .n_in = has_c ? 5 : 4,
               .n_out = 1,
               .attr = {.alpha = 0.25f},
               .in = {vcase_f32(m, k), vcase_weight(DTYPE_q8_0, n, k),
                      is_f32 ? vcase_f32(rank, k) : vcase_weight(low, rank, k),
                      is_f32 ? vcase_f32(n, rank) : vcase_weight(low, n, rank),
                      vcase_f32(m, n)},
               .out = {vcase_f32(m, n)}},
        .shares = has_c ? 5 : 0,
    });
}

void vcases_matmul(void)
{
    static const int64_t sides[] = {1, 3, 8, 16, 33, 130};
    enum { N = sizeof(sides) / sizeof(sides[0]) };
    static const uint8_t kernels[] = {0, VK_PRODUCT_REG, VK_PRODUCT_LDS};

    for (int i = 0; i < N * N * N; i++)
        if (i % 11 == 0)
            forms(sides[i % N], sides[i / N % N], sides[i / N / N],
                  kernels[i % 3]);
    // A model's.
    forms(128, 192, 256, VK_PRODUCT_REG);
    forms(128, 192, 256, VK_PRODUCT_LDS);
    // Cut along K.
    forms(20, 24, 2100, VK_PRODUCT_REG);
    forms(20, 24, 2100, VK_PRODUCT_LDS);
    // LoRA's own, and decoding.
    for (int64_t rank = 2; rank <= 16; rank += 7) {
        forms(70, rank, 512, 0);
        forms(70, 512, rank, 0);
        forms(rank, 512, 300, 0);
        forms(512, rank, 300, 0);
    }
    forms(8, 96, 2000, 0);
    forms(1030, 8, 256, 0);
    forms(300, 4, 130, 0);
    forms(2100, 12, 1300, 0);
    forms(1027, 7, 1100, 0);
    forms(1, 300, 1024, 0);
    forms(1, 301, 1023, 0);
}

void vcases_quants(void)
{
    all_types(5, 256, 256, 0);
    all_types(1, 256, 512, 0);
    all_types(33, 256, 256, VK_PRODUCT_REG);
    all_types(33, 256, 256, VK_PRODUCT_LDS);
    deltas(1, 256, 256);
    deltas(33, 256, 256);
    kept();
    lora(1, 96, 256, 8, DTYPE_f32, false);
    lora(40, 96, 256, 6, DTYPE_f32, true);
    lora(1, 96, 256, 16, DTYPE_bf16, true);
    lora(17, 96, 64, 32, DTYPE_bf16, false);
    for (int t = 0; t < 3; t++)
        for (int f = 0; f < 2; f++)
            run(&(struct shape){.m = 7,
                                .n = 31,
                                .k = 75,
                                .trans_b = f,
                                .alpha = 1,
                                .type = types[t]});
}

// Smaller tiles, and more of them along the narrow side.
void vcases_matmul_few(void)
{
    vcase_few_registers(true);
    forms(70, 200, 130, 0);
    forms(70, 16, 512, 0);
    forms(16, 512, 300, 0);
    forms(512, 16, 300, 0);
    forms(1030, 8, 256, 0);
    all_types(5, 256, 256, 0);
    vcase_few_registers(false);
}

// Where the device has cooperative matrices; elsewhere others do it.
static void cm_as(uint8_t kernel, int64_t m, int64_t n, int64_t k,
                  enum dtype type, int step)
{
    for (int f = 0; f < 4; f += step)
        run(&(struct shape){.m = m,
                            .n = n,
                            .k = k,
                            .trans_b = f & 1,
                            .has_c = f & 2,
                            .is_inplace = m % 2 && f & 2,
                            .alpha = 0.75f,
                            .type = type,
                            .kernel = kernel});
}

static void cm(int64_t m, int64_t n, int64_t k, enum dtype type)
{
    cm_as(VK_PRODUCT_CM, m, n, k, type, 1);
}

void vcases_cm(void)
{
    for (int t = 1; t < N_TYPES; t++) {
        cm(33, 256, 256, types[t]);
        cm(64, 512, 256, types[t]);
    }
    cm(17, 72, 40, DTYPE_f16);
    cm(130, 24, 200, DTYPE_bf16);
    cm(70, 96, 160, DTYPE_q8_0);
    cm(131, 192, 96, DTYPE_q4_0);
    cm(20, 32, 2080, DTYPE_f16);
    cm(20, 2080, 32, DTYPE_q8_0);
    cm(2050, 40, 104, DTYPE_f16);
}

// What a table of times may choose, where it is no rule's choice, too.
void vcases_tiles(void)
{
    static const uint8_t of_lds[] = {VK_PRODUCT_LDS_64, VK_PRODUCT_LDS_128};

    for (uint8_t k = VK_PRODUCT_CM_64; k <= VK_PRODUCT_CM_256; k++) {
        for (int t = 1 + k % 3; t < N_TYPES; t += 3)
            cm_as(k, 65, 256, 256, types[t], 3);
        // Beyond the end of tiles, and cut along K.
        cm_as(k, 300, 136, 104, DTYPE_f16, 3);
        cm_as(k, 20, 24, 4104, DTYPE_f16, 3);
    }
    for (int i = 0; i < 2; i++) {
        forms(70, 200, 130, of_lds[i]);
        forms(20, 24, 2100, of_lds[i]);
        all_types(33, 256, 256, of_lds[i]);
    }
}
